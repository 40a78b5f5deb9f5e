"""Who is who: patients and visits from headers, folders and names."""

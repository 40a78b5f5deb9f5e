"""What lies in a run folder, and what it is compared with."""

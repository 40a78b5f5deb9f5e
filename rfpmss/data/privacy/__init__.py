"""Reports and headers without what says who the patient is."""

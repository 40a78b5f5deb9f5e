"""Generated reports, scored by findings and by words."""

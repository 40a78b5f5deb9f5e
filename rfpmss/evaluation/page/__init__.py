"""The page of a run, and what its sections show."""

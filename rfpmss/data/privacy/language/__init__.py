"""Which language a report is in, and whether names in it are known to be removed."""

"""What each command takes: typed, checked, and light enough for ``--help``."""

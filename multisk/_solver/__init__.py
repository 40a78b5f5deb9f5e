"""One solver a file; each is a frozen object with a `run` that knows systems only."""

"""One training run: build, read, step, schedule, validate."""

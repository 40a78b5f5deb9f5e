"""The folder of a run: checkpoints, metrics, record of what it was started with."""

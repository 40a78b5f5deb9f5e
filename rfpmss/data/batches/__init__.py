"""Prepared studies to the tensors of a training step."""

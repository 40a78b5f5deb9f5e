"""Pathology slides: pixel size, tissue, tiles."""

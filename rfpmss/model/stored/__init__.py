"""Weights in files: published ones, our own folders, and graphs that run without this package."""

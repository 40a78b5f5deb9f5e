"""Readers of files: what is inside a format, and how its parts become one volume."""

"""Findings told from images by sentences alone: scores, calibration, tables by group."""

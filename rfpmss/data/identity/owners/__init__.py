"""Whose file is it? DICOM says so itself; for all others the folder or the name must tell."""

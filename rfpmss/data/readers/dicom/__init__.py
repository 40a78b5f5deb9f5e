"""DICOM files to volumes: series, stacks of slices, segmentations, structured reports."""

"""Study: one patient's views and report, the only type that sources produce."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rfpmss.config import VIEWS

CODE_ZERO, CODE_STEP = 128.0, 32.0
"""CT and MRI are stored as 8 bits: value = (code - 128) / 32 standard deviations."""

AXES = ("L", "P", "S")
"""Where x, y and z of a volume run once it is read; a stored slice has x to the right, y down."""

SIDES = ({"L": "R", "R": "L"}[AXES[0]], AXES[0])
"""Of the patient, at the left and at the right edge of a stored slice: R first is radiological."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1, as fractions of the image's side."""

Kind = Literal["nifti", "dicom", "slide", "image", "shard"]
"""``nifti``: one file a volume, in NIfTI or any format of `rfpmss.data.readers.formats`. The word
stands in prepared cohorts."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that together are one view of a study."""

    kind: Kind
    """How to read them; ``shard``: already prepared."""
    paths: tuple[Path, ...]
    """The files: one per channel (nifti), one per slice (dicom), or one (slide, image)."""
    channels: tuple[str, ...] = ()
    """Names of the MRI sequences in ``paths``, of ``t1 t1ce t2 flair``; empty: not known. In
    `apart` studies one name of `rfpmss.config.SEQUENCES`."""
    shows: str = ""
    """Kind of an MRI series that is none of the four, as ``dwi`` or ``map``; empty: not known."""
    frame: str = field(default="", repr=False)
    """Frame of reference by the DICOM headers; empty: not known."""
    parts: tuple[int, ...] = ()
    """How many of the paths make up each channel (dicom); empty: all paths are one series."""
    series: str = ""
    """Name of the series, free of personal data."""
    volume: int | None = None
    """Which volume of 4-D files; None: they must hold one."""
    frames: tuple[int, ...] = ()
    """Which volume of each path, where the paths are one 4-D file; empty: see ``volume``."""
    mask: Path | None = None
    """Segmentation (NIfTI) of the tumour in the same frame of reference."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One patient at one time."""

    study_id: str
    """Unique in the cohort, free of personal data."""
    patient_id: str
    """Unique to the patient, free of personal data."""
    kin: str = ""
    """Patients who may be one person share it, and with it the split; empty: nobody."""
    split: str = ""
    """``train``, ``val``, ``test`` or empty (not yet split)."""
    views: tuple[Source | None, ...] = (None,) * len(VIEWS)
    """A source for each of ``rfpmss.config.VIEWS``, or None where it is absent."""
    others: tuple[tuple[str, Source], ...] = ()
    """Further series of the views, each with its view; the next best comes first."""
    report: str | None = None
    """The report's text."""
    derived: bool = False
    """The report was made from masks or tables, not written by a person."""
    origin: str = ""
    """Who published the report, where it came apart from the images."""
    stratum: str = ""
    """What the splits are balanced over, beside what patients have."""
    labels: tuple[tuple[str, str], ...] = field(default=())
    """Named findings, for fine-tuning and stratified splits."""

    def label(self, name: str) -> str | None:
        """The value of one label, None if the study does not have it.

        Example:
            >>> Study(study_id="a", patient_id="a", labels=(("grade", "4"),)).label("grade")
            '4'
        """
        return dict(self.labels).get(name)

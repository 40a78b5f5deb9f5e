"""One file of a source folder, as its header and its name describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rfpmss.data.readers.dicom.frame import Slice

FOLDER_MAPPED = "mapping, folder name"
"""What told the sequence: a word that the mapping file has for the file's folder."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One image, mask or report of the source folder."""

    path: Path
    relative: PurePosixPath
    kind: str
    view: str = ""
    """One of VIEWS, ``mask`` or ``report``."""
    sequence: str = ""
    """Of MRI one of ``t1 t1ce t2 flair``, or nothing."""
    shows: str = ""
    """Kind of an MRI series, also of those that are none of the four; nothing: not known."""
    told: str = ""
    """What the view and the sequence were known by."""
    patient: str = ""
    """PatientID of DICOM."""
    name: str = ""
    """What a table calls the patient."""
    study: str = ""
    series: str = ""
    instance: str = ""
    frame: str = ""
    """FrameOfReferenceUID."""
    date: int | None = None
    person: tuple[str, str, str] = field(default=("", "", ""), repr=False)
    """Date of birth, sex and name by the header."""
    phase: str = ""
    """``pre-op``, ``intra-op`` or ``post-op``, if the header or a name says so."""
    label: str = ""
    """The time point that names tell, such as ``week 44``."""
    weak: bool = False
    """The label may count the scans of one visit."""
    planes: int = 1
    """Images in the file, of its largest stack."""
    spot: tuple[float, ...] = ()
    """Orientation and place along the normal of a file with one image."""
    slice: Slice | None = field(default=None, repr=False)
    """What the header of a file with one image says."""
    demerits: tuple[int, ...] = ()
    """Why the series stands behind others of its view; see `rfpmss.data.readers.dicom.series`."""
    volume: int | None = None
    """Which volume of a 4-D file this is."""
    note: str = ""
    """What of a document is not in its text."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """Identifiers of the patient."""
    others: tuple[str, ...] = field(default=(), repr=False)
    """OtherPatientIDs."""
    persons: tuple[str, ...] = field(default=(), repr=False)
    """PatientName and OtherPatientNames, in every reading."""
    accession: str = field(default="", repr=False)
    """AccessionNumber."""
    place: PurePosixPath | None = None
    """Of a row of a table: an image of the visit that it names."""
    timed: bool = False
    """Of a row of a table: the column of the text names the time."""
    unread: bool = False
    """Of a row of a table: the cell of its date could not be read."""
    text: str | None = field(default=None, repr=False)
    """Of reports that are no text file of their own."""

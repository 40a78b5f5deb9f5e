"""What a file is, by its first bytes; its name decides only where bytes cannot."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Literal

from rfpmss.common.files import opened
from rfpmss.data.errors import (
    CONVERT,
    UNPACK,
    WEB_PAGE,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.readers.formats import belongs_to, format_of

Kind = Literal["dicom", "nifti", "slide", "image", "text", "table", "document"]
"""``nifti``: a volume in one file, of any format, as in `rfpmss.data.study.Kind`."""

NIFTI_NAMES = (".nii", ".nii.gz")
DICOM_NAMES = (".dcm", ".dicom", ".ima")
TEXT_NAMES = (".txt",)
WORKBOOKS = (".xlsx", ".xlsm")
TABLE_NAMES = (".csv", ".tsv", *WORKBOOKS)
DOCUMENT_NAMES = (".docx", ".pdf", ".rtf", ".html", ".htm")
REPORT_NAMES = (*TEXT_NAMES, *TABLE_NAMES, *DOCUMENT_NAMES)
"""What a refused file with one of these endings would have been."""
VOLUME_NAMES = (
    *(".hdr", ".hdr.gz", ".img", ".img.gz", ".mgh", ".mgz", ".nrrd", ".nhdr", ".mha", ".mhd"),
    ".mnc",
)
IMAGE_NAMES = (".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg")
OTHERS = {
    (".par", ".rec"): "Philips PAR and REC",
    (".head", ".brik", ".brik.gz"): "AFNI",
    (".czi",): "Zeiss CZI, which OpenSlide does not read",
    (".vsi",): "Olympus VSI, which OpenSlide does not read",
}
"""Formats that are known and not read, by the endings of their names."""
SCANNER_NAMES = (".mrxs", ".vms", ".vmu")
"""Slides in several files that only their index names."""
ENDINGS = (
    *(*NIFTI_NAMES, *DICOM_NAMES, *REPORT_NAMES, *VOLUME_NAMES, *IMAGE_NAMES, *SCANNER_NAMES),
    *(".ndpi", ".scn", ".bif", ".gz", ".doc", ".xls"),
    *(name for names in OTHERS for name in names),
)
"""With which a name in a table or a mapping may be written as a file's."""
ARCHIVES = (b"PK\3\4", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")
NOT_REPORTS = (
    *("readme", "license", "licence", "copying", "changelog", "notice", "requirements"),
    *("index.htm", "help.", "autorun", "manual.", "~$"),
)
UNKNOWN = "the file is no image and no report that is known here"
"""Of a file that neither its bytes nor its name tell."""
ZIPPED = {(".docx",): "Word", WORKBOOKS: "Excel", (".ods", ".odt"): "OpenDocument"}
"""Office files that are archives of their parts."""
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def without_ending(name: str) -> str:
    """A file's name without its endings, all of them; anything else as it is.

    Example:
        >>> without_ending("MRI-7.nii.gz"), without_ending("P3.MGZ"), without_ending("dr.no")
        ('MRI-7', 'P3', 'dr.no')
    """
    while ending := next((e for e in ENDINGS if name.lower().endswith(e)), ""):
        name = name[: -len(ending)]
    return name


def kind_of(path: Path) -> Kind:
    """Tell how to read a file.

    Args:
        path: any file.

    Raises:
        UnreadableError: if the file is empty, or is named as an image and is none.
        UnsupportedError: if it is nothing that this pipeline reads.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> kind_of(Path(get_testdata_file("CT_small.dcm")))
        'dicom'
    """
    with opened(path) as file:
        head = file.read(1024)

    name = path.name.lower()
    if not head:
        raise UnreadableError("the file is empty")
    if name.endswith(SCANNER_NAMES):
        return "slide"

    _refuse_cut(path, name, head)
    if (header := belongs_to(path)) is not None:
        raise UnusedError(f"its voxels are read with the {header.suffix} file beside it")
    if name.endswith(".mat") and any(
        path.with_suffix(e).is_file() for e in (".hdr", ".img", ".nii")
    ):
        raise UnusedError("it places the image beside it")
    if kind := _by_bytes(name, head):
        return kind

    return _by_name(name, head)


def _refuse_cut(path: Path, name: str, head: bytes) -> None:
    """An Office file whose copy ended early has no list of its parts, which stands at its end."""
    if head.startswith(OLD_OFFICE) and ole_cut(path, head):
        raise UnreadableError("the old Word or Excel file is damaged")

    what = next((what for endings, what in ZIPPED.items() if name.endswith(endings)), "")
    if not what or not head.startswith(b"PK"):
        return

    with opened(path) as file:
        if not zipfile.is_zipfile(file):
            raise UnreadableError(f"the {what} file is damaged")

    if what == "OpenDocument":
        raise UnsupportedError("the file is of OpenDocument", "save it as DOCX or XLSX")


def ole_cut(path: Path, head: bytes) -> bool:
    """Whether an old Office file ends before the last sector that its tables name ([MS-CFB], 2.2).

    Args:
        path: the file.
        head: its first 512 bytes.
    """
    size, shift = path.stat().st_size, int.from_bytes(head[30:32], "little")
    if shift not in _SHIFTS:
        return True

    sector = 1 << shift
    used = [int.from_bytes(head[n : n + 4], "little") for n in range(76, 512, 4)]
    tables = [number for number in used if number < _NO_SECTOR]
    first = int.from_bytes(head[48:52], "little")
    if len(head) < 512 or (max((first, *tables)) + 2) * sector > size:
        return True

    last = 0
    with opened(path) as file:
        for order, number in enumerate(tables):
            file.seek((number + 1) * sector)
            entries = memoryview(file.read(sector)).cast("I")
            full = [n for n, entry in enumerate(entries) if entry != _FREE]
            last = max(last, order * (sector // 4) + full[-1] if full else 0)

    return (last + 1) * sector >= size


_NO_SECTOR, _FREE = 0xFFFFFFFA, 0xFFFFFFFF
_SHIFTS = (9, 12)
"""Sectors of 512 and of 4,096 bytes; there are no others."""


def _is_web(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:32].lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _by_name(name: str, head: bytes) -> Kind:
    images = (*NIFTI_NAMES, *DICOM_NAMES, *IMAGE_NAMES, *VOLUME_NAMES)
    if name.endswith(images) and _is_web(head):
        raise UnreadableError(WEB_PAGE)
    if name.endswith(NIFTI_NAMES):
        return "nifti"  # the reader tells what is wrong with it
    if name.endswith(DICOM_NAMES):
        raise UnreadableError("the file is named as DICOM but does not start as DICOM does")
    if name.endswith(IMAGE_NAMES):
        raise UnreadableError("the file is named as an image and is none")
    if kind := _office(name, head):
        return kind

    _refuse_volume(name)
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b":
        raise UnsupportedError("the file is an archive", UNPACK)

    if name.endswith(TEXT_NAMES):
        if name.startswith(NOT_REPORTS):
            raise UnsupportedError("the text is about files, no report")
        return "text"

    if name.endswith(TABLE_NAMES):
        return "table"

    raise UnsupportedError(UNKNOWN)


def _office(name: str, head: bytes) -> Kind | None:
    """Documents and workbooks, whatever they are called."""
    web = _is_web(head) or name.endswith((".html", ".htm"))
    if web or head.startswith((b"%PDF-", b"{\\rtf")):
        if name.startswith(NOT_REPORTS):
            raise UnsupportedError("the text is about files, no report")
        return "document"

    if head.startswith(b"PK\3\4") and name.endswith((".docx", *WORKBOOKS)):
        return "document" if name.endswith(".docx") else "table"
    if head.startswith(OLD_OFFICE):
        raise UnsupportedError("the file is an old Word or Excel file", "save it as DOCX or XLSX")
    if name.endswith((*DOCUMENT_NAMES, *WORKBOOKS)):
        raise UnreadableError("the file is named as a document and is none")

    return None


def _refuse_volume(name: str) -> None:
    """Say what a file is that is named as a volume and cannot be read as one."""
    for endings, what in OTHERS.items():
        if name.endswith(endings):
            raise UnsupportedError(f"the file is of {what}", CONVERT)

    if name.endswith(VOLUME_NAMES):
        raise UnreadableError("the file is named as an image and is none, or lacks its header")


def _by_bytes(name: str, head: bytes) -> Kind | None:
    if head[128:132] == b"DICM" or bare_dicom(head):
        return "dicom"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "slide"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff":
        return "image"

    start = head
    if head[:2] == b"\x1f\x8b":
        try:
            start = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return None
        if start[128:132] == b"DICM":
            return "dicom"

    return "nifti" if format_of(name, start) else None


def bare_dicom(head: bytes) -> bool:
    """A DICOM data set without the preamble, little-endian, as old archives hold them."""
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if (group, element) not in ((2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x16)):
        return False

    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < 256

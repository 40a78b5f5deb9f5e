"""What one file of a source folder is, by its header alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rfpmss.common.files import read_bytes
from rfpmss.data.errors import (
    CONTOURS,
    BodyPartError,
    DataError,
    IncompleteError,
    PathError,
    TextError,
    UnforeseenError,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.identity.mapping import Words
from rfpmss.data.identity.names.when import phase_of
from rfpmss.data.privacy.private import clean
from rfpmss.data.readers import nifti
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.segments import tumour_segments
from rfpmss.data.readers.dicom.series import Nature, distance, largest, nature, spot
from rfpmss.data.readers.dicom.slices import slice_of
from rfpmss.data.readers.dicom.structured import names_by_keyword, report_text
from rfpmss.data.readers.file import FOLDER_MAPPED, File
from rfpmss.data.readers.masks import TUMOUR
from rfpmss.data.readers.naming import kind_told
from rfpmss.data.readers.sequences import ELSEWHERE, FOUR
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.readers.text.dates import day, readings
from rfpmss.data.readers.text.documents import read_document
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.volume import MAX_BYTES
from rfpmss.data.reports.sheets import LARGEST, Shape, shape_of

if TYPE_CHECKING:
    from pydicom import Dataset

INDEX = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR."""
FIELDS = (
    *("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    "FrameOfReferenceUID",
)


def look(path: Path, root: Path, limit: int = MAX_BYTES, words: Words | None = None) -> list[File]:
    """Tell what one file is; of images only headers are read.

    Args:
        path: a file below ``root``.
        root: the source folder.
        limit: largest decoded image, bytes.
        words: of the mapping file.

    Returns:
        One entry; the rows of a table are read when it is known who is in the images.

    Raises:
        DataError: if it cannot be used.
    """
    if path.is_symlink():
        raise PathError("the file is a link")
    if not path.is_file():
        raise UnsupportedError("it is no plain file")

    relative = PurePosixPath(path.relative_to(root).as_posix())
    words = words or Words()
    view = words.view(relative)
    if view == "ignore":
        raise UnusedError("the mapping file says to leave it out")

    try:
        file = File(path=path, relative=relative, kind=kind_of(path))
        files = _look(file, limit, words, view)
    except (DataError, OSError):
        raise
    except Exception:
        raise UnforeseenError("a reader failed") from None

    return files


def _look(file: File, limit: int, words: Words, view: str) -> list[File]:
    if file.kind == "dicom":
        return [_dicom(file, limit, words, view)]
    if file.kind == "table":
        return [replace(file, view="report", told="table")]
    if file.kind == "nifti":
        return _nifti(file, limit, words, view)
    if file.kind in ("text", "document") and not view and _of_software(file.relative):
        raise UnsupportedError("the text lies in a folder of programs")
    if file.kind == "text":
        return [_text(file, words, view)]

    if file.kind == "document":
        text, note = read_document(file.path)
        if shape_of(text).rows > 1 and view != "report":
            raise TextError(*_TABLE)
        about = replace(file, kind="text", view="report", told="document", note=note)
        return [replace(about, text=clean(text))]

    return [replace(file, view="pathology", told="image file")]


_TABLE = (
    "the text is a table of several rows or several reports in one, and no report of one patient",
    "save the table as .tsv, .csv or .xlsx with a header that names the columns of patients and of "
    "reports, or give each report a file of its own",
)


def _text(file: File, words: Words, view: str) -> File:
    """A report, or a table that is called .txt, as spreadsheet programs name "Unicode text"."""
    shape = Shape()
    if file.path.stat().st_size <= LARGEST:
        with suppress(TextError):  # told when the report is read
            shape = shape_of(decode_text(read_bytes(file.path)))

    if shape.plain or words.table(file.relative):
        return replace(file, kind="table", view="report", told="table")
    if shape.rows and view != "report":
        raise TextError(*_TABLE)

    return replace(file, view="report", told="text file")


def _of_software(path: PurePosixPath) -> bool:
    """Whether a text came with the viewer on a CD of a PACS."""
    return any(part.lower() in _SOFTWARE for part in path.parts[:-1])


_SOFTWARE = frozenset(
    [
        "viewer",
        "help",
        "manual",
        "software",
        "program",
        "programs",
        "bin",
        "jre",
        "plugins",
        "autorun",
    ]
)


def _nifti(file: File, limit: int, words: Words, view: str) -> list[File]:
    """One entry, or one a volume of a 4-D file whose volumes have names."""
    given = words.sequence(file.relative.name)
    channels = nifti.channels_of(file.path)
    if channels is not None and not given and not view:
        told = "dataset.json"
        names = (channels,) if isinstance(channels, str) else channels
        volumes = (None,) if isinstance(channels, str) else range(len(names))
        kind = kind_told(file.relative)
        file = replace(file, view="mri", told=told)
        return [
            replace(file, sequence=name, shows=name or kind, volume=number)
            for name, number in zip(names, volumes, strict=True)
        ]

    if not (given or view) and kind_told(file.relative) == ELSEWHERE:
        raise BodyPartError("its name is that of another part of the body than the head")

    guess, sequence, told = nifti.view_of(file.path, file.relative, limit)
    if not given and guess == "mri" and told != "file name":
        folders = (folder.name for folder in file.relative.parents[:-1])
        if mapped := next(filter(None, map(words.sequence, folders)), ""):
            sequence, told = mapped, FOLDER_MAPPED

    if given:
        guess, sequence, told = "mri", given, "mapping"

    if view:
        guess, told = view, "mapping"

    sequence = sequence if guess == "mri" else ""
    shows = (sequence or kind_told(file.relative)) if guess == "mri" else ""
    return [replace(file, view=guess, sequence=_of_four(sequence), shows=shows, told=told)]


def _of_four(sequence: str) -> str:
    """A sequence that has a channel of its own, or nothing."""
    return sequence if sequence in FOUR else ""


def _dicom(file: File, limit: int, words: Words, view: str) -> File:
    data = dicom.read_file(file.path, limit, pixels=False)
    try:
        index = str(data.file_meta.get("MediaStorageSOPClassUID", "")) == INDEX
        # First of all: reading a value drops its bytes, which tell what encoding it is in.
        names = {} if index else names_by_keyword(data)
        modality = _value(data, "Modality").upper()
        file = _identified(file, data, names)
        told = " ".join(str(data.get(n, "") or "") for n in ("SeriesDescription", "ProtocolName"))
        image = data.get("Rows") is not None
    except Exception:
        raise UnreadableError("the DICOM header holds values that cannot be") from None

    if index:
        raise _index(data, file.path.parent)
    if modality == "SR":
        text = clean(report_text(data))
        return replace(file, kind="text", view="report", told="DICOM SR", text=text)
    if modality == "SM" and image:
        return replace(file, kind="slide", view="pathology", told="modality")
    if modality == "SEG" and image:
        tumour_segments(data)
        return replace(file, kind="seg", view=TUMOUR, told="modality")

    _refuse_others(data, modality, image=image)
    given = words.sequence(told) if modality == "MR" else ""
    chosen = view if view in ("ct", "mri") else {"CT": "ct", "MR": "mri"}[modality]
    return _image(replace(file, view=chosen), data, limit, given, head=bool(given or view))


def _identified(file: File, data: Dataset, names: Mapping[str, Sequence[str]]) -> File:
    """The file with whose it is, which examination and series, and what nobody may read again."""
    fields = {name: _value(data, name) for name in FIELDS}
    persons = (*names.get("PatientName", ()), *names.get("OtherPatientNames", ()))
    others = tuple(names.get("OtherPatientIDs", ()))
    known = (*persons, *others, *(name for values in names.values() for name in values))
    birth, sex, name = (
        _value(data, which) for which in ("PatientBirthDate", "PatientSex", "PatientName")
    )
    return replace(
        file,
        patient=fields["PatientID"],
        study=fields["StudyInstanceUID"] or fields["SeriesInstanceUID"],
        series=fields["SeriesInstanceUID"],
        instance=fields["SOPInstanceUID"],
        frame=fields["FrameOfReferenceUID"],
        accession=fields["AccessionNumber"],
        date=date_of(data),
        phase=_phase(data),
        person=(birth, sex.upper(), name),
        names=tuple(dict.fromkeys(known)),
        persons=persons,
        others=others,
    )


def _image(file: File, data: Dataset, limit: int, given: str, *, head: bool) -> File:
    """A file of CT or MR with its sequence and places; `given` by the mapping file, as `head`."""
    planes = dicom.frames(data, limit, pixels=False)
    if not file.series:
        raise UnreadableError("the image does not say which series it belongs to")

    found = _nature(data)
    if not head and found.kind == ELSEWHERE:
        raise BodyPartError("the series is of another part of the body than the head")

    one = planes[0] if len(planes) == 1 else None
    return replace(
        file,
        sequence=_of_four(given) if given else found.sequence,
        shows=(given or found.kind) if file.view == "mri" else "",
        told="mapping" if given else found.told if found.kind else "modality",
        planes=largest([spot(plane) for plane in planes]),
        spot=() if one is None else spot(one),
        slice=None if one is None else slice_of(one),
        demerits=(_far(given), *found.demerits[1:]) if given else found.demerits,
    )


def _far(given: str) -> int:
    return 0 if given in FOUR else distance(given)


def _refuse_others(data: Dataset, modality: str, *, image: bool) -> None:
    """Say what is no image of CT or MR."""
    if modality == "RTSTRUCT":
        raise UnsupportedError("the file holds contours of radiotherapy, no voxels", CONTOURS)
    if not image and _torn(data, modality):
        raise UnreadableError("the DICOM header is damaged or ends too early")
    if not image:
        raise UnsupportedError("the DICOM file holds no image")

    if modality not in ("CT", "MR"):
        shown = modality if re.fullmatch("[A-Z]{1,16}", modality) else "not given"
        raise UnsupportedError(f"the modality is {shown}, neither CT nor MR")


def _torn(data: Dataset, modality: str) -> bool:
    """Whether a header without an image was that of one, or says nothing of what it is."""
    kinds = {
        str(data.file_meta.get("MediaStorageSOPClassUID", "") or ""),
        str(data.get("SOPClassUID", "") or ""),
    } - {""}
    return bool(kinds & dicom.IMAGES) or not (kinds or modality)


def _nature(data: Dataset) -> Nature:
    try:
        return nature(data)
    except Exception:
        raise UnreadableError("the DICOM header holds values that cannot be") from None


def _value(data: Dataset, name: str) -> str:
    return str(data.get(name, "") or "").strip()


def _phase(data: Dataset) -> str:
    """Before, in or after an operation, by the descriptions; "post" alone is about contrast."""
    for name in ("StudyDescription", "SeriesDescription", "ProtocolName"):
        if found := phase_of(_value(data, name)):
            return found
    return ""


def date_of(data: Dataset) -> int | None:
    """The day of the study, the series or the acquisition, by the header.

    Consoles of Iran and Thailand write the years of their calendars: ``14020512``.
    """
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        value = _value(data, name)
        if (found := day(value)) is not None:
            return found
        if len(of_others := readings(value) if len(value) == len("20210304") else ()) == 1:
            return of_others[0]
    return None


def _index(data: Dataset, folder: Path) -> DataError:
    """What is to be said of a DICOMDIR: its files are found without it, unless some are missing."""
    try:
        listed = [
            [str(part) for part in ([ids] if isinstance(ids, str) else ids)]
            for record in data.get("DirectoryRecordSequence") or ()
            if (ids := record.get("ReferencedFileID"))
        ]
    except Exception:
        return UnreadableError("the DICOMDIR is damaged")

    if any(part in ("..", "") or "/" in part or "\0" in part for ids in listed for part in ids):
        return PathError("the DICOMDIR names a file outside of its folder")

    lower = {p.relative_to(folder).as_posix().lower() for p in folder.rglob("*")} if listed else ()
    missing = sum("/".join(ids).lower() not in lower for ids in listed)
    if missing:
        return IncompleteError(f"the DICOMDIR lists {missing} files that are not there")

    return UnusedError("the DICOMDIR is an index; the files it lists are read themselves")

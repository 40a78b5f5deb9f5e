"""The manifest: one CSV row per modality of a study, the single input of training."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

from rfpmss.config import MODALITIES
from rfpmss.data.errors import LeakageError, PathError, TextError

NAME = "manifest.csv"
LABEL_SEPARATOR = ";"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One modality of one study."""

    patient_id: str
    """Salted or public identifier of the patient."""
    study_id: str
    """Identifier of the study."""
    modality: str
    """One of ``rfpmss.config.MODALITIES``."""
    path: str = ""
    """``shards/<file>.npy#<row>`` relative to the manifest; empty for a report."""
    series: str = ""
    """What the images are: sequences or series name, free of personal data."""
    report: str = ""
    """Text of the report; on the study's first row that has one."""
    split: str = ""
    """``train``, ``val``, ``test`` or empty."""
    labels: str = ""
    """``name=value`` pairs joined by semicolons."""
    derived: str = ""
    """``yes`` when the report was made from masks or tables."""
    boxes: str = ""
    """A box per stored image, ``x0 y0 x1 y1`` as fractions, joined by ``|``; empty: none known."""
    spacing: str = ""
    """Of the source: millimetres ``x y z``, or microns per pixel of a slide."""
    grid: str = ""
    """Of the source: voxels ``x y z``, or columns and rows of a slide."""
    digest: str = ""
    """Of the stored images' content; equal images never stand in two splits."""
    origin: str = ""
    """Who published the report, where it came apart from the images: TextBraTS, MR-RATE ..."""


COLUMNS = tuple(field.name for field in fields(Row))


def manifest_of(data: Path) -> Path:
    """The manifest that a path means: the file itself, or the one in a cohort's folder."""
    return data / NAME if data.is_dir() else data


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest atomically; the same rows give the same bytes."""
    write_csv(path, COLUMNS, (asdict(row) for row in rows))


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, str]]) -> None:
    """Write a CSV file atomically: a reader sees the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read(path: Path) -> list[Row]:
    """Read and check a manifest.

    Args:
        path: the CSV file; extra columns are ignored, missing ones are empty.

    Raises:
        TextError: if it is no UTF-8 CSV with the needed columns, or a modality is unknown.
        PathError: if a path leads out of the manifest's folder.
        LeakageError: if one patient, or one image, stands in two splits.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            absent = {"patient_id", "study_id", "modality"} - set(reader.fieldnames or ())
            if absent:
                raise TextError(f"the manifest lacks the columns {', '.join(sorted(absent))}")
            rows = [
                Row(**{name: (line.get(name) or "").strip() for name in COLUMNS}) for line in reader
            ]
    except (UnicodeDecodeError, csv.Error):
        raise TextError("the manifest is not a CSV file in UTF-8") from None
    _check(rows)
    return rows


def _check(rows: list[Row]) -> None:
    splits: dict[str, str] = {}
    images: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        if row.modality not in MODALITIES:
            raise TextError(
                f"modality must be one of {', '.join(MODALITIES)}, "
                f"got {row.modality!r} in line {number} of the manifest"
            )
        if not row.patient_id or not row.study_id:
            raise TextError(f"line {number} of the manifest has no patient_id or no study_id")
        if row.path:
            check_relative(row.path)
        if splits.setdefault(row.patient_id, row.split) != row.split:
            raise LeakageError(
                f"a patient stands in the splits {splits[row.patient_id]!r} and {row.split!r} "
                f"(line {number} of the manifest)"
            )
        if row.digest and images.setdefault(row.digest, row.split) != row.split:
            raise LeakageError(
                f"the same image stands in the splits {images[row.digest]!r} and {row.split!r} "
                f"(line {number} of the manifest)"
            )


def check_relative(path: str) -> None:
    """Refuse a path that is absolute, climbs, is a URL, or holds a NUL byte or a pipe.

    Example:
        >>> check_relative("shards/mri-00000.npy#3")
        >>> check_relative("../secret")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        rfpmss.data.errors.PathError: a path climbs out of its folder; use plain relative ...
    """
    windows = PureWindowsPath(path)
    posix = PurePosixPath(path)
    if "\0" in path or any(ord(letter) < 32 for letter in path):
        raise PathError("a path holds control characters")
    if posix.is_absolute() or windows.drive or windows.root or path.startswith("~"):
        raise PathError("a path is absolute")
    if ":" in path or path.startswith("|"):
        raise PathError("a path is a URL or a pipe")
    if ".." in posix.parts or ".." in windows.parts:
        raise PathError("a path climbs out of its folder")


def jail(root: Path, path: str) -> Path:
    """The file ``path`` inside ``root``, with links resolved.

    Raises:
        PathError: if it is not a plain relative path, or a link leads out of ``root``.
    """
    check_relative(path)
    inside = (root / path).resolve()
    if not inside.is_relative_to(root.resolve()):
        raise PathError("a link leads out of its folder")
    return inside


def pack_labels(labels: tuple[tuple[str, str], ...]) -> str:
    """``(("grade", "4"),)`` -> ``"grade=4"``; separators inside values become blanks."""
    clean = str.maketrans({LABEL_SEPARATOR: " ", "=": " ", "\n": " "})
    return LABEL_SEPARATOR.join(f"{n.translate(clean)}={v.translate(clean)}" for n, v in labels)


def unpack_labels(text: str) -> tuple[tuple[str, str], ...]:
    """The inverse of `pack_labels`."""
    pairs = (item.partition("=") for item in text.split(LABEL_SEPARATOR) if "=" in item)
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)

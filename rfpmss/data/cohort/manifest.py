"""The manifest: one CSV row per modality of a study, the single input of training."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from os.path import realpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from posixpath import normpath

from rfpmss.common import files
from rfpmss.config import MODALITIES
from rfpmss.data.errors import (
    ChangedError,
    DataError,
    DuplicateError,
    LeakageError,
    PathError,
    StudyError,
    TextError,
)

NAME = "manifest.csv"
LABEL_SEPARATOR = ";"

SUM = ".sum"
"""Ending of the file beside a manifest that says how many rows it has, and their digest."""

TRUTH = "truth.json"
"""Beside the manifest of a generated cohort: the findings behind its studies."""

SPLITS = ("train", "val", "test", "")

LONGEST = 1 << 24
"""Characters of a cell; csv's own limit of 131,072 is shorter than some reports."""


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
    heights: str = ""
    """Of each stored image above the middle of the volume, mm, where they are spread over the
    head (``prepare --order levels``); empty: the images are the best ones."""
    voxel: str = ""
    """Of a box (``prepare --depth``), whose images are its slices from below: millimetres along
    ``x y z``."""
    sequence: str = ""
    """Of a box of MRI, one of ``rfpmss.config.SEQUENCES``: a study has a row for each of them."""


COLUMNS = tuple(field.name for field in fields(Row))


def manifest_of(data: Path) -> Path:
    """The manifest that a path means: the file itself, or the one in a cohort's folder."""
    found = data / NAME if data.is_dir() else data
    return (
        Path(realpath(found)) if found.is_symlink() else found
    )  # sum and shards stand where it leads


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest and its sum, readable by the owner alone; the same rows, the same bytes."""
    kept = list(rows)
    sum_of(path).unlink(missing_ok=True)  # never an old sum beside a new manifest
    write_csv(path, COLUMNS, (asdict(row) for row in kept), private=True)
    accept(path, kept)


def accept(path: Path, rows: Sequence[Row]) -> None:
    """Write the sum of a manifest as it is now."""
    truth = truth_of(path)
    said = summed(rows) | ({} if truth is None else {"truth": truth})
    files.write_text(sum_of(path), json.dumps(said) + "\n", private=True)


def truth_of(path: Path) -> str | None:
    """SHA-256 of the truth beside a manifest; None where there is none."""
    truth = path.with_name(TRUTH)
    return _digest(truth) if truth.is_file() else None


def sum_of(path: Path) -> Path:
    """The file with the sum of a manifest."""
    return path.with_suffix(SUM)


def summed(rows: Sequence[Row]) -> dict[str, object]:
    """How many rows there are, and SHA-256 over what they say; quoting does not matter."""
    found = hashlib.sha256()
    for row in rows:
        said = {name: value.strip() for name, value in vars(row).items() if value.strip()}
        found.update(json.dumps(said, sort_keys=True).encode() + b"\n")

    return {"rows": len(rows), "sha256": found.hexdigest()}


def write_csv(
    path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, str]], *, private: bool = False
) -> None:
    """Write a CSV file atomically: a reader sees the old file or the new one, whole."""
    with files.whole(path, private=private) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text.detach()


def read(path: Path) -> list[Row]:
    """Read and check a manifest.

    Args:
        path: the CSV file; extra columns are ignored, missing ones are empty.

    Raises:
        TextError: if it is no UTF-8 CSV with the needed columns, or a modality is unknown.
        ChangedError: if rows are missing, or it is otherwise not as its sum says.
        PathError: if a path leads out of the manifest's folder.
        StudyError: if a study stands in two patients, or has two different reports.
        DuplicateError: if a row stands twice.
        LeakageError: if one patient, or one image, stands in two splits.
    """
    rows = parse(path)
    _compare(path, rows)
    check_together(rows)
    return rows


def parse(path: Path) -> list[Row]:
    """The rows of a manifest, whether or not they fit together.

    Raises:
        TextError: if it is no UTF-8 CSV with the needed columns.
    """
    try:
        with files.opened_text(path, "utf-8-sig", newline="") as file, _long_cells():
            return [_row(line, number) for number, line in _lines(file)]
    except UnicodeDecodeError:
        raise TextError("the manifest is not a CSV file in UTF-8") from None
    except csv.Error as error:
        raise TextError(f"the manifest is not a CSV file in UTF-8 ({error})") from None


def _lines(file: io.TextIOBase | Iterable[str]) -> Iterator[tuple[int, dict[str | None, str]]]:
    reader = csv.DictReader(file, strict=True)
    names = list(reader.fieldnames or ())
    absent = {"patient_id", "study_id", "modality"} - set(names)
    if absent:
        raise TextError(f"the manifest lacks the columns {', '.join(sorted(absent))}")
    if twice := sorted({name for name in COLUMNS if names.count(name) > 1}):
        raise TextError(f"the manifest has the columns {', '.join(twice)} twice")

    yield from enumerate(reader, start=2)


def _row(line: dict[str | None, str], number: int) -> Row:
    if None in line or None in line.values():
        raise TextError(
            f"row {number} of the manifest has {'more' if None in line else 'fewer'} cells than "
            f"there are columns: it is cut off or badly quoted"
        )
    return Row(**{name: line.get(name, "").strip() for name in COLUMNS})


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _compare(path: Path, rows: Sequence[Row]) -> None:
    """Refuse a manifest that is not what its sum says; one without a sum is an older one."""
    try:
        said = json.loads(files.read_bytes(sum_of(path)).decode("utf-8"))
        wanted = (int(said["rows"]), str(said["sha256"]))
        truth = said.get("truth")
    except FileNotFoundError:
        return
    except (OSError, ArithmeticError, ValueError, TypeError, KeyError, RecursionError):
        raise ChangedError(f"the file {sum_of(path).name} beside the manifest is damaged") from None

    if truth is not None and _digest(path.with_name(TRUTH)) != truth:
        raise ChangedError(
            f"{TRUTH} beside the manifest must be as it was written, got another content or none",
            "generate the cohort again, or accept it with rfpmss check COHORT --accept",
        )

    found = summed(rows)
    if wanted == (found["rows"], found["sha256"]):
        return
    if wanted[1] == found["sha256"]:
        raise ChangedError(f"the file {sum_of(path).name} beside the manifest is damaged")
    if wanted[0] != found["rows"]:
        raise ChangedError(f"the manifest must have {wanted[0]} rows, got {found['rows']}")

    raise ChangedError("the manifest must be as it was written, got other content in its rows")


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except OSError:
        return ""


def check_together(rows: Sequence[Row]) -> None:
    """Refuse rows that contradict one another; raises what `read` raises."""
    splits: dict[str, str] = {}
    owners: dict[str, Row] = {}
    seen: set[tuple[str, ...]] = set()
    for number, row in enumerate(rows, start=2):
        _check_row(row, number)
        _check_study(owners.setdefault(row.study_id, row), row, number)
        key = (row.study_id, row.modality, row.path or row.report)
        if key in seen:
            raise DuplicateError(f"line {number} of the manifest says what another one says")
        seen.add(key)
        if splits.setdefault(row.patient_id, row.split) != row.split:
            raise LeakageError(
                f"a patient stands in the splits {splits[row.patient_id]!r} and {row.split!r} "
                f"(line {number} of the manifest)"
            )

    check_images(rows)
    _check_reports(rows)


def check_images(rows: Iterable[Row]) -> None:
    """Each row has an image of its own, and no image stands in two splits.

    Raises:
        TextError: if a row does not say where its image is.
        DuplicateError: if two rows name one place of one shard.
        LeakageError: if one image stands in two splits, by its digest.
    """
    lines: dict[tuple[str, int], int] = {}
    splits: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        if row.path:
            file, place = reference(row.path)
            first = lines.setdefault((normpath(file), place), number)
            if first != number:
                raise DuplicateError(
                    f"the lines {first} and {number} of the manifest name the same stored image"
                )

        if row.digest and splits.setdefault(row.digest, row.split) != row.split:
            raise LeakageError(
                f"the same image stands in the splits {splits[row.digest]!r} and {row.split!r} "
                f"(line {number} of the manifest)"
            )


def reference(path: str) -> tuple[str, int]:
    """The shard that a row's path names, and the place in it; the one reader of such paths.

    Raises:
        PathError: if the shard is no plain relative path.
        TextError: if the place is no number from 0.

    Example:
        >>> reference("shards/ct-00000.npy#3")
        ('shards/ct-00000.npy', 3)
    """
    check_relative(path)
    file, _, place = path.rpartition("#")
    if not file or not re.fullmatch(r"[0-9]{1,9}", place):
        raise TextError(
            f"the path of an image must end in #ROW, a number from 0, got {place[:20]!r}"
        )

    return file, int(place)


def _check_row(row: Row, number: int) -> None:
    if row.modality not in MODALITIES:
        raise TextError(
            f"modality must be one of {', '.join(MODALITIES)}, "
            f"got {row.modality!r} in line {number} of the manifest"
        )
    if row.split not in SPLITS:
        raise TextError(
            f"split must be train, val, test or empty, got {row.split!r} in line {number} of the "
            f"manifest"
        )
    if not row.patient_id or not row.study_id:
        raise TextError(f"line {number} of the manifest has no patient_id or no study_id")

    if row.path:
        try:
            reference(row.path)
        except DataError as error:
            where = f"line {number} of the manifest, path {row.path[:200]!r}"
            raise type(error)(f"{error.reason} ({where})", PLAIN) from None


PLAIN = "write the path as it was prepared, shards/NAME.npy#ROW, beside the manifest"


def _check_study(first: Row, row: Row, number: int) -> None:
    """A study is one patient's, and its rows say the same of it."""
    if first.patient_id != row.patient_id:
        raise StudyError(
            f"a study_id stands for studies of two patients (line {number} of the manifest)"
        )
    if row.labels and first.labels != row.labels:
        raise StudyError(f"a study has two sets of labels (line {number} of the manifest)")


def _check_reports(rows: Iterable[Row]) -> None:
    reports: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        if row.report and reports.setdefault(row.study_id, row.report) != row.report:
            raise StudyError(f"a study has two reports (line {number} of the manifest)")


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
    inside = Path(realpath(root / path))  # of a circle of links as well
    if not inside.is_relative_to(realpath(root)):
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

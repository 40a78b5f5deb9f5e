"""Names of refused files: salted where others read them, plain in a file for the owner alone."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rfpmss.common.files import opened_text
from rfpmss.data.cohort.manifest import write_csv
from rfpmss.data.privacy.private import pseudonym

PRIVATE = "rejections.private.csv"
COLUMNS: tuple[str, ...] = ("path", "name", "reason")
_ENDINGS = (".nii.gz", ".nii", ".dcm", ".ima", ".txt", ".csv", ".tif", ".tiff", ".svs", ".png")

Refused = tuple[str, str]
"""A path, and class, reason and cure."""


def hide(out: Path, refused: Iterable[Refused], salt: bytes) -> list[Refused]:
    """Salted names in place of the paths; the paths go to `PRIVATE`, readable by its owner alone.

    Args:
        out: folder of the cohort.
        refused: paths relative to the source.
        salt: secret of the names.
    """
    pairs = [(path, alias(salt, path), reason) for path, reason in refused]
    write_private(out, pairs)
    return [(name, reason) for _, name, reason in pairs]


def alias(salt: bytes, path: str) -> str:
    """A salted name that keeps the ending.

    Example:
        >>> alias(b"0123456789abcdef", "Doe_John/t1.nii.gz")
        'f-1f82d498600532c6.nii.gz'
    """
    ending = next((e for e in _ENDINGS if path.lower().endswith(e)), "")
    return pseudonym(salt, "f", path) + ending


def write_private(out: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write path, salted name and reason of every refused file."""
    write_table(out / PRIVATE, COLUMNS, sorted(rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table that its owner alone can read."""
    path.unlink(missing_ok=True)
    mask = os.umask(0o077)
    try:
        write_csv(path, tuple(columns), (dict(zip(columns, row, strict=True)) for row in rows))
    finally:
        os.umask(mask)


def join(parts: Sequence[Path], out: Path) -> None:
    """Put the private lists of all parts into ``out``, if they have any."""
    rows: list[tuple[str, str, str]] = []
    found = [part / PRIVATE for part in parts if (part / PRIVATE).is_file()]
    for path in found:
        with opened_text(path, newline="") as file:
            rows += [(row["path"], row["name"], row["reason"]) for row in csv.DictReader(file)]

    if found:
        write_private(out, rows)

"""Which files of a patient belong to one visit; follow-ups are studies of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from rfpmss.data.dates import day

DAYS = 30
"""Examinations of a patient at most this many days apart are one visit."""
_VISIT = re.compile(
    r"(?:visit|ses|session|tp|timepoint)[-_ ]?\d+|baseline|follow-?up[-_ ]?\d*"
    r"|(?:pre|post)[-_]?(?:op|surgery)",
    re.IGNORECASE,
)


def label(path: PurePosixPath) -> str:
    """The folder of a path that says which visit it is, in lower case, or nothing.

    Example:
        >>> label(PurePosixPath("P7/ses-02/anat/t1.nii")), label(PurePosixPath("P7/t1.nii"))
        ('ses-02', '')
    """
    return next((p.lower() for p in reversed(path.parts[:-1]) if _VISIT.fullmatch(p)), "")


def date_of(path: PurePosixPath) -> int | None:
    """The date that a folder or a file's name holds; the folder nearest to the file wins."""
    for part in reversed(path.parts):
        if (found := day(part)) is not None:
            return found
    return None


def visits(
    paths: Sequence[PurePosixPath], dates: Sequence[int | None], days: int = DAYS
) -> list[str | None]:
    """The visit of each file of one patient; None where nothing says it.

    A file's date is its own, else the one in its path. Files that are dated at most ``days`` after
    another form a visit with it. Undated files go by a folder such as ``visit2``, then by the
    nearest folder that holds files of one visit only.

    Args:
        paths: relative to the source folder.
        dates: day numbers by header or table.
        days: see above.

    Returns:
        Names of visits, the same for the same files: the first day's number, a folder's name, or
        ``""`` where the patient has no dates and no such folders.

    Example:
        >>> paths = [PurePosixPath(p) for p in ("p/1.dcm", "p/2.dcm", "p/3.dcm", "p/note.txt")]
        >>> [v is not None for v in visits(paths, [730000, 730010, 730400, None])]
        [True, True, True, False]
    """
    own = [d if d is not None else date_of(p) for p, d in zip(paths, dates, strict=True)]
    first = _clusters({d for d in own if d is not None}, days)
    result: list[str | None] = [str(first[d]) if d is not None else None for d in own]
    named: dict[str, set[str]] = defaultdict(set)
    for path, visit in zip(paths, result, strict=True):
        if visit is not None:
            named[label(path)].add(visit)
    for place, path in enumerate(paths):
        if result[place] is None and (name := label(path)):
            known = named.get(name, set())
            result[place] = next(iter(known)) if len(known) == 1 else name
    there = {visit for visit in result if visit is not None}
    if len(there) < 2:
        only = next(iter(there), "")
        return [only] * len(paths)
    return _near(paths, result)


def _clusters(dates: set[int], days: int) -> dict[int, int]:
    """Each date's visit: its first day."""
    result: dict[int, int] = {}
    before = None
    for d in sorted(dates):
        start = result[before] if before is not None and d - before <= days else d
        result[d], before = start, d
    return result


def _near(paths: Sequence[PurePosixPath], known: list[str | None]) -> list[str | None]:
    beneath: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path, visit in zip(paths, known, strict=True):
        if visit is not None:
            for folder in path.parents:
                beneath[folder].add(visit)
    result = list(known)
    for place, path in enumerate(paths):
        if result[place] is None:
            folder = next((f for f in path.parents if beneath.get(f)), None)
            inside = beneath[folder] if folder is not None else set()
            result[place] = next(iter(inside)) if len(inside) == 1 else None
    return result

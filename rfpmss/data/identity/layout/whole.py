"""What only all paths of a source together tell of their words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.person import ID, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.numbered import stem

ORDINAL = re.compile(r"\d{1,2}")
"""The number before a time, as in ``2_postop``."""


def tee_is_time(paths: Sequence[PurePosixPath]) -> bool:
    """Whether T1, T2 are time points: there is a T0 or T3, or several sequences are in one."""
    found, inside = set(), defaultdict(set)
    for path in paths:
        words = re.split(r"[^0-9a-z]+", "/".join(path.parts).lower())
        found |= {word for word in words if re.fullmatch(r"t\d", word)}
        folder = next((p for p in path.parts[:-1] if re.fullmatch(r"[tT][12]", p)), None)
        if folder:
            name = re.sub(r"[^0-9a-z]+", " ", stem(path).lower())
            inside[folder.lower()] |= {
                kind for kind in ("flair", "t1", "t2", "ct", "dwi") if kind in name.split()
            }

    several = any(kinds - {folder} for folder, kinds in inside.items())
    return bool(found - {"t1", "t2"}) or several


COUNTED = re.compile(r"(?:mri?|mrt|irm|rmn?|ct|cta|pet|dicom|dcm|nifti|nii|imaging)-?(\d{1,3})")

EXAM = re.compile(r"mri?|mrt|irm|rmn?|ct|pet|scans?|exams?|imaging")
"""Words for an examination, which say nothing of what was made of it."""


def twins_of(paths: Sequence[PurePosixPath]) -> set[str]:
    """Names of folders beside another one with the same files, such as ``MRI1`` and ``MRI2``."""
    seen: dict[tuple[PurePosixPath, str], set[str]] = defaultdict(set)
    for path in paths:
        for folder in path.parents[:-1]:
            inside = path.relative_to(folder).as_posix().lower()
            seen[folder.parent, inside.replace(folder.name.lower(), "")].add(folder.name)

    return {name for names in seen.values() if len(names) > 1 for name in names}


def heaps_of(paths: Sequence[PurePosixPath], *, tee: bool) -> set[str]:
    """Folders beside each other, such as ``IXI-T1`` and ``IXI-T2``, with files of the same names.

    They sort the files of all patients by what they are.
    """
    found: dict[tuple[PurePosixPath, str], dict[str, set[str]]] = defaultdict(dict)
    for path in paths:
        folder = parse(path.parent.name, tee=tee)
        who = parse(stem(path), file=True, tee=tee).who
        if folder.core and folder.core != folder.who and rank(who) >= ID:
            found[path.parent.parent, folder.core].setdefault(folder.who, set()).add(who)

    return {
        folder
        for folders in found.values()
        for folder, whos in folders.items()
        if any(len(whos & other) > 1 for name, other in folders.items() if name != folder)
    }


def years_of(paths: Sequence[PurePosixPath]) -> dict[str, str]:
    """Folders such as ``MRT 2021`` above all others, each with its year.

    They are years where all folders beside them are, and numbers of patients elsewhere.
    """
    tops = {path.parts[0]: path for path in paths if len(path.parts) > 2}
    found = {
        top: re.fullmatch(r"((?:19[89]|20[0-4])\d)", parse(top, file=False).who) for top in tops
    }
    if len(tops) < len({path.parts[0] for path in paths}) or not all(found.values()):
        return {}

    below: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        below[path.parts[0]].add(parse(path.parts[1]).who)

    if not all(whos - {""} for whos in below.values()):
        return {}

    return {top: year[1] for top, year in found.items() if year}


BARE_END = re.compile(r"(?:^|-)(?:pre|post)$")


def agents_of(names: Iterable[tuple[PurePosixPath, str]]) -> set[PurePosixPath]:
    """Folders with files such as ``X_PRE`` and ``X_FLAIR``: before and after the contrast agent."""
    bare, others = set(), set()
    for folder, name in names:
        if BARE_END.search(plain(name)):
            bare.add(folder)
        elif parse(name, file=True).kinds:
            others.add(folder)

    return bare & others


def dates_joined(parts: Sequence[str]) -> list[tuple[int, str]]:
    """The folders with their depths; ``2021/03/04`` is one name at the depth of its last part."""
    result: list[tuple[int, str]] = []
    for depth, text in enumerate(parts, start=1):
        last = result[-1][1] if result else ""
        month = re.fullmatch(r"(?:0?[1-9]|1[0-2])月?|[A-Za-z]{3,9}|[Qq][1-4]", text)
        after_year = re.fullmatch(r"(?:19[89]|20[0-4])\d年?", last) and month
        day = re.fullmatch(r"[0-3]?\d日?", text)
        after_month = re.fullmatch(r"(?:19[89]|20[0-4])\d-\d{1,2}", last) and day
        joined = f"{last}-{text}".replace("年", "").replace("月", "").replace("日", "")
        if (after_year or after_month) and not parse(joined).who and parse(joined).times:
            result[-1] = (depth, joined)
        else:
            result.append((depth, text))

    return result


def shared_depth(paths: Sequence[PurePosixPath]) -> int:
    """How many of the outermost folders all paths share."""
    folders = [path.parts[:-1] for path in paths]
    if not folders:
        return 0

    first, last = min(folders), max(folders)
    same = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(same, min(len(first), len(last)))

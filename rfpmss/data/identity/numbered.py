"""Folders whose files are named after them and numbered by visit: ``XY01/XY01_02_flair.nii``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.person import GROUP, PERSON, SITE, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.readers.sequences import describes

_NUMBER = re.compile(r"-(?P<n>\d{1,3})(?:(?:-\d{1,4})?-(?P<what>[^\d-].*))?")
"""What follows the folder's name: a visit, its day and more; channels of nnU-Net end the name."""

_SPLIT = re.compile(r"(?:train|val|test)")
"""The patients of ISBI 2015 are called training01 and test01; no batch or cohort is a patient."""


def visit_numbers(
    images: Iterable[PurePosixPath], most: int, *, tee: bool = False, words: bool = False
) -> set[PurePosixPath]:
    """Folders that are patients since their files' names are theirs, a visit and a sequence.

    Running numbers of series or slices are no visits: one number must have several sequences.

    Args:
        images: paths of all images.
        most: visits of a patient, where there are not as many patients.
        tee: T0, T1, T2 are time points, not sequences.
        words: find folders such as ``Mueller`` instead, which may as well be hospitals.

    Example:
        >>> names = ("A1/A1_01_t1", "A1/A1_01_t2", "A1/A1_02_t1", "B1/B1_01_t1", "B1/B1_02_t1")
        >>> sorted(map(str, visit_numbers([PurePosixPath(f"{n}.nii") for n in names], 12)))
        ['A1', 'B1']
    """
    found: dict[int, dict[PurePosixPath, dict[int, set[str]]]] = defaultdict(dict)
    for path in images:
        place = after(path)
        if place is None or parse(stem(path), file=True, tee=tee).times:
            continue
        folder, number, what = place
        if (
            what
            and any(map(describes, what.split("-")))
            and (_word if words else _somebody)(folder.name, number)
        ):
            numbers = found[len(folder.parts)].setdefault(folder, {})
            numbers.setdefault(int(number), set()).add(what)

    result: set[PurePosixPath] = set()
    for folders in found.values():
        several = any(len(whats) > 1 for by in folders.values() for whats in by.values())
        repeated = any(len(by) > 1 for by in folders.values())
        many = max(map(len, folders.values()))
        alone = len(folders) == 1 and not all(rank(plain(f.name)) == PERSON for f in folders)
        if several and repeated and not alone and (many <= most or many <= len(folders)):
            result |= folders.keys()

    return result


def after(path: PurePosixPath) -> tuple[PurePosixPath, str, str] | None:
    """The innermost folder with whose name the file's begins, the number behind and the rest.

    Example:
        >>> after(PurePosixPath("A1/prep/A1_02_flair_pp.nii.gz"))
        (PurePosixPath('A1'), '02', 'flair-pp')
    """
    name = plain(stem(path))
    for folder in path.parents[:-1]:
        head = plain(folder.name)
        if head and name.startswith(head) and (name == head or name[len(head)] == "-"):
            rest = _NUMBER.fullmatch(name[len(head) :])
            return (folder, rest["n"], rest["what"] or "") if rest else None

    return None


def _word(folder: str, _: str) -> bool:
    """Whether a folder has a name without a number, which may be a patient's or a hospital's."""
    head = plain(folder)
    unknown = not SITE.fullmatch(head) and not GROUP.fullmatch(head)
    return unknown and not re.search(r"\d", head) and parse(folder).who == head


def _somebody(folder: str, number: str) -> bool:
    """Whether a folder may be a patient, not a centre with its patients' numbers."""
    head = plain(folder)
    digits = re.search(r"\d+$", head)
    if not digits or SITE.fullmatch(head) or parse(folder).times:
        return False
    if GROUP.fullmatch(head) and not _SPLIT.match(head):
        return False

    narrow = len(number) <= len(digits[0])
    return narrow if _SPLIT.match(head) or head.isdecimal() else True


def stem(path: PurePosixPath) -> str:
    """A file's name without its endings, in the case that it has.

    Example:
        >>> stem(PurePosixPath("a/P1_T1.nii.gz")), stem(PurePosixPath("TCGA-1.dx.svs"))
        ('P1_T1', 'TCGA-1.dx')
    """
    name = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"(?<=.)\.[A-Za-z][0-9A-Za-z]{0,7}$", "", name)

"""Folders of series, known by the headers: below the folder of one examination nobody is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath


def without_series_folders(
    files: Sequence[tuple[PurePosixPath, str, tuple[str, str, str]]],
) -> list[PurePosixPath]:
    """The paths as if the files of one DICOM study lay in the folder that holds all of them.

    Where a folder holds files of two studies, or a study files of two people, identifiers are not
    what they should be, and every path stays as it is.

    Args:
        files: of each the path, its StudyInstanceUID and the person by its header.

    Example:
        >>> names = (("a/pre/S1/1", "7"), ("a/pre/S2/1", "7"), ("a/post/S1/1", "8"))
        >>> nobody = ("", "", "")
        >>> files = [(PurePosixPath(name), study, nobody) for name, study in names]
        >>> [str(path) for path in without_series_folders(files)]
        ['a/pre/1', 'a/pre/1', 'a/post/1']
    """
    places: dict[str, set[PurePosixPath]] = defaultdict(set)
    persons: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for path, study, person in files:
        if study:
            places[study].add(path.parent)
            persons[study].add(person)

    heads = {study: _common([f.parts for f in found]) for study, found in places.items()}
    if not _apart(heads, places) or any(len(found) > 1 for found in persons.values()):
        return [path for path, _, _ in files]

    depths: dict[int, set[int]] = defaultdict(set)
    for study, found in places.items():
        for folder in found if len(found) > 1 else ():
            depths[len(folder.parts)].add(len(heads[study]))

    result = []
    for path, study, _ in files:
        depth = len(heads.get(study, path.parent.parts))
        if study and len(places[study]) == 1:  # a study of one series, beside others of several
            usual = depths.get(depth, set())
            depth = min(usual) if len(usual) == 1 else depth
        result.append(PurePosixPath(*path.parts[:depth], path.name))

    return result


def _common(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    first, last = min(folders), max(folders)
    same = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _apart(heads: dict[str, tuple[str, ...]], places: dict[str, set[PurePosixPath]]) -> bool:
    """Whether there are several studies, each in a folder that no other one has files in."""
    above: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for study, found in places.items():
        for folder in found:
            for depth in range(len(folder.parts) + 1):
                above[folder.parts[:depth]].add(study)

    return len(heads) > 1 and all(above[head] == {study} for study, head in heads.items())

"""A second look at a reading of files as patients and visits, which trusts no name.

Files that differ by the sequence alone are one patient's, and folders that differ by a number
alone and hold the same sequences are not one visit: where a reading says otherwise it is wrong.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.what import says_what
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.words.spoken import in_english
from rfpmss.data.readers.sequences import describes, kind_of, sequence_of


def contradiction(files: Iterable[tuple[PurePosixPath, str, Hashable]]) -> str:
    """Why a reading cannot be right, with the way out; ``""`` where nothing speaks against it.

    Args:
        files: of each image without a header the path, whose it is, and of which visit.

    Example:
        >>> paths = [PurePosixPath(f"x{n}/{s}.nii") for n in (1, 2) for s in ("t1", "t2")]
        >>> contradiction((path, "a", "") for path in paths)[:47]
        '2 folders that differ by a number alone stand w'
        >>> contradiction((path, path.parts[0], "") for path in paths)
        ''
    """
    files = list(files)
    return (
        _parted(files)
        or _merged(files)
        or _doubly_timed(files)
        or _one_each(files)
        or _nobody(files)
    )


def _one_each(files: Iterable[tuple[PurePosixPath, str, Hashable]]) -> str:
    """Folders beside each other whose files were read as a patient each, by different sequences.

    Patients of one folder have the same sequences; those of an examination differ.
    """
    found: dict[PurePosixPath, dict[str, set[tuple[str, ...]]]] = defaultdict(dict)
    for path, owner, _ in files:
        if path.parent.parts:
            kinds = parse(stem(path), file=True).kinds
            found[path.parent].setdefault(owner, set()).add(tuple(sorted(kinds)))

    torn = [folder for folder, by in found.items() if len(by) > 1 and _apart(by.values())]
    beside = [f for f in found if torn and len(f.parts) == len(torn[0].parts)]
    if len(beside) < 2:
        return ""

    return (
        f"{len(torn)} folders hold files of different sequences whose names were read as a patient "
        "each, and whether the folders or the files are patients cannot be told; pass "
        f"--patient-level {_first_apart(beside)} if each of these folders is a patient, or put the "
        "files of each patient into a folder of its own"
    )


def _apart(sets: Collection[set[tuple[str, ...]]]) -> bool:
    """Whether no two sets have anything in common, and each holds something that is said."""
    every = set().union(*sets)
    return () not in every and len(every) == sum(map(len, sets))


def _nobody(files: Collection[tuple[PurePosixPath, str, Hashable]]) -> str:
    """Folders beside each other with the same sequences, some of which name nobody: KM, PS, FS.

    Initials may be words for what is in a folder as well, KM for contrast.
    """
    found: dict[int, dict[PurePosixPath, set[str]]] = defaultdict(dict)
    shown = {path: _shown(path) for path, _, _ in files}
    depths = {folder: _depth(path, folder) for path, (_, folder) in shown.items()}
    count = Counter(folder for _, folder in shown.values())
    lost: set[PurePosixPath] = set()
    for path, owner, _ in files:
        sequence, folder = shown[path]
        if sequence and folder.parts and owner.startswith(_NAMED):
            found[len(folder.parts)].setdefault(folder, set()).add(sequence)
            name = owner.removeprefix("folder:").rpartition("/")[2]
            said = plain(" ".join(map(in_english, folder.parts)))
            if owner == "name:-" or not any(word in said for word in name.split("-")):
                lost.add(folder)

    for places in found.values():
        alike = [
            f
            for f, own in places.items()
            if count[f] > 1
            and any(own & other and count[g] > 1 for g, other in places.items() if g != f)
        ]
        if len(alike) > 1 and lost & set(alike):
            level = _first_apart(alike)
            below = any(depths[folder] > len(folder.parts) for folder in alike)
            name = "name these folders after the patients, such as patient-1"
            one = "put all into one folder named after the patient"
            each = f"pass --patient-level {level} if each of these folders is a patient, or "
            way = (
                name
                if below  # a folder of a sequence stands above, which parts them
                else each + (name if set(alike) - lost else one)
            )
            return (
                f"{len(alike)} folders hold the same sequences, and some are named by words for "
                f"what is in them, so that whether they are patients cannot be told; {way}"
            )

    return ""


def _shown(path: PurePosixPath) -> tuple[str, PurePosixPath]:
    """The sequence of a file, and its folder without those that name it: `KM/T1/scan.nii`."""
    if sequence := sequence_of(stem(path)):
        return sequence, path.parent

    kinds = [kind_of(folder) for folder in path.parts[:-1]]
    sequence = next(filter(None, reversed(kinds)), "")
    named = zip(path.parts[:-1], kinds, strict=True)
    return sequence, PurePosixPath(*(folder for folder, kind in named if not kind))


def _depth(path: PurePosixPath, folder: PurePosixPath) -> int:
    """Where the last folder of `_shown` stands in a path, from 1."""
    return path.parts.index(folder.name) + 1 if folder.parts else 1


_NAMED = ("name:-", "folder:")
"""Owners by folders, or by nothing."""


def _first_apart(folders: Sequence[PurePosixPath]) -> int:
    """The depth, from 1, at which folders differ."""
    depths = enumerate(zip(*(f.parts for f in folders), strict=True), 1)
    return next((depth for depth, parts in depths if len(set(parts)) > 1), 1)


def _doubly_timed(files: Iterable[tuple[PurePosixPath, str, Hashable]]) -> str:
    """Folders beside each other that each tell a time, and were read as the same one."""
    found: dict[tuple[Hashable, ...], dict[str, set[str]]] = defaultdict(dict)
    for path, owner, visit in files:
        sequence = sequence_of(stem(path))
        for folder in path.parents[:-1] if sequence else ():
            times = parse(folder.name).times
            if times and not any(time.weak for time in times):
                places = found[owner, visit, folder.parent]
                places.setdefault(plain(folder.name), set()).add(sequence)

    for places in found.values():
        sets = list(places.values())
        if any(one & other for n, one in enumerate(sets) for other in sets[:n]):
            return (
                "2 folders of one patient that each name a time hold the same sequences and were "
                "read as one visit; name their times so that they differ, such as visit1 and visit2"
            )

    return ""


def _parted(files: Iterable[tuple[PurePosixPath, str, Hashable]]) -> str:
    owners: dict[tuple[PurePosixPath, str], set[str]] = defaultdict(set)
    paths: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
    for path, owner, _ in files:
        if head := _head(path):
            owners[path.parent, head].add(owner)
            paths[path.parent, head] = path

    torn = [key for key, found in owners.items() if len(found) > 1]
    if not torn:
        return ""

    names = "1 name" if len(torn) == 1 else f"{len(torn)} names"
    return (
        f"files of {names} but for their sequences (such as {_masked(paths[torn[0]])}) were read "
        "as different patients, which they are not; put the files of each patient into a folder "
        "of its own and pass --patient-level 1, or name each in the mapping file (patients:) for "
        "--mapping"
    )


def _masked(path: PurePosixPath) -> str:
    """A file's name of which only the words for what is in it are shown: `*_*_AX_T1_*.nii`."""
    name = stem(path)
    shown = re.sub(r"[^\W_]+", lambda word: word[0] if says_what(word[0].lower()) else "*", name)
    return re.sub(r"\*(?:[^\w*]+\*)+", "*", shown) + path.name[len(name) :]


def _head(path: PurePosixPath) -> str:
    """A file's name before its sequence, if it has a number and nothing but words behind it."""
    tokens = plain(stem(path)).split("-")
    place = next((n for n, token in enumerate(tokens) if n and describes(token)), 0)
    head, rest = tokens[:place], tokens[place:]
    alone = bool(head) and not parse("-".join(rest), file=True).who

    return "-".join(head) if alone and re.search(r"\d", "".join(head)) else ""


def _merged(files: Iterable[tuple[PurePosixPath, str, Hashable]]) -> str:
    found: dict[tuple[Hashable, ...], dict[PurePosixPath, set[str]]] = defaultdict(dict)
    for path, owner, visit in files:
        if sequence := sequence_of(stem(path)):
            for place in filter(None, (path.parent, _scan(path))):
                shape = re.sub(r"\d+", "#", place.as_posix())
                found[owner, visit, shape].setdefault(place, set()).add(sequence)

    for places in found.values():
        same = [
            f for f, own in places.items() if sum(len(own & o) > 1 for o in places.values()) > 1
        ]
        if len(same) > 1:
            depth = _first_apart(same)
            return _number_alone(len(same), depth, files=same[0].name.endswith(_FILES))

    return ""


_FILES = ".*"
"""Ends a place that is the beginning of files' names."""


def _scan(path: PurePosixPath) -> PurePosixPath | None:
    """A file's folder with its name before its sequence, if that ends in a number."""
    head = _head(path)
    return path.parent / f"{head}{_FILES}" if re.search(r"\d$", head) else None


def _number_alone(count: int, depth: int, *, files: bool) -> str:
    """What is said of folders or beginnings of names that differ by a number alone."""
    what = "beginnings of file names" if files else "folders"
    own = "put the files of each into a folder of its own and " if files else ""
    return (
        f"{count} {what} that differ by a number alone stand with the same sequences, and whether "
        f"they are patients or scans of one cannot be told; {own}pass --patient-level {depth} if "
        "each of them is a patient, or name their times, such as visit1"
    )

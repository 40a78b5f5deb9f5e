"""Words for what is in a folder, and a number, as names of patients: ``GLIO-01``, ``tumor_2``.

One such name says nothing of who: ``MRI2`` may be a scan, ``seg1`` a result. Beside others that
differ by the number alone, and hold the same sequences, it is a patient's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import Name
from rfpmss.data.identity.names.person import GROUP, ID, SITE, VISIT, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.numbered import stem
from rfpmss.data.readers.sequences import describes, sequence_of

_PARTS = {"slice", "slices", "frame", "tile", "patch", "page", "run", "echo", "acq"}
"""Words for parts of one image."""
_NUMBER = re.compile(r"\d+")


Parse = Callable[..., Name]
"""`rfpmss.data.identity.names.parse.parse` of one source: of a text, and whether it is a file's."""


@dataclass(frozen=True)
class Heads:
    """The names of patients that are made of a word for a content and a number."""

    folders: Mapping[str, str] = field(default_factory=dict)
    """Of folders, as `plain` has them."""
    whole: Collection[str] = ()
    """Of them those with several sequences each."""
    files: Mapping[tuple[PurePosixPath, str], str] = field(default_factory=dict)
    """Beginnings of files' names, in their folder."""

    def of(self, path: PurePosixPath) -> str:
        """Whose a file is by the beginning of its own name; ``""``: that says nothing."""
        head = _head(path)
        return self.files.get((path.parent, head)) or self.folders.get(head, "")


def counted_names(
    images: Iterable[PurePosixPath], headers: Container[PurePosixPath], parse: Parse
) -> Heads:
    """Find the names that differ by the number alone and hold the same sequences.

    Args:
        images: paths of all images.
        headers: files whose own names say nothing.
        parse: takes a name apart.

    Example:
        >>> from rfpmss.data.identity.names.parse import parse
        >>> paths = [PurePosixPath(f"GLIO-0{n}/{s}.nii") for n in (1, 2) for s in ("t1", "t2")]
        >>> sorted(counted_names(paths, (), parse).folders)
        ['glio-01', 'glio-02']
    """
    folders: dict[tuple[int, str], dict[str, _Inside]] = defaultdict(dict)
    files: dict[tuple[PurePosixPath, str], dict[str, _Inside]] = defaultdict(dict)
    for path in images:
        for depth, text in enumerate(path.parts[:-1], 1):
            name = _untimed(text, parse)
            if shape := _shape(name, parse):
                inside = folders[depth, shape].setdefault(plain(name), _Inside())
                inside.add(path, depth, header=path in headers, parse=parse)

        if path not in headers and (shape := _shape(_head(path), parse)):
            inside = files[path.parent, shape].setdefault(_head(path), _Inside())
            inside.sequences.add(sequence_of(stem(path)))

    people = [found for found in folders.values() if _people(found)]
    return Heads(
        {name: name for found in people for name in found},
        {
            name
            for found in people
            for name in found
            if all(len(one.kinds) > 1 for one in found.values())
        },
        {
            (folder, name): name
            for (folder, _), found in files.items()
            if _people(found) and any(len(one.sequences) > 1 for one in found.values())
            for name in found
        },
    )


@dataclass
class _Inside:
    """What lies in one folder, or has one beginning of its name."""

    sequences: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    """Of `sequences` those that have a name of their own."""
    names: set[str] = field(default_factory=set)
    """What is called neither by a content nor by a time."""
    counted: bool = False
    """Folders or files in it have such names as well."""

    def add(self, path: PurePosixPath, depth: int, *, header: bool, parse: Parse) -> None:
        own = plain(path.parts[depth - 1])
        name = plain(stem(path))
        self.sequences.add(sequence_of(stem(path)) or _NUMBER.sub("", name.removeprefix(own)))
        self.kinds |= {sequence_of(stem(path))} - {""}
        told = [parse(text) for text in path.parts[depth:-1]]
        told += [] if header or name.startswith(own) else [parse(stem(path), file=True)]
        deeper = [*path.parts[depth:-1], *([] if header or name.startswith(own) else [_head(path)])]
        self.counted = self.counted or any(_shape(text, parse) for text in deeper if text)
        self.names |= {name.who for name in told if name.who and not name.times}


def _people(found: Mapping[str, _Inside]) -> bool:
    """Whether names that differ by their numbers are patients, and not heaps of them."""
    if len(found) < 2:
        return False

    for name, inside in found.items():
        others = [other for key, other in found.items() if key != name]
        elsewhere = set[str]().union(*(other.names for other in others))
        if not any(inside.sequences & other.sequences for other in others):
            return False
        alone = inside.names - elsewhere
        if _several(name) and (inside.names or inside.counted):
            return False
        if len(alone) > 1 or any(rank(who) >= ID for who in inside.names):
            return False

    return True


def _shape(text: str, parse: Parse) -> str:
    """A name without its number, if it says what is in it, a number and nothing else."""
    name = plain(text)
    tokens = [token for token in re.split(r"-+", name) if token]
    counted = [token for token in tokens if _counts(token)]
    if len(counted) != 1 or len(_NUMBER.findall(counted[0])) != 1:
        return ""

    said = parse(text)
    words = said.kinds and not said.who and not said.times
    if not words and not _several(name):
        return ""

    return "-".join(_NUMBER.sub("#", t) if t in counted else t for t in tokens)


def _untimed(text: str, parse: Parse) -> str:
    """A name such as ``brain-01_baseline`` without the time behind its number."""
    name = plain(text)
    head = _head(PurePosixPath(text)) if parse(text).times else ""
    rest = name[len(head) + 1 :] if head else ""
    after = parse(rest)
    timed = after.times and not after.who
    return head if timed or VISIT.fullmatch(rest) else text


def _several(name: str) -> bool:
    """A name of several patients, such as ``cohort-1``; where it has one only it is a name too."""
    return bool(SITE.fullmatch(name) or GROUP.fullmatch(name))


def _counts(token: str) -> bool:
    """A number that belongs to no sequence, as that of T1 does."""
    if not _NUMBER.search(token):
        return False
    return not describes(token) or describes(_NUMBER.sub("", token))


def _head(path: PurePosixPath) -> str:
    """A file's name up to its first number, without a sequence before it."""
    tokens = plain(stem(path)).split("-")
    while len(tokens) > 1 and sequence_of(tokens[0]):
        del tokens[0]

    place = next((n for n, token in enumerate(tokens) if _counts(token)), None)
    if place is None or _PARTS & set(tokens[: place + 1]):
        return ""

    return "-".join(tokens[: place + 1])

"""Owners who may be one person: they get one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rfpmss.data.identity.names.person import PERSON, rank
from rfpmss.data.identity.owners.headers import Headers
from rfpmss.data.identity.patients import same_person, spelled


def kin_of(read: Headers, result: Sequence[str | None]) -> dict[str, str]:
    """Owners that one name, PatientID or folder joins, and something else keeps apart."""
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for place, owner in enumerate(result):
        home = read.homes[place]
        if owner is None or read.items[place].kind == "text":
            continue
        if owner.startswith("folder:") and len(home) > 1:
            groups["name", home[-1]].add(owner)
        if owner.startswith("folder:") and home and not read.level:
            core = read.layout.signs.parse(read.places[place].raw[-1]).core
            groups["core", core or home[-1]].add(owner)
        machine = read.ids[place] and home and read.machine(place)
        if home and rank(home[-1]) == PERSON and not machine:
            groups["home", "/".join(home)].add(owner)
        if read.ids[place]:
            groups["id", read.ids[place]].add(owner)
            groups["spelling", spelled(read.ids[place])].add(owner)
        if who := same_person(read.items[place].person):
            groups["person", who].add(owner)

    return _joined([*groups.values(), *_visited(read, result)])


def _visited(read: Headers, result: Sequence[str | None]) -> Iterator[set[str]]:
    """Owners of a folder's time points, one each: an anonymiser that names every study anew."""
    found: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for n, owner in enumerate(result):
        home = read.homes[n]
        if owner is not None and home and read.ids[n] and not read.machine(n):
            found[home][read.places[n].label].add(owner)

    for by in found.values():
        if "" not in by and all(len(whos) == 1 for whos in by.values()):
            yield set().union(*by.values())


def _joined(groups: Iterable[set[str]]) -> dict[str, str]:
    """Of each owner who shares a group with others the one that stands for all that are joined."""
    root: dict[str, str] = {}

    def top(owner: str) -> str:
        while root.get(owner, owner) != owner:
            owner = root[owner]
        return owner

    for found in groups:
        first, *rest = sorted(found)
        for other in rest:
            a, b = sorted((top(first), top(other)))
            root[a], root[b] = a, a

    return {owner: top(owner) for owner in root}

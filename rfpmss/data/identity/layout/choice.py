"""Which of the candidates of a path is the patient, by the structure of all paths."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from rfpmss.data.identity.layout.place import (
    MOST_VISITS,
    Home,
    Taken,
    dated,
    people,
)
from rfpmss.data.identity.layout.signs import Signs
from rfpmss.data.identity.names.person import ID, PERSON, SHORT, WORD, rank

FEWEST_PATIENTS = 4
"""A folder that holds as many folders with names of their own on average is a group of patients."""


class Choice:
    """The place of the patient among the candidates of every path.

    Args:
        signs: of the source.
        say: takes why the folders can be read in two ways.

    Attributes:
        as_times: candidates whose outer ones are time points.
        sub: below how many others each name stands.
    """

    def __init__(self, signs: Signs, say: Callable[[str], None]) -> None:
        self.signs = signs
        self._say = say
        self._persons: dict[Home, int] = {}
        self.as_times: set[Home] = set()
        self.sub: Counter[str] = Counter()

    def decide(self, taken: Sequence[Taken]) -> None:
        """The place of the patient among the candidates of every path."""
        sets = {t.whos: t for t in taken}
        self._apart(taken)
        for whos in sets:
            for part in set(whos):
                self.sub[part] += 1

        self.sub = Counter({w: len({h[: h.index(w)] for h in sets if w in h}) for w in self.sub})
        for whos, index in self._choose(list(sets), sets).items():
            self._persons[whos[: index + 1]] = index
            self._persons[whos] = index

        self._alone(taken)

    def _alone(self, taken: Sequence[Taken]) -> None:
        """One name above all, and scans that are only counted: a hospital, or one patient?"""
        folders = {t.parts[0] for t in taken}
        scans = {time for t in taken for time in t.times}
        labels = {tuple(time.label for time in t.times) for t in taken}
        counted = all(time.weak and not dated(time) for time in scans)
        if len({part.name.who for part in folders}) > 1 or not counted or len(labels - {()}) < 2:
            return

        part = min(folders, key=lambda part: part.depth)
        if part.name.rank == WORD and not part.sure and all(len(t.parts) == 1 for t in taken):
            self._say(
                f"one folder holds {len(labels)} scans that are numbered alone, and whether they "
                f"are those of one patient cannot be told; pass --patient-level {part.depth} if "
                "they are; if not, put the files of each patient into a folder of its own and "
                f"pass --patient-level {part.depth + 1}"
            )

    def _apart(self, taken: Sequence[Taken]) -> None:
        """One name in two sets, such as ``train`` and ``test``: one person or two?"""
        sets: dict[tuple[tuple[str, ...], str], set[tuple[str, ...]]] = defaultdict(set)
        for each in taken:
            sets[each.groups, each.whos[0]].add(each.sets)

        count = sum(len(found) > 1 for found in sets.values())
        if count:
            depth = max(each.parts[0].depth for each in taken)
            self._say(
                f"{count} names of patients stand in several sets of patients (such as train and "
                "test, or batches), and whether they are the same people cannot be told; pass "
                f"--patient-level {depth} if they are not, or move the folders of each patient "
                "into one"
            )

    def _choose(self, homes: list[Home], sets: Mapping[Home, Taken]) -> dict[Home, int]:
        sure = {home: index for home in homes if (index := _surely(home)) >= 0}
        sure |= {h: n for h in homes for n, part in enumerate(sets[h].parts) if part.sure}
        self._same_names(sure, sets)
        rest = [home for home in homes if home not in sure]
        return sure | (self._by_structure(rest, sets) if rest else {})

    def _same_names(self, chosen: Mapping[Home, int], sets: Mapping[Home, Taken]) -> None:
        """One name below several folders: time points above the patient, or several people."""
        above: dict[str, set[Home]] = defaultdict(set)
        for home, index in chosen.items():
            above[home[index]].add(home[:index])

        repeated = {name: heads for name, heads in above.items() if len(heads) > 1}
        if not repeated:
            return

        heads = {head[-1] if head else "" for found in repeated.values() for head in found}
        if all(re.fullmatch(r"[vtmwdy]-?\d{1,3}", head) for head in heads):
            self.as_times = {home for home, index in chosen.items() if index == len(home) - 1}
        elif not all(head and rank(head) == WORD for head in heads):
            self._two_readings(chosen, sets, len(repeated))

    def _two_readings(
        self, chosen: Mapping[Home, int], sets: Mapping[Home, Taken], count: int
    ) -> None:
        home, index = next((h, i) for h, i in chosen.items() if i)
        depth = sets[home].parts[index].depth
        people = len({h[: i + 1] for h, i in chosen.items()})
        self._say(
            f"{count} names of patients stand in several folders, and whether they are the same "
            f"people cannot be told; pass --patient-level {depth} if they are not "
            f"({people} patients), or move the folders of each patient into one"
        )

    def _by_structure(self, homes: list[Home], sets: Mapping[Home, Taken]) -> dict[Home, int]:
        """No word tells: what recurs below several folders counts visits."""
        shift = 0
        while len({h[shift] for h in homes}) == 1 and all(len(h) > shift + 1 for h in homes):
            first, below = homes[0][shift], {h[shift + 1] for h in homes}
            if rank(first) >= ID and all(rank(b) == SHORT for b in below) and len(below) > 1:
                self._two_levels(homes, sets, shift)
                break
            shift += 1

        if all(len(h) == shift + 1 for h in homes):
            return dict.fromkeys(homes, shift)

        tops: dict[str, set[Home]] = defaultdict(set)
        for home in homes:
            tops[home[shift]].add(home[shift + 1 :])

        if all(len(below) == 1 for below in tops.values()):
            return dict.fromkeys(homes, shift)

        index = shift + _level_of(tops)
        if index < shift:
            self._two_levels(homes, sets, shift)
            index = shift

        return {h: min(index, len(h) - 1) for h in homes}

    def _two_levels(self, homes: list[Home], sets: Mapping[Home, Taken], shift: int) -> None:
        long = next(home for home in homes if len(home) > shift + 1)
        outer = sets[long].parts[shift].depth
        inner = sets[long].parts[shift + 1].depth
        one, two = (
            len({path.parts[:n] for path in self.signs.images if len(path.parts) > n})
            for n in (outer, inner)
        )
        self._say(
            f"the folders can be read as {people(one)} with "
            f"several visits each (--patient-level {outer}) or as {two} patients "
            f"(--patient-level {inner}); pass the one that is right"
        )

    def index(self, whos: Home) -> int:
        """The place of the patient among the candidates of a path."""
        if not whos:
            return -1

        for depth in range(len(whos), 0, -1):
            if whos[:depth] in self._persons:
                return self._persons[whos[:depth]]

        persons = [n for n, who in enumerate(whos) if rank(who) == PERSON]
        return persons[0] if persons else len(whos) - 1

    def tells(self, who: str) -> bool:
        """Whether an unknown word below a patient tells the visit.

        It does where other patients have it, or a folder beside it holds the same files.
        """
        return rank(who) != WORD or self.sub[who] > 1 or who in self.signs.twins


def _surely(home: Home) -> int:
    """The place of the one candidate that a word makes a person; -1 without one or with several."""
    places = [n for n, who in enumerate(home) if rank(who) == PERSON]
    return places[0] if len(places) == 1 else -1


def _level_of(tops: Mapping[str, set[Home]]) -> int:
    """0: the outer folders are patients; 1: those in them; -1: it cannot be told.

    Args:
        tops: what lies below each outer folder; an empty path for files directly in it.
    """
    outer = min(map(rank, tops))
    below = [home[0] for homes in tops.values() for home in homes if home]
    inner = Counter(below)
    ranks = {rank(name) for name in inner}
    repeated = max(inner.values()) > 1
    direct = any(() in homes for homes in tops.values())
    each = max(len({home[:1] for home in homes}) for homes in tops.values())
    if outer >= ID:
        if ranks == {WORD} and (repeated or direct):
            return 0
        few = each <= MOST_VISITS or each <= len(tops)
        return 0 if ranks <= {SHORT, WORD} and few and repeated else -1

    if outer == SHORT and ranks == {SHORT} and _narrower(inner, tops):
        return 0

    people = len(inner) >= FEWEST_PATIENTS * len(tops)
    return 1 if outer == WORD and not repeated and not direct and people else -1


def _narrower(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Patients 01 to 40, visits 1 to 3: numbers of fewer digits count visits."""
    return max(map(len, inner)) < min(map(len, outer))

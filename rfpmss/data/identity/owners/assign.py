"""Whose file is it? DICOM says so itself; for all others the folder or the name must tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rfpmss.data.identity.guard import contradiction
from rfpmss.data.identity.layout.place import Place
from rfpmss.data.identity.names.person import ID, PERSON, WORD, rank
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.owners.headers import Headers
from rfpmss.data.identity.owners.item import (
    FOLDER,
    Item,
    undated,
)
from rfpmss.data.identity.owners.kin import kin_of
from rfpmss.data.identity.owners.numbers import (
    runs,
)
from rfpmss.data.identity.owners.texts import Texts, visit_said


@dataclass(frozen=True, kw_only=True)
class Owned:
    """Whose each file is, and how that was read."""

    owners: list[str | None]
    """An identity for each file; None where it is nobody's for certain."""
    places: list[Place]
    """What each path says."""
    doubt: str = ""
    """Why the source can be read in two ways, with the way out; ``""``: it cannot."""
    shared: frozenset[int] = frozenset()
    """Files whose PatientID several people have and no folder tells apart."""
    above: frozenset[int] = frozenset()
    """Images that lie in no folder at the depth that was given."""
    torn: frozenset[int] = frozenset()
    """Texts whose names, or name and folder, fit two patients."""
    exams: Mapping[int, str] = field(default_factory=dict)
    """Of texts that are named by an examination's number its StudyInstanceUID."""
    notes: tuple[str, ...] = ()
    """What was done about PatientIDs, in numbers."""
    kin: Mapping[str, str] = field(default_factory=dict)
    """Of owners who may be one person the one that stands for them: they get one split."""


def owners(items: Sequence[Item], level: int = 0) -> list[str | None]:
    """An identity for each file, see `assign`."""
    return assign(items, level).owners


def assign(items: Sequence[Item], level: int = 0) -> Owned:
    """Tell whose each file is, by the first of these rules that fits.

    1. DICOM: PatientID, unless it is a placeholder; without one the patient's folder, without one
       the study. With ``level`` the folder comes first.
    2. A text named as the image or folder beside it goes with that.
    3. A file whose patient's folder holds DICOM of exactly one patient is that patient's.
    4. A text whose name holds an AccessionNumber, a StudyInstanceUID, a PatientID (of four digits
       or more, or behind a word such as MRN) or the person's name is that patient's; where two
       patients fit, it is nobody's. A text on a disc, called only ``report`` or the like, is of
       the one patient whose DICOM lies below the innermost folder that holds any.
    5. A file whose name without words like ``t1``, ``report`` or ``visit2`` is a PatientID or a
       patient's folder; a text's may have other separators, and the name of a folder of the
       patient's visit.
    6. In a folder where at least two such names each stand for several kinds of files, the name is
       the patient; elsewhere the folder is.

    Args:
        items: all files but tables.
        level: 1 when patients are the folders directly in the source folder, 2 one level deeper,
            ...; 0: to be found, see `rfpmss.data.identity.layout.layout`.
    """
    return _Owners(items, level).all()


def _copy_of(who: str, name: str) -> bool:
    """Whether a name is somebody's, or that with a number of one or two digits."""
    return name == who or re.fullmatch(rf"{re.escape(who)}-\d{{1,2}}", name) is not None


_TEE = re.compile(r"[\W_][tT](\d)$")


class _Owners:
    def __init__(self, items: Sequence[Item], level: int) -> None:
        self.items = items
        self.level = level
        self.read = Headers(items, level)
        self.result: list[str | None] = [None] * len(items)
        self.above: set[int] = set()
        self.beneath: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self.names: dict[str, set[str]] = defaultdict(set)
        self.texts = Texts(self.read, self.result, self.names, self.beneath)

    def all(self) -> Owned:
        self._dicom()
        self._above()
        for place, item in enumerate(self.items):
            owner = self.result[place]
            if owner is not None:
                for depth in range(1, len(self.read.homes[place]) + 1):
                    self.beneath[self.read.homes[place][:depth]].add(owner)
                self._learn(item.patient if self.read.ids[place] else "", owner)
                self._learn("-".join(self.read.homes[place][-1:]), owner)

        self.flat = self._flat()
        self._images()
        for place, item in enumerate(self.items):
            if self.result[place] is None and item.kind == "text":
                owner = self.texts.beside(place) or self.texts.of(place)
                torn = place in self.texts.torn
                self.result[place] = owner or (None if torn else self._owner(place))

        self._visits()
        return Owned(
            owners=[
                None if n in self.read.untold else owner for n, owner in enumerate(self.result)
            ],
            places=self.read.places,
            doubt=self.read.doubt or self._nameless() or self._wrong(),
            shared=frozenset(self.read.untold),
            above=frozenset(self.above),
            torn=frozenset(self.texts.torn),
            exams=self.texts.told,
            notes=tuple(self.read.notes),
            kin=kin_of(self.read, self.result),
        )

    def _wrong(self) -> str:
        """What speaks against the reading of images whose owner no header and nobody tells."""
        every = zip(self.items, self.result, self.read.places, strict=True)
        return contradiction(
            (item.path, owner, (place.label, place.phase, place.day))
            for item, owner, place in every
            if owner is not None
            and not (self.level or item.study or item.given or item.kind == "text")
        )

    def _visits(self) -> None:
        """A folder of the patient's visit that the name of a text holds is the text's visit."""
        for n, item in enumerate(self.items):
            place, owner = self.read.places[n], self.result[n]
            if item.kind == "text" and owner is not None and not (place.label or place.phase):
                said = {visit_said(run): run for run in runs(place.name)}
                mine = [v for v in self.texts.folders.get(owner, ()) if v in said]
                if self.read.layout.signs.tee and (tee := _TEE.search(stem(item.path))):
                    time = Time(f"timepoint {tee[1]}")  # no sequence of a text: P1_T2.txt
                    self.read.places[n] = replace(place, times=(*place.times, time))
                elif len(mine) == 1:
                    label = mine[0] if said[mine[0]] != mine[0] else f"{FOLDER}{mine[0]}"
                    time = Time(label, weak=True)
                    self.read.places[n] = replace(place, times=(*place.times, time))

    def _images(self) -> None:
        """First those in folders of patients, whose names others may have; then all others."""
        images = [
            n
            for n, item in enumerate(self.items)
            if self.result[n] is None and item.kind != "text" and n not in self.above
        ]
        settled = [n for n in images if self._in_a_folder(n)]
        for n in settled:
            self.result[n] = self._owner(n, named=False)

        for n in settled:
            self._learn(self.read.homes[n][-1], self.result[n] or "")

        for n in images:
            if self.result[n] is None:
                self.result[n] = self._owner(n)

        for n in images:
            if owner := self.result[n]:
                self._learn(self.read.keys[n], owner)

    def _in_a_folder(self, place: int) -> bool:
        """The image lies in a patient's folder, and its name is not another patient's."""
        home = self.read.homes[place]
        if not home or home in self.flat:
            return False
        return rank(home[-1]) >= ID or self.read.keys[place] not in self.names

    def _learn(self, name: str, owner: str) -> None:
        if name:
            self.names[self.read.layout.signs.who(name)].add(owner)

    def _dicom(self) -> None:
        for place, item in enumerate(self.items):
            home = self.read.homes[place]
            folder = "/".join(home) if len(home) >= self.level else ""
            if self.level and folder and (item.patient or item.study) and not item.given:
                self.result[place] = f"folder:{folder}"
            elif self.read.ids[place]:
                self.result[place] = f"id:{undated(self.read.ids[place])}"
            elif item.study:
                self.result[place] = f"folder:{folder}" if folder else f"study:{item.study}"

    def _above(self) -> None:
        """Images that no header tells the patient of, in no folder at the depth that was given."""
        if not self.level:
            return

        images = [n for n, item in enumerate(self.items) if item.kind != "text"]
        self.above = {
            n
            for n in images
            if len(self.read.homes[n]) < self.level
            and (self.result[n] is None or (self.result[n] or "").startswith("study:"))
        }
        for n in self.above:
            self.result[n] = None

        if self.above and len(self.above) == len(images):
            self.read.doubt = self.read.doubt or (
                f"no image lies in a folder at the depth of --patient-level {self.level}; put the "
                "files of each patient into a folder of its own at that depth"
            )

    def _nameless(self) -> str:
        """DICOM studies that nothing says whose they are."""
        found = {owner for owner in self.result if owner is not None and owner.startswith("study:")}
        if len(found) < 2 or self.level:
            return ""
        return (
            f"{len(found)} DICOM studies have no PatientID, or a placeholder, and lie in no folder "
            "of a patient, so that whose they are cannot be told; put the files of each patient "
            "into one folder and pass --patient-level 1"
        )

    def _flat(self) -> set[tuple[str, ...]]:
        """Homes in which names, not the folder, tell patients apart."""
        kinds: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        shown: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item, place in zip(self.items, self.read.places, strict=True):
            if place.name and not item.study:
                kinds[place.home][place.name].add(item.kind)
                shown[place.home][place.name].update(place.kinds)

        result: set[tuple[str, ...]] = {()}
        for home, by in kinds.items():
            if not home or self.level:
                continue
            if home[-1] in by and all(_copy_of(home[-1], name) for name in by):
                continue  # 22B7/22B7_t1w-2.nii.gz: the folder says who, the number which copy
            if all(_letter(home[-1], name) for name in by):
                self._lettered(home)  # GB01/GB01a_t1.nii: the letter says when
                continue
            person = rank(home[-1]) == PERSON
            mixed = sum(len(found) > 1 for found in by.values())
            numbered = [n for n in by if rank(n) >= ID and n != home[-1]]
            named = sum(rank(n) == PERSON or len(shown[home][n]) > 1 for n in numbered)
            if mixed > 1 or (named > 1 and not person and rank(home[-1]) < ID):
                result.add(home)
            elif set().union(*kinds[home].values()) == {"text"}:
                continue  # letters that name nobody cost these letters alone
            elif len(numbered) > 1 and rank(home[-1]) == WORD and len(numbered) == len(by):
                self.read.doubt = self.read.doubt or (
                    f"a folder holds files of {len(by)} numbers, which may be its patients or "
                    "scans of one; put the files of each patient into a folder of its own, or "
                    "pass --patient-level with the depth of this folder if it is one patient"
                )

        return result

    def _lettered(self, home: tuple[str, ...]) -> None:
        """The letter behind the folder's name in the names of its files is the visit."""
        for n, place in enumerate(self.read.places):
            if place.home == home and (letter := _letter(home[-1], place.name)):
                self.read.places[n] = replace(
                    place, times=(*place.times, Time(f"{FOLDER}{letter}"))
                )

    def _owner(self, place: int, *, named: bool = True) -> str | None:
        """By the folder, then (``named``) by the file's name."""
        folder, name = self.read.homes[place], self.read.keys[place]
        is_text = self.items[place].kind == "text"
        inside = self.beneath.get(folder, set())
        if len(inside) == 1:
            return next(iter(inside))

        called = self.names.get(name, set()) if name and named else set()
        if len(called) == 1:
            return next(iter(called))

        meant = (name and self.texts.called(name)) or (
            not inside and self.texts.named_folder(folder)
        )
        if is_text and meant:
            return meant

        if inside or folder in self.flat:
            if name:
                return f"name:{'/'.join((*folder, name))}"
            everyone = set(filter(None, self.result)) if not folder else set()
            only = everyone.pop() if len(everyone) == 1 else None
            return only if is_text or only else f"name:{'/'.join((*folder, '-'))}"

        return f"folder:{'/'.join(folder)}"


def _letter(who: str, name: str) -> str:
    """What stands behind a number in a name, if it is one letter; else nothing."""
    found = re.fullmatch(rf"{re.escape(who)}(?<=\d)-?([a-z])", name)
    return found[1] if found else ""

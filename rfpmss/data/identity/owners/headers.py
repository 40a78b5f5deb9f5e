"""What the headers of DICOM files say of whose they are, and which of it is to be believed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from rfpmss.data.identity.examinations import without_series_folders
from rfpmss.data.identity.layout.layout import Layout
from rfpmss.data.identity.layout.place import Place
from rfpmss.data.identity.names.person import PERSON, SHORT, rank
from rfpmss.data.identity.names.plain import plain as plain_of
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.owners.item import (
    FOLDER,
    Item,
    plain_name,
)
from rfpmss.data.identity.patients import placeholder, shared
from rfpmss.data.identity.unnamed import adopt, adopted, beside, confirmed, of_study, unsettled
from rfpmss.data.readers.sequences import describes, sequence_of

STRAY = 0.1
"""Share of a folder's files that another PatientID may have without a doubt about the folder."""

MACHINE = re.compile(r"(?:pa|st|se|im)\d{6}")

_MACHINES = re.compile(r"(?:^|/)pa\d+/st\d+/se\d+/")
"""Folders that a PACS numbers anew on every disc: beside a PatientID they say nothing of who."""


class Headers:
    """The PatientIDs that count, and the folders of all files.

    Args:
        items: all files but tables.
        level: depth of the folders that are patients; 0: to be found.

    Attributes:
        ids: the PatientID of each file; ``""``: it has none that counts.
        notes: what was done about PatientIDs, in numbers.
        untold: files whose PatientID several people have and no folder tells apart.
        places: what each path says.
        homes: the folders that name the patient of each file.
        keys: what the name of each file says of who it is.
        doubt: why the source can be read in two ways; ``""``: it cannot.
    """

    def __init__(self, items: Sequence[Item], level: int) -> None:
        self.items = items
        self.level = level
        self.ids = [
            item.patient.strip() if item.given or not placeholder(item.patient) else ""
            for item in items
        ]
        self.notes: list[str] = []
        self.untold: set[int] = set()
        self._read()

    def _read(self) -> None:
        """The folders, and which PatientIDs are to be believed."""
        items = self.items
        images = [n for n, item in enumerate(items) if item.kind != "text"]
        empty = sum(bool(items[n].patient) and not self.ids[n] for n in images)
        if empty:
            self.notes.append(
                f"{empty} files have a placeholder as PatientID (such as ANONYMOUS): folders and "
                "studies say who"
            )

        self._lay_out(images)
        real = [n for n in images if self.ids[n]]
        read = [n for n in real if not items[n].given]  # what the mapping file says is right
        told, untold = shared(
            [self.ids[n] for n in read],
            [self.homes[n] for n in read],
            [items[n].person for n in read],
        )
        self.untold = {n for n in read if self.ids[n] in untold}

        if told:
            self.notes.append(
                f"{len(told)} PatientIDs stand for people of different birth dates or sexes, or "
                "are numbers such as 0: folders say who"
            )
            self.ids = [
                "" if patient in told and not item.given else patient
                for patient, item in zip(self.ids, items, strict=True)
            ]
            self._lay_out(images)

        doubt = "" if self.level else self._adopt(images)
        self.keys = [place.name for place in self.places]
        self.doubt = self.layout.doubt or doubt or self._contradiction(real)

    def _adopt(self, images: Sequence[int]) -> str:
        """Give DICOM without a PatientID the only one of its patient's folder; why not, if not."""
        dicom = [n for n in images if self.items[n].study]
        free = {n for n in dicom if not self.ids[n] and placeholder(self.items[n].patient)}
        if not free or not any(self.ids[n] for n in dicom):
            return ""

        if self._adopt_by_study(dicom, free):
            self._lay_out(images)
            if not (free := {n for n in free if not self.ids[n]}):
                return ""

        paths = self.plain_paths
        headers = {paths[n] for n in dicom}
        whole = Layout([paths[n] for n in images], 0, filter(None, self.ids), headers)
        asked = [n for n in dicom if self.ids[n] or n in free]
        places = [whole.place(paths[n]) for n in asked]
        ids = [self.ids[n] for n in asked]
        homes = [_folder_of(paths[n], place) for n, place in zip(asked, places, strict=True)]
        found = adopt(ids, homes, [self.items[n].person for n in asked])
        if found.doubtful:
            n = min(found.doubtful)
            depth = paths[asked[n]].parts.index(places[n].raw[-1]) + 1
            return unsettled({self.items[asked[n]].study for n in found.doubtful}, depth)
        if not found.ids:
            return self._numbered_beside(dicom, free)
        discs = all(MACHINE.fullmatch(places[n].home[-1]) for n in found.ids)
        sure = discs or confirmed(ids, homes, [self.items[n].study for n in asked])
        if whole.doubt and not sure:
            return whole.doubt

        for n, patient in found.ids.items():
            self.ids[asked[n]] = patient

        self.notes.append(adopted({self.items[asked[n]].study for n in found.ids}))
        self._lay_out(images)
        return ""

    def _adopt_by_study(self, dicom: Sequence[int], free: Collection[int]) -> bool:
        """Whether a series of the same study told the PatientID of others."""
        asked = [n for n in dicom if self.ids[n] or n in free]
        items = [self.items[n] for n in asked]
        found = of_study(
            [self.ids[n] for n in asked],
            [item.study for item in items],
            [item.path.parent for item in items],
            [item.person for item in items],
        )
        for n, patient in found.items():
            self.ids[asked[n]] = patient

        if found:
            count = len({items[n].study for n in found})
            self.notes.append(
                f"{count} DICOM {'study has' if count == 1 else 'studies have'} series without a "
                "PatientID, which were taken for those of the patient of the others"
            )
        return bool(found)

    def _numbered_beside(self, dicom: Sequence[int], free: Collection[int]) -> str:
        """Why folders such as S2, without a PatientID beside one with, are nobody's."""
        told: dict[PurePosixPath, set[str]] = defaultdict(set)
        for n in dicom:
            if self.ids[n]:
                folder = self.items[n].path.parent
                told[folder.parent].add(folder.name.lower())

        lost = {}
        for n in free:
            folder = self.items[n].path.parent
            here = told.get(folder.parent, set()) - {folder.name.lower()}
            number = re.compile(re.sub(r"\d+", r"\\d+", re.escape(folder.name.lower())))
            numbered = rank(plain_name(folder.name)) <= SHORT and re.search(r"\d", folder.name)
            if numbered and any(map(number.fullmatch, here)):
                lost[self.items[n].study] = len(folder.parts)

        return beside(len(lost), min(lost.values())) if lost else ""

    @cached_property
    def plain_paths(self) -> list[PurePosixPath]:
        """The paths without folders that name a series alone."""
        return without_series_folders([(i.path, i.study, i.person) for i in self.items])

    @cached_property
    def named(self) -> set[str]:
        """The names of texts, and of their folders that hold no image."""
        pictured = {f for i in self.items if i.kind != "text" for f in i.path.parents}
        texts = [item.path for item in self.items if item.kind == "text"]
        folders = {folder for path in texts for folder in path.parents} - pictured
        return {*map(stem, texts), *(folder.name for folder in folders)}

    def _lay_out(self, images: Sequence[int]) -> None:
        """Read the folders of the images that no PatientID tells the patient of."""
        paths = [item.path for item in self.items] if self.level else self.plain_paths
        self.layout = Layout(
            [paths[n] for n in images if self.level or not self.ids[n]],
            self.level,
            filter(None, self.ids),
            frozenset(p for p, item in zip(paths, self.items, strict=True) if item.study),
            self.named,
        )
        self.places = [self.layout.place(path) for path in paths]
        self._given()
        self.homes = [place.home for place in self.places]

    def _given(self) -> None:
        """What the mapping file gives one patient is several visits if it holds the same."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        timed: set[str] = set()
        for item, place in zip(self.items, self.places, strict=True):
            if item.given and not item.study and item.kind != "text":
                found[item.patient][_scan(item)].add(sequence_of(stem(item.path)) or item.kind)
                if place.label or place.phase or place.day is not None:
                    timed.add(item.patient)

        for n, item in enumerate(self.items):
            by = found.get(item.patient, {}) if item.given else {}
            own = by.get(_scan(item), set()) if by else set()
            again = sum(bool(own & other) for other in by.values()) > 1
            if again and item.patient not in timed:
                time = Time(f"{FOLDER}{_scan(item)}")
                self.places[n] = replace(self.places[n], times=(time,))

    def _contradiction(self, real: Sequence[int]) -> str:
        """One PatientID in several folders that are named as patients: who is right?"""
        homes: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        depths: dict[tuple[str, ...], int] = {}
        for n in real:
            named = self.homes[n] and not self.machine(n)
            if not self.level and self.ids[n] and named and not self.items[n].given:
                homes[self.ids[n]].add(self.homes[n])
                depths[self.homes[n]] = self._depth(n)

        here = Counter((self.homes[n], self.ids[n]) for n in real)
        whole = Counter(self.homes[n] for n in real)
        for patient, found in homes.items():  # a few stray files are no reason to doubt a folder
            found -= {home for home in found if here[home, patient] <= STRAY * whole[home]}

        several = [
            found
            for found in homes.values()
            if len(found) > 1 and all(rank(home[-1]) == PERSON for home in found)
        ]
        if not several:
            return ""

        count = sum(map(len, several))
        depth = max(depths[home] for found in several for home in found)
        return (
            f"{_stand(len(several))} in {count} folders that are named as patients, and "
            f"which of the two is right cannot be told; pass --patient-level {depth} if the "
            "folders are the patients, or name them in the mapping file (patients:) for --mapping"
        )

    def machine(self, place: int) -> bool:
        """Whether the folder that would be the patient's is one that a PACS numbered."""
        name = self.homes[place][-1]
        path = self.items[place].path.as_posix().lower()
        return bool(MACHINE.fullmatch(name) or (name[:2] == "pa" and _MACHINES.search(path)))

    def _depth(self, place: int) -> int:
        """Of the folder that names the patient, from 1: folders above it may say nothing."""
        folders = self.items[place].path.parts[:-1]
        return folders.index(self.places[place].raw[-1]) + 1


def _folder_of(path: PurePosixPath, place: Place) -> tuple[str, ...]:
    """The folders that name the patient; whole paths where discs number their folders anew."""
    if not place.home or not MACHINE.fullmatch(place.home[-1]):
        return place.home
    return path.parts[: path.parts.index(place.raw[-1]) + 1]


def _stand(count: int) -> str:
    return "1 PatientID stands" if count == 1 else f"{count} PatientIDs stand"


def _scan(item: Item) -> str:
    """The folder, or the beginning of a file's name, that the mapping file knows an item by."""
    names = map(plain_of, (folder.name for folder in item.path.parents))
    if folder := next((name for name in names if name.startswith(item.given)), ""):
        return folder

    tokens = plain_of(stem(item.path)).split("-")
    end = next((n for n, token in enumerate(tokens) if n and describes(token)), len(tokens))
    return "-".join(tokens[:end])

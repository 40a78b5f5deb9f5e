"""Whose a text is that lies beside no image: by its name, its folder, or its disc."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from rfpmss.data.identity.given import Folders
from rfpmss.data.identity.names.parse import short_time
from rfpmss.data.identity.names.person import ID, rank
from rfpmss.data.identity.names.plain import plain as plain_of
from rfpmss.data.identity.owners.headers import Headers
from rfpmss.data.identity.owners.item import (
    DOCUMENT,
    FOLDER,
    naming,
    plain,
)
from rfpmss.data.identity.owners.numbers import (
    LONG,
    digits,
    found_in,
    joint,
    number_of,
    spans,
    unworded,
)
from rfpmss.data.identity.patients import called, placeholder
from rfpmss.data.readers.text.dates import day


class Texts:
    """The names by which texts find their patients.

    Args:
        read: what the headers and folders say.
        result: the owner of each file so far; it is filled while texts are asked for.
        names: owners by the names that they have; filled in the same way.
        beneath: owners of DICOM by the folders that it lies below.

    Attributes:
        torn: texts whose names, or name and folder, fit two patients.
        told: of texts that are named by an examination's number its StudyInstanceUID.
    """

    def __init__(
        self,
        read: Headers,
        result: list[str | None],
        names: Mapping[str, set[str]],
        beneath: Mapping[tuple[str, ...], set[str]],
    ) -> None:
        self.read = read
        self.items = read.items
        self.level = read.level
        self.result = result
        self.names = names
        self.beneath = beneath
        self.torn: set[int] = set()
        self.told: dict[int, str] = {}
        self.near: dict[PurePosixPath, set[str]] = defaultdict(set)

    def of(self, place: int) -> str | None:
        """By the numbers and persons in its name, then the disc that it is on."""
        exams, person = self._exams(place), self._person(place)
        whole, rest = self.given.named(self.items[place].path) if self.level else (None, ())
        numbers = {whole} if whole else self._numbers(place)
        meant = {owner for owner, _ in exams} | numbers | ({person} - {None})
        inside = self.beneath.get(self.read.homes[place], set())
        if len(meant) > 1 or (meant and len(inside) == 1 and meant != inside):
            self.torn.add(place)
            return None

        if whole:
            times = tuple(time for text in rest for time in self.read.layout.signs.times(text))
            self.read.places[place] = replace(self.read.places[place], times=times)

        if len(exams) == 1:
            ((_, self.told[place]),) = exams
            self.read.places[place] = replace(self.read.places[place], times=())

        if meant:
            return meant.pop()

        return None if len(inside) == 1 else self._disc(place)

    def beside(self, place: int) -> str | None:
        """The owner of the image, or of the folder, that has the text's name."""
        if not self.near:
            for item, owner in zip(self.items, self.result, strict=True):
                if owner is not None and item.kind != "text":
                    self.near[item.path.parent / plain(item.path)].add(owner)
                    for folder in item.path.parents[:-1]:
                        self.near[folder.parent / folder.name.lower()].add(owner)

        mine = self.items[place].path
        found = self.near.get(mine.parent / plain(mine), set())
        return next(iter(found)) if len(found) == 1 else None

    def called(self, name: str) -> str | None:
        """Whom a text's name means by another spelling, or beside the name of a visit's folder."""
        named = self.names.get(name, set()) | self.joined.get(joint(name), set())
        if named:
            return next(iter(named)) if len(named) == 1 else None

        words, found = name.split("-"), set()
        for at in range(1, len(words)):
            first, last = "-".join(words[:at]), "-".join(words[at:])
            for who, visit in ((first, last), (last, first)):
                meant = self.joined.get(joint(who), set())
                if len(meant) == 1 and visit_said(visit) in self.folders.get(next(iter(meant)), ()):
                    found |= meant

        return found.pop() if len(found) == 1 else None

    def named_folder(self, folder: tuple[str, ...]) -> str | None:
        """Whom a folder without images is named after, such as ``reports/P7``."""
        name = folder[-1] if folder else ""
        found = self.patients.get(number_of(name), set()) if name else set()
        if not found and rank(name) >= ID:
            found = self.names.get(name, set())

        return next(iter(found)) if len(found) == 1 else None

    def _person(self, place: int) -> str | None:
        """The one person after whom a text, or its folder without images, is named."""
        path, home = self.items[place].path, self.read.homes[place]
        if self.beneath.get(home):
            return None

        for name in (plain(path), path.parent.name):
            words = re.sub(r"[\d_.-]+", " ", naming(name))
            found = set().union(*(self.persons.get(key, ()) for key in called(words)))
            if found:
                return found.pop() if len(found) == 1 else None

        return None

    @cached_property
    def persons(self) -> dict[str, set[str]]:
        """Owners by what headers call them."""
        found: dict[str, set[str]] = defaultdict(set)
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text":
                for name in item.called:
                    for spelling in () if placeholder(name) else called(name):
                        found[spelling].add(owner)

        return found

    @cached_property
    def given(self) -> Folders:
        """The folders at the depth that was given."""
        return Folders(
            {
                home: owner
                for item, home, owner in zip(self.items, self.read.homes, self.result, strict=True)
                if owner is not None and item.kind != "text" and len(home) == self.level
            }
        )

    def _disc(self, place: int) -> str | None:
        """The only patient with DICOM in the innermost folder that holds any, by no other name."""
        folder = next((f for f in self.items[place].path.parents[:-1] if f in self.discs), None)
        owners = self.discs.get(folder, {}) if folder is not None else {}
        if len(owners) != 1:
            return None

        ((owner, names),) = owners.items()
        tokens = [token for token in self.read.keys[place].split("-") if token]
        said = all(DOCUMENT.fullmatch(token) or token in names for token in tokens)
        return owner if said else None

    @cached_property
    def discs(self) -> dict[PurePosixPath, dict[str, set[str]]]:
        """Of each folder the owners of the DICOM below it, with the words of their names."""
        found: dict[PurePosixPath, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text" and item.study:
                words = {word for name in item.called for word in plain_of(name).split("-")}
                for folder in item.path.parents[:-1]:
                    found[folder][owner] |= words

        return found

    def _exams(self, place: int) -> set[tuple[str, str]]:
        """The examinations whose number a text's name is or holds."""
        name = plain_of(plain(self.items[place].path))
        if whole := self.numbered.get(number_of(name)):
            return whole

        runs = spans(name, lambda run: digits(run) >= LONG and day(run.replace("-", "")) is None)
        return found_in(runs, self.numbered)

    @cached_property
    def numbered(self) -> dict[str, set[tuple[str, str]]]:
        """Owners and studies by AccessionNumber and StudyInstanceUID."""
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for item, owner in zip(self.items, self.result, strict=True):
            if owner is not None and item.kind != "text":
                for number in (item.accession, item.study):
                    if digits(number) >= LONG:
                        found[number_of(number)].add((owner, item.study))

        return found

    def _numbers(self, place: int) -> set[str]:
        """The patients whose PatientID a text's name holds."""
        name = self.read.keys[place]
        if whole := self.patients.get(number_of(name)):
            return whole
        if whole := self.patients.get(unworded(name)):
            return whole | self.names.get(name, set())  # a folder "Case 12" beside the PatientID 12

        runs = spans(name, lambda run: digits(run) >= LONG)
        runs = [(span, key) for span, run in runs for key in {run, unworded(run)}]
        return found_in(runs, self.patients)

    @cached_property
    def patients(self) -> dict[str, set[str]]:
        """Owners by PatientID."""
        found: dict[str, set[str]] = defaultdict(set)
        for number, owner in zip(self.read.ids, self.result, strict=True):
            if number and owner is not None:
                found[number_of(plain_of(number))].add(owner)

        return found

    @cached_property
    def folders(self) -> dict[str, set[str]]:
        """Of each owner of images the folders of visits, by the label of their time or a name."""
        found: dict[str, set[str]] = defaultdict(set)
        for item, place, owner in zip(self.items, self.read.places, self.result, strict=True):
            told = place.label.startswith(FOLDER) or _SHORT.fullmatch(place.label)
            if owner is not None and item.kind != "text" and told:
                found[owner].add(place.label.removeprefix(FOLDER))

        return found

    @cached_property
    def joined(self) -> dict[str, set[str]]:
        """`names`, spelled without separators."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, whos in self.names.items():
            found[joint(name)] |= whos
        return found


_SHORT = re.compile(r"(?:visit|week|month|day|year) \d+")
"""Labels of `rfpmss.data.identity.names.parse.short_time`."""


def visit_said(text: str) -> str:
    """A part of a name as `Texts.folders` calls a visit: ``week 12`` of ``w12``."""
    short = short_time(text)
    return short.label if short else text

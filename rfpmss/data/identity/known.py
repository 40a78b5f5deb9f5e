"""What the patients of the images are called, and whom a cell of a table means."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from rfpmss.data.identity.names.parse import parse, parse_id
from rfpmss.data.identity.names.times import Time
from rfpmss.data.readers.sniff import without_ending

Kind = Literal["id", "exam", "name"]
"""Identifiers of patients (PatientID, folder, file name), of examinations (AccessionNumber,
StudyInstanceUID, StudyID), and names of persons."""

Book = Mapping[str, frozenset[str]]
"""Owners by one spelling of what they are called."""

_SHORTEST = {"exam": 4, "name": 2, "id": 1}
"""Letters; a StudyID such as ``1`` names no examination."""


def plain(text: str) -> str:
    """A name without case, width and separators; ``7.0`` of a spreadsheet is ``7``.

    Example:
        >>> plain(" P_07 "), plain("7.0"), plain("Doe^John"), plain("Ｐ７")
        ('p-07', '7', 'doe-john', 'p7')
    """
    text = unicodedata.normalize("NFKC", text).strip()
    text = re.sub(r"^(\d+)\.0+$", r"\1", text).casefold()
    return re.sub(r"[\W_]+", "-", text).strip("-")


def _spellings(text: str) -> tuple[str, str, str]:
    """From strict to loose: plain; without separators; without leading zeros."""
    strict = plain(text)
    short = re.sub(r"(?<!\d)0+(?=\d)", "", strict)
    return strict, strict.replace("-", ""), short.replace("-", "")


def _both_orders(
    names: Iterable[tuple[str, Kind, str]],
) -> Iterator[tuple[str, Kind, str]]:
    """Names of persons with the family name first and last."""
    for owner, kind, name in names:
        yield owner, kind, name
        parts = [part for part in re.split(r"[\^\s,]+", name) if part]
        if kind == "name" and len(parts) > 1:
            yield owner, kind, " ".join((*parts[1:], parts[0]))
            yield owner, kind, " ".join((parts[1], parts[0]))
            yield owner, kind, " ".join(parts[:2])


def _of_path(said: str) -> Iterator[str]:
    """What a path in a cell can name: the file, then the folders from the last to the first."""
    parts = [part for part in re.split(r"[/\\]", said.strip()) if part not in ("", ".", "..")]
    if len(parts) > 1 or (parts and without_ending(parts[0]) != parts[0]):
        for part in reversed(parts):
            yield without_ending(part)


@dataclass(frozen=True)
class Exam:
    """An examination that a number or a file's name stands for."""

    owner: str
    days: frozenset[int]
    """Day numbers of the examination; empty where the header has no date."""
    place: PurePosixPath | None = None
    """An image of it, where the key is a file's name."""


@dataclass(frozen=True)
class Known:
    """The patients of a cohort by everything that they are called."""

    books: Mapping[Kind, tuple[Book, ...]] = field(default_factory=dict)
    """For each kind of name the owners by spelling, from the strictest spelling to the loosest."""
    numbers: Book = field(default_factory=dict)
    """Owners by the number alone, where all identifiers are one prefix and a number."""
    days: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Days of the examinations of each owner."""
    exams: Mapping[str, Exam] = field(default_factory=dict)
    """Examinations by `plain` key."""
    labels: frozenset[str] = frozenset()
    """Time points of all images, such as ``week 44``."""
    numbered: frozenset[str] = frozenset()
    """Owners of whom every image says the number of its examination."""
    views: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of each owner's images: ``ct``, ``mri``, ``pathology``."""

    @classmethod
    def of(
        cls,
        names: Iterable[tuple[str, Kind, str]],
        days: Mapping[str, frozenset[int]] | None = None,
        exams: Mapping[str, Exam] | None = None,
        labels: Iterable[str] = (),
    ) -> Known:
        """Collect names.

        Args:
            names: owner, kind of the name, the name.
            days: examinations of each owner, day numbers.
            exams: examinations by their `plain` key.
            labels: time points of the images.
        """
        books: dict[Kind, tuple[dict[str, set[str]], ...]] = defaultdict(
            lambda: tuple(defaultdict(set) for _ in range(3))
        )
        numbered: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for owner, kind, name in _both_orders(names):
            for book, spelling in zip(books[kind], _spellings(name), strict=True):
                if len(spelling) >= _SHORTEST[kind]:
                    book[spelling].add(owner)
            if kind == "id" and (parts := re.fullmatch(r"(\D+?)-?0*(\d+)", plain(name))):
                numbered[parts[1].strip("-")][parts[2]].add(owner)

        # One prefix for all: `sub-01`, `sub-02`. Two prefixes number two different series.
        several = {prefix: found for prefix, found in numbered.items() if len(found) > 1}
        # A word for a patient, in the folder's language and in English, is one prefix.
        mine = list(several.values())
        numbers = mine[0] if mine and all(other == mine[0] for other in mine) else {}
        return cls(
            books={
                kind: tuple(
                    {name: frozenset(found) for name, found in book.items()} for book in all_
                )
                for kind, all_ in books.items()
            },
            numbers={number: frozenset(found) for number, found in numbers.items()},
            days=days or {},
            exams=exams or {},
            labels=frozenset(labels) - {""},
        )

    def owner(self, said: str, kind: Kind = "id", *, zeros: bool = False) -> str | None:
        """The one patient whom a cell can mean; None where there is none, or more than one.

        Args:
            said: the cell.
            kind: of name that it is taken for.
            zeros: the column keeps leading zeros, so that ``7`` is not another's ``007``.

        Example:
            >>> known = Known.of([("a", "id", "P_007"), ("b", "id", "P_012")])
            >>> [known.owner(said) for said in ("p007", "P-7", "12", "7.0", "8")]
            ['a', 'a', 'b', 'a', None]
        """
        return self._named(said, kind, zeros=zeros)[0]

    def times(self, said: str) -> tuple[Time, ...]:
        """When a cell of `owner` says that it was, beside who: ``P11_tp2``, ``GBM01-T0``.

        Example:
            >>> known = Known.of([("a", "id", "P11"), ("b", "id", "P12")])
            >>> known.owner("P11_tp2_flair.nii.gz"), known.times("P11_tp2")[0].label
            ('a', 'timepoint 2')
        """
        return self._named(said, "id", zeros=False)[1]

    def _named(self, said: str, kind: Kind, *, zeros: bool) -> tuple[str | None, tuple[Time, ...]]:
        named = self._owner(said, kind, zeros=zeros)
        if kind != "id":
            return named, ()

        whole = next(_of_path(said), said.strip())
        for name in (parse_id(whole), parse(whole, file=True)):
            if name.who and (name.times or name.kinds):
                owner = self._owner(name.who, kind, zeros=zeros)
                if owner is not None and owner == (named or owner):
                    return owner, name.times

        return named, ()

    def _owner(self, said: str, kind: Kind, *, zeros: bool) -> str | None:
        for part in _of_path(said) if kind == "id" else ():
            if (owner := self._owner(part, kind, zeros=zeros)) is not None:
                return owner

        books = self.books.get(kind, ())
        spellings = _spellings(said)
        for level, (book, spelling) in enumerate(zip(books, spellings, strict=False)):
            if not (found := book.get(spelling)):
                continue
            if not zeros and level < 2 and spelling.isdigit():
                found = found | books[2].get(spellings[2], frozenset())
            return next(iter(found)) if len(found) == 1 else None

        if kind == "id" and spellings[2].isdigit():
            found = self.numbers.get(spellings[2], frozenset())
            return next(iter(found)) if len(found) == 1 else None

        return None

    def exam(self, said: str) -> Exam | None:
        """The examination whose number, or an image of which, a cell names."""
        return self.exams.get(plain(said)) or self.exams.get(plain(next(_of_path(said), "")))

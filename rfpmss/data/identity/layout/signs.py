"""The signs of one source: what its words mean in it, and its names read with that."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from rfpmss.data.identity.layout.place import (
    MOST_VISITS,
)
from rfpmss.data.identity.layout.whole import (
    COUNTED,
    ORDINAL,
    agents_of,
    heaps_of,
    tee_is_time,
    twins_of,
    years_of,
)
from rfpmss.data.identity.like_dates import like_dates
from rfpmss.data.identity.names.parse import Name, parse
from rfpmss.data.identity.names.person import VISIT
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.numbered import after, stem, visit_numbers
from rfpmss.data.identity.words.content import counted_names
from rfpmss.data.identity.words.marks import time_words, with_surgery
from rfpmss.data.identity.words.running import series_names, without_series_numbers
from rfpmss.data.readers.sequences import sequence_of


class Signs:
    """What the words of one source mean: T1, numbers like dates, ``pre``, runs of numbers.

    It is given what `Layout` is.
    """

    def __init__(
        self,
        images: Sequence[PurePosixPath],
        level: int,
        known: Iterable[str],
        headers: Container[PurePosixPath],
        texts: Iterable[str],
    ) -> None:
        self.level = level
        self.headers = headers
        self.images = images
        self.known = {text.strip().lower() for text in known}
        self.series = series_names(images, headers)
        self._stems = without_series_numbers(
            [path for path in images if path not in self.series], headers
        )
        self.ids = like_dates(images, texts, self.known)
        by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
        for path in images:
            if path not in headers:
                by_folder[path.parent].append(self.stem(path))

        marks = {folder: time_words(stems) for folder, stems in by_folder.items()}
        self.marks = {folder: words for folder, words in marks.items() if words}
        self.tee = tee_is_time(images) or any(words - {"pre", "post"} for words in marks.values())
        named = [path for path in images if path not in headers]
        self.owned = visit_numbers(named, MOST_VISITS, tee=self.tee)
        self.words = visit_numbers(named, MOST_VISITS, tee=self.tee, words=True)
        if level:
            self.owned |= {folder for folder in self.words if len(folder.parts) == level}

        twins = twins_of(images)
        self.counted = any(
            COUNTED.fullmatch(word)
            for text in twins
            for word in (plain(text), *self.parse(text).kinds)
        )
        self.texts = {plain(text) for text in twins}
        self.heaps = heaps_of(images, tee=self.tee)
        self.years = years_of(images)
        self.agents = agents_of((path.parent, self.stem(path)) for path in images)
        self.ordered = self._numbered_times(images)
        self.heads = counted_names(images, headers, self.parse)
        self.twins = {self.parse(text).who for text in twins}

    def parse(self, text: str, *, file: bool = False) -> Name:
        """A name by itself, with what T1 and numbers like dates are in this source."""
        return parse(text, file=file, tee=self.tee, ids=self.ids)

    def who(self, text: str) -> str:
        """A patient's name as files, folders and tables of this source spell it."""
        return parse(text, ids=self.ids).who or plain(text)

    def times(self, text: str) -> tuple[Time, ...]:
        """When a part of a file's name says that it was."""
        return self.parse(text, file=True).times

    def stem(self, path: PurePosixPath) -> str:
        """A file's name without its endings and the number of its series."""
        return self._stems.get(path) or stem(path)

    def timed_stem(self, path: PurePosixPath) -> str:
        """A file's name with `preop` for a `pre` that is its time.

        In a folder named after a sequence `pre` and `post` are about contrast: ``T1/post.nii``.
        """
        text = self.stem(path)
        if re.fullmatch(r"(?i)(?:pre|post)", text) and sequence_of(path.parent.name):
            return f"{path.parent.name}_{text}"
        return with_surgery(text, self.marks.get(path.parent, frozenset()))

    def numbered_visit(self, path: PurePosixPath) -> Name | None:
        """Of a name such as ``XY01_02_flair`` in the patient's folder ``XY01``."""
        found = after(path) if self.owned else None
        if found is None or found[0] not in self.owned:
            return None

        folder, number, what = found
        kinds = parse(what, file=True).kinds
        return Name(plain(folder.name), (Time(f"visit {int(number)}"),), kinds)

    def _numbered_times(self, images: Iterable[PurePosixPath]) -> set[tuple[Time, ...]]:
        """Times of folders beside each other that a number alone parts: ``3_fu``, ``4_fu``."""
        found: dict[tuple[PurePosixPath, tuple[Time, ...]], set[str]] = defaultdict(set)
        for folder in {folder for path in images for folder in path.parents[:-1]}:
            name = self.parse(folder.name)
            if name.times and ORDINAL.fullmatch(name.who):
                found[folder.parent, name.times].add(name.who)

        return {times for (_, times), numbers in found.items() if len(numbers) > 1}


def visit_below(name: Name) -> Name:
    """Below a patient V2 is a visit: ``P1/FLAIR/V2.nii``."""
    found = VISIT.fullmatch(name.who)
    if not found:
        return name

    return replace(name, who="", times=(*name.times, Time(f"visit {int(found[1])}")))


def after_head(head: str, name: str) -> str | None:
    """What stands behind the patient's folder's name in that of a file."""
    return name[len(head) + 1 :] if name == head or name.startswith(f"{head}-") else None

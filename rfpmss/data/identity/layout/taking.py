"""A path taken apart: its candidates for the patient, its times, its groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from rfpmss.data.identity.layout.endings import (
    YEAR,
)
from rfpmss.data.identity.layout.place import (
    Part,
    Taken,
    dated,
)
from rfpmss.data.identity.layout.signs import Signs, visit_below
from rfpmss.data.identity.layout.whole import (
    BARE_END,
    COUNTED,
    EXAM,
    ORDINAL,
    dates_joined,
)
from rfpmss.data.identity.names.parse import Name
from rfpmss.data.identity.names.person import GROUP, ID, PERSON, SITE, VISIT, WORD
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.words.marks import with_surgery


class Taking:
    """Takes paths apart, with what the search over all of them has found so far.

    Args:
        signs: of the source.

    Attributes:
        junk: what stands beside the time in all folders of one depth.
        suffixes: names that end in the mark of a visit, as `endings.marked` has them.
        restored: folders such as ``MR_001`` are patients, for nothing else is.
        common: how many of the outermost folders all images share, and none is a patient.
    """

    def __init__(self, signs: Signs) -> None:
        self.signs = signs
        self.junk: set[str] = set()
        self.suffixes: dict[str, tuple[str, str]] = {}
        self.restored = False
        self.common = 0
        self._plain: dict[PurePosixPath, Taken] = {}

    def forget(self) -> None:
        """Take all folders apart anew: an attribute has changed."""
        self._plain.clear()

    def take(self, path: PurePosixPath) -> Taken:
        """All candidates, times and groups of a path."""
        folder = path.parent
        found = self._plain.get(folder)
        if found is None:
            found = self._plain[folder] = self._folders(folder)

        name = self._file(path)
        if not name.who and (head := self.signs.heads.of(path)) and not found.parts:
            name = replace(name, who=head)
        if found.parts:
            name = visit_below(name)

        labels = {t.label for t in found.times}
        days = any(dated(t) for t in found.times)
        new = [t for t in name.times if t.label not in labels and not (days and dated(t))]
        return replace(found, times=(*found.times, *new), file=name)

    def _file(self, path: PurePosixPath) -> Name:
        """What the file's own name says."""
        if path in self.signs.headers:
            return Name("")
        if own := self.signs.numbered_visit(path):
            return own

        if path in self.signs.series:
            text = with_surgery(
                self.signs.series[path], self.signs.marks.get(path.parent, frozenset())
            )
            return replace(self.signs.parse(text, file=True), who="", number="", core="")

        words = self.signs.marks.get(path.parent, frozenset())
        text = self.signs.stem(path)
        name = self._reduced(self.signs.parse(self.signs.timed_stem(path), file=True))
        if "pre" not in words and path.parent in self.signs.agents and BARE_END.search(plain(text)):
            times = tuple(t for t in name.times if not t.phase)
            name = replace(name, times=times, kinds=(*name.kinds, "contrast"))

        if self.restored and not name.who and len(name.number) > 2:
            return replace(name, who=f"number-{name.number}")

        return name

    def _folders(self, folder: PurePosixPath) -> Taken:
        own = next((f for f in (folder, *folder.parents) if f in self.signs.owned), None)
        if own is None:
            return self._unowned(folder)

        above, depth = self._unowned(own.parent), len(own.parts)
        part = Part(own.name, Name(plain(own.name)), depth, sure=True)
        below = [self._name(text, below=True) for _, text in dates_joined(folder.parts[depth:])]
        times = tuple(time for name in below for time in name.times)

        return replace(above, parts=(*above.parts, part), times=(*above.times, *times))

    def _unowned(self, folder: PurePosixPath) -> Taken:
        parts: list[Part] = []
        times: list[Time] = []
        groups: list[str] = []
        sets: list[str] = []
        for depth, text in dates_joined(folder.parts):
            if text.strip().lower() in self.signs.known:
                parts = [Part(text, Name(text.strip().lower()), depth)]
                continue
            name = self._name(self._beneath(text, parts), below=bool(parts))
            if not name.times and self._headed(text, depth, parts, times):
                continue
            parts += self._timed_head(text, name, depth) if not parts else []
            if name.who and name.who in self.signs.heaps:
                continue
            if name.who and not name.times and SITE.fullmatch(name.who):
                groups += [name.who] if not parts else []
            elif name.who and not name.times and GROUP.fullmatch(name.who):
                sets += [name.who] if not parts else []
            elif depth <= self.common and name.rank != PERSON and not name.times:
                continue
            elif name.who and not self._content(text, name, parts, times):
                parts.append(Part(text, name, depth))

            times += name.times

        if not parts and self.restored:
            parts = self._numbered(folder)

        return Taken(tuple(parts), tuple(times), tuple(groups), tuple(sets))

    def _beneath(self, text: str, parts: Sequence[Part]) -> str:
        """Of ``MR001_v1`` below the patient ``MR001`` what follows the patient's name."""
        head = self.signs.heads.folders.get(plain(parts[-1].text), "") if parts else ""
        name = plain(text)
        return name[len(head) + 1 :] if head and name.startswith(f"{head}-") else text

    def _timed_head(self, text: str, said: Name, depth: int) -> list[Part]:
        """Of ``GLIO-01_FU`` beside ``GLIO-01`` who it is."""
        name = plain(text)
        if not said.times or said.who:
            return []

        heads = (head for head in self.signs.heads.folders if name.startswith(f"{head}-"))
        rests = ((head, name[len(head) + 1 :]) for head in heads)
        timed = [
            head for head, rest in rests if VISIT.fullmatch(rest) or self.signs.parse(rest).times
        ]
        return [Part(text, Name(head), depth) for head in timed[:1]]

    def _headed(self, text: str, depth: int, parts: list[Part], times: list[Time]) -> bool:
        """A content and a number: a candidate, or below a patient, as ``P1/brain2``, a visit."""
        who = self.signs.heads.folders.get(plain(text), "")
        above = max((part.name.rank for part in parts), default=WORD)
        if who and above == WORD:
            parts.append(Part(text, Name(who), depth))
        elif who in self.signs.heads.whole:
            times.append(Time(f"folder {who}", weak=True))
        else:
            return False

        return True

    def _name(self, text: str, *, below: bool) -> Name:
        """A folder's name, with what only the whole source tells of it.

        Args:
            text: of the folder.
            below: it lies below a candidate.
        """
        name = self._reduced(self.signs.parse(text))
        if text in self.signs.years:
            return Name("", (Time(f"date {self.signs.years[text]}", weak=True),), name.kinds)

        if name.times:
            if below and ORDINAL.fullmatch(name.who):  # 1_preop, 2_postop
                number = Time(f"visit {int(name.who)}", weak=True)
                more = (number,) if name.times in self.signs.ordered else ()
                return replace(name, who="", times=(*name.times, *more))
            junk = name.who in self.junk or GROUP.fullmatch(name.who)
            return replace(name, who="") if junk else name

        if not self.signs.counted or not (below or name.who):
            return name

        words = [word for word in (plain(text), *name.kinds) if COUNTED.fullmatch(word)]
        if (
            words and plain(text) in self.signs.texts
        ):  # MRI1, OAS1_0001_MR2: scans with the same files
            number = int(re.sub(r"\D", "", words[0]))
            return replace(name, times=(Time(f"scan {number}", weak=True),))

        return name

    def _numbered(self, folder: PurePosixPath) -> list[Part]:
        """The outermost folder such as ``MR_001``."""
        for depth, text in enumerate(folder.parts, start=1):
            name = self.signs.parse(text)
            if len(name.number) > 2:
                return [Part(text, Name(f"{'-'.join(name.kinds)}-{name.number}"), depth)]
        return []

    def _reduced(self, name: Name) -> Name:
        """Without a number at the end that counts visits."""
        if name.who not in self.suffixes:
            return name

        who, mark = self.suffixes[name.who]
        time = Time(f"visit {int(mark)}" if mark.isdecimal() else f"folder {mark}")
        if YEAR.fullmatch(mark):
            time = Time(f"date {mark}", weak=True)

        return Name(who, (*name.times, time), name.kinds, name.number)

    def _content(self, text: str, name: Name, parts: Sequence[Part], times: Sequence[Time]) -> bool:
        """A folder below the patient that says what is in it, or how it was made."""
        if not parts or (name.rank == PERSON and parts[-1].name.rank != PERSON):
            return False

        above = max(part.name.rank for part in parts)
        if (times or name.times) and name.rank <= above:
            return True
        if plain(text) in self.signs.texts and all(map(EXAM.fullmatch, name.kinds)):
            return False  # IRM_M3 and IRM_M6 with the same files are two examinations

        return bool(name.kinds) and (above >= ID or not re.search(r"\d{3}", name.who))

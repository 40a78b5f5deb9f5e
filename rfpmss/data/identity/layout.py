"""Which folders of a source are people, and which are time points: read off all paths at once.

A name alone often cannot tell: ``1`` may be a patient or a visit, ``T1`` a sequence or a time. So
all paths of images are looked at together. Where two readings are possible, and one would take
one patient for several or several for one, there is a doubt, and the caller refuses.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from rfpmss.data.identity.like_dates import coded, like_dates
from rfpmss.data.identity.names.parse import Name, parse
from rfpmss.data.identity.names.person import GROUP, ID, PERSON, SHORT, SITE, VISIT, WORD, rank
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.numbered import after, stem, visit_numbers
from rfpmss.data.identity.words.content import counted_names
from rfpmss.data.identity.words.marks import time_words, with_surgery
from rfpmss.data.identity.words.running import series_names, without_series_numbers
from rfpmss.data.readers.sequences import sequence_of

MOST_VISITS = 12
"""A folder with more numbered folders than this, and than there are such folders, is no patient."""
FEWEST_PATIENTS = 4
"""A folder that holds as many folders with names of their own on average is a group of patients."""

Home = tuple[str, ...]
"""Who a folder says it is: the patient's name, after the names of groups it lies in."""


@dataclass(frozen=True)
class Place:
    """What a path says of its file."""

    home: Home = ()
    """Folders that name the patient; empty: none does."""
    raw: Home = ()
    """The same as they are written."""
    times: tuple[Time, ...] = ()
    """From the outermost folder to the file's name."""
    name: str = ""
    """Who the file's name says it is."""
    kinds: tuple[str, ...] = ()
    """What the file's name says it is."""
    rule: str = ""
    """By what its time was known."""

    @property
    def label(self) -> str:
        """The time points as one text, ``""`` where there are none; days apart."""
        return " ".join(dict.fromkeys(t.label for t in self.times if t.day is None))

    @property
    def weak(self) -> bool:
        """Only words or numbers that may count the scans of one visit tell the time."""
        return all(t.weak for t in self.times)

    @property
    def phase(self) -> str:
        """Before, in or after an operation, if a name says so."""
        return next((t.phase for t in self.times if t.phase), "")

    @property
    def day(self) -> int | None:
        """The date of the innermost name that has one."""
        return next((t.day for t in reversed(self.times) if t.day is not None), None)


@dataclass(frozen=True)
class _Part:
    """A folder that may be a patient."""

    text: str
    name: Name
    depth: int
    """From 1, of the path."""
    sure: bool = False
    """Its files' names make it a patient."""


@dataclass(frozen=True)
class _Taken:
    """A path, taken apart."""

    parts: tuple[_Part, ...]
    times: tuple[Time, ...]
    groups: tuple[str, ...]
    """Sites that it lies in."""
    sets: tuple[str, ...]
    """Other folders of several patients that it lies in."""
    file: Name = Name("")

    @property
    def whos(self) -> Home:
        return tuple(part.name.who for part in self.parts)


_SLICES = {"slice", "slices", "frame", "tile", "patch", "page"}
"""Files that are parts of one image."""


class Layout:
    """The reading of a source's folders.

    Args:
        images: paths of the images whose patient no header tells.
        level: depth of the folders that are patients; 0: to be found.
        known: identifiers of patients: a folder with such a name is one.
        headers: files, such as those of DICOM, whose names say nothing.
        texts: names of texts, without their endings, and of folders of texts alone.

    Attributes:
        doubt: why the folders can be read in two ways, with the way out; ``""``: they cannot.
    """

    def __init__(
        self,
        images: Sequence[PurePosixPath],
        level: int = 0,
        known: Iterable[str] = (),
        headers: Container[PurePosixPath] = (),
        texts: Iterable[str] = (),
    ) -> None:
        self.level = level
        self.headers = headers
        self._images = images
        self.known = {text.strip().lower() for text in known}
        self._series = series_names(images, headers)
        self._stems = without_series_numbers(
            [path for path in images if path not in self._series], headers
        )
        self._ids = like_dates(images, texts, self.known)
        by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
        for path in images:
            if path not in headers:
                by_folder[path.parent].append(self._stem(path))

        marks = {folder: time_words(stems) for folder, stems in by_folder.items()}
        self._marks = {folder: words for folder, words in marks.items() if words}
        self.tee = _tee(images) or any(words - {"pre", "post"} for words in marks.values())
        named = [path for path in images if path not in headers]
        self._owned = visit_numbers(named, MOST_VISITS, tee=self.tee)
        words = visit_numbers(named, MOST_VISITS, tee=self.tee, words=True)
        if level:
            self._owned |= {folder for folder in words if len(folder.parts) == level}

        twins = _twins(images)
        self._counted = any(
            _COUNTED.fullmatch(word)
            for text in twins
            for word in (plain(text), *self._parse(text).kinds)
        )
        self._texts = {plain(text) for text in twins}
        self._junk: set[str] = set()
        self._heaps = _heaps(images, tee=self.tee)
        self._years = _years(images)
        self._agents = _agents((path.parent, self._stem(path)) for path in images)
        self._ordered = self._numbered_times(images)
        self._heads = counted_names(images, headers, self._parse)
        self._twins = {self._parse(text).who for text in twins}
        self.doubt = ""
        self._suffixes: dict[str, tuple[str, str]] = {}
        self._persons: dict[Home, int] = {}
        self._as_times: set[Home] = set()
        self._sub: Counter[str] = Counter()
        self._restored = False
        self._common = 0
        self._plain: dict[PurePosixPath, _Taken] = {}

        if level:
            self._repeats(images)
        else:
            self._search(images, words)

    def _search(self, images: Sequence[PurePosixPath], words: Collection[PurePosixPath]) -> None:
        """Find the folders that are patients.

        Args:
            images: see above.
            words: folders such as ``Mueller`` with numbers in the names of their files.
        """
        if words:
            depth = max(len(folder.parts) for folder in words)
            self._say(
                f"the numbers in the names of files may be patients of {len(words)} folders, or "
                f"visits of {len(words)} patients; pass --patient-level {depth} if each of these "
                "folders is a patient, or move the files of each patient into a folder of its own"
            )

        taken = self._without_common(images)
        nameless = [p for p, t in taken.items() if not t.parts and not t.file.who]
        who = {name for t in taken.values() for name in (*t.whos, t.file.who)} - {""}
        if len(who) > 1 and all(map(_VISITS.fullmatch, who)):
            self._when_alone(len(who), [part.depth for t in taken.values() for part in t.parts])
        if nameless:
            named = any(t.parts for t in taken.values())
            self._restore({path: taken[path] for path in nameless}, beside=named)
            taken = {path: self._take(path) for path in images}

        stems, depths = coded(images, self._ids)
        if stems:
            self._endings(stems, depths)

        self._suffixes = self._find_suffixes(taken.values())
        if self._suffixes:
            self._plain.clear()
            taken = {path: self._take(path) for path in images}

        self._decide([t for t in taken.values() if t.parts])

    def _parse(self, text: str, *, file: bool = False) -> Name:
        """A name by itself, with what T1 and numbers like dates are in this source."""
        return parse(text, file=file, tee=self.tee, ids=self._ids)

    def who(self, text: str) -> str:
        """A patient's name as files, folders and tables of this source spell it."""
        return parse(text, ids=self._ids).who or plain(text)

    def times(self, text: str) -> tuple[Time, ...]:
        """When a part of a file's name says that it was."""
        return self._parse(text, file=True).times

    def _stem(self, path: PurePosixPath) -> str:
        """A file's name without its endings and the number of its series."""
        return self._stems.get(path) or stem(path)

    def _timed_stem(self, path: PurePosixPath) -> str:
        """A file's name with `preop` for a `pre` that is its time.

        In a folder named after a sequence `pre` and `post` are about contrast: ``T1/post.nii``.
        """
        text = self._stem(path)
        if re.fullmatch(r"(?i)(?:pre|post)", text) and sequence_of(path.parent.name):
            return f"{path.parent.name}_{text}"
        return with_surgery(text, self._marks.get(path.parent, frozenset()))

    # -- one path ----------------------------------------------------------------------------------

    def place(self, path: PurePosixPath) -> Place:
        """What a path says, be it of an image or of any other file."""
        if self.level:
            return self._level(path)

        taken = self._take(path)
        whos = taken.whos
        index = self._index(whos)
        times = list(taken.times)
        if index < 0:
            return Place((), (), tuple(times), taken.file.who, taken.file.kinds, _rule(times))

        if whos in self._as_times:
            person = taken.parts[-1]
            outer = [Time(f"timepoint {w}", weak=True) for w in whos[:-1]]
            home, raw = (person.name.who,), (person.text,)
            times = outer + times
        else:
            home = (*taken.groups, *whos[: index + 1])
            raw = tuple(part.text for part in taken.parts[: index + 1])

        if not [t for t in times if not _dated(t)] and whos not in self._as_times:
            below = [
                part.name.who for part in taken.parts[index + 1 :] if self._tells(part.name.who)
            ]
            times += [Time(f"folder {who}", weak=True) for who in below[:1]]

        return Place(home, raw, tuple(times), taken.file.who, taken.file.kinds, _rule(times))

    def _index(self, whos: Home) -> int:
        """The place of the patient among the candidates of a path."""
        if not whos:
            return -1

        for depth in range(len(whos), 0, -1):
            if whos[:depth] in self._persons:
                return self._persons[whos[:depth]]

        persons = [n for n, who in enumerate(whos) if rank(who) == PERSON]
        return persons[0] if persons else len(whos) - 1

    def _take(self, path: PurePosixPath) -> _Taken:
        """All candidates, times and groups of a path."""
        folder = path.parent
        found = self._plain.get(folder)
        if found is None:
            found = self._plain[folder] = self._folders(folder)

        name = self._file(path)
        if not name.who and (head := self._heads.of(path)) and not found.parts:
            name = replace(name, who=head)
        if found.parts:
            name = _visit(name)

        labels = {t.label for t in found.times}
        days = any(_dated(t) for t in found.times)
        new = [t for t in name.times if t.label not in labels and not (days and _dated(t))]
        return replace(found, times=(*found.times, *new), file=name)

    def _file(self, path: PurePosixPath) -> Name:
        """What the file's own name says."""
        if path in self.headers:
            return Name("")
        if own := self._numbered_visit(path):
            return own

        if path in self._series:
            text = with_surgery(self._series[path], self._marks.get(path.parent, frozenset()))
            return replace(self._parse(text, file=True), who="", number="", core="")

        words = self._marks.get(path.parent, frozenset())
        text = self._stem(path)
        name = self._reduced(self._parse(self._timed_stem(path), file=True))
        if "pre" not in words and path.parent in self._agents and _BARE_END.search(plain(text)):
            times = tuple(t for t in name.times if not t.phase)
            name = replace(name, times=times, kinds=(*name.kinds, "contrast"))

        if self._restored and not name.who and len(name.number) > 2:
            return replace(name, who=f"number-{name.number}")

        return name

    def _numbered_visit(self, path: PurePosixPath) -> Name | None:
        """Of a name such as ``XY01_02_flair`` in the patient's folder ``XY01``."""
        found = after(path) if self._owned else None
        if found is None or found[0] not in self._owned:
            return None

        folder, number, what = found
        kinds = parse(what, file=True).kinds
        return Name(plain(folder.name), (Time(f"visit {int(number)}"),), kinds)

    def _folders(self, folder: PurePosixPath) -> _Taken:
        own = next((f for f in (folder, *folder.parents) if f in self._owned), None)
        if own is None:
            return self._unowned(folder)

        above, depth = self._unowned(own.parent), len(own.parts)
        part = _Part(own.name, Name(plain(own.name)), depth, sure=True)
        below = [self._name(text, below=True) for _, text in _dates_joined(folder.parts[depth:])]
        times = tuple(time for name in below for time in name.times)

        return replace(above, parts=(*above.parts, part), times=(*above.times, *times))

    def _unowned(self, folder: PurePosixPath) -> _Taken:
        parts: list[_Part] = []
        times: list[Time] = []
        groups: list[str] = []
        sets: list[str] = []
        for depth, text in _dates_joined(folder.parts):
            if text.strip().lower() in self.known:
                parts = [_Part(text, Name(text.strip().lower()), depth)]
                continue
            name = self._name(self._beneath(text, parts), below=bool(parts))
            if not name.times and self._headed(text, depth, parts, times):
                continue
            parts += self._timed_head(text, name, depth) if not parts else []
            if name.who and name.who in self._heaps:
                continue
            if name.who and not name.times and SITE.fullmatch(name.who):
                groups += [name.who] if not parts else []
            elif name.who and not name.times and GROUP.fullmatch(name.who):
                sets += [name.who] if not parts else []
            elif depth <= self._common and name.rank != PERSON and not name.times:
                continue
            elif name.who and not self._content(text, name, parts, times):
                parts.append(_Part(text, name, depth))

            times += name.times

        if not parts and self._restored:
            parts = self._numbered(folder)

        return _Taken(tuple(parts), tuple(times), tuple(groups), tuple(sets))

    def _beneath(self, text: str, parts: Sequence[_Part]) -> str:
        """Of ``MR001_v1`` below the patient ``MR001`` what follows the patient's name."""
        head = self._heads.folders.get(plain(parts[-1].text), "") if parts else ""
        name = plain(text)
        return name[len(head) + 1 :] if head and name.startswith(f"{head}-") else text

    def _timed_head(self, text: str, said: Name, depth: int) -> list[_Part]:
        """Of ``GLIO-01_FU`` beside ``GLIO-01`` who it is."""
        name = plain(text)
        if not said.times or said.who:
            return []

        heads = (head for head in self._heads.folders if name.startswith(f"{head}-"))
        rests = ((head, name[len(head) + 1 :]) for head in heads)
        timed = [head for head, rest in rests if VISIT.fullmatch(rest) or self._parse(rest).times]
        return [_Part(text, Name(head), depth) for head in timed[:1]]

    def _headed(self, text: str, depth: int, parts: list[_Part], times: list[Time]) -> bool:
        """A content and a number: a candidate, or below a patient, as ``P1/brain2``, a visit."""
        who = self._heads.folders.get(plain(text), "")
        above = max((part.name.rank for part in parts), default=WORD)
        if who and above == WORD:
            parts.append(_Part(text, Name(who), depth))
        elif who in self._heads.whole:
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
        name = self._reduced(self._parse(text))
        if text in self._years:
            return Name("", (Time(f"date {self._years[text]}", weak=True),), name.kinds)

        if name.times:
            if below and _ORDINAL.fullmatch(name.who):  # 1_preop, 2_postop
                number = Time(f"visit {int(name.who)}", weak=True)
                more = (number,) if name.times in self._ordered else ()
                return replace(name, who="", times=(*name.times, *more))
            junk = name.who in self._junk or GROUP.fullmatch(name.who)
            return replace(name, who="") if junk else name

        if not self._counted or not (below or name.who):
            return name

        words = [word for word in (plain(text), *name.kinds) if _COUNTED.fullmatch(word)]
        if words and plain(text) in self._texts:  # MRI1, OAS1_0001_MR2: scans with the same files
            number = int(re.sub(r"\D", "", words[0]))
            return replace(name, times=(Time(f"scan {number}", weak=True),))

        return name

    def _numbered_times(self, images: Iterable[PurePosixPath]) -> set[tuple[Time, ...]]:
        """Times of folders beside each other that a number alone parts: ``3_fu``, ``4_fu``."""
        found: dict[tuple[PurePosixPath, tuple[Time, ...]], set[str]] = defaultdict(set)
        for folder in {folder for path in images for folder in path.parents[:-1]}:
            name = self._parse(folder.name)
            if name.times and _ORDINAL.fullmatch(name.who):
                found[folder.parent, name.times].add(name.who)

        return {times for (_, times), numbers in found.items() if len(numbers) > 1}

    def _numbered(self, folder: PurePosixPath) -> list[_Part]:
        """The outermost folder such as ``MR_001``."""
        for depth, text in enumerate(folder.parts, start=1):
            name = self._parse(text)
            if len(name.number) > 2:
                return [_Part(text, Name(f"{'-'.join(name.kinds)}-{name.number}"), depth)]
        return []

    def _reduced(self, name: Name) -> Name:
        """Without a number at the end that counts visits."""
        if name.who not in self._suffixes:
            return name

        who, mark = self._suffixes[name.who]
        time = Time(f"visit {int(mark)}" if mark.isdecimal() else f"folder {mark}")
        if _YEAR.fullmatch(mark):
            time = Time(f"date {mark}", weak=True)

        return Name(who, (*name.times, time), name.kinds, name.number)

    def _content(
        self, text: str, name: Name, parts: Sequence[_Part], times: Sequence[Time]
    ) -> bool:
        """A folder below the patient that says what is in it, or how it was made."""
        if not parts or (name.rank == PERSON and parts[-1].name.rank != PERSON):
            return False

        above = max(part.name.rank for part in parts)
        if (times or name.times) and name.rank <= above:
            return True
        if plain(text) in self._texts and all(map(_EXAM.fullmatch, name.kinds)):
            return False  # IRM_M3 and IRM_M6 with the same files are two examinations

        return bool(name.kinds) and (above >= ID or not re.search(r"\d{3}", name.who))

    def _level(self, path: PurePosixPath) -> Place:
        """The folders of that depth are the patients, whatever they are called."""
        folders = path.parts[:-1]
        raw = folders[: self.level]
        home = tuple(re.sub(r"\s+", " ", text.strip()).lower() for text in raw)
        below = _dates_joined(folders[self.level :])
        names = [self._parse(text) for _, text in below]
        file = self._numbered_visit(path)
        if file is None:
            text = self._timed_stem(path)
            file = _visit(self._parse(text, file=True))
            if raw and (own := _after(plain(raw[-1]), plain(text))) is not None:
                file = replace(file, times=self.times(own))
        times = [time for name in (*names, file) for time in name.times]
        if not [t for t in times if not _dated(t)]:
            whos = [self._heads.folders.get(plain(text), "") for _, text in below]
            whos = [
                head or (n.who if not n.kinds else "") for head, n in zip(whos, names, strict=True)
            ]
            whos = [who for who in whos if who]
            times += [Time(f"folder {who}", weak=True) for who in whos[:1] if self._tells(who)]

        return Place(home, raw, tuple(dict.fromkeys(times)), file.who, file.kinds, _rule(times))

    def _tells(self, who: str) -> bool:
        """Whether an unknown word below a patient tells the visit.

        It does where other patients have it, or a folder beside it holds the same files.
        """
        return rank(who) != WORD or self._sub[who] > 1 or who in self._twins

    def _repeats(self, images: Iterable[PurePosixPath]) -> None:
        """Names of folders that several patients have, where the level is given."""
        seen = {
            (path.parts[: self.level], self._parse(text).who)
            for path in images
            for text in path.parts[self.level : -1]
        }
        self._sub.update(who for _, who in seen)

    # -- all paths ---------------------------------------------------------------------------------

    def _without_common(self, images: Sequence[PurePosixPath]) -> dict[PurePosixPath, _Taken]:
        """Folders that all images lie in name no patient, if those in them can."""
        self._common = _shared_depth(images)
        self._junk = self._constant(images)
        taken = {path: self._take(path) for path in images}
        if not all(t.parts and self._telling(t.parts[0]) for t in taken.values()):
            self._common = 0
            self._plain.clear()
            taken = {path: self._take(path) for path in images}

        return taken

    def _telling(self, part: _Part) -> bool:
        """Whether a candidate is more than a short number."""
        return part.name.rank != SHORT or plain(part.text) in self._heads.folders

    def _constant(self, images: Sequence[PurePosixPath]) -> set[str]:
        """What stands beside the time in all folders of one depth, as in ``visit1_export/P1``."""
        beside: dict[int, set[str]] = defaultdict(set)
        for folder in {path.parent for path in images}:
            for depth, text in enumerate(folder.parts):
                name = self._parse(text)
                beside[depth].add(name.who if name.times and name.rank < PERSON else "")

        return {who for whos in beside.values() if len(whos) == 1 for who in whos if who}

    def _restore(self, taken: Mapping[PurePosixPath, _Taken], *, beside: bool) -> None:
        """Nothing names a patient: folders such as ``MR_001`` do, folders of dates may.

        Args:
            taken: the paths that do not.
            beside: others do.
        """
        self._restored = any(
            len(self._parse(text).number) > 2 for path in taken for text in path.parts[:-1]
        ) or any(len(t.file.number) > 2 and not _SLICES & set(t.file.kinds) for t in taken.values())
        if self._restored:
            self._plain.clear()
            return

        labels = {t.label for each in taken.values() for t in each.times if t.weak}
        labels |= {each.file.number for each in taken.values() if each.file.number}
        if len(labels) > 1:
            self._when_alone(
                len(labels),
                [
                    n
                    for path in taken
                    for n, text in enumerate(path.parts[:-1], 1)
                    if self._parse(text).times
                ],
                beside=beside,
            )

    def _when_alone(self, count: int, depths: Collection[int], *, beside: bool = False) -> None:
        """Say that names tell the time and nobody's name.

        Args:
            count: of times.
            depths: of folders that tell them; none: files do.
            beside: other folders name their patients.
        """
        depth = min(depths, default=0)
        name = "name these folders after the patients, such as patient-1"
        one = "put all into one folder named after the patient"
        cure = (
            f"pass --patient-level {depth} if each of these folders is a patient, or "
            + (name if beside else one)
            if depth
            else "put the files of each patient into a folder of its own and pass --patient-level 1"
        )
        self._say(
            f"the folders and file names say when, and nothing says who: {count} scans of one "
            f"patient or of several cannot be told apart; {cure}"
        )

    def _find_suffixes(self, taken: Collection[_Taken]) -> dict[str, tuple[str, str]]:
        """Names such as ``P1_2`` or ``GBM001_early``: who, and the mark of the visit."""
        depths: dict[str, int] = {}
        for t in taken:
            for name, depth in [(p.name, p.depth) for p in t.parts] or [(t.file, 0)]:
                if name.who and not name.times:
                    depths[name.who] = max(depths.get(name.who, 0), depth)

        names = depths.keys()
        result, doubtful = _marked(names, settled=_with_visits(taken))
        doubtful |= _counted_names(names) | _short_dates(names) | _glued(names)
        if doubtful:
            self._endings(doubtful, [d for n, d in depths.items() if _begins(n, doubtful)])

        return result

    def _endings(self, stems: Collection[str], depths: Sequence[int]) -> None:
        """Say that what ends names may tell the patient or the visit.

        Args:
            stems: the names without it.
            depths: of each folder that has such a name; 0: it is a file's.
        """
        depth = max(depths)
        cure = (
            f"pass --patient-level {depth} if each of these folders is a patient; if not, put the "
            f"folders of each patient into one and then pass --patient-level {depth}"
            if depth
            else "put the files of each patient into a folder of its own and pass --patient-level 1"
        )
        self._say(
            f"{len(depths)} names end in a number, date or letter, and whether they are as many "
            f"patients or visits of {_people(len(stems))} cannot be told; {cure}, or name each "
            "patient in the mapping file (patients:) for --mapping"
        )

    def _decide(self, taken: Sequence[_Taken]) -> None:
        """The place of the patient among the candidates of every path."""
        sets = {t.whos: t for t in taken}
        self._apart(taken)
        for whos in sets:
            for part in set(whos):
                self._sub[part] += 1

        self._sub = Counter({w: len({h[: h.index(w)] for h in sets if w in h}) for w in self._sub})
        for whos, index in self._choose(list(sets), sets).items():
            self._persons[whos[: index + 1]] = index
            self._persons[whos] = index

        self._alone(taken)

    def _alone(self, taken: Sequence[_Taken]) -> None:
        """One name above all, and scans that are only counted: a hospital, or one patient?"""
        folders = {t.parts[0] for t in taken}
        scans = {time for t in taken for time in t.times}
        labels = {tuple(time.label for time in t.times) for t in taken}
        counted = all(time.weak and not _dated(time) for time in scans)
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

    def _apart(self, taken: Sequence[_Taken]) -> None:
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

    def _choose(self, homes: list[Home], sets: Mapping[Home, _Taken]) -> dict[Home, int]:
        sure = {home: index for home in homes if (index := _surely(home)) >= 0}
        sure |= {h: n for h in homes for n, part in enumerate(sets[h].parts) if part.sure}
        self._same_names(sure, sets)
        rest = [home for home in homes if home not in sure]
        return sure | (self._by_structure(rest, sets) if rest else {})

    def _same_names(self, chosen: Mapping[Home, int], sets: Mapping[Home, _Taken]) -> None:
        """One name below several folders: time points above the patient, or several people."""
        above: dict[str, set[Home]] = defaultdict(set)
        for home, index in chosen.items():
            above[home[index]].add(home[:index])

        repeated = {name: heads for name, heads in above.items() if len(heads) > 1}
        if not repeated:
            return

        heads = {head[-1] if head else "" for found in repeated.values() for head in found}
        if all(re.fullmatch(r"[vtmwdy]-?\d{1,3}", head) for head in heads):
            self._as_times = {home for home, index in chosen.items() if index == len(home) - 1}
        elif not all(head and rank(head) == WORD for head in heads):
            self._two_readings(chosen, sets, len(repeated))

    def _two_readings(
        self, chosen: Mapping[Home, int], sets: Mapping[Home, _Taken], count: int
    ) -> None:
        home, index = next((h, i) for h, i in chosen.items() if i)
        depth = sets[home].parts[index].depth
        people = len({h[: i + 1] for h, i in chosen.items()})
        self._say(
            f"{count} names of patients stand in several folders, and whether they are the same "
            f"people cannot be told; pass --patient-level {depth} if they are not "
            f"({people} patients), or move the folders of each patient into one"
        )

    def _by_structure(self, homes: list[Home], sets: Mapping[Home, _Taken]) -> dict[Home, int]:
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

    def _two_levels(self, homes: list[Home], sets: Mapping[Home, _Taken], shift: int) -> None:
        long = next(home for home in homes if len(home) > shift + 1)
        outer = sets[long].parts[shift].depth
        inner = sets[long].parts[shift + 1].depth
        one, two = (
            len({path.parts[:n] for path in self._images if len(path.parts) > n})
            for n in (outer, inner)
        )
        self._say(
            f"the folders can be read as {_people(one)} with "
            f"several visits each (--patient-level {outer}) or as {two} patients "
            f"(--patient-level {inner}); pass the one that is right"
        )

    def _say(self, doubt: str) -> None:
        self.doubt = self.doubt or doubt


_VISITS = re.compile(r"[vm]-?\d{1,3}")
"""V1, M6 where all patients are called so: visits."""
_ORDINAL = re.compile(r"\d{1,2}")
"""The number before a time, as in ``2_postop``."""
_SUFFIX = re.compile(
    r"(?P<head>(?:.*?[^0-9])?(?P<last>\d+))(?P<by>-?)"
    r"(?P<mark>(?<=-)(?:\d{1,3}|(?:19[89]|20[0-4])\d)|[a-z\u3400-\u9fff]+|(?<=-)[a-z\u3400-\u9fff][\w-]*)"
)
"""A name that ends in a number, and what stands behind it."""
_YEAR = re.compile(r"(?:19[89]|20[0-4])\d")


def _with_visits(taken: Iterable[_Taken]) -> set[str]:
    """Candidates with several visits below, if all have some: no number of theirs is one."""
    times: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for each in taken:
        if each.parts:
            told = tuple(t.label for t in each.times if not t.weak or _dated(t))
            times[each.parts[-1].name.who].add(told)

    several = sum(len(found) > 1 for found in times.values())
    all_timed = all(() not in found for found in times.values())
    return set(times) if 2 * several >= len(times) and all_timed else set()


def _marked(
    names: Collection[str], settled: Collection[str]
) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """Names that end in the mark of a visit, taken apart; and stems of which that is not certain.

    Args:
        names: of folders and files that may be patients.
        settled: those that are patients for another reason.
    """
    split = {name: found for name in names if (found := _SUFFIX.fullmatch(name))}
    stems: dict[str, set[str]] = defaultdict(set)
    for found in split.values():
        stems[found["head"]].add(found["mark"])
        if found["head"] in names and (found["by"] or len(found["mark"]) == 1):
            # P1 beside "P1 (1)" or P1b
            stems[found["head"]].add("")

    many = max(map(len, stems.values()), default=0)
    if many < 2 or many > max(MOST_VISITS, len(stems)):
        return {}, set()

    heads = Counter(found["mark"] for found in split.values())
    counted = len(stems) > 1 and all(map(_from_one, stems.values()))
    result: dict[str, tuple[str, str]] = {}
    doubtful: set[str] = set()
    for name, found in split.items():
        several = len(stems[found["head"]]) > 1
        surely = _suffix(found, several=several, repeated=heads[found["mark"]] > 1)
        if surely is False and several and counted and re.match(r"[a-z]", found["head"]):
            surely = None  # XY1_001, XY1_002, XY2_001
        if surely:
            result[name] = (found["head"], found["mark"])
        elif surely is None and name not in settled:
            doubtful.add(found["head"])

    return result, doubtful


def _counted_names(names: Collection[str]) -> set[str]:
    """Of names such as ``Mueller_1``, ``Mueller_2``, ``Meier_1`` those with several numbers."""
    stems: dict[str, set[str]] = defaultdict(set)
    for name in names:
        found = re.fullmatch(r"(.*[^\d-])-(\d{1,2})", name)
        if found and rank(name) < PERSON and not GROUP.fullmatch(found[1]):
            stems[found[1]].add(found[2].lstrip("0"))

    repeated = Counter(number for numbers in stems.values() for number in numbers)
    return {
        stem
        for stem, numbers in stems.items()
        if (len(stems) > 1 and len(numbers) > 1 and any(repeated[n] > 1 for n in numbers))
        or (stem in names and "1" not in numbers and len(numbers) < 4)  # Mueller, Mueller 2
    }


def _short_dates(names: Iterable[str]) -> set[str]:
    """Of names such as ``P1_040321`` or ``P1 03-21`` those with several days or months.

    They are dates where all names end in one, and numbers elsewhere.
    """
    stems: dict[str, set[str]] = defaultdict(set)
    for name in names:
        found = _SHORT_DATE.fullmatch(name)
        if not found:
            return set()
        stems[found[1]].add(found[2])

    return {stem for stem, dates in stems.items() if len(stems) > 1 and len(dates) > 1}


def _glued(names: Collection[str]) -> set[str]:
    """Of names such as ``XY0101``, ``XY0102``, ``XY0201`` those without the last two digits.

    Visits are counted from 1 for each patient; numbers of patients seldom are, in this way.
    """
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        if match := re.fullmatch(r"(?P<word>.*[^\d-]-?)(?P<head>\d{2,})(?P<last>\d\d)", name):
            found[match["word"]][match["head"]].add(match["last"])

    result: set[str] = set()
    for word, heads in found.items():
        most = max(map(len, heads.values()))
        if len(heads) > 1 and all(map(_from_one, heads.values())) and 1 < most <= MOST_VISITS:
            result |= {word + head for head, last in heads.items() if len(last) > 1}

    return result


def _from_one(marks: Collection[str]) -> bool:
    """Whether marks are the numbers 1, 2, 3, ... without a gap."""
    numbers = sorted(int(mark) if mark.isdecimal() else 0 for mark in marks)
    return numbers == list(range(1, len(numbers) + 1))


def _begins(name: str, stems: Collection[str]) -> bool:
    """Whether a name is a stem, or one with a mark behind it."""
    ends = re.finditer(r"(?<=\d)(?=[^\d-]|\d\d$)|-|$", name)
    return any(name[: found.start()] in stems for found in ends)


def _visit(name: Name) -> Name:
    """Below a patient V2 is a visit: ``P1/FLAIR/V2.nii``."""
    found = VISIT.fullmatch(name.who)
    if not found:
        return name

    return replace(name, who="", times=(*name.times, Time(f"visit {int(found[1])}")))


def _after(head: str, name: str) -> str | None:
    """What stands behind the patient's folder's name in that of a file."""
    return name[len(head) + 1 :] if name == head or name.startswith(f"{head}-") else None


def _people(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


_DAY, _MONTH, _YY = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])", r"(?:0[5-9]|[1-3]\d)"
_SHORT_DATE = re.compile(
    rf"(.*[^\d-]\d*)-({_MONTH}-{_YY}|(?:{_DAY}-?{_MONTH}|{_MONTH}-?{_DAY})-?{_YY}"
    rf"|{_YY}-?{_MONTH}-?{_DAY})"
)
"""A name, and a day or a month with a year of two digits."""


def _suffix(found: re.Match[str], *, several: bool, repeated: bool) -> bool | None:
    """Whether what stands behind a name tells the visit; None: it may as well be a name.

    Args:
        found: of `_SUFFIX`.
        several: the name stands with several such marks.
        repeated: the mark stands behind several names.
    """
    head, last, mark = found["head"], found["last"], found["mark"]
    doubtful = None if several else False
    if re.fullmatch(r"(?:19|20)\d\d", last):  # patient_2021_17: numbered within a year, or a month
        plain_word = re.fullmatch(r"[a-z]+-?\d{4}", head) and rank(head) != PERSON
        return doubtful if plain_word and mark.isdecimal() and int(mark) <= 12 else False

    if not found["by"]:  # P1a, P1b
        return doubtful if len(mark) == 1 else False

    if mark.isdecimal():
        surely = _number(found, repeated=repeated)
        return doubtful if surely is None else surely

    if rank(head) < PERSON and not mark.isalpha():
        return False
    if rank(head) < ID:
        return doubtful

    return True if rank(head) == PERSON or repeated else doubtful


def _number(found: re.Match[str], *, repeated: bool) -> bool | None:
    """`_suffix` of a number."""
    last, mark = found["last"], found["mark"]
    if rank(found["head"]) == PERSON or len(last) >= 5:
        return True

    narrow = len(mark) <= max(len(last), 2 if repeated else 0)
    return None if narrow or _YEAR.fullmatch(mark) else False


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


def _tee(paths: Sequence[PurePosixPath]) -> bool:
    """Whether T1, T2 are time points: there is a T0 or T3, or several sequences are in one."""
    found, inside = set(), defaultdict(set)
    for path in paths:
        words = re.split(r"[^0-9a-z]+", "/".join(path.parts).lower())
        found |= {word for word in words if re.fullmatch(r"t\d", word)}
        folder = next((p for p in path.parts[:-1] if re.fullmatch(r"[tT][12]", p)), None)
        if folder:
            name = re.sub(r"[^0-9a-z]+", " ", stem(path).lower())
            inside[folder.lower()] |= {
                kind for kind in ("flair", "t1", "t2", "ct", "dwi") if kind in name.split()
            }

    several = any(kinds - {folder} for folder, kinds in inside.items())
    return bool(found - {"t1", "t2"}) or several


_COUNTED = re.compile(r"(?:mri?|mrt|irm|rmn?|ct|cta|pet|dicom|dcm|nifti|nii|imaging)-?(\d{1,3})")

_EXAM = re.compile(r"mri?|mrt|irm|rmn?|ct|pet|scans?|exams?|imaging")
"""Words for an examination, which say nothing of what was made of it."""


def _twins(paths: Sequence[PurePosixPath]) -> set[str]:
    """Names of folders beside another one with the same files, such as ``MRI1`` and ``MRI2``."""
    seen: dict[tuple[PurePosixPath, str], set[str]] = defaultdict(set)
    for path in paths:
        for folder in path.parents[:-1]:
            inside = path.relative_to(folder).as_posix().lower()
            seen[folder.parent, inside.replace(folder.name.lower(), "")].add(folder.name)

    return {name for names in seen.values() if len(names) > 1 for name in names}


def _heaps(paths: Sequence[PurePosixPath], *, tee: bool) -> set[str]:
    """Folders beside each other, such as ``IXI-T1`` and ``IXI-T2``, with files of the same names.

    They sort the files of all patients by what they are.
    """
    found: dict[tuple[PurePosixPath, str], dict[str, set[str]]] = defaultdict(dict)
    for path in paths:
        folder = parse(path.parent.name, tee=tee)
        who = parse(stem(path), file=True, tee=tee).who
        if folder.core and folder.core != folder.who and rank(who) >= ID:
            found[path.parent.parent, folder.core].setdefault(folder.who, set()).add(who)

    return {
        folder
        for folders in found.values()
        for folder, whos in folders.items()
        if any(len(whos & other) > 1 for name, other in folders.items() if name != folder)
    }


def _years(paths: Sequence[PurePosixPath]) -> dict[str, str]:
    """Folders such as ``MRT 2021`` above all others, each with its year.

    They are years where all folders beside them are, and numbers of patients elsewhere.
    """
    tops = {path.parts[0]: path for path in paths if len(path.parts) > 2}
    found = {
        top: re.fullmatch(r"((?:19[89]|20[0-4])\d)", parse(top, file=False).who) for top in tops
    }
    if len(tops) < len({path.parts[0] for path in paths}) or not all(found.values()):
        return {}

    below: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        below[path.parts[0]].add(parse(path.parts[1]).who)

    if not all(whos - {""} for whos in below.values()):
        return {}

    return {top: year[1] for top, year in found.items() if year}


_BARE_END = re.compile(r"(?:^|-)(?:pre|post)$")


def _agents(names: Iterable[tuple[PurePosixPath, str]]) -> set[PurePosixPath]:
    """Folders with files such as ``X_PRE`` and ``X_FLAIR``: before and after the contrast agent."""
    bare, others = set(), set()
    for folder, name in names:
        if _BARE_END.search(plain(name)):
            bare.add(folder)
        elif parse(name, file=True).kinds:
            others.add(folder)

    return bare & others


def _dates_joined(parts: Sequence[str]) -> list[tuple[int, str]]:
    """The folders with their depths; ``2021/03/04`` is one name at the depth of its last part."""
    result: list[tuple[int, str]] = []
    for depth, text in enumerate(parts, start=1):
        last = result[-1][1] if result else ""
        month = re.fullmatch(r"(?:0?[1-9]|1[0-2])月?|[A-Za-z]{3,9}", text)
        after_year = re.fullmatch(r"(?:19[89]|20[0-4])\d年?", last) and month
        day = re.fullmatch(r"[0-3]?\d日?", text)
        after_month = re.fullmatch(r"(?:19[89]|20[0-4])\d-\d{1,2}", last) and day
        joined = f"{last}-{text}".replace("年", "").replace("月", "").replace("日", "")
        if (after_year or after_month) and not parse(joined).who and parse(joined).times:
            result[-1] = (depth, joined)
        else:
            result.append((depth, text))

    return result


def _shared_depth(paths: Sequence[PurePosixPath]) -> int:
    """How many of the outermost folders all paths share."""
    folders = [path.parts[:-1] for path in paths]
    if not folders:
        return 0

    first, last = min(folders), max(folders)
    same = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(same, min(len(first), len(last)))


def _dated(time: Time) -> bool:
    return time.label.startswith("date ")


def _rule(times: Sequence[Time]) -> str:
    """How a visit is known."""
    if not times:
        return ""
    if all(_dated(time) for time in times):
        return "dates in names"
    if all(time.label.startswith("folder ") for time in times):
        return "folders that recur or are numbered"

    return "words in names"

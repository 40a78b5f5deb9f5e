"""Which folders of a source are people, and which are time points: read off all paths at once.

A name alone often cannot tell: ``1`` may be a patient or a visit, ``T1`` a sequence or a time. So
all paths of images are looked at together. Where two readings are possible, and one would take
one patient for several or several for one, there is a doubt, and the caller refuses.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from rfpmss.data.identity.layout.choice import Choice
from rfpmss.data.identity.layout.endings import (
    begins,
    counted_in,
    glued,
    marked,
    short_dates,
    with_visits,
)
from rfpmss.data.identity.layout.place import (
    Part,
    Place,
    Taken,
    dated,
    people,
    rule,
)
from rfpmss.data.identity.layout.signs import Signs, after_head, visit_below
from rfpmss.data.identity.layout.taking import Taking
from rfpmss.data.identity.layout.whole import (
    dates_joined,
    shared_depth,
)
from rfpmss.data.identity.like_dates import coded
from rfpmss.data.identity.names.parse import short_time
from rfpmss.data.identity.names.person import PERSON, SHORT
from rfpmss.data.identity.names.plain import plain
from rfpmss.data.identity.names.times import Time

_SLICES = {"slice", "slices", "frame", "tile", "patch", "page"}
"""Files that are parts of one image."""

_VISITS = re.compile(r"[vm]-?\d{1,3}")
"""V1, M6 where all patients are called so: visits."""


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
        self.doubt = ""
        self.signs = Signs(images, level, known, headers, texts)
        self.taking = Taking(self.signs)
        self.choice = Choice(self.signs, self._say)
        if level:
            self._repeats(images)
        else:
            self._search(images, self.signs.words)

    def place(self, path: PurePosixPath) -> Place:
        """What a path says, be it of an image or of any other file."""
        if self.signs.level:
            return self._level(path)

        taken = self.taking.take(path)
        whos = taken.whos
        index = self.choice.index(whos)
        times = list(taken.times)
        if index < 0:
            return Place((), (), tuple(times), taken.file.who, taken.file.kinds, rule(times))

        if whos in self.choice.as_times:
            person = taken.parts[-1]
            outer = [Time(f"timepoint {w}", weak=True) for w in whos[:-1]]
            home, raw = (person.name.who,), (person.text,)
            times = outer + times
        else:
            home = (*taken.groups, *whos[: index + 1])
            raw = tuple(part.text for part in taken.parts[: index + 1])

        if not [t for t in times if not dated(t)] and whos not in self.choice.as_times:
            below = [
                part.name.who
                for part in taken.parts[index + 1 :]
                if self.choice.tells(part.name.who)
            ]
            times += [_of_folder(who) for who in below[:1]]

        return Place(home, raw, tuple(times), taken.file.who, taken.file.kinds, rule(times))

    def _level(self, path: PurePosixPath) -> Place:
        """The folders of that depth are the patients, whatever they are called."""
        folders = path.parts[:-1]
        raw = folders[: self.signs.level]
        home = tuple(re.sub(r"\s+", " ", text.strip()).lower() for text in raw)
        below = dates_joined(folders[self.signs.level :])
        names = [self.signs.parse(text) for _, text in below]
        file = self.signs.numbered_visit(path)
        if file is None:
            text = self.signs.timed_stem(path)
            file = visit_below(self.signs.parse(text, file=True))
            if raw and (own := after_head(plain(raw[-1]), plain(text))) is not None:
                file = replace(file, times=self.signs.times(own))
        times = [time for name in (*names, file) for time in name.times]
        if not [t for t in times if not dated(t)]:
            whos = [self.signs.heads.folders.get(plain(text), "") for _, text in below]
            whos = [
                head or (n.who if not n.kinds else "") for head, n in zip(whos, names, strict=True)
            ]
            whos = [who for who in whos if who]
            times += [_of_folder(who) for who in whos[:1] if self.choice.tells(who)]

        return Place(home, raw, tuple(dict.fromkeys(times)), file.who, file.kinds, rule(times))

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
            taken = {path: self.taking.take(path) for path in images}

        stems, depths = coded(images, self.signs.ids)
        if stems:
            self._endings(stems, depths)

        self.taking.suffixes = self._find_suffixes(taken.values())
        if self.taking.suffixes:
            self.taking.forget()
            taken = {path: self.taking.take(path) for path in images}

        self.choice.decide([t for t in taken.values() if t.parts])

    def _without_common(self, images: Sequence[PurePosixPath]) -> dict[PurePosixPath, Taken]:
        """Folders that all images lie in name no patient, if those in them can."""
        self.taking.common = shared_depth(images)
        self.taking.junk = self._constant(images)
        taken = {path: self.taking.take(path) for path in images}
        if not all(t.parts and self._telling(t.parts[0]) for t in taken.values()):
            self.taking.common = 0
            self.taking.forget()
            taken = {path: self.taking.take(path) for path in images}

        return taken

    def _telling(self, part: Part) -> bool:
        """Whether a candidate is more than a short number."""
        return part.name.rank != SHORT or plain(part.text) in self.signs.heads.folders

    def _constant(self, images: Sequence[PurePosixPath]) -> set[str]:
        """What stands beside the time in all folders of one depth, as in ``visit1_export/P1``."""
        beside: dict[int, set[str]] = defaultdict(set)
        for folder in {path.parent for path in images}:
            for depth, text in enumerate(folder.parts):
                name = self.signs.parse(text)
                beside[depth].add(name.who if name.times and name.rank < PERSON else "")

        return {who for whos in beside.values() if len(whos) == 1 for who in whos if who}

    def _restore(self, taken: Mapping[PurePosixPath, Taken], *, beside: bool) -> None:
        """Nothing names a patient: folders such as ``MR_001`` do, folders of dates may.

        Args:
            taken: the paths that do not.
            beside: others do.
        """
        self.taking.restored = any(
            len(self.signs.parse(text).number) > 2 for path in taken for text in path.parts[:-1]
        ) or any(len(t.file.number) > 2 and not _SLICES & set(t.file.kinds) for t in taken.values())
        if self.taking.restored:
            self.taking.forget()
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
                    if self.signs.parse(text).times
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

    def _find_suffixes(self, taken: Collection[Taken]) -> dict[str, tuple[str, str]]:
        """Names such as ``P1_2`` or ``GBM001_early``: who, and the mark of the visit."""
        depths: dict[str, int] = {}
        for t in taken:
            for name, depth in [(p.name, p.depth) for p in t.parts] or [(t.file, 0)]:
                if name.who and not name.times:
                    depths[name.who] = max(depths.get(name.who, 0), depth)

        names = depths.keys()
        result, doubtful = marked(names, settled=with_visits(taken))
        doubtful |= counted_in(names) | short_dates(names) | glued(names)
        if doubtful:
            self._endings(doubtful, [d for n, d in depths.items() if begins(n, doubtful)])

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
            f"patients or visits of {people(len(stems))} cannot be told; {cure}, or name each "
            "patient in the mapping file (patients:) for --mapping"
        )

    def _repeats(self, images: Iterable[PurePosixPath]) -> None:
        """Names of folders that several patients have, where the level is given."""
        seen = {
            (path.parts[: self.signs.level], self.signs.parse(text).who)
            for path in images
            for text in path.parts[self.signs.level : -1]
        }
        self.choice.sub.update(who for _, who in seen)

    def _say(self, doubt: str) -> None:
        self.doubt = self.doubt or doubt


def _of_folder(who: str) -> Time:
    """The time point of a folder below a patient: as others spell it, or by its own name."""
    short = short_time(who)
    return Time(short.label if short else f"folder {who}", weak=True)

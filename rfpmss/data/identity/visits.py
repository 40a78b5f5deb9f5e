"""Which files of a patient belong to one visit; follow-ups are studies of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from rfpmss.data.readers.text.dates import readings

DAYS = 30
"""Examinations of a patient at most this many days apart are one visit, if nothing says no."""


@dataclass(frozen=True)
class Dated:
    """A file as far as its time goes."""

    path: PurePosixPath
    """Relative to the source folder."""
    date: int | None = None
    """A day number, by header, table or name."""
    label: str = ""
    """The time point that names tell, such as ``week 44``."""
    phase: str = ""
    """``pre-op``, ``intra-op`` or ``post-op``."""
    study: str = ""
    """StudyInstanceUID of DICOM."""
    report: bool = False
    """It is a text, and no image."""
    weak: bool = False
    """The label may count the scans of one visit, as ``scan 2`` does."""

    @property
    def mark(self) -> str:
        """What tells the visit beside the date."""
        return self.label or self.phase


def visits(files: Sequence[Dated], days: int = DAYS) -> list[str | None]:
    """The visit of each file of one patient; None where nothing says it for certain.

    1. Files that are dated at most ``days`` after another form a visit with it.
    2. Other time points (``visit 2``, ``week 44``) or phases of an operation are other visits,
       however close their dates. Labels that may count scans (``scan 2``) are one visit if all are
       of one day.
    3. A dated file that no name tells more of goes with the nearest date of the named ones.
    4. An undated file goes by its label or phase, then by the DICOM study, then by the nearest
       folder that holds files of one visit only.
    5. Where no image is dated, the dates of reports part nothing: reports of one visit's days are
       undated, and of several nothing says which is that of the images.

    Args:
        files: of one patient.
        days: see above.

    Returns:
        Names of visits, the same for the same files: the first day's number, a label, or both;
        ``""`` where all files are one visit.

    Example:
        >>> def dated(*dates): return [Dated(PurePosixPath("p/x"), date) for date in dates]
        >>> visits(dated(730000, 730010, 730400))
        ['730000', '730000', '730400']
        >>> visits([Dated(PurePosixPath("a"), 730000, phase="pre-op"),
        ...         Dated(PurePosixPath("b"), 730005, phase="post-op")])
        ['730000 pre-op', '730000 post-op']
    """
    files = _by_study(files)
    if not any(file.date is not None for file in files if not file.report):
        apart = _of_other_days(files, days)
        if apart:
            rest = iter(visits([f for n, f in enumerate(files) if n not in apart], days))
            return [None if n in apart else next(rest) for n in range(len(files))]
        files = [replace(file, date=None) for file in files]

    result = _dated(files, days)
    _undated(files, result)
    there = {visit for visit in result if visit is not None}
    if len(there) < 2 and not any(
        visit is None and file.date is not None for visit, file in zip(result, files, strict=True)
    ):
        return [""] * len(files)

    return _near(files, result)


def _of_other_days(files: Sequence[Dated], days: int) -> set[int]:
    """Reports with dates of several visits and no time point, of images without a date."""
    dates = {n: file.date for n, file in enumerate(files) if file.date is not None}
    several = len(set(_clusters(set(dates.values()), days).values())) > 1
    imaged = any(not file.report for file in files)
    return {n for n in dates if not files[n].mark} if several and imaged else set()


def settled(name: str, days: Collection[int]) -> int | None:
    """The one day of an examination that a date in a name means, whatever its order; else None.

    Args:
        name: of a report without a certain date, such as ``7740012_05092021``.
        days: when the patient was examined.

    Example:
        >>> from datetime import date
        >>> march, september = date(2021, 3, 4).toordinal(), date(2021, 9, 5).toordinal()
        >>> settled("7740012_05092021", {march, september}) == september
        True
        >>> settled("CR 04-03-21", {march}) == march, settled("P1_040321", {march}) == march
        (True, True)
        >>> settled("CR 04-03-21", {march, date(2021, 4, 3).toordinal()}) is None
        True
    """
    written = ("-".join(re.findall(r"\d+", found[1])) for found in _LONG.finditer(name))
    packed = ("-".join(filter(None, found.groups())) for found in _PACKED.finditer(name))
    meant = {day for text in (*written, *packed) for day in (*readings(text), *_turned(text))}
    meant &= set(days)
    return meant.pop() if len(meant) == 1 else None


_LONG = re.compile(r"(?<!\d)(?=(\d{1,2}([-._/ ])\d{1,2}\2(?:(?:19|20)\d\d|\d\d))(?!\d))")
_PACKED = re.compile(r"(?<!\d)(\d\d)(\d\d)((?:19|20)\d\d|\d\d)(?!\d)")
"""Day, month and year as numbers, in any order but the year first in four digits."""


def _turned(text: str) -> tuple[int, ...]:
    """Of three numbers of two digits the reading with the year first."""
    first, second, last = text.split("-")
    return readings(f"20{first}-{second}-{last}") if len(first) == len(last) == 2 else ()


def _by_study(files: Sequence[Dated]) -> list[Dated]:
    """One file of a DICOM study that tells the phase, or the time point, tells it for all."""
    phases: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for file in files:
        if file.study and file.phase:
            phases[file.study].add(file.phase)
        if file.study and file.label:
            labels[file.study].add((file.label, file.weak))

    result = []
    for file in files:
        if file.study and not file.phase and len(phases[file.study]) == 1:
            file = replace(file, phase=next(iter(phases[file.study])))  # noqa: PLW2901
        if file.study and not file.label and len(labels[file.study]) == 1:
            label, weak = next(iter(labels[file.study]))
            file = replace(file, label=label, weak=weak)  # noqa: PLW2901
        result.append(file)

    return result


def _dated(files: Sequence[Dated], days: int) -> list[str | None]:
    """The visits of the files that have a date."""
    first = _clusters({file.date for file in files if file.date is not None}, days)
    runs: dict[int, list[int]] = defaultdict(list)
    for place, file in enumerate(files):
        if file.date is not None:
            runs[first[file.date]].append(place)

    result: list[str | None] = [None] * len(files)
    for start, places in runs.items():
        run = _before_surgery([files[place] for place in places])
        marks = {file.mark for file in run} - {""}
        marked = [file for file in run if file.mark]
        if len(marks) < 2 or (all(f.weak for f in marked) and len({f.date for f in marked}) == 1):
            for place in places:
                result[place] = str(start)
            continue
        for place, file in zip(places, run, strict=True):
            mark = file.mark or _nearest(file, marked)
            result[place] = f"{start} {mark}" if mark else None

    return result


def _before_surgery(run: Sequence[Dated]) -> list[Dated]:
    """What is older than all that is marked as post-op was made before the operation."""
    after = [f.date for f in run if f.phase == "post-op" and f.date is not None]
    return [
        replace(file, phase="pre-op")
        if after and not file.mark and file.date is not None and file.date < min(after)
        else file
        for file in run
    ]


def _clusters(dates: Iterable[int], days: int) -> dict[int, int]:
    """Each date's visit: its first day."""
    result: dict[int, int] = {}
    before = None
    for d in sorted(dates):
        start = result[before] if before is not None and d - before <= days else d
        result[d], before = start, d

    return result


def _nearest(file: Dated, marked: Sequence[Dated]) -> str:
    """The mark of the files whose date is nearest, if they agree."""
    assert file.date is not None
    away = {other: abs(file.date - (other.date or 0)) for other in marked}
    least = min(away.values())
    marks = {other.mark for other, days in away.items() if days == least}

    return marks.pop() if len(marks) == 1 else ""


def _undated(files: Sequence[Dated], result: list[str | None]) -> None:
    """Put files without a date to the visit that their label, their phase or their study names."""
    named: dict[str, set[str]] = defaultdict(set)
    for file, visit in zip(files, result, strict=True):
        if visit is not None:
            for key in {file.label, file.phase, file.study} - {""}:
                named[key].add(visit)

    for place, file in enumerate(files):
        if file.date is None:
            result[place] = _by_name(file, named)

    labelled: dict[str, set[str]] = defaultdict(set)
    for file, visit in zip(files, result, strict=True):
        if file.label and file.label != file.phase and visit is not None:
            labelled[file.phase].add(visit)

    imaged = {v for file, v in zip(files, result, strict=True) if not file.report}
    for place, file in enumerate(files):  # a report "postop" of the images "week 3 post-op"
        alone = file.phase and result[place] == file.phase and file.phase not in imaged
        if alone and len(labelled[file.phase]) == 1:
            result[place] = next(iter(labelled[file.phase]))


def _by_name(file: Dated, named: Mapping[str, set[str]]) -> str | None:
    """The one visit of a file's label, phase or study; a visit of its own if none has them."""
    for key in (file.label, file.phase, file.study):
        if key and len(named.get(key, ())) == 1:
            return next(iter(named[key]))
    return file.mark if file.mark and not named.get(file.mark) else None


def _near(files: Sequence[Dated], known: list[str | None]) -> list[str | None]:
    """By the nearest folder; a folder of reports tells nothing of another report."""
    images: dict[PurePosixPath, set[str]] = defaultdict(set)
    every: dict[PurePosixPath, set[str]] = defaultdict(set)
    for file, visit in zip(files, known, strict=True):
        if visit is not None:
            for folder in file.path.parents:
                every[folder].add(visit)
                if not file.report:
                    images[folder].add(visit)

    result = list(known)
    for place, file in enumerate(files):
        if result[place] is None and file.date is None:
            beneath = images if file.report else every
            folder = next((f for f in file.path.parents if beneath.get(f)), None)
            inside = beneath[folder] if folder is not None else set()
            result[place] = next(iter(inside)) if len(inside) == 1 else None

    return result

"""The rows of tables to reports of patients, once it is known who is in the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rfpmss.data.errors import DataError
from rfpmss.data.identity.known import Exam, Kind, Known, plain
from rfpmss.data.identity.layout.place import Place
from rfpmss.data.identity.mapping import Words
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.owners.assign import Owned
from rfpmss.data.identity.owners.item import key
from rfpmss.data.identity.visits import DAYS
from rfpmss.data.privacy.private import clean
from rfpmss.data.readers.file import File
from rfpmss.data.reports.worksheet import read_reports


def known_of(files: Sequence[File], owned: Owned, words: Words) -> Known:
    """What the patients of the images are called.

    Args:
        files: of the source.
        owned: the patient of each file.
        words: of the mapping file.
    """
    names: dict[tuple[str, Kind, str], None] = {}
    days: dict[str, set[int]] = defaultdict(set)
    exams: dict[str, list[tuple[str, File, bool]]] = defaultdict(list)
    views: dict[str, set[str]] = defaultdict(set)
    unnumbered: set[str] = set()
    for file, owner, at in zip(files, owned.owners, owned.places, strict=True):
        if owner is None or file.kind in ("text", "table"):
            continue
        views[owner].add(file.view)
        if not file.accession:
            unnumbered.add(owner)
        for kind, name in _called(file, at):
            names[owner, kind, name] = None
            if kind == "exam":
                exams[plain(name)].append((owner, file, False))
        for name in {key(file.relative), *_file_name(file, at)}:
            exams[plain(name)].append((owner, file, True))
        if file.date is not None:
            days[owner].add(file.date)

    plain_ids = {plain(name): owner for owner, kind, name in names if kind == "id"}
    for name, patient in words.patients.items():
        if (owner := plain_ids.get(plain(patient))) is not None:
            names[owner, "id", name] = None

    known = Known.of(
        names,
        {owner: frozenset(found) for owner, found in days.items()},
        {name: exam for name, found in exams.items() if name and (exam := _exam(found))},
        {file.label for file in files if file.kind not in ("text", "table")},
    )
    seen = {owner: frozenset(found) for owner, found in views.items()}
    return replace(known, numbered=frozenset(seen) - unnumbered, views=seen)


def _called(file: File, at: Place) -> Iterator[tuple[Kind, str]]:
    """What a file's patient and examination are called."""
    named = () if file.series else (key(file.relative), at.name, *_file_name(file, at))
    folders = (*at.raw[-1:], *at.home[-1:])
    for name in dict.fromkeys(filter(None, (file.patient, *file.others, *folders, *named))):
        yield "id", name

    for name in filter(None, (file.accession, file.study)):
        yield "exam", name

    for name in file.persons:  # alphabetic, ideographic and phonetic (PS3.5, 6.2.1)
        for spelling in filter(None, map(str.strip, name.split("="))):
            yield "name", spelling


def _file_name(file: File, at: Place) -> tuple[str, ...]:
    """An image's whole name, if it says who: ``P7_t1``."""
    return (stem(file.relative),) if at.name and not file.series else ()


def _exam(found: Sequence[tuple[str, File, bool]]) -> Exam | None:
    """The one examination that all files of a name belong to."""
    owners = {owner for owner, _, _ in found}
    if len(owners) > 1:
        return None

    days = frozenset(file.date for _, file, _ in found if file.date is not None)
    by_name = all(named for _, _, named in found)
    beside = len({file.relative.parent for _, file, _ in found}) == 1
    place = found[0][1].relative if by_name and beside else None
    if by_name and (place is None or found[0][1].series):
        return None

    return Exam(owners.pop(), days, place)


def reports_of(
    file: File, words: Words, known: Known, days: int | None = DAYS
) -> Iterator[tuple[str | None, File, DataError | None]]:
    """The rows of a table, each with its patient, as a report, and why it cannot be used.

    Args:
        file: of kind ``table``.
        words: of the mapping file.
        known: of `known_of`.
        days: of `rfpmss.data.identity.visits.visits`.

    Raises:
        DataError: if the table cannot be used.
    """
    given = words.table(file.relative)
    table, reports = read_reports(file.path, given, known, DAYS if days is None else days)
    told = f"table, text in {' + '.join(table.text)}, patient in {table.patient or '(no name)'}"
    told += f", date in {table.date}" if table.date else ""
    told += f", sentences not taken in {' + '.join(table.left)}" if table.left else ""
    told += " (by the mapping file)" if given else ""
    for report in reports:
        row = replace(
            file,
            kind="text",
            view="report",
            told=told,
            name=report.patient,
            names=report.names,
            text=clean(report.text) if report.text else "",
            date=report.date,
            place=report.place,
            label=report.label,
            phase=report.phase,
            timed=report.timed,
            unread=report.unread,
        )
        yield report.owner, row, report.error

"""Tables with one report a row: which columns they are, whose the rows are, and what they say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rfpmss.data.errors import (
    ANOTHER,
    OR_NOTHING,
    ROW,
    ColumnError,
    DataError,
    OwnerError,
    RowError,
    TextError,
)
from rfpmss.data.identity.known import Known
from rfpmss.data.identity.mapping import Table
from rfpmss.data.identity.names.parse import parse, short_time
from rfpmss.data.identity.names.times import Time
from rfpmss.data.readers.text.dates import readings, settle
from rfpmss.data.readers.text.tables import FORMULA, RESAVE
from rfpmss.data.reports.columns import (
    Column,
    named_exam,
    owner_of_row,
    patient_column,
    witnesses,
)
from rfpmss.data.reports.examined import columns as examined_columns
from rfpmss.data.reports.examined import names_series, other
from rfpmss.data.reports.headings import (
    Rank,
    counted_text,
    date_order,
    fixed,
    name_parts,
    names_persons,
    no_report,
    rank,
    says_else,
    text_order,
    time_unit,
    timed_text,
)
from rfpmss.data.reports.sheets import Sheet, says_who_or_when, sheets_of


@dataclass(frozen=True)
class Told:
    """One report of a table."""

    row: int
    """Line of the table, the first is 1."""
    owner: str | None
    """The patient whose report it is."""
    patient: str
    """What the table calls the patient."""
    text: str
    date: int | None
    """Day of the examination."""
    place: PurePosixPath | None
    """An image of the visit, where the row names one."""
    names: tuple[str, ...]
    """What the row calls the patient and the staff."""
    label: str = ""
    """The time point that a column of the table names, such as ``timepoint 2``."""
    phase: str = ""
    """Of ``label``."""
    timed: bool = False
    """The column of the text itself names the time: other columns hold texts of other times."""
    unread: bool = False
    """The cell of the date is no date, or may mean two days."""
    error: DataError | None = None
    """Why the row cannot be used."""


NO_REPORTS = "no column of the table holds reports by its name or its texts"
"""Of a table about something else, such as ``participants.tsv``."""


LISTS_IMAGES = "the table lists images"
"""Of a table that archives give beside what was downloaded."""


def read_reports(
    path: Path, table: Table | None, known: Known | None = None, days: int = 30
) -> tuple[Table, list[Told]]:
    """The reports of a table in a file.

    Args:
        path: a CSV, TSV or XLSX file.
        table: which columns to take; None: by their values and names.
        known: what the patients of the images are called.
        days: a date at most so far from an examination is near it.

    Returns:
        The columns that were taken, and an entry for every row that has a text.

    Raises:
        ColumnError: if it holds no columns of patients and texts, or two columns have equal claims
            to name the patients.
        TextError: if it is no table, or lacks the columns that ``table`` names.
        BombError: if it is implausibly large.
    """
    known = known or Known()
    sheets = sheets_of(path, table)
    taken, told, refused = table, [], None
    for sheet in sheets:
        try:
            taken, found = _read(sheet, table, known, days)
            told += found
        except (ColumnError, TextError) as error:
            refused = refused or error

    if taken is None or (refused and not told):
        raise refused or TextError("the table is empty")

    return taken, told


def _read(sheet: Sheet, table: Table | None, known: Known, days: int) -> tuple[Table, list[Told]]:
    names = sheet.names
    wanted = {table.patient, *table.text, *filter(None, [table.date])} if table else set()
    if absent := wanted - set(names):
        raise TextError(f"the table lacks {len(absent)} of the columns that --mapping names")

    rows = [(line, cells) for line, cells in sheet.rows[1:] if any(map(str.strip, cells))]
    groups = _texts(names, [cells for _, cells in rows], table)
    texts = [place for places, _ in groups for place in places]
    dates = _dates(names, table)
    whole, broken = _whole(rows, len(names), texts, ragged=sheet.ragged)
    used = {n for n, name in enumerate(names) if name in wanted or says_who_or_when(name)}
    whole, unknown = _computed(whole, used | set(texts))
    broken += unknown
    whole = _named(names, whole) if table is None else whole
    cells = [row for _, row in whole]
    if table is None and _labels(names, texts, cells):
        raise ColumnError(f"the column {names[texts[0]]!r} holds short labels and no reports")

    if table is None and _series(texts, cells):
        shown = " and ".join(repr(names[place]) for place in texts)
        raise ColumnError(f"{LISTS_IMAGES}: {shown} names series, no findings", OR_NOTHING)

    skip = (*texts, *dates)
    patient = patient_column(names, cells, known, skip=skip, given=table.patient if table else "")
    if not (dates or table):
        dates = _days(names, cells, (*texts, patient.place), patient, known, days)

    taken = Table(
        file="*",
        patient=patient.name,
        text=tuple(names[place] for place in texts),
        date=names[dates[0]] if dates else "",
        left=() if table else _left(names, cells, texts, patient.place),
    )
    found = []
    for places, time in groups:
        one = len(groups) == 1 or (time and time.day is not None)
        told = _told(
            whole, patient, names, places, [] if time and not one else dates[:1], known, days
        )
        found += [_at(row, time, alone=len(groups) == 1) if time else row for row in told]

    if table is None:
        cells = dict(whole)
        others = _others(names, (*texts, *dates, patient.place), cells, known)
        found = others(found)

    return taken, [*broken, *found]


def _others(
    names: Sequence[str], skip: Sequence[int], rows: Mapping[int, Sequence[str]], known: Known
) -> Callable[[Sequence[Told]], list[Told]]:
    """What gives rows to nobody that are of examinations of which there are no images.

    A number of its own says so where all images of the patient have one and some row names one of
    them; so does what was examined: another part of the body, or by other means. Another modality
    says it only where it is that of the images in some row.
    """
    numbers = [
        n
        for n, name in enumerate(names)
        if rank(name) == Rank.EXAM and any(_numbered(row[n], known) for row in rows.values())
    ]
    examined = examined_columns(names, skip)

    def why(told: Told, *, by_modality: bool) -> str:
        row = rows[told.row]
        if any(_numbered(row[n], known) for n in numbers):
            return ""
        if told.owner in known.numbered and any(row[n].strip() for n in numbers):
            return "the number of its examination is that of no image of the patient"
        seen = known.views.get(told.owner or "", frozenset()) if by_modality else frozenset()
        what = next(filter(None, (other(row[n], seen) for n in examined)), "")
        return f"the row is of {what}" if what else ""

    def checked(found: Sequence[Told]) -> list[Told]:
        mine = [told for told in found if told.error is None and told.owner is not None]
        tellings = any(not why(told, by_modality=True) for told in mine)
        reasons = {id(told): why(told, by_modality=tellings) for told in mine}
        return [
            replace(told, error=OwnerError(what, ANOTHER))
            if (what := reasons.get(id(told)))
            else told
            for told in found
        ]

    return checked


def _numbered(cell: str, known: Known) -> bool:
    """Whether a cell holds the number of an examination of the images, or of its addendum."""
    said = [cell, *re.split(r"[,;/|&\s]+", cell)]
    said += [
        re.sub(r"(?:[-_.](?:\d{1,2}|[A-Za-z]{1,4}\d?)|[A-Za-z]{1,2}\d?)$", "", s) for s in said
    ]
    return any(known.exam(s) for s in said if s)


def _at(row: Told, time: Time, *, alone: bool) -> Told:
    """A row whose text is of the time that its column names."""
    if time.day is not None:
        return replace(row, date=time.day, unread=False)
    return replace(row, label=time.label, phase=time.phase, timed=not alone)


Texts = list[tuple[list[int], Time | None]]
"""Columns of text in reading order, and the time that their names tell: each makes reports."""


def _texts(names: Sequence[str], rows: Sequence[tuple[str, ...]], table: Table | None) -> Texts:
    """The columns of text; one of another name where it alone holds sentences."""
    if table:
        return [([names.index(name) for name in table.text], None)]

    orders = [(order, n) for n, name in enumerate(names) if (order := text_order(name)) is not None]
    groups: Texts = [([place for _, place in sorted(orders)], None)] if orders else []
    timed: dict[Time, list[tuple[int, int]]] = defaultdict(list)
    for place, name in enumerate(names):
        if text_order(name) is None and (found := timed_text(name)):
            timed[found[1]].append((found[0], place))

    groups += [([place for _, place in sorted(places)], time) for time, places in timed.items()]
    if groups:
        _counted([names[place] for places, _ in groups for place in places])
        return groups

    likely = [n for n, name in enumerate(names) if not no_report(name)]
    if not any(_sentences(n, rows, WORDS, SIGNS) for n in likely):
        if any(_is_sentence(cell, WORDS, SIGNS) for row in rows for cell in row):
            what = "no name of a column says that it holds reports, and texts repeat or are few"
            raise ColumnError(what, OR_NOTHING)
        raise ColumnError(NO_REPORTS, OR_NOTHING)

    places = [n for n in likely if _sentences(n, rows, WORDS // 2 + 1, SIGNS // 2 + 1)]
    if len(places) > 1:
        shown = " and ".join(repr(names[n]) for n in places)
        raise ColumnError(f"the columns {shown} hold sentences, and no name says which the reports")

    return [(places, None)]


def _left(
    names: Sequence[str], rows: Sequence[tuple[str, ...]], texts: Sequence[int], patient: int
) -> tuple[str, ...]:
    """Columns of sentences beside those of the report of which nobody knows what they hold.

    Raises:
        ColumnError: if only one half of the report, findings or conclusions, is named for certain:
            the column may be the other half.
    """
    found = tuple(
        name
        for place, name in enumerate(names)
        if place not in (*texts, patient)
        and not (text_order(name) is not None or timed_text(name) or says_else(name))
        and _prose([row[place].strip() for row in rows])
    )
    orders = {text_order(names[place]) for place in texts} - {3}
    if found and not (0 in orders or {1, 2} <= orders or any(timed_text(names[n]) for n in texts)):
        shown = " and ".join(map(repr, found))
        raise ColumnError(
            f"the sentences of the {'columns' if len(found) > 1 else 'column'} {shown} may belong "
            "to the report, and no name says it"
        )

    return found


def _prose(cells: Sequence[str]) -> bool:
    """Whether half of the cells are sentences, short or repeated as they may be."""
    said = [cell for cell in cells if cell]
    spoken = [
        cell
        for cell in said
        if (_is_sentence(cell, 4, 8) and (" " in cell or not cell.isascii()))
        or re.search(r"[^\W\d_]{4,}[.!。]$|[\u3040-\u9fff\uac00-\ud7af]{2,}。$", cell)
    ]
    return bool(said) and 2 * len(spoken) >= len(said)


def _counted(names: Sequence[str]) -> None:
    """Refuse ``Report 1`` and ``Report 2``: parts of one report, or reports of two visits."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if found := counted_text(name):
            by_stem[found].append(name)

    if several := next((found for found in by_stem.values() if len(found) > 1), None):
        shown = " and ".join(map(repr, several))
        raise ColumnError(f"the columns {shown} may hold parts of one report, or several reports")


WORDS, SIGNS = 5, 10
"""Words, or Chinese signs, of a cell that holds a sentence, at least."""


def _sentences(place: int, rows: Sequence[tuple[str, ...]], words: int, signs: int) -> bool:
    """Whether half of a column's cells hold sentences, no labels, paths or addresses.

    Args:
        place: of the column.
        rows: all cells.
        words: of a sentence, at least.
        signs: of one in Chinese, Japanese or Korean.
    """
    cells = [row[place].strip() for row in rows if place < len(row) and row[place].strip()]
    long = [cell for cell in cells if _is_sentence(cell, words, signs)]
    return bool(cells) and 2 * len(long) >= len(cells) and len(set(long)) > len(long) / 2


def _is_sentence(cell: str, words: int, signs: int) -> bool:
    wide = re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", cell)
    return len(re.findall(r"[^\W\d_]{2,}", cell)) >= words or len(wide) >= signs


def _days(
    names: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    skip: Sequence[int],
    patient: Column,
    known: Known,
    days: int,
) -> list[int]:
    """The column, of any name, whose dates are those of the patients' examinations."""
    examined = [known.days.get(owner or "", frozenset()) for owner in patient.owners]
    found: dict[int, int] = {}
    for place, name in enumerate(names):
        said = [row[place].strip() for row in rows]
        if place in skip or fixed(name) or not any(said):
            continue
        if not all(readings(cell) for cell in said if cell):
            continue
        settled = settle(said, examined, days)
        near = [
            any(abs(day - exam) <= days for exam in exams)
            for day, exams in zip(settled, examined, strict=True)
            if day is not None and exams
        ]
        if near and 2 * sum(near) > len(near):
            found[place] = sum(day in set(e) for day, e in zip(settled, examined, strict=True))

    best = [place for place, same in found.items() if same == max(found.values())]
    return best if len(best) == 1 else []


LABEL = 25
"""Letters of a label at most: `GBM`, `Astrocytoma, grade 3`."""


def _labels(names: Sequence[str], texts: Sequence[int], rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether a column `diagnosis` is one of labels, which no model may read in a report."""
    only = len(texts) == 1 and text_order(names[texts[0]]) == 2
    said = [row[texts[0]].strip() for row in rows]
    return only and len(rows) > 1 and max(map(len, said)) <= LABEL and not _prose(said)


def _series(texts: Sequence[int], rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether columns of text name series of images, as the lists of archives do."""
    said = {row[place].strip() for row in rows for place in texts} - {""}
    return bool(said) and sum(map(names_series, said)) >= SERIES * len(said)


SERIES = 0.8
"""Of the different cells."""


def _dates(names: Sequence[str], table: Table | None) -> list[int]:
    """The columns of dates, that of the examination first."""
    if table:
        return [names.index(table.date)] if table.date else []
    orders = [(order, n) for n, name in enumerate(names) if (order := date_order(name)) is not None]
    return [place for _, place in sorted(orders)]


def _whole(
    rows: Sequence[tuple[int, tuple[str, ...]]], width: int, texts: Sequence[int], *, ragged: bool
) -> tuple[list[tuple[int, tuple[str, ...]]], list[Told]]:
    """Rows that have a cell for each column, and the others."""
    whole, broken = [], []
    for line, row in rows:
        cells = row
        while len(cells) > width and not cells[-1].strip():
            cells = cells[:-1]
        if ragged:
            cells += ("",) * (width - len(cells))
        if len(cells) == width and not _split(cells, texts):
            whole.append((line, cells))
            continue
        few = "fewer" if len(cells) < width else "more"
        what = f"the row has {few} cells than the table has columns"
        if len(cells) == width:
            what = "the text goes on in the next cell"
        broken.append(Told(line, None, "-", "", None, None, (), error=RowError(what)))

    return whole, broken


def _named(
    names: Sequence[str], rows: Sequence[tuple[int, tuple[str, ...]]]
) -> list[tuple[int, tuple[str, ...]]]:
    """The rows with the given name beside the family name, where two columns hold them."""
    places = name_parts(names)
    if places is None:
        return list(rows)

    family, given = places
    return [
        (line, (*row[:family], f"{row[family]}^{row[given]}".strip("^ "), *row[family + 1 :]))
        for line, row in rows
    ]


def _computed(
    rows: Sequence[tuple[int, tuple[str, ...]]], used: set[int]
) -> tuple[list[tuple[int, tuple[str, ...]]], list[Told]]:
    """Rows whose used cells are all known, and those with a formula that has no stored value."""
    unknown = [line for line, row in rows if any(row[n] == FORMULA for n in used)]
    error = RowError("a cell of the row holds a formula without a value, or an error", RESAVE)
    blank = [
        (line, tuple("" if cell == FORMULA else cell for cell in row))
        for line, row in rows
        if line not in set(unknown)
    ]
    return blank, [Told(line, None, "-", "", None, None, (), error=error) for line in unknown]


def _split(cells: Sequence[str], texts: Sequence[int]) -> bool:
    """Whether a sentence was cut at a comma: `No bleeding, but a mass` without quotes."""
    pairs = [(cells[n], cells[n + 1]) for n in texts if n + 1 < len(cells)]
    return any(re.match(r" +[a-zß-ÿ]", after) and before.strip() for before, after in pairs)


def _told(
    rows: Sequence[tuple[int, tuple[str, ...]]],
    patient: Column,
    names: Sequence[str],
    texts: Sequence[int],
    dates: Sequence[int],
    known: Known,
    days: int,
) -> Iterator[Told]:
    cells = [row for _, row in rows]
    others = witnesses(patient, names, cells, known)
    owners, errors = _owners(patient, others, len(rows))
    said = [cells[n][dates[0]] if dates else "" for n in range(len(rows))]
    examined = [known.days.get(owner or "", frozenset()) for owner in owners]
    settled = settle(said, examined, days)
    times = [known.times(cell) if owners[n] else () for n, cell in enumerate(patient.cells)]
    personal = [n for n, name in enumerate(names) if n == patient.place or names_persons(name)]
    for n, (line, row) in enumerate(rows):
        text = _joined([row[place].strip() for place in texts])
        if not any(letter.isalpha() for letter in text):
            continue
        error = errors[n]
        if error is None and owners[n] is None:
            error = OwnerError("nothing says whose report it is", ROW)
        called = tuple(row[place].strip() for place in personal if row[place].strip())
        exam = named_exam(patient, others, n, known)
        date = settled[n]
        if exam and (exam.days or exam.place):
            date = min(exam.days) if exam.days else None
        elif date is None and not said[n].strip():
            date = next((time.day for time in times[n] if time.day is not None), None)
        place = exam.place if exam else None
        yield Told(
            row=line,
            owner=owners[n],
            patient=patient.cells[n] or "-",
            text=text,
            date=date,
            place=place,
            names=called,
            label=_label(names, row, times[n], (*texts, patient.place), known),
            unread=bool(said[n].strip()) and date is None,
            error=error,
        )


def _label(
    names: Sequence[str],
    row: Sequence[str],
    times: Sequence[Time],
    skip: Sequence[int],
    known: Known,
) -> str:
    """The time point of a row: beside the name of the patient, or in a column.

    A column `timepoint` says it by its name; any other one where an image has that time point.
    """
    found = {time.label for time in times if time.day is None}
    for place, (name, cell) in enumerate(zip(names, row, strict=True)):
        said = cell.strip()
        if not said or place in skip:
            continue
        unit = time_unit(name)
        counted = unit or re.sub(r"(?i)[\W_]*(?:no|nr|num|number|id|index)\W?$", "", name)
        read = parse(f"{counted} {said}" if said.isdecimal() else said, tee=True)
        labels = {time.label for time in read.times}
        if unit and (short := short_time(said.lower())):  # V2, M12
            labels = {short.label}
        if unit or not read.who:
            found |= labels if unit else labels & known.labels

    return found.pop() if len(found) == 1 else ""


def _owners(
    patient: Column, others: Sequence[Column], count: int
) -> tuple[list[str | None], list[DataError | None]]:
    owners: list[str | None] = []
    errors: list[DataError | None] = []
    for row in range(count):
        try:
            owners.append(owner_of_row(patient, others, row))
            errors.append(None)
        except OwnerError as error:
            owners.append(None)
            errors.append(error)

    return owners, errors


def _joined(parts: Sequence[str]) -> str:
    """Texts of one row in reading order; one that another one holds is not said twice."""
    parts = list(dict.fromkeys(filter(None, parts)))
    whole = [part for part in parts if not any(part != o and part in o for o in parts)]
    return "\n".join(whole)

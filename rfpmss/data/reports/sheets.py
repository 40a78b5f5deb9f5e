"""The cells of tables in files, and which texts are tables."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.common.files import read_bytes
from rfpmss.data.errors import BombError, TextError
from rfpmss.data.identity.mapping import Table
from rfpmss.data.readers.text.dates import readings
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.text.tables import read_sheets
from rfpmss.data.readers.volume import MIB
from rfpmss.data.reports.headings import (
    Rank,
    date_order,
    names_persons,
    rank,
    text_order,
)
from rfpmss.data.reports.text_words import fold

LARGEST = 64 * MIB
"""A table's file, bytes."""
SEPARATORS = "\t;,|"
TITLES = 20
"""Rows above the header at most: titles, the hospital's name, the day of the export."""


@dataclass(frozen=True)
class Sheet:
    """A table as rows of cells."""

    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Line and cells of each row; the first is the header."""
    ragged: bool = False
    """Rows may end before the header does, for empty cells at the end are not stored."""

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [name.strip() for name in self.rows[0][1]]


def sheets_of(path: Path, table: Table | None) -> list[Sheet]:
    """The sheets of an XLSX file, or the one of a file with separators.

    Args:
        path: a file of kind ``table``.
        table: which columns the user named; None: none.

    Raises:
        TextError: if it is no table.
        BombError: if it is implausibly large.
    """
    return _workbook(path, table) if zipfile.is_zipfile(path) else [_delimited(path, table)]


def _workbook(path: Path, table: Table | None) -> list[Sheet]:
    """The sheets of an XLSX file that hold anything; notes and legends are sheets as well."""
    found = []
    for cells in read_sheets(path):
        rows = [(n, tuple(row)) for n, row in enumerate(cells, 1) if any(map(str.strip, row))]
        if rows:
            start = _header(rows, table)
            widest = max(len(row) for _, row in rows[start:])
            header = rows[start][1] + ("",) * (widest - len(rows[start][1]))
            found.append(Sheet(((rows[start][0], header), *rows[start + 1 :]), ragged=True))

    return found


def _delimited(path: Path, table: Table | None) -> Sheet:
    """A CSV or TSV file, read with the separator that gives known columns and whole rows."""
    if path.stat().st_size > LARGEST:
        raise BombError("the table is larger than a table of patients can be")

    text = decode_text(read_bytes(path))
    if "\0" in text:
        raise TextError("the table holds binary data")

    marked = re.match(r"sep=(.)\r?\n?", text)  # a hint for Excel
    if marked:
        text = text[marked.end() :]

    readings, damaged = [], None
    for separator in (marked[1],) if marked else SEPARATORS:
        try:
            if rows := _rows(text, separator):
                readings.append((_worth(rows, table), rows))
        except _OpenQuote as error:
            damaged = error

    worth, rows = max(readings, key=lambda reading: reading[0], default=((0, False, 0.0), []))
    if damaged and worth[0] < 2:
        raise TextError(f"a quotation mark is left open in the table near line {damaged}")
    if not rows:
        raise TextError("the table is empty")

    return Sheet(tuple(rows[_header(rows, table) :]))


class _OpenQuote(Exception):
    """Quotation marks that do not pair, and the line."""


def _rows(text: str, separator: str) -> list[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, tuple(row)))
            line = reader.line_num + 1
    except csv.Error:
        raise _OpenQuote(str(line)) from None

    return rows


def _worth(
    rows: Sequence[tuple[int, tuple[str, ...]]], table: Table | None
) -> tuple[int, bool, float]:
    """How well a separator fits: known columns in the header, several, share of rows as wide."""
    start = _header(rows, table)
    names = [name.strip() for name in rows[start][1]]
    width = len(names)
    same = sum(len(row) == width for _, row in rows[start:])

    return _recognised(names, table) if width > 1 else 0, width > 1, same / len(rows)


def _header(rows: Sequence[tuple[int, tuple[str, ...]]], table: Table | None) -> int:
    """The row that names the columns; titles may stand above it."""
    first = [[name.strip() for name in row] for _, row in rows[:TITLES]]
    known = [_recognised(names, table) for names in first]
    if max(known) > 1:
        return known.index(max(known))

    return 0


def _recognised(names: Sequence[str], table: Table | None) -> int:
    """Names of columns that are known; a text and something else make a header."""
    if table:
        return len({table.patient, *table.text, table.date} & set(names))

    texts = sum(text_order(name) is not None for name in names)
    others = sum(text_order(name) is None and says_who_or_when(name) for name in names)
    return texts + others


def says_who_or_when(name: str) -> bool:
    """Whether a column of this name says whose or of when a row is."""
    usual = rank(name) in (Rank.WEAK, Rank.COUNTER)
    return bool(name) and (usual or names_persons(name) or date_order(name) is not None)


@dataclass(frozen=True)
class Shape:
    """What a text has of a table."""

    rows: int = 0
    """Below the header; 0: the text is no table."""
    plain: bool = False
    """It has a header of known columns, and most rows have as many cells."""


_CELLS = {  # separators, and the least columns without a known header: prose has semicolons, too
    "\t": (re.compile(r"\t"), 3),
    "|": (re.compile(r"\|"), 3),
    ";": (re.compile(r";(?! )"), 4),
}
_GAPS = re.compile(r" {2,}|\t")
_UNIFORM = 0.8
"""Share of the lines that have as many cells as most have."""


def shape_of(text: str) -> Shape:
    r"""Whether a text is a table, so that it is not the report of one patient.

    A known header says so: a column of texts and one of patients or examinations. Without one,
    lines with equal numbers of cells do, two columns of which the first holds numbers of patients,
    lines that begin with such numbers, and one label with two of them, `MRN: 7` and `MRN: 8`. A
    list of points, of days, or of labels and values, is none.

    Example:
        >>> texts = ("MRN|Report~P1|Left mass", "P1|Left mass~P2|Right mass", "Name:|Doe~MRN:|123")
        >>> [shape_of(text.replace("|", "\t").replace("~", "\n")).rows for text in texts]
        [1, 2, 0]
    """
    text = re.sub(r"\n\t", "\t", text.replace("\r\n", "\n"))  # cells of documents end as lines do
    shapes = [_headed(_cells(text, separator)) for separator in SEPARATORS]
    if found := [shape for shape in shapes if shape.rows]:
        return max(found, key=lambda shape: (shape.plain, shape.rows))

    lines = [line for line in text.splitlines() if line.strip()]
    wide = _headed([tuple(_GAPS.split(line.strip())) for line in lines])
    rows = wide.rows or max(_uniform(lines, *cells) for cells in _CELLS.values())
    return Shape(rows or _numbered(lines) or _blocks(lines))


def _cells(text: str, separator: str) -> list[tuple[str, ...]]:
    try:
        return [cells for _, cells in _rows(text, separator)]
    except _OpenQuote:
        return [tuple(line.split(separator)) for line in text.splitlines() if line.strip()]


def _headed(rows: Sequence[tuple[str, ...]]) -> Shape:
    """A table with a header of known columns."""
    rows = [_trimmed(row) for row in rows]
    for place, names in enumerate(rows[:TITLES]):
        body = rows[place + 1 :]
        same = sum(len(row) == len(names) for row in body)
        who = any(rank(name) in _WHO for name in names)
        texts = any(text_order(name) is not None for name in names)
        labels = any(name.endswith((":", "：")) for name in names)
        if len(names) < 2 or labels or not same or not (who or texts):
            continue
        if who and texts:
            return Shape(len(body), plain=2 * same > len(body))
        if len(names) > 2 and same == len(body):
            return Shape(len(body), plain=texts or sum(map(says_who_or_when, names)) > 1)

    return Shape()


_WHO = (Rank.PATIENT, Rank.EXAM, Rank.NAME, Rank.WEAK)


_ID = re.compile(r"\W{0,3}([A-Za-z]{0,6}[-_]?(?:\d[-_./]?){4,40})[\W_]")


def _numbered(lines: Sequence[str]) -> int:
    """Rows that begin with numbers of different patients, whatever parts their cells; 0: none."""
    found = [match[1] for line in lines if (match := _ID.match(line))]
    ids = [said for said in found if not readings(said.rstrip("-_./"))]
    return len(ids) if len(set(ids)) > 1 and len(ids) >= _UNIFORM * len(lines) else 0


_FIELD = re.compile(
    r"[\s{\[,;|\"']{0,9}([^\W\d_][\w .°-]{0,30})[\"']?\s{0,3}[:=：]\s{0,3}[\"']?"
    r"([A-Za-z]{0,6}[-_]?\d[\w./-]{0,40})[\"']?\s{0,3}(?:$|[,;|}])"
)


def _blocks(lines: Sequence[str]) -> int:
    """Patients that one label names, `MRN: 7` and further down `MRN: 8`; 0: none, or one."""
    said: dict[str, set[str]] = {}
    for found in filter(None, map(_FIELD.match, lines)):
        if rank(found[1]) == Rank.PATIENT:
            said.setdefault(fold(found[1]), set()).add(fold(found[2]))

    most = max(map(len, said.values()), default=0)
    return most if most > 1 else 0


def _trimmed(row: Sequence[str]) -> tuple[str, ...]:
    """Without empty cells at the end."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        del cells[-1]
    return tuple(cells)


def _uniform(lines: Sequence[str], separator: re.Pattern[str], least: int) -> int:
    """Rows of a table whose header is not known, or that has none; 0: it is no table."""
    rows = [_trimmed(separator.split(line)) for line in lines]
    widths = [len(row) for row in rows]
    width = max(Counter(widths).items(), key=lambda item: item[1], default=(0, 0))[0]
    if width < 2 or widths.count(width) < max(_UNIFORM * len(widths), 2):
        return 0

    first = [row[0] for row in rows if len(row) == width]
    ids = all(re.search(r"\d", cell) and re.fullmatch(r"[\w./-]{1,40}", cell) for cell in first[1:])
    points = all(re.fullmatch(r"\d{1,3}[.):]|[•*–-]", cell) for cell in first)
    if ids and len(set(first)) == len(first) and not points:
        return len(rows)

    return len(rows) if width >= least and len(rows) > 2 else 0

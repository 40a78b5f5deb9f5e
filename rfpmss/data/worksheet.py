"""Tables with one report a row: which columns they are, and what they say."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.data.dates import day
from rfpmss.data.errors import BombError, TextError, UnsupportedError
from rfpmss.data.mapping import Table
from rfpmss.data.private import decode_text
from rfpmss.data.volume import MIB

LARGEST = 64 * MIB
"""A table's file, bytes."""
# Whole names of columns, without case and separators; the first that fits.
_TEXT = (
    r"reports?(?:text)?|(?:radiology|pathology|imaging|mri|ct)report|narrative|text",
    r"findings?",
    r"impressions?|conclusions?|diagnosis|assessment",
    r"报告(?:内容|文本)?|检查报告",
    r"(?:影像|检查)?(?:所见|表现|描述)",
    r"(?:影像|检查)?(?:诊断|结论|印象|诊断意见)",
    r"befund(?:text)?",
    r"beurteilung",
)
_PATIENT = (
    r"patients?(?:id|no|number|identifier)?|pid|subject(?:id)?|case(?:id)?|mrn|medicalrecordnumber|id",
    r"患者(?:id|编号|号)?|病人(?:id|编号|号)?|病历号|住院号|门诊号|登记号|影像号|编号",
)
_DATE = (
    r"(?:study|exam(?:ination)?|report|scan)?date|datum",
    r"(?:检查|报告)?(?:日期|时间)",
)


@dataclass(frozen=True)
class Told:
    """One report of a table."""

    row: int
    """Line of the table, the header is 1."""
    patient: str
    text: str
    date: int | None


def read_reports(path: Path, table: Table | None) -> tuple[Table, list[Told]]:
    """The reports of a CSV or TSV file: UTF-8, UTF-16 with mark, or GB 18030.

    Args:
        path: the file.
        table: which columns to take; None: guess by their names.

    Returns:
        The columns that were taken, and a report of every row that has a patient and a text.

    Raises:
        UnsupportedError: if it holds no columns of patients and texts.
        TextError: if it is no table, or lacks the columns that ``table`` names.
        BombError: if it is implausibly large.
    """
    if path.stat().st_size > LARGEST:
        raise BombError("the table is larger than a table of patients can be")
    text = decode_text(path.read_bytes())
    if "\0" in text:
        raise TextError("the table holds binary data")
    header, *rows = _rows(text)
    names = [name.strip() for name in header]
    if table is None:
        table = _guess(names)
    absent = {table.patient, *table.text, *filter(None, [table.date])} - set(names)
    if absent:
        raise TextError(f"the table lacks {len(absent)} of the columns that --mapping names")
    place = {name: names.index(name) for name in (table.patient, *table.text, table.date) if name}
    told = []
    for number, row in enumerate(rows, start=2):
        cells = {name: row[k].strip() if k < len(row) else "" for name, k in place.items()}
        said = "\n".join(cells[name] for name in table.text if cells[name])
        if cells[table.patient] and any(letter.isalpha() for letter in said):
            date = day(cells[table.date]) if table.date else None
            told.append(Told(number, cells[table.patient], said, date))
    return table, told


def _rows(text: str) -> list[list[str]]:
    first = text.partition("\n")[0]
    separator = max("\t;,", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        raise TextError("the table is damaged or not a CSV file") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise TextError("the table is empty")
    return rows


def _guess(names: Sequence[str]) -> Table:
    texts = [name for pattern in _TEXT for name in names if _fits(name, pattern)]
    patients = [name for pattern in _PATIENT for name in names if _fits(name, pattern)]
    dates = [name for pattern in _DATE for name in names if _fits(name, pattern)]
    if not texts or not patients:
        raise UnsupportedError("the table has no columns of patients and reports by their names")
    return Table(
        file="*",
        patient=patients[0],
        text=tuple(dict.fromkeys(texts)),
        date=dates[0] if dates else "",
    )


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, re.sub(r"[\s_\-./()]+", "", name.lower())) is not None

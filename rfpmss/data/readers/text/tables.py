"""Small tables, CSV or XLSX, as rows of text; nothing in them is ever run."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from rfpmss.common.files import opened, opened_text
from rfpmss.data.errors import BombError, TextError, UnreadableError
from rfpmss.data.readers.volume import MIB

LARGEST = 64 * MIB
"""A CSV file, bytes."""
LARGEST_PART, TAGS, COLUMNS = 16 * MIB, 1_000_000, 1024
"""Of an XLSX file: bytes unpacked, marks in them, columns. A parsed mark takes a hundred times the
bytes of a short one, and a row as many cells as its last column says."""
SHEETS = 64
"""Sheets of a workbook at most."""
_SHEET = "xl/worksheets/sheet1.xml"
_SHEET_NAME = re.compile(r"xl/worksheets/sheet\d+\.xml")
_STRINGS = "xl/sharedStrings.xml"
_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
FORMULA = "\0formula"
"""Stands for a cell whose formula has no stored value, or an error for one."""
RESAVE = "open the table in a spreadsheet program, mend such cells and save it again"
_MISSING = re.compile(
    r"not (?:available|applicable|recorded)|n\.?/?a\.?|nan|none|unknown|indeterminate|nos(?:/nec)?"
    r"|nec|-+|",
    re.IGNORECASE,
)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file or of the first sheet of an XLSX file, by column name.

    Raises:
        TextError: if it is no table in UTF-8 with a header.
        UnreadableError: if an XLSX file is damaged.
        BombError: if it is implausibly large.
    """
    if path.suffix.lower() == ".xlsx":
        return _named(_sheet(path))
    if path.stat().st_size > LARGEST:
        raise BombError("the table is larger than a table of patients can be")

    try:
        with opened_text(path, "utf-8-sig", newline="") as file:
            return _named([[cell.strip() for cell in row] for row in csv.reader(file, strict=True)])
    except (UnicodeDecodeError, csv.Error):
        raise TextError("the table is not a CSV file in UTF-8") from None


def missing(value: str) -> bool:
    """Whether a cell says that the value is not known.

    Example:
        >>> [word for word in ("NOS/NEC", "Not Available", "Wildtype", "0", "") if missing(word)]
        ['NOS/NEC', 'Not Available', '']
    """
    return _MISSING.fullmatch(value.strip()) is not None


def _named(rows: list[list[str]]) -> list[dict[str, str]]:
    rows = [row for row in rows if any(row)]
    if not rows:
        raise TextError("the table is empty")
    if any(FORMULA in row for row in rows):
        raise TextError("a cell holds a formula without a value, or an error", RESAVE)

    header = rows[0]
    if len(set(filter(None, header))) < len(list(filter(None, header))):
        raise TextError("the table has two columns of the same name")

    return [
        {name: cell for name, cell in zip(header, row, strict=False) if name} for row in rows[1:]
    ]


def _sheet(path: Path) -> list[list[str]]:
    return next(read_sheets(path, most=1))


def read_sheets(path: Path, most: int = SHEETS) -> Iterator[list[list[str]]]:
    """The cells of each sheet of an XLSX file; days are numbers, as spreadsheets count them.

    Raises:
        UnreadableError: if the file is damaged or has no sheet.
        BombError: if it is implausibly large.
    """
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            strings = [_string(item) for item in part(archive, _STRINGS)]
            found = [name for name in archive.namelist() if _SHEET_NAME.fullmatch(name)]
            names = sorted(found, key=lambda name: (len(name), name)) or [_SHEET]
            sheets = [part(archive, name) for name in names[:most]]
    except (zipfile.BadZipFile, ElementTree.ParseError, EOFError, OSError, RuntimeError):
        raise UnreadableError("the Excel file is damaged") from None

    if len(names) > SHEETS:
        raise BombError("the workbook has more sheets than a table of patients can have")

    yield from (_cells(sheet, strings) for sheet in sheets)


def _string(item: ElementTree.Element) -> str:
    """A text and the runs of a rich text, without the phonetic reading of Japanese."""
    runs = (item, *item.iterfind(f"{_SPACE}r"))
    return "".join(run.findtext(f"{_SPACE}t") or "" for run in runs)


def _cells(sheet: ElementTree.Element, strings: list[str]) -> list[list[str]]:
    rows = []
    for row in sheet.iter(f"{_SPACE}row"):
        cells: dict[int, str] = {}
        for position, cell in enumerate(row.iter(f"{_SPACE}c")):
            cells[_column(cell.get("r", ""), position)] = _text(cell, strings)
        rows.append([cells.get(n, "") for n in range(max(cells, default=-1) + 1)])

    return rows


def part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """The root of a part of an Office document, bounded before it is parsed."""
    if name not in archive.namelist():
        if name == _STRINGS:
            return ElementTree.Element("none")
        raise UnreadableError("the document lacks its main part")

    if archive.getinfo(name).file_size > LARGEST_PART:
        raise BombError("the table is larger than a table of patients can be")

    data = archive.read(name)
    if data.count(b"<") > TAGS:
        raise BombError("the table has more cells than a table of patients can have")
    if b"\0" in data:  # UTF-16, in which the next line would find nothing; Office writes UTF-8
        raise UnreadableError("the document is not in UTF-8")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise UnreadableError("the document defines entities of its own")

    return ElementTree.fromstring(data)  # noqa: S314 - entities are refused above


def _column(reference: str, position: int) -> int:
    """``"AB12"`` -> 27; the position where the file gives no reference."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if not letters:
        return position

    number = 0
    for letter in letters.group():
        number = 26 * number + ord(letter) - ord("A") + 1

    if number > COLUMNS:
        raise BombError("the table has more columns than a table of patients can have")

    return number - 1


def _text(cell: ElementTree.Element, strings: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(_string(item) for item in cell.iterfind(f"{_SPACE}is")).strip()

    value = (cell.findtext(f"{_SPACE}v") or "").strip()
    computed = cell.find(f"{_SPACE}f") is not None and cell.get("t") != "str"
    if cell.get("t") == "e" or (computed and not value):
        return FORMULA

    if cell.get("t") == "s":
        if not value.isdecimal() or int(value) >= len(strings):
            raise UnreadableError("the XLSX file refers to a text that it does not hold")
        return strings[int(value)].strip()

    return value.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", value) else value

"""Labels of one's own patients: a table with a row a patient, joined to the images as reports are.

The patients' column is chosen by the values that it shares with the images, as for reports
(`rfpmss.data.reports.columns`). A row that names an examination, or the date of one, labels that
visit alone; every other row labels all visits of its patient.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rfpmss.common.files import read_bytes
from rfpmss.data.cohort.counts import SHARED
from rfpmss.data.cohort.shards import series
from rfpmss.data.errors import BombError, ColumnError, IncompleteError, OwnerError
from rfpmss.data.identity.known import Exam, Known
from rfpmss.data.identity.visits import DAYS
from rfpmss.data.privacy.private import decode_text
from rfpmss.data.readers.text.dates import day, settle
from rfpmss.data.readers.text.tables import missing, read_table
from rfpmss.data.readers.volume import MIB
from rfpmss.data.reports.columns import (
    Column,
    named_exam,
    owner_of_row,
    patient_column,
    witnesses,
)
from rfpmss.data.reports.headings import Rank, date_order, fold, names_persons, rank, text_order
from rfpmss.data.study import Study

LARGEST = 64 * MIB
"""A table's file, bytes."""
MOST = 20
"""Different words that a label can have without being asked for by name."""
LONGEST = 40
"""Letters of a value."""
LONG_NUMBER = 100_000
"""Whole numbers above it are identifiers or dates rather than measurements."""
SHOWN = 6
"""Lines of the table that a sentence lists."""
_PRIVATE = (
    *("birth", "dob", "geburt", "naissance", "nacimiento", "出生", "生日", "誕生"),
    *("address", "adresse", "street", "zip", "postal", "phone", "email", "地址", "电话", "手机"),
)
"""Parts of the names of columns that say who somebody is."""


class LabelError(IncompleteError):
    """A table of labels that cannot be used."""

    cure = "correct the table of --labels; docs/data/labels.md says what it must hold"


@dataclass(frozen=True, kw_only=True)
class Identities:
    """Whose each study is, and when it was; not free of names."""

    known: Known
    """What the patients are called."""
    owners: Mapping[str, str]
    """The patient of each study."""
    days: Mapping[str, frozenset[int]]
    """Dates of each study."""


@dataclass(frozen=True)
class Joined:
    """Studies with labels."""

    studies: tuple[Study, ...]
    sentences: tuple[str, ...]
    """What was taken and what not; free of names and of values that few patients share."""


@dataclass(frozen=True)
class _Label:
    name: str
    values: tuple[str, ...]
    """Of each row; ``""`` where it is not known."""
    numbers: bool


def join(
    studies: Sequence[Study],
    identities: Identities,
    table: Path,
    root: Path,
    wanted: Sequence[str] = (),
) -> Joined:
    """Give the studies the labels of a table.

    Args:
        studies: of a scan.
        identities: of the same scan.
        table: CSV, TSV or XLSX, the first row names the columns.
        root: folder of the images.
        wanted: columns to take; none: all that can be labels.

    Raises:
        LabelError: if no row belongs to a patient of the images, two rows contradict one another,
            or no column is a label.
        DataError: if the table cannot be read.
    """
    names, lines, rows = read_cells(table)
    known = identities.known
    dates = [n for n, name in enumerate(names) if date_order(name) is not None]
    dates.sort(key=lambda n: date_order(names[n]) or 0)

    try:
        patient = patient_column(names, rows, known, skip=dates)
    except ColumnError as error:
        raise LabelError(error.reason) from None

    if known.owner(names[patient.place], patient.kind):
        raise LabelError("the first row of the table names a patient; it must name the columns")

    others = witnesses(patient, names, rows, known)
    skip = {patient.place, *dates, *(column.place for column in others)}
    labels, left = _labels(names, rows, skip, wanted)
    joiner = _Joiner(studies, identities, root)
    owners, contradictory = _owners(patient, others, len(rows))
    said = [row[dates[0]] if dates else "" for row in rows]
    settled = settle(said, [known.days.get(o or "", frozenset()) for o in owners], DAYS)
    for number, line in enumerate(lines):
        exam = named_exam(patient, others, number, known)
        joiner.add(line, owners[number], settled[number], exam, labels, number)

    joiner.ambiguous = [lines[number] for number in contradictory]
    joiner.nobody = [line for line in joiner.nobody if line not in joiner.ambiguous]
    return joiner.finish(labels, left, patient.name)


def read_cells(table: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Names of the columns, and line and cells of each row.

    Raises:
        LabelError: if it is no table with a header.
        DataError: if it cannot be read.
    """
    if not table.is_file():
        raise LabelError("--labels must name a file")

    if table.suffix.lower() == ".xlsx":
        found = read_table(table)
        names = list(found[0]) if found else []
        both = [(n, [row.get(name, "") for name in names]) for n, row in enumerate(found, start=2)]
    else:
        names, both = _delimited(table)

    if len(names) < 2 or not both:
        raise LabelError("the table has no row, or no second column")
    if len(set(names)) < len(names):
        raise LabelError("the table has two columns of one name")

    both = [(line, row) for line, row in both if any(row)]
    return names, [line for line, _ in both], [row for _, row in both]


def _delimited(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if table.stat().st_size > LARGEST:
        raise BombError("the table is larger than a table of patients can be")

    text = decode_text(read_bytes(table))
    header = text.partition("\n")[0]
    separator = max("\t;,", key=header.count)  # the first one on a tie
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 1
    try:
        for row in reader:
            rows.append((line, [cell.strip() for cell in row]))
            line = reader.line_num + 1
    except csv.Error:
        raise LabelError(f"a quotation mark is left open near line {line}") from None

    names = rows[0][1] if rows else []
    while names and not names[-1]:
        names = names[:-1]

    for line, row in rows[1:]:
        if len(row) > len(names) and any(row[len(names) :]):
            raise LabelError(f"line {line} has more cells than the table has columns")

    width = len(names)
    return names, [(line, (row + [""] * width)[:width]) for line, row in rows[1:]]


# Which columns are labels


def _labels(
    names: Sequence[str], rows: Sequence[Sequence[str]], skip: set[int], wanted: Sequence[str]
) -> tuple[list[_Label], list[tuple[str, str]]]:
    """The labels, and the columns that are none, each with the reason."""
    if absent := [name for name in wanted if name not in names]:
        raise LabelError(f"--label-columns must name columns of the table, got {absent[0]}")

    labels, left = [], []
    for place, name in enumerate(names):
        if place in skip or not name or (wanted and name not in wanted):
            continue
        label = _label(name, [row[place] for row in rows])
        reason = _unfit(label, asked=bool(wanted))
        if reason:
            left.append((name, reason))
        else:
            labels.append(label)

    return labels, left


def _label(name: str, cells: Sequence[str]) -> _Label:
    name = name.lstrip("=+-@ \t")  # no formula for a spreadsheet
    values = ["" if missing(cell) else " ".join(cell.split()) for cell in cells]
    numbers = [_number(value) for value in values]
    if all(number is not None for number, value in zip(numbers, values, strict=True) if value):
        return _Label(
            name, tuple(_shown(n) if n is not None else "" for n in numbers), numbers=True
        )

    # One word in two spellings is one value: the commoner spelling.
    folded = [unicodedata.normalize("NFKC", value).casefold() for value in values]
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for key, value in zip(folded, values, strict=True):
        spellings[key][value] += 1

    best = {key: min(found, key=lambda v: (-found[v], v)) for key, found in spellings.items()}
    return _Label(name, tuple(best[key] for key in folded), numbers=False)


def _number(value: str) -> float | None:
    """A finite number, with a point or a comma; ``1,234`` may be either and is none.

    Example:
        >>> _number("3,5"), _number("1e3"), _number("1,234"), _number("nan"), _number("IV")
        (3.5, 1000.0, None, None, None)
    """
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", value):
        return None

    try:
        number = float(value.replace(",", ".") if value.count(",") == 1 else value)
    except ValueError:
        return None

    return number if math.isfinite(number) else None


def _shown(number: float) -> str:
    """``4.0`` is ``4``.

    Example:
        >>> _shown(4.0), _shown(0.25)
        ('4', '0.25')
    """
    return str(int(number)) if number == int(number) else repr(number)


def _unfit(label: _Label, *, asked: bool) -> str:
    """Why a column is no label; ``""``: it is one."""
    values = [value for value in label.values if value]
    folded = fold(label.name)
    if (
        names_persons(label.name)
        or rank(label.name) in (Rank.WEAK, Rank.COUNTER)
        or any(word in folded for word in _PRIVATE)
    ):
        return "it names persons or numbers them"
    if not values:
        return "it is empty"

    return _no_number(label, values) if label.numbers else _no_class(label, values, asked=asked)


def _no_number(label: _Label, values: Sequence[str]) -> str:
    if date_order(label.name) is not None or max(abs(float(v)) for v in values) > LONG_NUMBER:
        return "its numbers are too long for a measurement"
    return ""


def _no_class(label: _Label, values: Sequence[str], *, asked: bool) -> str:
    if 2 * sum(day(value) is not None for value in values) > len(values):
        return "it holds dates"
    if text_order(label.name) is not None or max(map(len, values)) > LONGEST:
        return "it holds texts"

    different = len(set(values))
    if not asked and (different > MOST or (different > 2 and 2 * different > len(values))):
        return "its values differ from patient to patient (--label-columns takes it all the same)"

    return ""


# Whose row it is


def _owners(
    patient: Column, others: Sequence[Column], count: int
) -> tuple[list[str | None], list[int]]:
    owners: list[str | None] = []
    contradictory = []
    for row in range(count):
        try:
            owners.append(owner_of_row(patient, others, row))
        except OwnerError:
            owners.append(None)
            contradictory.append(row)

    return owners, contradictory


class _Joiner:
    """Rows given to studies one by one, with what became of each."""

    def __init__(self, studies: Sequence[Study], identities: Identities, root: Path) -> None:
        self.studies = studies
        self.root = root
        self.days = identities.days
        self.mine: dict[str, list[Study]] = defaultdict(list)

        for study in studies:
            self.mine[identities.owners[study.study_id]].append(study)

        self.given: dict[tuple[str, str], tuple[str, int]] = {}
        self.nobody: list[int] = []
        self.ambiguous: list[int] = []
        self.far: list[int] = []
        self.clashes: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def add(
        self,
        line: int,
        owner: str | None,
        date: int | None,
        exam: Exam | None,
        labels: Sequence[_Label],
        row: int,
    ) -> None:
        """One row of the table."""
        mine = self.mine.get(owner or "", [])
        if not mine:
            self.nobody.append(line)
            return

        chosen = self._visit(mine, date, exam)
        if not chosen:
            self.far.append(line)

        for study in chosen:
            for label in labels:
                if value := label.values[row]:
                    first = self.given.setdefault((study.study_id, label.name), (value, line))
                    if first[0] != value:
                        self.clashes[label.name].append((first[1], line))

    def _visit(self, mine: list[Study], date: int | None, exam: Exam | None) -> list[Study]:
        """The studies of one patient that a row speaks of."""
        if exam and exam.place:
            named = self.root / exam.place
            if found := [s for s in mine if any(named in v.paths for v in series(s).values())]:
                return found

        days = exam.days if exam and exam.days else {date} if date is not None else set()
        dated = [(study, self.days.get(study.study_id, frozenset())) for study in mine]
        if not days or (len(mine) == 1 and not dated[0][1]):
            return mine

        apart = [
            min((abs(one - other) for one in days for other in there), default=DAYS + 1)
            for _, there in dated
        ]
        nearest = min(apart)
        return [s for s, gap in zip(mine, apart, strict=True) if gap == nearest <= DAYS]

    def finish(
        self, labels: Sequence[_Label], left: Sequence[tuple[str, str]], patient: str
    ) -> Joined:
        """The labelled studies, and what is to be said."""
        for name, pairs in self.clashes.items():
            one, other = pairs[0]
            raise LabelError(
                f"the lines {one} and {other} of the table give one patient different values of "
                f"{name!r}; keep one of them, or add a column `exam date` if they are visits"
            )

        if not self.given:
            raise LabelError(self._nothing(labels, left))

        studies = []
        words = [label.name for label in labels if not label.numbers]
        words += [label.name for label in labels if label.numbers and _few(label)]
        for study in self.studies:
            mine = [
                (label.name, self.given[study.study_id, label.name][0])
                for label in labels
                if (study.study_id, label.name) in self.given
            ]
            stratum = "\0".join(dict(mine).get(name, "") for name in words)
            studies.append(replace(study, labels=(*study.labels, *mine), stratum=stratum))

        return Joined(tuple(studies), tuple(self._sentences(labels, left, patient, studies)))

    def _nothing(self, labels: Sequence[_Label], left: Sequence[tuple[str, str]]) -> str:
        if labels:
            return "no row of the table belongs to a patient of the images"
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in left)
        return f"no column of the table is a label ({reasons or 'there is no other column'})"

    def _sentences(
        self,
        labels: Sequence[_Label],
        left: Sequence[tuple[str, str]],
        patient: str,
        studies: Sequence[Study],
    ) -> Iterator[str]:
        yield f"labels, patient in {patient or '(no name)'}:"
        for label in labels:
            yield f"  {label.name}: {_distribution(label, studies)}"

        for name, reason in left:
            yield f"  not taken: {name}: {reason}"

        for lines, what in (
            (self.nobody, "rows that belong to no patient of the images"),
            (self.ambiguous, "rows that name two patients in two columns"),
            (self.far, f"rows more than {DAYS} days from every examination of the patient"),
        ):
            if lines:
                shown = ", ".join(map(str, lines[:SHOWN])) + (", ..." * (len(lines) > SHOWN))
                yield f"  not used, {what}: {len(lines)} (lines {shown})"

        without = len({s.patient_id for s in studies} - {s.patient_id for s in studies if s.labels})
        if without:
            yield f"  patients without a label: {without}"


def _few(label: _Label) -> bool:
    """Numbers that are classes, such as grades."""
    return len(set(label.values) - {""}) <= SHARED + 2


def _distribution(label: _Label, studies: Sequence[Study]) -> str:
    """How many patients have it and each of its values; rare values are not shown."""
    patients: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        if (value := study.label(label.name)) is not None:
            patients[value].add(study.patient_id)

    total = len(set().union(*patients.values()))
    if label.numbers and not _few(label):
        return f"{total} patients, numbers"

    shown = [f"{len(who)} {value}" for value, who in sorted(patients.items()) if len(who) >= SHARED]
    hidden = len(patients) - len(shown)
    if hidden:
        shown.append(f"values of fewer than {SHARED} patients: {hidden}")

    return f"{total} patients ({', '.join(shown)})"

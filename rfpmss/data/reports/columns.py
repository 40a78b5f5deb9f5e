"""Which column of a table says whose row it is, and whose it is.

The values decide, the name of a column only where they do not: the column with most rows that mean
a patient of the images is taken, then the one with most different patients, then the one whose name
says that it holds patients; a column `id` comes last, for it may number the rows. Where two columns
have equal claims and name different patients, the table is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rfpmss.data.errors import ROW, ColumnError, OwnerError
from rfpmss.data.identity.known import Exam, Kind, Known, plain
from rfpmss.data.reports.headings import Rank, date_order, fixed, rank

KINDS: dict[Rank, tuple[Kind, ...]] = {
    Rank.NAME: ("name", "id"),
    Rank.EXAM: ("exam", "id"),
    Rank.PATIENT: ("id", "exam", "name"),
}
"""What the cells of a column can be, the likeliest first; any other column: ids or examinations."""


@dataclass(frozen=True)
class Column:
    """A column, read as names of patients."""

    place: int
    name: str
    rank: Rank
    kind: Kind
    cells: tuple[str, ...]
    owners: tuple[str | None, ...]
    """Of each row; None: the cell means no patient, or several."""
    counts: bool
    """The cells number the rows: 1, 2, 3, ..."""

    @property
    def claim(self) -> tuple[int, int]:
        """Rows with a patient, different patients."""
        there = [owner for owner in self.owners if owner is not None]
        return len(there), len(set(there))

    def disputes(self, other: Column) -> bool:
        """Whether the two columns give one row to different patients."""
        pairs = zip(self.owners, other.owners, strict=True)
        return any(a is not None and b is not None and a != b for a, b in pairs)


def patient_column(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    known: Known,
    *,
    skip: Sequence[int] = (),
    given: str = "",
) -> Column:
    """The column that says whose row it is.

    Args:
        names: of the columns.
        rows: cells, as many as columns in each row.
        known: what the patients of the images are called.
        skip: columns that hold something else, such as the report.
        given: the user's own choice of a column.

    Raises:
        ColumnError: if no column can be it, or two have equal claims and name different patients.

    Example:
        >>> known = Known.of([(f"p{n}", "id", str(n)) for n in (1, 2, 3)])
        >>> rows = [["1", "3"], ["2", "1"], ["3", "2"]]
        >>> patient_column(["id", "mrn"], rows, known).owners
        ('p3', 'p1', 'p2')
    """
    if given:
        place = list(names).index(given)
        return max(_readings(place, names, rows, known, ("id", "exam", "name")), key=_claim)

    columns = []
    for place, name in enumerate(names):
        r = rank(name)
        if place in skip or r == Rank.NEVER:
            continue
        kinds = KINDS.get(r, ("id", "exam"))
        columns.append(max(_readings(place, names, rows, known, kinds), key=_claim))

    matching = [column for column in columns if _believable(column, len(rows))]
    if not matching:
        return _by_name(columns)

    return _best(matching, columns)


def _claim(column: Column) -> tuple[int, int]:
    return column.claim


def _readings(
    place: int,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    known: Known,
    kinds: Sequence[Kind],
) -> list[Column]:
    name = names[place]
    cells = [row[place].strip() for row in rows]
    zeros = any(len(cell) > 1 and cell.startswith("0") and cell.isdigit() for cell in cells)
    counts = len(cells) > 1 and any(
        [plain(cell) for cell in cells] == [str(n) for n in range(first, first + len(cells))]
        for first in (0, 1)
    )
    found = []
    for kind in kinds:
        owners = tuple(known.owner(cell, kind, zeros=zeros) if cell else None for cell in cells)
        if kind == "name" or kinds == KINDS[Rank.NAME]:
            several = _several_persons(owners, names, rows)
            owners = tuple(None if n in several else owner for n, owner in enumerate(owners))
        found.append(Column(place, name, rank(name), kind, tuple(cells), owners, counts))

    return found


def _several_persons(
    owners: Sequence[str | None], names: Sequence[str], rows: Sequence[Sequence[str]]
) -> set[int]:
    """Rows that name one patient several times, unless they are follow-ups of one person.

    Those have different dates, and nothing else that is a person's own differs between them.
    """
    orders = [(order, n) for n, name in enumerate(names) if (order := date_order(name)) is not None]
    own = [n for n, name in enumerate(names) if fixed(name)]
    groups: dict[str, list[int]] = defaultdict(list)
    for n, owner in enumerate(owners):
        if owner is not None:
            groups[owner].append(n)

    several: set[int] = set()
    for group in groups.values():
        dates = {rows[n][min(orders)[1]].strip() for n in group} - {""} if orders else set()
        differ = any(len({plain(rows[n][place]) for n in group} - {""}) > 1 for place in own)
        if len(group) > 1 and (len(dates) < len(group) or differ):
            several.update(group)

    return several


def _believable(column: Column, rows: int) -> bool:
    """Whether the shared values are no chance: a score or a count shares some with any ids."""
    shared, different = column.claim
    if column.rank in (Rank.UNKNOWN, Rank.COUNTER):
        return 2 * shared >= max(rows, 1) and different >= min(2, rows)
    return shared > 0


def _by_name(columns: Sequence[Column]) -> Column:
    """Where no value is known, all rows are nobody's; the name says which column that is about."""
    likely = [c for c in columns if c.rank in (Rank.PATIENT, Rank.EXAM, Rank.NAME, Rank.WEAK)]
    if not likely:
        raise ColumnError("no column of the table names patients of the images")
    return max(likely, key=lambda column: (column.rank, -column.place))


def _best(matching: Sequence[Column], columns: Sequence[Column]) -> Column:
    order = sorted(matching, key=lambda c: (c.claim, c.rank, -c.place), reverse=True)
    best = order[0]
    for other in order[1:]:
        if not best.disputes(other):
            continue
        if other.rank > best.rank and best.counts:
            return _best([column for column in matching if column is not best], columns)
        if other.rank > best.rank or (other.claim, other.rank) == (best.claim, best.rank):
            raise ColumnError(_tie(best, other))

    if best.rank == Rank.COUNTER and best.counts:
        raise ColumnError(_numbers(best))

    # A column that counts the rows is none of patients where another one is named for them.
    rivals = [c for c in columns if c.rank >= Rank.NAME and c is not best and not any(c.owners)]
    if best.counts and best.rank < Rank.NAME and rivals:
        raise ColumnError(_tie(best, rivals[0]))

    return best


def _tie(one: Column, other: Column) -> str:
    return f"the columns {one.name!r} and {other.name!r} name different patients in the same rows"


def _numbers(column: Column) -> str:
    name = f"column {column.name!r}" if column.name else "column without a name"
    return f"the {name} may only number the rows, and no other one names patients of the images"


def witnesses(
    best: Column, names: Sequence[str], rows: Sequence[Sequence[str]], known: Known
) -> list[Column]:
    """The other columns that are named for patients, examinations or persons."""
    found = []
    for place, name in enumerate(names):
        if (r := rank(name)) in KINDS and place != best.place:
            column = max(_readings(place, names, rows, known, KINDS[r]), key=_claim)
            if not column.counts and 2 * column.claim[0] >= best.claim[0]:
                found.append(column)

    return found


def owner_of_row(best: Column, others: Sequence[Column], row: int) -> str | None:
    """The patient of a row; None where nothing says it.

    Args:
        best: of `patient_column`.
        others: of `witnesses`; they speak for the row where the cell of ``best`` is empty.
        row: its number, from 0.

    Raises:
        OwnerError: if two columns name different patients.
    """
    mine = best.owners[row]
    said = {column.owners[row] for column in others} | {mine}
    said.discard(None)
    if len(said) > 1:
        raise OwnerError("two columns of the row name different patients", ROW)
    if mine is None and best.cells[row]:
        return None

    return next(iter(said), None)


def named_exam(patient: Column, others: Sequence[Column], row: int, known: Known) -> Exam | None:
    """The examination that the row names: by its number, or by an image of its own."""
    for column in (*others, patient):
        exam = known.exam(column.cells[row])
        if exam and exam.owner == column.owners[row]:
            return exam
    return None

"""Tables of results: read, written whole, or a second run's rows put in place of its own."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def upsert(path: Path, rows: Iterable[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Replace the rows with the same key, keep the others, in order of the key."""
    rows = [{name: str(value) for name, value in row.items()} for row in rows]
    held = read(path)
    if held and rows and list(held[0]) != list(rows[0]):
        held = []  # the columns have changed
    table = {tuple(row[key] for key in keys): row for row in [*held, *rows]}
    write(path, (table[key] for key in sorted(table)), list(rows[0]))


def write(path: Path, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Write the whole table, of which a reader never sees half; what a row lacks is left empty."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def read(path: Path) -> list[dict[str, str]]:
    """All rows; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))

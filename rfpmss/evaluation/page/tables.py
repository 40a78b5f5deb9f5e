"""Tables as JSON, CSV and LaTeX files, and the small one a terminal shows."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rfpmss.common import strict
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import read_bytes, write_text
from rfpmss.evaluation.retrieval.zeroshot import Row

SHOWN = (
    *(("study", "report"), ("report", "study"), ("mri", "report"), ("ct", "report")),
    *(("pathology", "report"), ("ct", "mri"), ("mri", "ct"), ("pathology", "mri")),
)
"""Directions of the table at the end of training; the files hold all."""


LARGEST = 1 << 28
"""Bytes of a file of scores; a million queries in every direction are fewer."""


class TableError(RfpmssError, ValueError):
    """A file of scores cannot be read."""


def write_retrieval(rows: Sequence[Row], folder: Path, name: str = "retrieval") -> None:
    """Write ``NAME.json`` (the short form), ``NAME_full.json``, ``NAME.csv`` and ``NAME.tex``."""
    full = [asdict(row) for row in rows]
    write_json(folder / f"{name}.json", [row.contract() for row in rows])
    write_json(folder / f"{name}_full.json", full)
    write_csv(folder / f"{name}.csv", full)
    write_latex(folder / f"{name}.tex", [_readable(row) for row in rows])


def print_table(rows: Sequence[Row]) -> None:
    """Print the main directions with chance, score and ceiling of R@5, in percent."""
    chosen = [row for row in rows if (row.query, row.gallery) in SHOWN]
    chosen.sort(key=lambda row: SHOWN.index((row.query, row.gallery)))
    if not chosen:
        sys.stdout.write(
            "no retrieval table: it needs two studies of the split, each with two modalities\n"
        )
        return

    heads = ("retrieval", "n", "chance R@5", "R@5 (95 %)", "ceiling", "R@1", "median rank")
    lines = [
        (
            f"{row.query} -> {row.gallery}",
            str(row.n),
            percent(row.chance_r5),
            f"{percent(row.r5)} ({percent(row.r5_low)}-{percent(row.r5_high)})",
            percent(row.ceiling_r5),
            percent(row.r1),
            f"{row.medr:g}",
        )
        for row in chosen
    ]
    if sys.stdout.isatty():
        _rich(heads, lines)
    else:
        _plain(heads, lines)

    for row in chosen:
        if row.outline_r5 is not None:
            sys.stdout.write(
                f"{row.query} -> {row.gallery} by the outline of the head alone, without a "
                f"network: R@5 {percent(row.outline_r5)}\n"
            )


def _plain(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, *lines):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        sys.stdout.write("  ".join(cells) + "\n")


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; a dash for None.

    Example:
        >>> percent(0.125), percent(None)
        ('12.5', '-')
    """
    return "-" if value is None else f"{100 * value:.1f}"


def write_json(path: Path, content: object, *, private: bool = False) -> None:
    """Write strict JSON, atomically; what says something of single patients is private."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n", private=private)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_json` wrote; none where there is no such file.

    Raises:
        TableError: if the file holds something else.
    """
    if not path.exists():
        return []

    with trusted(path):
        found = _read_json(path)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ValueError
        return found


def read_object(path: Path) -> dict[str, Any] | None:
    """The object that `write_json` wrote; None where there is no such file.

    Raises:
        TableError: if the file holds something else.
    """
    if not path.exists():
        return None

    with trusted(path):
        found = _read_json(path)
        if not isinstance(found, dict):
            raise ValueError
        return found


def _read_json(path: Path) -> Any:
    if path.stat().st_size > LARGEST:
        raise ValueError
    return strict.loads(read_bytes(path))


@contextmanager
def trusted(*paths: Path) -> Iterator[None]:
    """Take what files of scores say as `write_json` wrote it, and say so where it is not.

    Raises:
        TableError: if a file is damaged, or holds something else.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, RfpmssError):
            raise
        there = [path for path in paths if path.exists()]
        if not there:
            raise TableError(
                f"scores must be there, got no {' or '.join(map(str, paths))}; run the command "
                "that writes it again"
            ) from None

        names = ", ".join(map(str, there)) + (", one of" if len(there) > 1 else ",")
        raise TableError(
            f"scores must be JSON as rfpmss wrote it, got {names} which is damaged or holds "
            f"something else; remove it, or run the command that wrote it again"
        ) from None


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of equal fields; text that a spreadsheet would run as a formula is quoted."""
    table = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows([{name: _harmless(value) for name, value in row.items()} for row in rows])

    write_text(path, table.getvalue())


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows beside the JSON file ``path``: as .csv, and as .tex with three decimals."""
    write_csv(path.with_suffix(".csv"), rows)
    write_latex(path.with_suffix(".tex"), [rounded(row) for row in rows])


def rounded(row: Mapping[str, object]) -> dict[str, object]:
    """The cells of a row for reading: three decimals, a dash for None.

    Example:
        >>> rounded({"name": "ct", "n": 2, "auc": 0.12345, "p": None})
        {'name': 'ct', 'n': 2, 'auc': '0.123', 'p': '-'}
    """
    return {
        name: "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        for name, value in row.items()
    }


def write_latex(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a ``tabular`` with booktabs rules, every cell escaped."""
    if not rows:
        write_text(path, "% no rows\n")
        return

    heads = list(rows[0])
    lines = [r"\begin{tabular}{" + "l" + "r" * (len(heads) - 1) + "}", r"\toprule"]
    lines.append(" & ".join(map(_tex, heads)) + r" \\")
    lines.append(r"\midrule")
    lines += [" & ".join(_tex(row[name]) for name in heads) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    write_text(path, "\n".join(lines) + "\n")


def _readable(row: Row) -> dict[str, object]:
    cells: dict[str, object] = {"Retrieval": f"{row.query} to {row.gallery}", "n": row.n}
    for k in (1, 5, 10):
        score, low, high, chance, ceiling = (
            percent(getattr(row, name.format(k)))
            for name in ("r{}", "r{}_low", "r{}_high", "chance_r{}", "ceiling_r{}")
        )
        cells[f"R@{k} (95 %)"] = f"{score} ({low}, {high})"
        cells[f"chance / ceiling @{k}"] = f"{chance} / {ceiling}"

    cells["outline @5"] = percent(row.outline_r5)
    return cells | {"MedR": f"{row.medr:g}", "MeanR": f"{row.meanr:.1f}"}


def _rich(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(title="Zero-shot retrieval on held-out patients, %")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")

    for line in lines:
        table.add_row(*line)

    Console().print(table)


def _harmless(value: object) -> object:
    if isinstance(value, str) and value.lstrip()[:1] in ("=", "+", "-", "@"):
        return "'" + value
    return value


_TEX = {
    **{"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
}


def _tex(value: object) -> str:
    return "".join(_TEX.get(letter, letter) for letter in str(value))

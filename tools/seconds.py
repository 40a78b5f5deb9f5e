"""Processor seconds of every test file, those of the processes it starts among them.

Usage: python -m pytest -q -p tools.seconds TESTS      measures them for tests/tables/seconds.csv

`tools/check.py` chooses by this table what the inner loop has time for.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "tables" / "seconds.csv"
measured: Counter[str] = Counter()


def read() -> dict[str, float]:
    """Seconds by test file."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["file"]: float(row["seconds"]) for row in csv.DictReader(file)}


def used() -> float:
    """Processor seconds of this process, its ended children, and the parent of warm ones."""
    own = sum(os.times()[:4])
    warm = sys.modules.get("tests.warm")
    return own + (warm.used() if warm else 0.0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure a test with its fixtures."""
    before = used()
    done = yield
    measured[item.path.relative_to(ROOT).as_posix()] += used() - before
    return done


def pytest_sessionfinish() -> None:
    """Put what was measured in place of what the table held; files that are gone leave it."""
    held = (read() if TABLE.exists() else {}) | measured
    rows = [(name, f"{seconds:.1f}") for name, seconds in sorted(held.items())]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "seconds"))
        writer.writerows(row for row in rows if (ROOT / row[0]).exists())

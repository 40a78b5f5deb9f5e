"""`prepare hospital` in this process, and what it wrote."""

import csv
from pathlib import Path

from rfpmss import prepare
from rfpmss.data.cohort.manifest import Row, read


def prepared(src: Path, out: Path, *options: str) -> list[Row]:
    """The manifest of a folder's cohort."""
    assert prepare.main(["hospital", str(src), "--out", str(out), "--workers", "1", *options]) == 0
    return read(out / "manifest.csv")


def refused(out: Path) -> dict[str, str]:
    """The reason of every path that is not in the cohort."""
    with (out / "rejections.private.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}

"""The guide to data names every column, every reason and every option that it relies on."""

from dataclasses import fields
from pathlib import Path

from rfpmss.data import errors
from rfpmss.data.cohorts import Public
from rfpmss.data.manifest import COLUMNS
from rfpmss.prepare import Hospital

GUIDE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def test_every_column_of_the_manifest_is_explained_in_order() -> None:
    section = GUIDE.partition("## Columns of the manifest")[2].partition("## ")[0]
    explained = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert explained == list(COLUMNS)


def test_every_class_of_rejection_has_its_row() -> None:
    kinds = [kind.__name__ for kind in errors.DataError.__subclasses__()]
    assert len(kinds) >= 14
    for name in kinds:
        assert f"| `{name}` |" in GUIDE, name


def test_every_option_that_the_guide_and_the_cures_name_exists() -> None:
    cures = " ".join(kind.cure for kind in errors.DataError.__subclasses__())
    options = {f"--{f.name.replace('_', '-')}" for f in (*fields(Hospital), *fields(Public))}
    for word in (GUIDE + cures).replace("`", " ").replace(",", " ").replace(";", " ").split():
        if word.startswith("--") and word not in ("--data", "--preset", "--help"):
            assert word.rstrip(".:)") in options, word

"""The guide to data names every column, every reason and every option that it relies on."""

import re
from dataclasses import fields
from inspect import signature
from pathlib import Path

from rfpmss.config.sections import PhantomConfig
from rfpmss.data import errors
from rfpmss.data.cohort.export import Export
from rfpmss.data.cohort.manifest import COLUMNS
from rfpmss.data.cohort.parts import Merge
from rfpmss.data.phantom.cohort import LATER
from rfpmss.data.phantom.command import command
from rfpmss.data.readers.sequences import ELSEWHERE, OTHER_KINDS, kind_of
from rfpmss.data.sources.cohorts import Public
from rfpmss.finetune import Arguments
from rfpmss.prepare import Hospital
from tests.data.identity.paths import scan, told

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "data.md", *sorted((DOCS / "data").glob("*.md"))]
GUIDE = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_the_first_page_is_short_and_leads_to_all_others() -> None:
    first = PAGES[0].read_text(encoding="utf-8")
    assert len(first.splitlines()) <= 250
    for page in PAGES[1:]:
        assert f"](data/{page.name})" in first, page.name


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
    commands = (Hospital, Public, Export, Merge, Arguments)
    options = {f"--{f.name.replace('_', '-')}" for kind in commands for f in fields(kind)}
    options |= {f"--phantom.{name.replace('_', '-')}" for name in PhantomConfig.model_fields}
    options |= {f"--{name}" for name in signature(command([])).parameters}
    options |= {"--data", "--run-dir", "--help", "--accept"}  # of train and check
    for word in (GUIDE + cures).replace("`", " ").replace(",", " ").replace(";", " ").split():
        if word.startswith("--"):
            assert word.rstrip(".:)") in options, word


def test_every_layout_of_the_guide_is_read_as_the_guide_says() -> None:
    section = GUIDE.partition("## Whose file is it")[2].partition("If your folders")[0]
    rows = re.findall(r"^\| (.*?) \| (\d+ patients, \d+ visits|refused)", section, re.MULTILINE)
    assert len(rows) >= 17
    for names, wanted in rows:
        paths = re.findall(r"`([^`]+/?[^`]*\.(?:nii|txt))`", names)
        assert len(paths) > 1, names
        found = scan(paths)
        mine = told(found)
        patients, visits = {p for p, _ in mine.values()}, {s for _, s in mine.values()}
        read = f"{len(patients)} patients, {len(visits)} visits"
        assert ("refused" if found.doubt else read) == wanted, names


def test_every_option_that_makes_the_phantom_harder_is_explained() -> None:
    for name in ("missing", *LATER):
        assert f"| `--phantom.{name.replace('_', '-')} " in GUIDE, name


def test_every_sequence_of_the_guide_is_read_as_the_guide_says() -> None:
    section = GUIDE.partition("### Which sequence?")[2].partition("### Which mask?")[0]
    rows = re.findall(r"^\| (`.*?) \| (`\w+`|none|left out)", section, re.MULTILINE)
    assert len(rows) == 6
    for names, told_as in rows:
        wanted = ELSEWHERE if told_as == "left out" else told_as
        for name in re.findall("`([^`]+)`", names):
            kinds = set(OTHER_KINDS) - {ELSEWHERE} if wanted == "none" else {wanted.strip("`")}
            assert kind_of(name) in kinds, name

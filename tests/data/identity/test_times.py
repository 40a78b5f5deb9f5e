"""Time points of folders: what they are called, and that no two of them are read as one."""

import csv
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.identity.names import parse
from rfpmss.data.identity.owners import Item, assign
from rfpmss.data.identity.visits import Dated, visits
from rfpmss.data.sources.hospital import scan
from tests.data.files import write_series

with (Path(__file__).parents[2] / "tables" / "time_words.csv").open(
    newline="", encoding="utf-8"
) as file:
    WORDS = list(csv.DictReader(file))


@pytest.mark.parametrize("row", WORDS, ids=lambda row: row["name"])
def test_a_time_is_read_in_the_language_of_the_hospital(row: dict[str, str]) -> None:
    name = parse(row["name"])
    assert (name.who, " ".join(time.label for time in name.times)) == ("", row["time"])


def items(*words: str) -> list[Item]:
    return [
        Item(path=PurePosixPath(f"P00{n}/{word}/{sequence}.nii.gz"), kind="mri")
        for n in (1, 2)
        for word in words
        for sequence in ("t1", "flair")
    ]


@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=4, unique_by=lambda row: row["time"]))
def test_different_times_of_a_patient_are_never_one_visit(rows: list[dict[str, str]]) -> None:
    owned = assign(items(*(row["name"] for row in rows)), 0)
    assert not owned.doubt
    mine = [
        Dated(PurePosixPath(str(n)), place.day, place.label, place.phase, weak=place.weak)
        for n, place in enumerate(owned.places[: 2 * len(rows)])
    ]
    found = visits(mine)
    assert len(set(owned.owners)) == 2
    assert found[::2] == found[1::2]
    assert len(set(found)) == len(rows)


@pytest.mark.parametrize("pair", [("postop", "post-reop"), ("progression", "progression_surgery")])
def test_two_folders_that_would_be_one_visit_are_refused(pair: tuple[str, str]) -> None:
    assert "name their times" in assign(items(*pair), 0).doubt


def test_a_text_that_names_other_patients_of_the_cohort_is_nobodys(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (3, 8, 8))
    for who in ("MR-00123", "MR-00456"):
        write_series(tmp_path / who / "ct", values, changes={"PatientID": who})
    texts = {
        "MR-00123/all.txt": "MR-00123\nLeft mass.\n\nMR-00456\nRight mass.",
        "MR-00123/other.txt": "MR 00456: no. MR-00456: right mass.",
        "MR-00456/own.txt": "MR-00456, right mass of 456 mm3.",
        "all.txt": "Reports.\nThe mass of MR-00123 is left.\nThat of MR-00456 is right.",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = scan(tmp_path, b"0123456789abcdef")
    refused = {path.relative_to(tmp_path).as_posix(): why for path, why in found.rejections}
    assert "several patients" in refused["MR-00123/all.txt"]
    assert "several patients" in refused["all.txt"]
    assert "another patient" in refused["MR-00123/other.txt"]
    assert not any("00456" in why for why in refused.values())
    assert [study.report for study in found.studies if study.report] == [
        "___, right mass of 456 mm3."
    ]


def test_pre_and_post_in_a_folder_of_a_sequence_are_about_contrast() -> None:
    names = ("T1/pre", "T1/post", "T2/t2", "FLAIR/flair")
    paths = [PurePosixPath(f"P00{n}/{name}.nii.gz") for n in (1, 2) for name in names]
    owned = assign([Item(path=path, kind="mri") for path in paths], 0)
    assert not owned.doubt
    assert {place.label or place.phase for place in owned.places} == {""}
    assert len(set(owned.owners)) == 2

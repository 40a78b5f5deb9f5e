"""Time points of folders: what they are called, and that no two of them are read as one."""

import csv
from datetime import date
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.owners.assign import assign
from rfpmss.data.identity.owners.item import Item
from rfpmss.data.identity.visits import Dated, settled, visits
from rfpmss.data.sources.hospital import scan
from tests.data.files import write_series
from tests.data.identity.paths import TABLES

with (TABLES / "time_words.csv").open(newline="", encoding="utf-8") as file:
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


def test_a_report_beside_another_report_is_not_of_its_visit() -> None:
    """In a folder of reports the one with a date says nothing of one without."""
    march, september = date(2021, 3, 4).toordinal(), date(2021, 9, 5).toordinal()
    files = [
        Dated(PurePosixPath("dicom/7/a/1.dcm"), march),
        Dated(PurePosixPath("dicom/7/b/1.dcm"), september),
        Dated(PurePosixPath("CR/7_2021-03-04.docx"), march, report=True),
        Dated(PurePosixPath("CR/7.html"), report=True),
        Dated(PurePosixPath("dicom/7/b/report.txt"), report=True),
    ]
    assert visits(files) == [str(march), str(september), str(march), None, str(september)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("7740012_05092021.html", (2021, 9, 5)),
        ("7740012_20210905.html", None),  # a date of one order, read elsewhere
        ("CR_77_05-09-2021.rtf", (2021, 9, 5)),
        ("CR_77_09-05-2021.rtf", (2021, 9, 5)),
        ("P1_050921.txt", (2021, 9, 5)),
        ("P1_210905.txt", (2021, 9, 5)),
        ("P1 5.9.21.txt", (2021, 9, 5)),
        ("P1_040321_050921.txt", None),
        ("P1_12345678.txt", None),
        ("P1_06092021.txt", None),
    ],
)
def test_a_date_of_uncertain_order_is_the_day_of_an_examination(name, meant) -> None:
    days = {date(2021, 3, 4).toordinal(), date(2021, 9, 5).toordinal()}
    assert settled(name, days) == (date(*meant).toordinal() if meant else None)

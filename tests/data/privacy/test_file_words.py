"""What words of file names do to reports: those that name the patient go, all others stay."""

import csv
from pathlib import Path

import pytest

from tests.data.identity.paths import scan

TABLE = Path(__file__).parents[2] / "tables" / "file_words.csv"
with TABLE.open(newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))


@pytest.mark.parametrize("alone", [False, True], ids=["of all patients", "of one patient"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["files"][:40])
def test_words_of_file_names_stay_in_reports(row: dict[str, str], alone: bool) -> None:
    """A file of one patient alone, too, says no name with ordinary words."""
    people = ("case_101", "case_102", "case_103")
    paths = {}
    for person in people:
        if person == people[0] or not alone:
            paths |= {f"{person}/{name}.nii.gz": {} for name in row["files"].split(";")}
        paths |= {f"{person}/t2.nii.gz": {}, f"{person}/report.txt": {"text": row["report"]}}
    reports = {study.report for study in scan(list(paths), 1, paths).studies}
    assert reports == {row["report"]}


def test_the_name_in_a_file_name_goes_from_the_report() -> None:
    texts = {
        "case_101/Anna Huber ohne KM.nii.gz": {},
        "case_101/report.txt": {"text": "Frau Huber: links ohne Blutung. Anna klagt nicht."},
        "case_102/Karl Braun ohne KM.nii.gz": {},
        "case_102/report.txt": {"text": "Herr Braun, rechts ohne Blutung. Karl klagt."},
    }
    reports = {study.report for study in scan(list(texts), 1, texts).studies}
    assert reports == {
        "Frau ___: links ohne Blutung. ___ klagt nicht.",
        "Herr ___, rechts ohne Blutung. ___ klagt.",
    }


def test_one_person_of_two_numbers_has_a_name_all_the_same() -> None:
    """The name stands in the files of both PatientIDs, which differ in a zero: one person's."""
    paths = {}
    for number in ("774411", "0774411"):
        paths[f"{number}/huber_t1.nii.gz"] = {"patient": number, "study": number}
        paths[f"{number}/huber.txt"] = {"text": "Links temporal, Huber klagt."}
    reports = {study.report for study in scan(list(paths), 0, paths).studies}
    assert reports == {"Links temporal, ___ klagt."}


def test_a_date_goes_whole_though_its_year_stands_in_the_name_of_the_folder() -> None:
    paths = {}
    for number in (10234, 10377):
        folder = f"{number}_12.03.2021"
        paths |= {f"{folder}/t1.nii.gz": {}, f"{folder}/t2.nii.gz": {}}
        paths[f"{folder}/report.txt"] = {"text": "Дата исследования: 12.03.2021. Опухоль слева."}
    reports = {study.report for study in scan(list(paths), 0, paths).studies}
    assert reports == {"Дата исследования: ___. Опухоль слева."}

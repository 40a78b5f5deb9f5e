"""Texts by the numbers in their names and the discs they lie on: never another patient's."""

from __future__ import annotations

import csv
from pathlib import PurePosixPath

import pytest

from rfpmss.data.identity.owners.assign import assign
from rfpmss.data.identity.owners.item import Item
from tests.data.identity.paths import ROOT, TABLES, scan, told

with (TABLES / "report_names.csv").open(encoding="utf-8") as _table:
    ROWS = [(row["path"], row["patient"], row["study"]) for row in csv.DictReader(_table)]
with (TABLES / "report_words.csv").open(encoding="utf-8") as _table:
    WORDS = [row["word"] for row in csv.DictReader(_table)]
JANE, RICHARD, EDGAR = "Doe^Jane", "Roe^Richard", "Poe^Edgar"


def image(folder: str, patient: str, name: str, study: str = "", number: str = "") -> Item:
    uid = study or f"1.2.3{patient}"
    path = PurePosixPath(folder, "IM1")
    return Item(path, "mri", patient, uid, called=(name,), accession=number)


IMAGES = [
    image("DICOM/a", "774411", JANE, "1.2.8", "ACC2021000001"),
    image("DICOM/b", "774411", JANE, "1.2.9", "ACC2021000002"),
    image("DICOM/c", "780033", RICHARD, "1.2.10", "ACC2021000003"),
    image("DICOM/d", "12", EDGAR, "1.2.11", "21-4401"),
    image("780033/MR", "780033", RICHARD, "1.2.840.99999"),
    image("CD1/DICOM/PA0/ST0/SE0", "774411", JANE),
    image("CD_2021-03-04/DICOM/PA0/ST0/SE0", "780033", RICHARD),
    image("Disc17/DICOM", "12", EDGAR),
    image("USB 3/DICOM/T1", "774411", JANE),
    image("Export 1/DICOM/T1", "780033", RICHARD),
    image("DVD2/DICOM/1", "780033", RICHARD),
    image("DVD2/DICOM/2", "774411", JANE),
]


@pytest.mark.parametrize(("path", "patient", "study"), ROWS)
def test_a_text_goes_to_the_patient_that_its_name_or_its_disc_tells(
    path: str, patient: str, study: str
) -> None:
    owned = assign([*IMAGES, Item(PurePosixPath(path), "text")])
    owner, last = owned.owners[-1], len(IMAGES)
    assert owned.doubt == ""
    assert (last in owned.torn) == (patient == "torn")
    if patient in ("", "torn"):  # nobody's, or of a name that no image has
        assert owner not in owned.owners[:-1]
    else:
        assert owner == f"id:{patient}"
    assert owned.exams == ({last: study} if study else {})


def test_a_word_and_a_number_that_are_a_folder_and_another_patients_id_fit_two() -> None:
    folder = Item(PurePosixPath("Case 12/t1.nii"), "mri")
    owned = assign([*IMAGES, folder, Item(PurePosixPath("Reports/Case 12.txt"), "text")])
    assert owned.owners[-2] != "id:12"
    assert owned.torn == {len(IMAGES) + 1}


def test_texts_named_by_examinations_reach_the_very_visit_and_strangers_cost_only_themselves():
    about = {
        f"DICOM/{n}/t1.nii": {
            "kind": "nifti",
            "patient": f"77441{n % 2}",
            "study": f"1.2.{n}",
            "accession": f"8812034{n}",
            "date": 737000 + 200 * n,
        }
        for n in range(4)
    }
    texts = [f"reports/8812034{n}.txt" for n in (2, 0, 3)]
    strangers = [f"reports/8812039{n}.txt" for n in range(3)]
    found = scan([*about, *texts, *strangers], about=about)
    assert found.doubt == ""
    visits = {study: path for path, (_, study) in told(found).items()}
    made = {visits[s]: [p.name for p in files] for s, files in found.reports.items() if files}
    assert made == {f"DICOM/{n}/t1.nii": [f"8812034{n}.txt"] for n in (0, 2, 3)}
    assert {path.name for path, _ in found.rejections} == {p.rpartition("/")[2] for p in strangers}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_a_report_behind_the_name_of_patient_and_visit_changes_neither(
    word: str,
) -> None:
    stems = [f"GL{n:02d}_{time}" for n in (1, 2) for time in ("preop", "postop")]
    images = {f"{stem}_T1.nii.gz": stem for stem in stems}
    found = scan([*images, *(f"{stem}_{word}.txt" for stem in stems)])
    assert found.doubt == ""
    assert not found.rejections
    visits = {study: images[path] for path, (_, study) in told(found).items()}
    made = {visits[s]: [p.name for p in files] for s, files in found.reports.items()}
    assert made == {stem: [f"{stem}_{word}.txt"] for stem in stems}


DATES = ("20210311", "20210412", "20210513", "20210614")


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("影像/ZY{d}/{s}.nii", "报告/ZY{d}.txt"),
        ("images/ZY-{d}/{s}.nii", "reports/zy_{d}_report.txt"),
        ("ZY{d}_{s}.nii", "ZY{d}.txt"),
        ("P{d}/{s}.nii", "reports/P{d}/report.txt"),
        ("Patient_{d}/{s}.nii", "reports/Patient {d}.txt"),
        ("住院号{d}/{s}.nii", "报告/住院号{d}.txt"),
    ],
)
def test_a_number_like_a_date_that_reports_have_as_well_is_a_patients(
    images: str, texts: str
) -> None:
    paths = {images.format(d=d, s=s): d for d in DATES for s in ("t1", "flair")}
    reports = {texts.format(d=d): d for d in DATES}
    found = scan([*paths, *reports])
    assert found.doubt == ""
    days = {study: paths[path] for path, (_, study) in told(found).items()}
    assert len({patient for patient, _ in told(found).values()}) == len(DATES) == len(set(days))
    assert {study.kin for study in found.studies} == {""}  # nobody is held to be another
    made = {
        path.relative_to(ROOT).as_posix(): days[study]
        for study, files in found.reports.items()
        for path in files
    }
    assert made == reports


@pytest.mark.parametrize(
    ("images", "texts", "kept"),
    [
        ("P1/t1.nii", "R/P1_20210304.txt", 1),
        ("P1/visit1/t1.nii", "R/P1_20210304.txt", 1),
        ("P1/t1.nii", "R/P1_20210304.txt R/P1_20210904.txt", 0),
        ("P1/visit1/t1.nii P1/visit2/t1.nii", "R/P1_20210304.txt", 0),
        ("P1/visit1/t1.nii P1/visit2/t1.nii", "R/P1_visit1_20210304.txt R/P1_visit2.txt", 2),
    ],
)
def test_dates_of_reports_part_no_images_that_have_none(images: str, texts: str, kept: int) -> None:
    paths = [*images.split(), "P2/t1.nii"]
    found = scan([*paths, *texts.split()])
    assert told(found).keys() == set(paths)
    assert len({study for _, study in told(found).values()}) == len(paths)
    assert sum(map(len, found.reports.values())) == kept
    for reason, _ in found.reports_left_out:
        assert reason.startswith("it has a date and the patient's images have none")


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("K10{n}/V{v}/t1.nii", "reports/K10{n}_V{v}.txt"),
        ("K10{n}/M{v}/t1.nii", "reports/K10{n} M{v} Befund.txt"),
        ("K10{n}/v{v}/t1.nii", "reports/K10{n}/v{v}_report.txt"),
        ("BT-0{n}/W0{v}/t1.nii", "reports/BT-0{n}_W0{v}.txt"),
        ("BT-0{n}/V{v}/t1.nii", "V{v} BT-0{n}.txt"),
        ("paz{n}/T{v}/flair.nii", "referti/paz{n}_T{v}.txt"),
        ("{n}23456/T{v}/MR/flair.nii", "referti/{n}23456 T{v}.txt"),
    ],
)
def test_a_short_visit_in_a_texts_name_is_that_of_the_folder(images: str, texts: str) -> None:
    every = [(n, v) for n in (1, 2) for v in (0, 1, 2)]
    paths = {images.format(n=n, v=v): (n, v) for n, v in every}
    reports = {texts.format(n=n, v=v): (n, v) for n, v in every if n + v != 2}
    found = scan([*paths, *reports])
    assert found.doubt == ""
    visits = {study: paths[path] for path, (_, study) in told(found).items()}
    assert len(visits) == len(paths)
    made = {
        path.relative_to(ROOT).as_posix(): visits[study]
        for study, files in found.reports.items()
        for path in files
    }
    assert made == reports

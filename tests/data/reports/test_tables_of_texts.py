"""What a table of texts is, what a report is, and what columns are called."""

import csv
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from rfpmss.data.errors import ColumnError
from rfpmss.data.identity.known import Known
from rfpmss.data.identity.mapping import Table, Words
from rfpmss.data.reports.examined import other, says_what
from rfpmss.data.reports.headings import Rank, date_order, fixed, rank, text_order
from rfpmss.data.reports.sheets import shape_of
from rfpmss.data.reports.worksheet import read_reports
from rfpmss.data.sources.hospital import Found, scan
from tests.data.files import write_series

TABLES = Path(__file__).parents[2] / "tables"
SALT = b"0123456789abcdef"


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows("text_shapes.csv"), ids=lambda row: row["text"][:40])
def test_a_text_with_rows_of_several_patients_is_a_table_and_no_report(row: dict[str, str]) -> None:
    shape = shape_of(row["text"].replace("{tab}", "\t").replace("{line}", "\n"))
    found = "table" if shape.plain else "columns" if shape.rows else "report"
    assert found == row["shape"]


@pytest.mark.parametrize("row", rows("headings.csv"), ids=lambda row: row["name"])
def test_a_heading_says_what_its_column_holds(row: dict[str, str]) -> None:
    name = row["name"]
    dated = {"exam": 0, "report": 1}.get(row["what"])
    assert date_order(name) == dated
    assert (text_order(name) is not None) == (row["what"] == "text")
    birth = row["what"] == "birth"
    assert (fixed(name), rank(name) == Rank.NEVER) == (birth, birth)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with two visits each."""
    src = tmp_path_factory.mktemp("tables") / "src"
    values = np.random.default_rng(0).integers(0, 99, (3, 8, 8))
    for n, (identity, day) in enumerate(EXAMS):
        changes = {"PatientID": identity, "StudyDate": day, "AccessionNumber": f"E10{n}"}
        changes |= {"SOPInstanceUID": lambda k, n=n: f"1.2.{n + 1}.{k}"}
        changes |= {"StudyInstanceUID": f"1.3.{n + 1}", "PatientName": f"Quimby^{identity}"}
        write_series(src / "dicom" / identity / day, values, changes=changes)
    return src


EXAMS = (
    ("00012345", "20190312"), ("00012345", "20190914"),
    ("00012399", "20190405"), ("00012399", "20191107"),
)  # fmt: skip


def read(src: Path, path: str, content: bytes) -> tuple[dict[str, str], Found]:
    """The report of each visit, by the folder of its images."""
    (src / path).write_bytes(content)
    found = scan(src, SALT)
    (src / path).unlink()
    places = {s: next(v for v in s.views if v).paths[0] for s in found.studies}
    named = {f"{p.parent.parent.name}/{p.parent.name}": s.report or "" for s, p in places.items()}
    return named, found


WANTED = {f"{who}/{when}": f"There is a mass no {n}." for n, (who, when) in enumerate(EXAMS)}


@pytest.mark.parametrize("row", rows("other_examinations.csv"), ids=lambda row: row["examined"])
def test_an_examination_of_another_part_or_kind_is_known_as_one(row: dict[str, str]) -> None:
    views = frozenset(row["views"].split())
    assert bool(other(row["examined"], views)) == bool(row["other"])


def test_a_column_of_examinations_is_known_by_its_name() -> None:
    said = "Exam|Study Description|Body Part Examined|Modality|检查项目|検査名|Rodzaj badania|Acte"
    none = "Exam Date|Study ID|Type|Description|Tumor type|Findings|Site|Befund|Exam No"
    assert [name for name in said.split("|") if not says_what(name)] == []
    assert [name for name in none.split("|") if says_what(name)] == []


OTHERS = {
    "a number of its own": ("Accession", "E100", "E777", "number of its examination"),
    "another part of the body": ("Exam", "CT BRAIN", "CT CHEST WO", "another part of the body"),
    "another modality": ("Modality", "CT", "MR", "an MRI, and the patient has none"),
    "no tomography": ("检查项目", "颅脑CT平扫", "腹部超声", "another part of the body"),
}


@pytest.mark.parametrize("case", OTHERS, ids=list(OTHERS))
def test_a_row_of_another_examination_is_given_to_nobody(case: str, cohort: Path) -> None:
    """Two days after the patient's own, where only the day would pair it."""
    name, mine, another, why = OTHERS[case]
    lines = [f"MRN,{name},Exam Date,Report"]
    for n, (who, when) in enumerate(EXAMS):
        number = f"E10{n}" if name == "Accession" else mine
        lines.append(f"{who},{number},{when},There is a mass no {n}.")
    lines.append(f"{EXAMS[0][0]},{another},20190314,Two nodules of the right side.")

    named, found = read(cohort, "reports.csv", "\n".join(lines).encode())
    assert named == WANTED
    assert any(why in reason for _, reason in found.rejections)


def test_rows_of_another_examination_are_taken_when_the_mapping_file_names_the_columns(
    cohort: Path, tmp_path: Path
) -> None:
    lines = ["MRN,Exam,Exam Date,Report"]
    lines += [
        f"{who},CT CHEST,{when},There is a mass no {n}." for n, (who, when) in enumerate(EXAMS)
    ]
    (cohort / "reports.csv").write_text("\n".join(lines), encoding="utf-8")
    table = Table(file="*", patient="MRN", text=("Report",), date="Exam Date")
    refused = scan(cohort, SALT)
    found = scan(cohort, SALT, words=Words(reports=(table,)))
    (cohort / "reports.csv").unlink()
    assert not any(study.report for study in refused.studies)
    assert "which takes all rows" in " ".join(reason for _, reason in refused.rejections)
    assert sorted(study.report or "" for study in found.studies) == sorted(WANTED.values())


LISTS = {
    "Image Data ID,Subject,Modality,Description,Type,Acq Date,Format": (
        "I{n},{who},MRI,MP-RAGE,Original,{when},NiFTI",
        "J{n},{who},MRI,Axial PD/T2 FSE,Original,{when},NiFTI",
    ),
    "Session,Subject,Scan,Type,Description,Frames": (
        "S{n},{who},4,MPRAGE,Sag MPRAGE GRAPPA 2,176",
        "S{n},{who},5,T2,Ax T2 FSE,36",
    ),
    "PatientenID,Serie,Beschreibung": ("{who},3,T1 sagittal nativ", "{who},4,T2 TSE transversal"),
    "病人ID,序列,描述": ("{who},3,T1WI 轴位增强", "{who},4,T2 FLAIR 轴位"),
    "PatientID,StudyDate,Text": ("{who},{when},T1 MPRAGE axial", "{who},{when},Localizer"),
}


@pytest.mark.parametrize("header", LISTS)
def test_a_list_of_images_holds_no_reports(header: str, tmp_path: Path) -> None:
    lines = [header]
    for n, (who, when) in enumerate(EXAMS):
        lines += [line.format(n=n, who=who, when=when) for line in LISTS[header]]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    known = Known.of([(who, "id", who) for who, _ in EXAMS])
    with pytest.raises(ColumnError, match="lists images"):
        read_reports(tmp_path / "list.csv", None, known)


def test_an_addendum_and_an_unnumbered_row_keep_their_examination(cohort: Path) -> None:
    lines = ["MRN,Accession,Exam Date,Report"]
    lines += [
        f"{who},{number},{when},There is a mass no {n}."
        for n, ((who, when), number) in enumerate(
            zip(EXAMS, ("E100-A", "", "E102", "E103/E999"), strict=True)
        )
    ]
    assert read(cohort, "reports.csv", "\n".join(lines).encode())[0] == WANTED


def test_a_text_about_another_part_of_the_body_is_of_no_head(cohort: Path) -> None:
    chest = "CT CHEST. The lungs are clear. No effusion."
    named, found = read(cohort, "dicom/00012345/20190312/report.txt", chest.encode())
    assert not any(named.values())
    assert any("another part of the body" in reason for _, reason in found.rejections)
    staged = "CT chest. Staging of a brain metastasis."
    named, _ = read(cohort, "dicom/00012345/20190312/report.txt", staged.encode())
    assert named["00012345/20190312"] == staged


@pytest.mark.parametrize("path", ["export.txt", "00012345_export.txt", "dicom/00012345/report.txt"])
def test_unicode_text_of_a_spreadsheet_is_read_as_a_table_wherever_it_lies(
    path: str, cohort: Path
) -> None:
    lines = ["Accession Number\tPatient MRN\tExam Description\tReport Text"]
    lines += [
        f"E10{n}\t{who}\tMRI BRAIN W WO CONTRAST\t{WANTED[f'{who}/{when}']}"
        for n, (who, when) in enumerate(EXAMS)
    ]
    named, _ = read(cohort, path, ("\r\n".join(lines) + "\r\n").encode("utf-16"))
    assert named == WANTED


@pytest.mark.parametrize("path", ["00012345.txt", "dicom/00012345/report.txt", "00012345.html"])
def test_a_text_like_a_table_is_no_report_of_one_patient(path: str, cohort: Path) -> None:
    cells = [["A1", "MR", "Guz po lewej."], ["A2", "MR", "Guz po prawej."], ["A3", "MR", "Guz."]]
    text = "\n".join("\t".join(row) for row in cells)
    if path.endswith("html"):
        body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in cells)
        text = f"<html><body><table>{body}</table></body></html>"
    named, found = read(cohort, path, text.encode())
    assert not any(named.values())
    name = PurePosixPath(path).name
    reason = next(why for where, why in found.rejections if where.name == name)
    assert reason.startswith("TextError: the text is a table of several rows")
    assert ".tsv, .csv or .xlsx" in reason


@pytest.mark.parametrize("form", ["digits", "serial"])
@pytest.mark.parametrize("name", ["Unters.-Datum", "Exam performed", "Wann"])
def test_a_column_of_dates_in_digits_is_known_by_the_examinations(
    name: str, form: str, cohort: Path
) -> None:
    serial = {"20190312": "43536", "20190914": "43722", "20190405": "43560", "20191107": "43776"}
    lines = [f"Pat.-ID;Geb.-Datum;{name};Befundtext"]
    for who, when in EXAMS:
        day = when if form == "digits" else serial[when]
        lines.append(f"{int(who)};19500304;{day};{WANTED[f'{who}/{when}']}")
    named, _ = read(cohort, "befunde.csv", "\n".join(lines).encode())
    assert named == WANTED


@pytest.mark.parametrize("row", rows("report_columns.csv"), ids=lambda row: row["header"])
@pytest.mark.parametrize("when", ["Data badania", "day"])
def test_no_column_of_the_report_is_left_out_in_silence(
    row: dict[str, str], when: str, tmp_path: Path
) -> None:
    """Columns are joined, refused, or said; ids and dates under names that nobody knows match."""
    lines = ["Kod|" + when + "|" + row["header"]]
    lines += [f"P{n}|04.03.2021|{row['first'].format(n=n)}|{row['second']}" for n in (21, 22, 23)]
    (tmp_path / "t.csv").write_text("\n".join(lines).replace("|", ";"), encoding="utf-8")
    known = Known.of([(f"P{n}", "id", f"P{n}") for n in (21, 22, 23)])
    if row["taken"] == "refused":
        with pytest.raises(ColumnError, match="mapping"):
            read_reports(tmp_path / "t.csv", None, known)
        return

    table, told = read_reports(tmp_path / "t.csv", None, known)
    joined, _, left = row["taken"].partition("-")
    assert ("+".join(table.text), "+".join(table.left)) == (joined, left)
    assert [one.owner for one in told] == ["P21", "P22", "P23"]
    assert ("\n" in told[0].text) == ("+" in joined)


def test_a_patient_in_the_hospitals_language_is_found_by_the_number_alone() -> None:
    """The folder is called in its own script and by what that means."""
    names = [
        (f"p{n}", "id", name.format(n)) for n in (101, 102) for name in ("ผู้ป่วย {}", "patient-{}")
    ]
    known = Known.of(names)
    assert [known.owner(cell) for cell in ("101", "102", "103")] == ["p101", "p102", None]
    other = Known.of([*names, ("q1", "id", "GBM-101"), ("q2", "id", "GBM-102")])
    assert other.owner("101") is None

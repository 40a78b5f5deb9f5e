"""The right report to the right patient: columns, rows, dates and separators of tables."""

import shutil
from datetime import date
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.errors import ColumnError, DataError, TextError
from rfpmss.data.identity.known import Exam, Known, plain
from rfpmss.data.identity.mapping import Table, Words
from rfpmss.data.readers.text.dates import readings, settle
from rfpmss.data.reports.columns import patient_column
from rfpmss.data.reports.worksheet import read_reports
from rfpmss.data.sources.gather import How
from rfpmss.data.sources.hospital import Found, scan, show
from tests.data.files import brain, write_nifti, write_series

SALT = b"0123456789abcdef"


def known(*ids: str, names: dict[str, str] | None = None) -> Known:
    """Patients of these PatientIDs, each its own owner."""
    found = [(identity, "id", identity) for identity in ids]
    found += [(owner, "name", name) for owner, name in (names or {}).items()]
    return Known.of(found)


def pairs(text: str | bytes, about: Known, folder: Path, table: Table | None = None) -> dict:
    """What a table gives to whom."""
    (folder / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    _, told = read_reports(folder / "t.csv", table, about)
    return {one.owner: one.text for one in told if one.error is None}


# The table, the patients of the images, the column that names the patient (None: refused).
COLUMNS = {
    "an id that numbers the rows": ("id,mrn,report\n1,3,x\n2,1,x\n3,2,x", "1 2 3", "mrn"),
    "mrn first": ("mrn,id,report\n3,1,x\n1,2,x\n2,3,x", "1 2 3", "mrn"),
    "only an id": ("id,report\n3,x\n1,x", "1 2 3", "id"),
    "an id with the values, an mrn without": ("id,mrn,report\nP7,88,x\nP9,89,x", "P7 P9", "id"),
    "a counter shares more": ("id,mrn,report\n1,9,x\n2,1,x\n3,2,x", "1 2 3", "mrn"),
    "row numbers beside unknown mrns": ("id,mrn,report\n1,77,x\n2,88,x", "1 2", None),
    "a nameless counter alone": (",report\n1,x\n2,x", "1 2", None),
    "two equal claims": ("case,subject,report\n1,2,x\n2,1,x", "1 2", None),
    "two equal claims that agree": ("case,subject,report\n1,1,x\n2,2,x", "1 2", "case"),
    "an unknown name with the values": ("Glioma code,report\nG7,x\nG9,x", "G7 G9", "Glioma code"),
    "an age among small ids": ("age,code,report\n3,K1,x\n4,K2,x", "K1 K2 3 4", "code"),
    "the record number wins": ("住院号,影像号,报告\n8,1,x\n9,2,x", "1 2 3", "影像号"),
    "nothing known": ("colour,report\nred,x", "1 2", None),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_patients_column_is_the_one_with_the_patients_values(name: str) -> None:
    text, ids, wanted = COLUMNS[name]
    header, *rows = [line.split(",") for line in text.split("\n")]
    about, skip = known(*ids.split()), [len(header) - 1]
    if wanted is None:
        with pytest.raises(ColumnError, match="mapping"):
            patient_column(header, rows, about, skip=skip)
    else:
        assert patient_column(header, rows, about, skip=skip).name == wanted


@given(st.permutations([1, 2, 3, 4]), st.booleans())
def test_a_row_never_goes_to_the_patient_of_its_number(order: list[int], first: bool) -> None:
    rows = [[str(n), str(mrn)][:: 1 if first else -1] for n, mrn in enumerate(order, 1)]
    header = ["id", "mrn"][:: 1 if first else -1]
    found = patient_column(header, rows, known("1", "2", "3", "4"))
    assert found.owners == tuple(str(mrn) for mrn in order)


# Cells, the patients of the images, whom each cell means.
MEANT = [
    ("7 007", "007 012", "007 007"),
    ("7.0 12.0", "007 012", "007 012"),
    ("7 8", "7 007", "- -"),  # a spreadsheet may have taken the zeros of 007
    ("7 007", "7 007", "7 007"),
    ("p-7 P_12 P007", "P7 P12", "P7 P12 P7"),
    ("1 02 12", "sub-01 sub-02 sub-03", "sub-01 sub-02 -"),
    ("1 2", "sub-01 P2", "- -"),
    ("Ｐ７ q7.nii.gz", "P7 P8", "P7 -"),
    ("1.2E+11", "123456789012", "-"),
    ("P7.nii.gz data/P8/t1.nii C:\\x\\P7\\a", "P7 P8", "P7 P8 P7"),
]


@pytest.mark.parametrize(("cells", "ids", "meant"), MEANT)
def test_a_cell_means_the_one_patient_it_can_mean(cells: str, ids: str, meant: str) -> None:
    about = known(*ids.split())
    zeros = any(cell.startswith("0") for cell in cells.split())
    found = [about.owner(cell, zeros=zeros) or "-" for cell in cells.split()]
    assert found == meant.split()


NAMED = known("K1", "K2", names={"K1": "张^三", "K2": "Doe^John"})


def test_a_column_of_names_pairs_where_the_headers_name_is_one_persons(tmp_path: Path) -> None:
    assert pairs("姓名,报告\nDoe John,左\n张三,右\n李四,无", NAMED, tmp_path) == {
        "K2": "左",
        "K1": "右",
    }
    both = {"K2": "gauche"}
    assert pairs("Nom;Compte rendu\nJohn Doe;gauche", NAMED, tmp_path) == both
    assert pairs("姓名,报告\n张三,左侧\n张三,右侧\nDoe^John,无", NAMED, tmp_path) == {"K2": "无"}
    twins = known("K1", "K2", names={"K1": "张^三", "K2": "张^三"})
    assert pairs("姓名,报告\n张三,左侧", twins, tmp_path) == {}


def test_family_and_given_names_in_two_columns_are_one_name(tmp_path: Path) -> None:
    about = known("K1", "K2", "K3", names={"K1": "SMITH^JOHN", "K2": "Smith^Jane", "K3": "Li^Wei"})
    text = "Last name;First name;Report\nSmith;Jane;left\nSmith;John;right\nSmith;Joan;none\n"
    assert pairs(text, about, tmp_path) == {"K1": "right", "K2": "left"}
    assert pairs("Vorname,Nachname,Befund\nWei,Li,x", about, tmp_path) == {"K3": "x"}


def test_a_row_whose_columns_name_two_patients_is_refused(tmp_path: Path) -> None:
    about = Known.of([("a", "id", "M1"), ("b", "id", "M2"), ("b", "exam", "ACC77")])
    text = "MRN,AccessionNumber,Findings\nM1,ACC77,left\nM2,ACC77,right\n"
    assert pairs(text, about, tmp_path) == {"b": "right"}


def test_an_accession_number_finds_the_patient_and_the_visit(tmp_path: Path) -> None:
    day = date(2021, 3, 4).toordinal()
    about = Known.of(
        [("a", "exam", "ACC-77"), ("b", "exam", "ACC-78")],
        exams={plain("ACC-77"): Exam("a", frozenset({day}))},
    )
    (tmp_path / "t.csv").write_text("Accession #,Report date,Report\nACC77,2021-09-09,left\n")
    assert read_reports(tmp_path / "t.csv", None, about)[1][0].owner == "a"
    (tmp_path / "t.csv").write_text("Accession #,Report date,Report\nACC-77,2021-09-09,left\n")
    assert read_reports(tmp_path / "t.csv", None, about)[1][0].date == day


# The file, and what it gives to patient 1; None: the row is refused, "": the table is.
WHOLE = {
    "a comma without quotes": ("id,report\n1,No hemorrhage, but a mass in the left lobe.", None),
    "the same, a column behind": ("id,report,site\n1,No hemorrhage, but a mass", None),
    "the same, two columns behind": ("id,report,site,age\n1,No hemorrhage, but a mass,12", None),
    "fewer cells": ("id,report,site\n1,A mass", None),
    "empty cells at the end": ("id,report\n1,A mass,,", "A mass"),
    "quoted": ('id,report\n1,"No hemorrhage, but a mass"', "No hemorrhage, but a mass"),
    "two lines in a cell": ('id,report\n1,"A mass\nleft"', "A mass\nleft"),
    "quotation marks inside": ('id,report\n1,"a ""ring"" left"', 'a "ring" left'),
    "an open quotation mark": ('id,report\n1,"A mass\n2,Another one\n', ""),
    "quotes that join rows": ('id,report\n1,"A mass\n2,"Another"\n', ""),
    "semicolons": ("id;Befund\n1;Kein Tumor, aber ein Ödem", "Kein Tumor, aber ein Ödem"),
    "tabs": ("id\tFindings\n1\tNo mass, no edema; clear", "No mass, no edema; clear"),
    "bars": ("id|Findings\n1|No mass, no edema; clear", "No mass, no edema; clear"),
    "a hint for Excel": ("sep=;\nid;report\n1;a, b", "a, b"),
    "a mark": ("\ufeffid,report\n1,A mass", "A mass"),
    "carriage returns": ("id,report\r1,A mass\r2,None\r", "A mass"),
    "title rows": ("Klinik X\nExport,2021\n\nPat-ID,Befund\n1,Masse", "Masse"),
    "title with commas": ("Reports, all, of 2021\nPatient,Report\n1,A mass", "A mass"),
    "reading order": ("id,Impression,Findings\n1,Glioma,A mass", "A mass\nGlioma"),
    "one text holds the other": ("id,report,impression\n1,Mass. Glioma,Glioma", "Mass. Glioma"),
    "Chinese": ("患者ID,影像学表现,诊断意见\n1,左额占位,胶质瘤", "左额占位\n胶质瘤"),
    "Chinese PACS": ("EMPI,报告描述,姓名\n1,左额占位,张三", "左额占位"),
    "French": ("N° dossier;Compte rendu\n1;Lésion", "Lésion"),
    "Spanish": ("NHC;Informe;Fecha del estudio\n1;Lesión;4/3/2021", "Lesión"),
    "German": ("Patienten-ID;Befund;Beurteilung\n1;Herd;Gliom", "Herd\nGliom"),
    "NUL": (b"id,report\n1,A\0 mass\n", ""),
    "no text column": ("id,remark\n1,A mass", ""),
    "a caption": ("id,age,caption\n1,54,A mass of the left lobe", "A mass of the left lobe"),
    "output": ("Pat-ID;output\n1;Kein Herd, aber wohl ein Ödem", "Kein Herd, aber wohl ein Ödem"),
    "Chinese text": ("编号,备注\n1,左侧额叶见一占位性病变伴水肿", "左侧额叶见一占位性病变伴水肿"),
    "two columns of sentences": ("id,a,b\n1,A mass of the left lobe,No mass of the right lobe", ""),
    "why the image was made": ("id,clinical history\n1,Headache for three weeks on the left", ""),
    "labels": ("id,age,diagnosis\n1,54,GBM\n2,60,LGG", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_text_is_read_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    text, wanted = WHOLE[name]
    if wanted == "":
        with pytest.raises(DataError):
            pairs(text, known("1"), tmp_path)
    else:
        found = pairs(text, known("1"), tmp_path)
        assert found.get("1") == wanted


@pytest.mark.parametrize(
    "head",
    ["Findings,Impression,Addendum", "放射学表现,放射学诊断,补充", "Addendum,Befund,Beurteilung"],
)
def test_an_addendum_is_read_behind_the_report(head: str, tmp_path: Path) -> None:
    cells = "later,mass,glioma" if head.startswith("Addendum") else "mass,glioma,later"
    found = pairs(f"mrn,{head}\n1,{cells}\n", known("1"), tmp_path)
    assert "".join(found["1"].split()) == "massgliomalater"


def test_a_broken_row_costs_one_row_and_says_the_cure(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,report\n1,No bleed, but a mass\n2,Left mass\n")
    _, told = read_reports(tmp_path / "t.csv", None, known("1", "2"))
    assert [(one.row, one.owner) for one in told] == [(2, None), (3, "2")]
    assert "quotation marks" in str(told[0].error)


def test_the_columns_of_the_mapping_are_taken_wherever_they_stand(tmp_path: Path) -> None:
    text = "a title\nwho,id,what\nP1,2,left\nP2,1,right\n"
    table = Table(file="*", patient="who", text=("what",))
    assert pairs(text, known("P1", "P2", "1", "2"), tmp_path, table) == {
        "P1": "left",
        "P2": "right",
    }
    with pytest.raises(TextError, match="lacks"):
        pairs(text, known("P1"), tmp_path, Table(file="*", patient="wer", text=("what",)))


FOURTH_OF_MARCH = """2021-03-04|20210304|04-Mar-2021|4. März 2021|4 mars 2021|4 de marzo de 2021
March 4, 2021|2021年3月4日|04.03.21|20210304101112|2021-03-04T10:11:12|2021/3/4 10:11|4.3.2021
令和3年3月4日|R3.3.4|110/03/04|1100304|民國110年3月4日|04/03/2564|2021년 3월 4일|110.3.4 10:15
2021-Mar-04|04-MAR-21|1er mars 2021|2021-03-04 00:00:00|44259|44259.42|Thu, 04 Mar 2021 10:00"""


@pytest.mark.parametrize("cell", FOURTH_OF_MARCH.replace("\n", "|").split("|"))
def test_dates_are_read_in_every_common_form(cell: str) -> None:
    wanted = date(2021, 3, 1 if cell.startswith("1er") else 4)
    assert date.fromordinal(readings(cell)[0]) == wanted


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.booleans())
def test_slashes_are_settled_by_the_examination(exam: date, month_first: bool) -> None:
    cell = f"{exam:%m/%d/%Y}" if month_first else f"{exam:%d/%m/%Y}"
    (found,) = settle([cell], [[exam.toordinal()]], 30)
    if found is None:  # the other reading is as near
        assert abs(readings(cell)[0] - readings(cell)[1]) <= 60
    else:
        assert date.fromordinal(found) == exam


def test_slashes_that_nothing_settles_are_no_date() -> None:
    assert settle(["03/04/2021"], [[]], 30) == [None]
    certain = settle(["03/04/2021", "25/04/2021"], [[], []], 30)
    assert [date.fromordinal(d).month for d in certain if d] == [4, 4]
    march = date(2021, 3, 4).toordinal()
    column = settle(["03/04/2021", "05/06/2021"], [[march], []], 30)
    assert [date.fromordinal(d).month for d in column if d] == [3, 5]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients 001 (two visits) and 002 in DICOM, sub-07 in NIfTI."""
    src = tmp_path_factory.mktemp("pairing") / "src"
    values = np.random.default_rng(0).integers(0, 99, (3, 8, 8))
    for name, identity, day, accession in (
        ("a", "001", "20210304", "ACC1001"),
        ("b", "001", "20211104", "ACC1002"),
        ("c", "002", "20210405", "ACC1003"),
    ):
        changes = {"PatientID": identity, "StudyDate": day, "AccessionNumber": accession}
        changes |= {"SOPInstanceUID": lambda k, name=name: f"1.2.{ord(name)}.{k}"}
        changes |= {"StudyInstanceUID": f"1.3.{ord(name)}", "PatientName": f"Quimby^{identity}"}
        write_series(src / name, values, changes=changes)
    write_nifti(src / "nifti" / "sub-07" / "t1.nii", brain((8, 8, 4)))
    return src


def reports(src: Path, table: str, **options: object) -> tuple[dict[str, str], Found]:
    """The report of each PatientID's first or second visit, by the images it came with."""
    (src / "reports.csv").write_text(table)
    found = scan(src, SALT, **options)  # type: ignore[arg-type]
    (src / "reports.csv").unlink()
    place = {"a": "001 first", "b": "001 second", "c": "002", "sub-07": "sub-07"}
    named = {}
    for study in found.studies:
        source = next(view for view in study.views if view)
        if study.report:
            named[place[PurePosixPath(source.paths[0]).parent.name]] = study.report
    return named, found


def test_rows_reach_patients_by_number_and_visits_by_date(cohort: Path) -> None:
    table = "No,Pat-ID,Exam Date,Befund\n1,2,04/05/2021,x of 2\n2,1,03/04/2021,first of 1\n"
    table += "3,1,11/04/2021,second of 1\n4,sub-7,,seven\n5,1,12/24/2019,long ago\n"
    named, found = reports(cohort, table)
    assert named == {
        "001 first": "first of 1",
        "001 second": "second of 1",
        "002": "x of 2",
        "sub-07": "seven",
    }
    shown = show(found)
    assert "reports: 5 found, 4 kept" in shown
    assert "1 left out: every image of the patient is more than 30 days" in shown
    assert "--visits together" in shown
    assert reports(cohort, table, how=How(days=None))[1].reports_left_out == ()


def test_rows_reach_visits_by_accession_number_alone(cohort: Path) -> None:
    table = "AccessionNumber,报告\nACC1002,second of 1\nACC1003,x of 2\nACC1001,first of 1\n"
    named, _ = reports(cohort, table)
    assert named == {"001 first": "first of 1", "001 second": "second of 1", "002": "x of 2"}


def test_rows_reach_visits_by_study_instance_uid(cohort: Path) -> None:
    named, _ = reports(cohort, "StudyInstanceUID,Report\n1.3.98,second\n1.3.97,first\n")
    assert named == {"001 first": "first", "001 second": "second"}


def test_what_is_left_out_is_said_in_words_with_the_cure(cohort: Path) -> None:
    table = "Patient,Report\n001,No bleed, but a mass\n9,Nobody\n2,x of 2\n"
    named, found = reports(cohort, table)
    assert named == {"002": "x of 2"}
    shown = show(found)
    assert "reports: 3 found, 1 kept" in shown
    assert "1 left out: the row has more cells than the table has columns; put texts" in shown
    assert "1 left out: nothing says whose report it is" in shown


# Two rows of one name, and which of them reach the patient.
FOLLOW_UPS = {
    "different dates": ("姓名,检查日期,报告\n张三,2021-03-04,一\n张三,2021-11-04,二", "一二"),
    "the same date": ("姓名,检查日期,报告\n张三,2021-03-04,一\n张三,2021-03-04,二", ""),
    "a date is missing": ("姓名,检查日期,报告\n张三,2021-03-04,一\n张三,,二", ""),
    "no dates": ("姓名,报告\n张三,一\n张三,二", ""),
    "two numbers": ("姓名,病历号,日期,报告\n张三,7,2021-03-04,一\n张三,8,2021-11-04,二", ""),
    "one number": ("姓名,病历号,日期,报告\n张三,7,2021-03-04,一\n张三,7,2021-11-04,二", "一二"),
    "two births": ("姓名,出生日期,日期,报告\n张三,1970,2021-03-04,一\n张三,1980,2021-11-04,二", ""),
    "two sexes": ("姓名,性别,日期,报告\n张三,男,2021-03-04,一\n张三,女,2021-11-04,二", ""),
    "two ages": ("姓名,年龄,日期,报告\n张三,50,2021-03-04,一\n张三,51,2021-11-04,二", "一二"),
    "two orders": ("Name,Date,Report\nZhang San,4.3.2021,一\nSan Zhang,4.11.2021,二", "一二"),
    "two orders, one day": ("Name,Date,Report\nZhang San,4.3.2021,一\nSan Zhang,4.3.2021,二", ""),
    "two patients": ("姓名,日期,报告\n李四,2021-03-04,一\n李四,2021-11-04,二", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOW_UPS)
def test_follow_ups_are_paired_by_the_name_of_exactly_one_patient(
    name: str, tmp_path: Path
) -> None:
    text, wanted = FOLLOW_UPS[name]
    about = Known.of(
        [
            *(("a", "name", "张^三"), ("a", "name", "Zhang^San")),
            *(("b", "name", "李^四"), ("c", "name", "李^四")),
        ]
    )
    (tmp_path / "t.csv").write_text(text + "\n", "utf-8")
    _, told = read_reports(tmp_path / "t.csv", None, about)
    assert "".join(one.text for one in told if one.owner == "a" and not one.error) == wanted
    assert not [one for one in told if one.owner in ("b", "c")]


def test_follow_ups_of_one_name_reach_their_visits(cohort: Path) -> None:
    table = "Name,Date,Report\nQuimby 001,2021-11-04,second\nQuimby 001,2021-03-04,first\n"
    assert reports(cohort, table)[0] == {"001 first": "first", "001 second": "second"}


@pytest.mark.parametrize("ending", ["", ".nii", ".nii.gz"])
def test_a_column_of_whole_file_names_finds_patient_and_visit(ending: str, tmp_path: Path) -> None:
    names = ["g7k_t1", "h2p_t1", "P1_visit1_t1", "P1_visit2_t1"]
    texts = {name: f"A mass of {n} mm." for n, name in enumerate(names, 11)}
    for n, name in enumerate(names):
        write_nifti(tmp_path / "img" / f"{name}.nii.gz", brain((8, 8, 4), n))
    rows = [f"{name}{ending},{texts[name]}" for name in names[::-1]]
    (tmp_path / "r.csv").write_text("\n".join(["image_file,report", *rows]))
    found = scan(tmp_path, SALT)
    assert {s.views[1].paths[0].name[:-7]: s.report for s in found.studies if s.views[1]} == texts


@pytest.mark.parametrize("images", ["tp1 tp2", "- -"], ids=["named", "not named"])
@pytest.mark.parametrize("column", ["timepoint", "Time point", "TP"])
def test_a_column_of_time_points_names_the_visit(column: str, images: str, tmp_path: Path) -> None:
    """Where no image has a time point, the table's is no visit without an image."""
    folders = [f"P{n}/{time}".removesuffix("/-") for n in (1, 2) for time in images.split()]
    for n, folder in enumerate(dict.fromkeys(folders)):
        write_nifti(tmp_path / folder / "t1.nii", brain((8, 8, 4), n))
    cells = [(n, time) for n in (1, 2) for time in ((2, 1) if "tp" in images else (1,))]
    rows = [f"P{n},{time},A mass of {n}{time} mm." for n, time in cells]
    (tmp_path / "r.csv").write_text("\n".join([f"patient,{column},report", *rows]))
    found = scan(tmp_path, SALT)
    got = {
        str(s.views[1].paths[0].parent.relative_to(tmp_path)): s.report
        for s in found.studies
        if s.views[1]
    }
    named = "tp" in images
    assert got == {
        f"P{n}/tp{time}" if named else f"P{n}": f"A mass of {n}{time} mm." for n, time in cells
    }


# Images, and the cells of the patient column in the order of the images; "-": no row is theirs.
VISITS_IN_CELLS = {
    "time points": ("P1/tp1 P1/tp2 P2/tp1", "P1_tp1|P1_tp2|P2-tp1"),
    "T0 and T1": ("GBM01/T0 GBM01/T1 GBM02/T0", "GBM01-T0|GBM01-T1|GBM02-T0"),
    "words": ("P1/visit1 P1/visit2 P2/visit1", "P1 visit 1|p1 visit 2|P2 visit 1"),
    "operations": ("P1/preop P1/postop P2/preop", "P1_preop|P1_postop|P2_preop"),
    "days": ("P1/2021-03-04 P1/2021-09-04", "P1_20210304|P1_2021-09-04"),
    "file names": ("P1 P2", "P1_flair.nii.gz|P2_flair.nii.gz"),
    "file names of visits": ("P1/tp1 P1/tp2", "P1_tp1_t1ce.nii.gz|P1_tp2_t1ce.nii.gz"),
    "a visit without an image": ("P1/tp1 P2/tp1", "P1_tp2|P2_tp1"),
}


@pytest.mark.parametrize("name", VISITS_IN_CELLS)
def test_a_cell_with_the_patient_and_the_time_reaches_that_visit(name: str, tmp_path: Path) -> None:
    images, cells = VISITS_IN_CELLS[name]
    for n, folder in enumerate(images.split()):
        write_nifti(tmp_path / folder / "flair.nii.gz", brain((8, 8, 4), n))
    rows = [f"{cell},A mass of {n} mm." for n, cell in enumerate(cells.split("|"))]
    (tmp_path / "r.csv").write_text("\n".join(["patient,report", *rows[::-1]]))
    found = scan(tmp_path, SALT)
    got = {
        str(s.views[1].paths[0].parent.relative_to(tmp_path)): s.report
        for s in found.studies
        if s.views[1]
    }
    wanted = {folder: f"A mass of {n} mm." for n, folder in enumerate(images.split())}
    if "without" in name:
        wanted["P1/tp1"] = None
    assert got == wanted


# Folders, and the column and the cells that name them.
TIMES_IN_COLUMNS = {
    "LUMIERE": ("week-000 week-044", "Date", "week-000 week-044"),
    "days": ("day0 day90", "Day", "0 90"),
    "phases": ("pre-op post-op", "Stage", "preop postop"),
    "Chinese phases": ("术前 术后", "阶段", "术前 术后"),
    "numbers of examinations": ("exam1 exam2", "Exam", "1 2"),
    "scans": ("scan1 scan2", "Scan no", "1 2"),
    "beside a survival": ("visit1 visit2", "Visit,survival", "1,12 2,12"),
    "short visits": ("V1 V2", "visit", "V1 2"),
}


@pytest.mark.parametrize("name", TIMES_IN_COLUMNS)
def test_a_column_whose_cells_are_time_points_of_images_names_the_visit(
    name: str, tmp_path: Path
) -> None:
    folders, column, cells = TIMES_IN_COLUMNS[name]
    wanted = {}
    for n, (folder, cell) in enumerate(zip(folders.split(), cells.split(), strict=True)):
        write_nifti(tmp_path / "P1" / folder / "t1.nii", brain((8, 8, 4), n))
        wanted[folder] = (cell, f"A mass of {n} mm.")
    rows = [f"P1,{cell},{text}" for cell, text in wanted.values()]
    (tmp_path / "r.csv").write_text("\n".join([f"patient,{column},report", *rows[::-1]]))
    got = {s.views[1].paths[0].parent.name: s.report for s in scan(tmp_path, SALT).studies}
    assert got == {folder: text for folder, (_, text) in wanted.items()}


# Columns of texts, cells of two patients (";" parts the columns), the texts of images "preop".
WIDE = [
    ("Report pre-op;Report post-op", "Left mass.;A cavity without residual mass.", "Left mass."),
    ("Report post-op;Report pre-op", ";Left mass.", "Left mass."),
    ("Report pre-op;Report post-op", ";A cavity without any residual mass.", None),
    ("Befund präoperativ;Befund postoperativ", "Raumforderung.;Höhle.", "Raumforderung."),
    ("术前报告;术后报告", "左侧额叶肿瘤。;术后改变，未见肿瘤残留。", "左侧额叶肿瘤。"),
    ("Findings pre-op;Impression pre-op;Findings post-op", "A.;B.;C.", "A. B."),
    ("Report post-op", "A cavity without any residual mass.", None),
    ("Report pre-op", "A mass of the left frontal lobe.", "A mass of the left frontal lobe."),
    ("Report 1;Report 2", "Left mass.;A cavity.", None),
    ("First words;Later words", "Left mass of 11 mm.;A cavity without any residual mass.", None),
]


@pytest.mark.parametrize(("columns", "cells", "wanted"), WIDE)
def test_a_text_of_another_time_is_none_of_these_images(
    columns: str, cells: str, wanted: str | None, tmp_path: Path
) -> None:
    for n in (1, 2):
        write_nifti(tmp_path / f"P{n}" / "preop" / "t1.nii", brain((8, 8, 4), n))
    rows = [f"MRN;{columns}", *(f"P{n};{cells}" for n in (1, 2))]
    (tmp_path / "r.csv").write_text("\n".join(rows), "utf-8")
    found = scan(tmp_path, SALT)
    assert {study.report for study in found.studies} == {wanted}
    kept = found.report_count - sum(count for _, count in found.reports_left_out)
    assert kept == (2 if wanted else 0)
    texts = len(list(filter(None, cells.split(";"))))
    assert texts == 1 or wanted == "A. B." or found.reports_left_out


def test_a_visit_of_the_patients_name_is_found_beside_masks_in_another_folder(
    tmp_path: Path,
) -> None:
    names = ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00011_11")
    for n, name in enumerate(names):
        image = tmp_path / "images_structural" / name / f"{name}_T1.nii"
        write_nifti(image, brain((8, 8, 4), n))
        mask = np.zeros((8, 8, 4), np.uint8)
        mask[2:4, 2:4, 1:3] = 1
        write_nifti(tmp_path / "images_segm" / f"{name}_segm.nii", mask)
    rows = [f"{name},A mass of {n} mm." for n, name in enumerate(names)]
    (tmp_path / "r.csv").write_text("\n".join(["ID,Report", *rows[::-1]]))
    for words in (None, Words(reports=(Table(file="*.csv", patient="ID", text=("Report",)),))):
        found = scan(tmp_path, SALT, words=words)
        got = {s.views[1].paths[0].parent.name: s.report for s in found.studies if s.views[1]}
        assert got == {name: f"A mass of {n} mm." for n, name in enumerate(names)}


def test_a_date_that_is_none_is_said_of_the_row(cohort: Path) -> None:
    table = "Pat-ID,Exam date,Befund\n1,soon,first\n2,05.04.2021,x of 2\n"
    named, found = reports(cohort, table)
    assert named == {"002": "x of 2"}
    [(reason, count)] = found.reports_left_out
    assert count == 1
    assert "date of the row" in reason
    assert "folder" not in reason


def test_a_column_of_names_finds_folders_of_that_name_but_for_two_rows(tmp_path: Path) -> None:
    for n, folder in enumerate(("张三", "李四")):
        write_nifti(tmp_path / folder / "t1.nii", brain((8, 8, 4), n))
    (tmp_path / "r.csv").write_text("姓名,报告\n李四,左\n张三,右\n张三,无\n", "utf-8")
    assert sorted(str(s.report) for s in scan(tmp_path, SALT).studies) == ["None", "左"]


def test_a_report_of_a_visit_without_images_is_none_of_another_visit(tmp_path: Path) -> None:
    for n, patient in enumerate(("P1", "P2")):
        write_nifti(tmp_path / patient / "tp1" / "t1.nii", brain((8, 8, 4), n))
    (tmp_path / "r.csv").write_text("patient,timepoint,report\nP1,2,second\nP2,1,first\n")
    assert sorted(str(s.report) for s in scan(tmp_path, SALT).studies) == ["None", "first"]


@pytest.mark.parametrize("name", ["Exam", "Study", "MRT vom", "performed", "検査年月日", "MRI"])
def test_a_column_of_the_examinations_dates_is_known_by_them(name: str, cohort: Path) -> None:
    table = f"Pat-ID,Date of birth,{name},Befund\n1,04.03.1950,04.11.2021,second\n"
    table += "1,04.03.1950,04.03.2021,first\n2,05.04.1961,05.04.2021,x of 2\n"
    named, _ = reports(cohort, table)
    assert named == {"001 first": "first", "001 second": "second", "002": "x of 2"}


def test_a_column_of_other_dates_is_not_that_of_the_examinations(cohort: Path) -> None:
    table = "Pat-ID,Last contact,Befund\n1,04.11.2025,late\n2,05.04.2024,x of 2\n"
    named, _ = reports(cohort, table)
    assert named == {"002": "x of 2"}


def texts(src: Path, *paths: str) -> tuple[dict[str, str], dict[str, str]]:
    """The reports of the images' folders and why texts were left out; a text says its own path."""
    for number, path in enumerate(paths):
        if path.endswith(".txt"):
            (src / path).parent.mkdir(parents=True, exist_ok=True)
            (src / path).write_text(f"Befund: tumour number {number}")
        else:
            write_nifti(src / path, brain((8, 8, 4 + number)))
    found = scan(src, SALT)
    made = {}
    for study in found.studies:
        if study.report:
            image = next(view for view in study.views if view).paths[0]
            made[image.parent.relative_to(src).as_posix()] = study.report
    lost = {path.relative_to(src).as_posix(): reason for path, reason in found.rejections}
    return made, lost


IMAGES = ("Bilder/Pat1/t1.nii", "Bilder/Pat11/t1.nii", "Bilder/Pat12/t1.nii")


def test_a_text_named_after_nobody_with_images_is_refused_as_nobodys(
    cohort: Path, tmp_path: Path
) -> None:
    src = tmp_path / "src"
    shutil.copytree(cohort, src)
    smith = "Reports/MR Brain Report - Smith John - 12 Mar 2021.txt"
    own = ("nifti/sub-08/report.txt", "nifti/sub-10/Huber.txt")
    made, lost = texts(src, smith, "Letters/Huber.txt", "nifti/sub-09.txt", *own)
    assert not made
    for path in (smith, "Letters/Huber.txt", "nifti/sub-09.txt"):
        assert lost.pop(path).startswith("OwnerError: the report is named after no patient")
    assert set(lost) == set(own)
    assert {reason.partition(":")[0] for reason in lost.values()} == {"IncompleteError"}


def test_a_folder_of_a_patient_without_images_is_no_folder_of_letters(tmp_path: Path) -> None:
    _, lost = texts(
        tmp_path, "P1/t1.nii", "P2/t1.nii", "Arztbriefe/Huber.txt", "Mueller/Befund.txt"
    )
    kinds = {path: reason.partition(":")[0] for path, reason in lost.items()}
    assert kinds == {"Arztbriefe/Huber.txt": "OwnerError", "Mueller/Befund.txt": "IncompleteError"}


def test_texts_without_any_image_lack_the_images(tmp_path: Path) -> None:
    _, lost = texts(tmp_path, "Befunde/Pat 11.txt", "Befunde/Pat 12.txt")
    assert {reason.partition(":")[0] for reason in lost.values()} == {"IncompleteError"}


@pytest.mark.parametrize("name", ["Pat 11", "Pat_11", "pat-11", "MRT Befund Pat 11"])
def test_a_texts_name_may_have_other_separators_than_the_folder(name: str, tmp_path: Path) -> None:
    made, lost = texts(tmp_path, *IMAGES, f"Befunde/{name}.txt")
    assert made == {"Bilder/Pat11": "Befund: tumour number 3"}
    assert not lost


@pytest.mark.parametrize("name", ["Pat 1-1", "Pat 1 2", "Pat 13", "Pat 11 Huber"])
def test_a_texts_name_of_another_number_is_nobodys(name: str, tmp_path: Path) -> None:
    made, lost = texts(tmp_path, *IMAGES, f"Befunde/{name}.txt")
    assert not made
    assert lost[f"Befunde/{name}.txt"].startswith("OwnerError: ")


def test_a_spelling_of_two_folders_is_nobodys(tmp_path: Path) -> None:
    images = ("Bilder/AB-77C/t1.nii", "Bilder/AB77-C/t1.nii", "Bilder/XY78/t1.nii")
    made, lost = texts(tmp_path, *images, "Befunde/AB77C.txt")
    assert not made
    assert lost["Befunde/AB77C.txt"].startswith("OwnerError: ")


def test_the_name_of_a_visits_folder_in_a_texts_name_tells_the_visit(tmp_path: Path) -> None:
    images = [
        f"Bilder/Pat{number}/{visit}/t1.nii"
        for number in (10, 11, 12)
        for visit in ("Erstdiagnose", "Verlauf")
    ]
    made, lost = texts(
        tmp_path,
        *images,
        "Befunde/Pat 11 Erstdiagnose.txt",
        "Befunde/Pat 11 Verlauf.txt",
        "Befunde/Erstdiagnose_Pat10.txt",
        "Bilder/Pat12/Befund Erstdiagnose.txt",
    )
    assert not lost
    assert made == {
        "Bilder/Pat11/Erstdiagnose": "Befund: tumour number 6",
        "Bilder/Pat11/Verlauf": "Befund: tumour number 7",
        "Bilder/Pat10/Erstdiagnose": "Befund: tumour number 8",
        "Bilder/Pat12/Erstdiagnose": "Befund: tumour number 9",
    }


@pytest.mark.parametrize("name", ["befund", "MRT-Befund", "Arztbrief Huber", "Findings_Huber"])
def test_words_for_what_a_file_is_stay_in_its_report(name: str, tmp_path: Path) -> None:
    write_nifti(tmp_path / "P17" / "t1.nii", brain((8, 8, 4)))
    text = "Befund: MRT, findings as in the Arztbrief of Huber"
    (tmp_path / "P17" / f"{name}.txt").write_text(text)
    (study,) = scan(tmp_path, SALT).studies
    assert study.report == (text.replace("Huber", "___") if "Huber" in name else text)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (("14020512", "14021112"), ("1402/05/12", "14021112")),
        (("25640304", "25640904"), ("04/03/2564", "25640904")),
        (("20230803", "20240201"), ("۱۴۰۲/۰۵/۱۲", "1402-11-12")),
    ],
)
def test_days_of_other_calendars_in_headers_part_visits_and_find_their_rows(
    header: tuple[str, str], cells: tuple[str, str], tmp_path: Path
) -> None:
    for n, day in enumerate(header):
        changes = {"PatientID": "77", "StudyDate": day, "StudyInstanceUID": f"1.2.{n}"}
        write_series(tmp_path / f"d{n}", brain((4, 8, 8), n) + 900, changes=changes)
    rows = [f"77,{cell},A mass of {n} mm." for n, cell in enumerate(cells)]
    (tmp_path / "r.csv").write_text("\n".join(["MRN,Date,Report", *rows[::-1]]), encoding="utf-8")
    found = scan(tmp_path, SALT)
    got = {next(filter(None, s.views)).paths[0].parent.name: s.report for s in found.studies}
    assert got == {f"d{n}": f"A mass of {n} mm." for n in (0, 1)}

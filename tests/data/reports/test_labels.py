"""Labels of one's own patients: whose they are, what they are, and what is refused."""

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read, unpack_labels
from rfpmss.data.cohort.splits import split
from rfpmss.data.reports.labels import LabelError, join
from rfpmss.data.sources.hospital import Found, scan
from rfpmss.data.study import Study
from tests.data.files import brain, write_nifti

SALT = b"0123456789abcdef"
with (Path(__file__).parents[2] / "tables" / "labels.csv").open(encoding="utf-8") as file:
    CASES = list(csv.DictReader(file))


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> tuple[Path, Found]:
    """P1 to P4; P2 has two visits half a year apart."""
    src = tmp_path_factory.mktemp("clinic") / "src"
    for number in (1, 3, 4):
        write_nifti(src / f"P{number}" / "t1.nii.gz", brain(seed=number))
    for day in ("2021-03-04", "2021-09-04"):
        write_nifti(src / "P2" / day / "t1.nii.gz", brain(seed=int(day[6]) + 9))
    return src, scan(src, SALT)


def labelled(four, table: Path, *wanted: str) -> tuple[dict[str, list[dict[str, str]]], str]:
    """The labels of each patient's visits in the order of time, and what was said."""
    src, found = four
    assert found.identities is not None
    made = join(found.studies, found.identities, table, src, wanted)
    result: dict[str, list[dict[str, str]]] = {f"P{n}": [] for n in range(1, 5)}
    first = {study: min(days, default=0) for study, days in found.identities.days.items()}
    for study in sorted(made.studies, key=lambda study: first[study.study_id]):
        source = study.views[1]
        assert source is not None
        result[source.paths[0].relative_to(src).parts[0]].append(dict(study.labels))
    return result, "\n".join(made.sentences)


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text.replace("|", "\n") + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_tables_as_people_have_them(four, case, tmp_path):
    found, said = labelled(four, written(tmp_path, case["table"]))
    kept = {}
    for word in case["kept"].split(" "):
        name, _, values = word.partition("=")
        kept[name] = values.split("/")
    for number, patient in enumerate(found):
        expected = {name: v[number] for name, v in kept.items() if v[number]}
        assert all(visit == expected for visit in found[patient]), patient
    for word in filter(None, case["left"].split("+")):
        name, _, reason = word.partition(":")
        assert re.search(rf"not taken: {name}: .*{reason}", said)
    assert said.count("not taken") == case["left"].count(":")


def test_a_dated_row_labels_its_visit_and_an_undated_one_all(four, tmp_path):
    text = "pid,exam date,response,sex|P2,2021-03-10,PD,|P2,2021-09-01,CR,|P2,,,F|P1,,,M"
    found, _ = labelled(four, written(tmp_path, text))
    assert found["P2"] == [{"response": "PD", "sex": "F"}, {"response": "CR", "sex": "F"}]
    text = "pid,exam date,response|P2,2021-03-10,PD|P2,2023-01-01,CR|P1,,PD"
    found, said = labelled(four, written(tmp_path, text))
    assert found["P2"] == [{"response": "PD"}, {}]
    assert "rows more than 30 days from every examination of the patient: 1 (lines 3)" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pid,grade|P1,4|P1,2|P2,4", "lines 2 and 3 of the table give one patient different"),
        ("pid,grade|Q1,4|Q2,2", "no row of the table belongs to a patient|no column"),
        ("pid,grade|P1,4,5|P2,2", "line 2 has more cells"),
        ("pid,name|P1,Ann|P2,Bo", "no column of the table is a label .*'name': it names persons"),
        ("P1,4|P2,2|P3,4|P4,2", "first row of the table names a patient"),
        ("pid,grade,grade|P1,4,2", "two columns of one name"),
        ('pid,grade|P1,"4|P2,2', "quotation mark is left open"),
        ("a,b|P1,P2|P2,P1|P3,P4|P4,P3", "'a' and 'b' name different patients"),
        ("pid", "no row, or no second column"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_one_sentence(four, text, sentence, tmp_path):
    with pytest.raises(LabelError, match=sentence) as told:
        labelled(four, written(tmp_path, text))
    assert not re.search(r"\bAnn\b|\bQ1\b", str(told.value))


def test_rows_that_belong_to_nobody_or_to_two_are_counted_with_their_lines(four, tmp_path):
    text = "pid,mrn,grade|P1,P1,4|P2,P3,2|P4,P4,2|X,X,4|P3,P3,3"
    found, said = labelled(four, written(tmp_path, text))
    assert found["P2"] == [{}, {}]
    assert found["P3"] == [{"grade": "3"}]
    assert "rows that name two patients in two columns: 1 (lines 3)" in said
    assert "rows that belong to no patient of the images: 1 (lines 5)" in said


def test_few_patients_values_are_not_shown_on_the_terminal(four, tmp_path):
    text = "pid,grade|P1,4|P2,4|P3,4|P4,2"
    _, said = labelled(four, written(tmp_path, text))
    assert "grade: 4 patients (3 4, values of fewer than 3 patients: 1)" in said
    text = "pid,age|P1,41.5|P2,52|P3,63|P4,74|P5,33|P6,22"
    _, said = labelled(four, written(tmp_path, text))
    assert not re.search("41|52|63|74", said)


def test_columns_can_be_asked_for_by_name(four, tmp_path):
    path = written(tmp_path, "pid,city,grade|P1,Aix,4|P2,Ulm,2|P3,Linz,4|P4,Bern,2")
    found, _ = labelled(four, path, "city")
    assert found["P1"] == [{"city": "Aix"}]
    with pytest.raises(LabelError, match="--label-columns must name columns of the table"):
        labelled(four, path, "town")


def test_the_command_writes_labels_that_do_not_change_the_rest(four, tmp_path, capsys):
    src, _ = four
    table = written(tmp_path, "pid,grade|P1,4|P2,2|P3,4|P4,2")
    salt = tmp_path / "salt"
    salt.write_text(SALT.decode())
    words = ["hospital", str(src), "--workers", "1", "--salt", str(salt), "--out"]
    assert prepare.main([*words, str(tmp_path / "dry"), "--labels", str(table), "--dry-run"]) == 0
    assert "grade: 4 patients" in capsys.readouterr().out
    assert prepare.main([*words, str(tmp_path / "plain")]) == 0
    assert prepare.main([*words, str(tmp_path / "own"), "--labels", str(table)]) == 0
    plain, own = (read(tmp_path / name / "manifest.csv") for name in ("plain", "own"))
    assert {dict(unpack_labels(row.labels))["grade"] for row in own} == {"2", "4"}
    strip = {(row.study_id, row.digest, row.series, row.path) for row in plain}
    assert strip == {(row.study_id, row.digest, row.series, row.path) for row in own}
    assert prepare.main([*words, str(tmp_path / "x"), "--labels", str(tmp_path / "no.csv")]) == 1
    assert "--labels must name a file" in capsys.readouterr().err


def test_parts_with_labels_merge_to_what_one_machine_makes(four, tmp_path):
    src, _ = four
    table = written(tmp_path, "pid,grade|P1,4|P2,2|P3,4|P4,2")
    salt = tmp_path / "salt"
    salt.write_text(SALT.decode())
    words = ["hospital", str(src), "--workers", "1", "--salt", str(salt), "--labels", str(table)]
    assert prepare.main([*words, "--out", str(tmp_path / "whole")]) == 0
    for part in ("1", "2"):
        out = str(tmp_path / part)
        assert prepare.main([*words, "--shard", f"{part}/2", "--out", out]) == 0
    parts = [str(tmp_path / part) for part in ("1", "2")]
    assert prepare.main(["merge", *parts, "--out", str(tmp_path / "both")]) == 0
    for name in ("manifest.csv", "splits.csv"):
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@given(st.lists(st.booleans(), min_size=20, max_size=80), st.integers(0, 99))
def test_splits_get_their_share_of_every_class(classes, seed):
    studies = [
        Study(study_id=str(n), patient_id=str(n), report="x", stratum="ab"[mine])
        for n, mine in enumerate(classes)
    ]
    dealt = split(studies, (0.6, 0.2, 0.2), seed)
    for kind in "ab":
        mine = [dealt[s.patient_id] for s in studies if s.stratum == kind]
        for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(mine.count(name) - share * len(mine)) < 2

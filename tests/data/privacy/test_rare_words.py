"""Words that only one patient's reports have are listed for the owner alone, counted for all."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rfpmss import prepare
from rfpmss.data.privacy.unlabelled.rare import FILE, rare
from rfpmss.data.study import Study
from tests.data.files import write_series

TEXTS = {
    "P1": "Left frontal Mass. Seen by the team of Qwzyrblat, Mass stable.",
    "P2": "Right Mass. Nothing else was found. Dotarem. Mass stable.",
}


def studies(*reports: str, derived: bool = False) -> list[Study]:
    return [
        Study(study_id=f"s{n}", patient_id=f"p{n}", report=report, derived=derived)
        for n, report in enumerate(reports)
    ]


def test_a_word_of_two_patients_of_small_letters_or_of_a_vocabulary_is_not_listed() -> None:
    found = rare(studies("Zyxwort, Hirnxyz und Foobarsch, Gadovist T1 FLAIR", "Foobarsch, hirnxyz"))
    assert [(word, study, times) for word, study, times, _ in found] == [("Zyxwort", "s0", 1)]


def test_names_of_the_lexicon_come_first_and_chinese_ones_are_found() -> None:
    found = rare(studies("Abcdefg. 王建国。左侧额叶占位。 Sabine", "Other"))
    assert [word for word, *_ in found] == ["Sabine", "Abcdefg", "王建国"]
    assert rare(studies("Sabine", derived=True)) == []


def test_the_list_is_private_and_only_its_count_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for patient, text in TEXTS.items():
        values = np.random.default_rng(len(text)).integers(900, 1100, (4, 32, 32))
        write_series(tmp_path / "src" / patient, values, changes={"PatientID": patient})
        (tmp_path / "src" / patient / "report.txt").write_text(text)
    out = tmp_path / "out"
    command = ["hospital", str(tmp_path / "src"), "--out", str(out), "--workers", "1"]
    assert prepare.main(command) == 0
    said = capsys.readouterr().out
    with (out / FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "Qwzyrblat" in {row["word"] for row in rows}
    assert (out / FILE).stat().st_mode & 0o077 == 0
    count = len({row["study_id"] for row in rows})
    page = (out / "cohort.html").read_text()
    assert f"note: {count} reports hold words" in said
    assert f"{count} reports hold words" in page
    assert "Qwzyrblat" not in said + page

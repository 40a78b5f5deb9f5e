"""Words that may be names go in doubt; the owner gets a list of them and brings words back."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import ColumnError, TextError
from rfpmss.data.privacy.unlabelled.rare import FILE, read_choice, settle
from rfpmss.data.study import Study
from tests.data.files import write_series

TEXTS = {
    "P1": "Left frontal Mass. It was seen by the team of Qwzyrblat, the Mass is stable.",
    "P2": "Right Mass. Nothing else was found in the brain. Dotarem was given.",
}


def studies(*reports: str, derived: bool = False) -> list[Study]:
    return [
        Study(study_id=f"s{n}", patient_id=f"p{n}", report=report, derived=derived)
        for n, report in enumerate(reports)
    ]


def words(*reports: str) -> dict[str, str]:
    return {word: blanked for word, _, _, _, blanked in settle(studies(*reports))[1]}


def test_a_word_of_two_patients_of_small_letters_or_of_a_vocabulary_is_not_listed() -> None:
    seen = "It is seen with Zyxwort, Hirnxyz and Foobarsch, as Gadovist T1 FLAIR."
    assert words(seen, "It is with Foobarsch and with hirnxyz.") == {"Zyxwort": "yes"}


def test_in_doubt_a_word_inside_a_sentence_goes_and_one_at_its_beginning_is_listed() -> None:
    text = "Abcdefg is seen. The mass was shown to Vrtsxyz and the team by Sabine."
    made, rows = settle(studies(text, "The mass."))
    assert made[0].report == "Abcdefg is seen. The mass was shown to ___ and the team by ___."
    assert [(row[0], row[4]) for row in rows] == [
        ("Sabine", "yes"), ("Abcdefg", "no"), ("Vrtsxyz", "yes"),
    ]  # fmt: skip


def test_german_nouns_stay_and_names_of_the_lexicon_go_with_what_is_beside_them() -> None:
    text = "Der Befund mit Xyzödembereichsrand wurde nicht mit Sabine Wrtzsky gezeigt."
    (made,), rows = settle(studies(text))
    assert made.report == "Der Befund mit Xyzödembereichsrand wurde nicht mit ___ gezeigt."
    assert {row[0]: row[4] for row in rows}["Sabine"] == "yes"


def test_titles_labels_and_published_reports_are_left_alone() -> None:
    assert words("Dr. ___ said that the Prontuário: is in the file of Mrs ___.") == {}
    assert settle(studies("The mass of Sabine", derived=True))[1] == []


def test_chinese_names_by_themselves_go_and_findings_stay() -> None:
    assert words("李小明。左侧额叶占位。高信号。") == {"李小明": "yes"}


def test_an_edited_list_brings_words_back_and_blanks_others(tmp_path: Path) -> None:
    path = tmp_path / "edited.csv"
    path.write_text("word,blanked\nVrtsxyz,no\nAbcdefg,yes\n")
    text = "Abcdefg is seen. The mass was shown to Vrtsxyz and the team."
    (made,), _ = settle(studies(text), read_choice(path))
    assert made.report == "___ is seen. The mass was shown to Vrtsxyz and the team."
    path.write_text("word\nVrtsxyz\n")
    assert read_choice(path) == {"vrtsxyz": False}
    path.write_text("word,blanked\nVrtsxyz,perhaps\n")
    with pytest.raises(TextError, match="yes or no"):
        read_choice(path)
    path.write_text("name\nVrtsxyz\n")
    with pytest.raises(ColumnError, match="column word"):
        read_choice(path)


def test_the_list_is_private_only_its_count_is_told_and_it_comes_back_edited(
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
    assert [(row["word"], row["blanked"]) for row in rows] == [("Qwzyrblat", "yes")]
    assert (out / FILE).stat().st_mode & 0o077 == 0
    page = (out / "cohort.html").read_text()
    assert "note: 1 report holds words that may be names; 1 was blanked" in said
    assert "1 report holds words that may be names; 1 was blanked" in page
    assert not any("Qwzyrblat" in (row.report or "") for row in read(out / "manifest.csv"))
    assert "Qwzyrblat" not in said + page

    keep = tmp_path / "keep.csv"
    keep.write_text((out / FILE).read_text().replace(",yes", ",no"))
    assert prepare.main([*command, "--keep-words", str(keep)]) == 0
    assert any("Qwzyrblat" in (row.report or "") for row in read(out / "manifest.csv"))

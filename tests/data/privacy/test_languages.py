"""Reports of languages in which names are not known to be removed are left out, and said so."""

import csv
import re
from pathlib import Path

import pytest

from rfpmss.data.errors import LanguageError
from rfpmss.data.privacy.language.gate import ALL, MEASURED, Gate
from rfpmss.data.privacy.language.told import keys, other_languages
from rfpmss.data.sources.gather import How
from rfpmss.data.sources.hospital import Found, scan, show
from tests.data.files import brain, write_nifti

TABLES = Path(__file__).parents[2] / "tables"
CODES = {"en", "de", "fr", "es", "zh", "nl"}
"""The measured languages in the oracle table."""


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_language_is_told_and_no_measured_one_is_another() -> None:
    wrong = []
    for row in rows("languages/told.csv"):
        found = other_languages(row["text"], MEASURED)
        wanted = row["language"].split("|")
        named = {key for name in found for key in keys(name)} & {one.lower() for one in wanted}
        if bool(found) != bool(row["language"]) or (found and not named):
            wrong.append((row["text"], found))
    assert wrong == []


def test_the_way_out_that_a_refusal_names_takes_the_report() -> None:
    refused = 0
    for row in rows("languages/told.csv"):
        if not row["language"]:
            continue
        with pytest.raises(LanguageError) as caught:
            Gate().check(row["text"])
        options = re.search(r"--report-languages ([a-z ]+?) to take", caught.value.cure)
        assert options, caught.value
        Gate(options[1].split()).check(row["text"])
        refused += 1
    assert refused > 45


def test_no_line_of_a_measured_language_is_withheld_and_nearly_all_others_are() -> None:
    others = []
    for row in rows("people_in_reports.csv"):
        text = re.sub(r"[<>{}]", "", row["text"].replace("\\n", "\n"))
        found = bool(other_languages(text, MEASURED))
        if row["language"] in CODES:
            assert not found, text
        else:
            others.append(found)
    assert len(others) > 300
    assert sum(others) > 0.93 * len(others)  # of one-liners; what they miss has four words


HUNGARIAN = "A bal temporalis lebenyben 45 mm-es térfoglalás látható. Kovács Zsuzsanna"
GERMAN = "Raumforderung links temporal, 45 mm."


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gate")
    for name, text in (("P1", HUNGARIAN), ("P2", GERMAN), ("P3", HUNGARIAN + " 2.")):
        (root / name).mkdir()
        write_nifti(root / name / "t1.nii.gz", brain((4, 16, 16)))
        (root / name / "report.txt").write_text(text)
    return root


def read(cohort: Path, *taken: str) -> Found:
    return scan(cohort, b"0123456789abcdef", how=How(gate=Gate(taken)))


def test_the_images_stay_and_the_sentence_says_how_many_and_the_way_out(cohort: Path) -> None:
    found = read(cohort)
    assert len(found.studies) == 3
    assert [study.report for study in found.studies if study.report] == [GERMAN]
    shown = show(found)
    assert "reports: 3 found, 1 kept" in shown
    assert "2 left out: the report is in Hungarian, and names in it are not known" in shown
    assert "--report-languages hungarian" in shown
    assert "words.private.csv" in shown
    assert [r.partition(":")[0] for _, r in found.rejections] == [LanguageError.__name__] * 2


@pytest.mark.parametrize("taken", [("hungarian",), ("Hungarian,hebrew",), (ALL,)])
def test_the_way_out_takes_them_redacted(cohort: Path, taken: tuple[str, ...]) -> None:
    found = read(cohort, *taken)
    reports = [study.report or "" for study in found.studies]
    assert sum("térfoglalás" in report for report in reports) == 2
    assert "Zsuzsanna" not in " ".join(reports)
    assert not found.reports_left_out


def test_another_language_is_no_way_out(cohort: Path) -> None:
    assert sum(count for _, count in read(cohort, "hebrew").reports_left_out) == 2


def test_a_language_that_is_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match="--report-languages must be all or languages of .*klingon"
    ):
        Gate(["klingon"])


def test_a_tie_names_both() -> None:
    with pytest.raises(LanguageError, match="Danish or Norwegian|Norwegian or Danish"):
        Gate().check("Tumor i venstre hjernehalvdel med ødem, ikke blødning.")


def test_a_measured_language_leaked_in_one_of_twelve_at_most_and_the_guide_says_so() -> None:
    guide = (TABLES.parents[1] / "docs" / "data" / "reports.md").read_text(encoding="utf-8")
    plain = (row for row in rows("languages/measured.csv") if row["odd"] == "no")
    last = {row["language"]: row for row in plain}
    held = {name for name, row in last.items() if int(row["leaks"]) <= 1}
    assert held == set(MEASURED)
    assert all(int(row["reports"]) == 12 and row["set"] > "1" for row in last.values())
    for row in rows("languages/measured.csv"):
        assert f"{row['language']} {row['leaks']}" in guide

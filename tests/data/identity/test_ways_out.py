"""Whichever way out a refusal names, with it every image and every report is kept and is right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest

from rfpmss.data.identity.mapping import Words
from rfpmss.data.identity.numbered import stem
from rfpmss.data.sources.hospital import Found
from tests.data.identity.paths import ROOT, Truth, cases, same, scan, told

REFUSED = {case.name: case.paths for case in cases() if case.refused}
SAID = {name: scan(paths).doubt for name, paths in REFUSED.items()}
TEXTS = (
    *("R/{last}.txt", "R/{last}_report.txt", "R/{last}/report.txt", "报告/{last}_MR.txt"),
    *("R/{whole}.txt", "R/{whole}/report.txt", "R/{joined}.txt", "{whole}/report.txt"),
    *("{last}.txt", "{whole}.txt", "R/{last}_20210304.txt"),
)
"""Where reports that are named after folders lie: {last} of the path of a folder, {whole} of it."""

Texts = dict[str, tuple[str, ...]]


def saying(words: str) -> list[str]:
    """The layouts of whose refusal these words are a part."""
    found = [name for name, said in SAID.items() if words in said]
    assert found
    return found


def moved(paths: Truth) -> Truth:
    """The files of each patient in a folder of its own."""
    return {
        f"{who[0]}/{path.replace(f'{who[0]}/', '')}".replace("/x/", "/"): who
        for path, who in paths.items()
    }


def texts_of(folders: Iterable[tuple[str, ...]], shape: str) -> Texts:
    """The reports that are named after folders, none where two would have one name."""
    whole = list(folders)
    names = {f[-1].lower() for f in whole}
    found = {shape.format(last=f[-1], whole="/".join(f), joined="_".join(f)): f for f in whole}
    return found if len(names) == len(whole) or "{last}" not in shape else {}


def pairs(found: Found, level: int) -> dict[str, tuple[str, ...]]:
    """Of each report that is kept the patient's folder."""
    folder = {study: tuple(path.split("/")[:level]) for path, (_, study) in told(found).items()}
    return {
        path.relative_to(ROOT).as_posix(): folder[study]
        for study, paths in found.reports.items()
        for path in paths
    }


def repeated(mine: Truth, level: int) -> set[tuple[str, ...]]:
    """The patients' folders with several visits."""
    visits: dict[tuple[str, ...], set[str]] = {}
    for path, (_, study) in mine.items():
        visits.setdefault(tuple(path.split("/")[:level]), set()).add(study)
    return {folder for folder, found in visits.items() if len(found) > 1}


@pytest.mark.parametrize("name", REFUSED)
def test_a_level_that_is_advised_loses_no_image_and_no_report(name: str) -> None:
    said = SAID[name]
    for level in sorted(set(map(int, re.findall(r"--patient-level (\d)", said)))):
        own = f"into a folder of its own and pass --patient-level {level}" in said
        paths = moved(REFUSED[name]) if own else REFUSED[name]
        folders = sorted({tuple(path.split("/")[:level]) for path in paths})
        for shape in TEXTS[list(REFUSED).index(name) % 2 :: 2]:
            texts = texts_of(folders, shape)
            found = scan([*paths, *texts], level=level)
            assert found.doubt == "", shape
            assert told(found).keys() == paths.keys(), shape
            kept = pairs(found, level)
            assert kept.items() <= texts.items(), shape
            if lost := texts.keys() - kept.keys():  # of patients with several visits
                assert {texts[text] for text in lost} <= repeated(told(found), level), shape
                together = scan([*paths, *texts], level=level, days=None)
                assert pairs(together, level) == texts, shape


@pytest.mark.parametrize("name", saying("patients:) for --mapping"))
def test_naming_the_patients_in_the_mapping_file_loses_no_image_and_no_report(name: str) -> None:
    paths = REFUSED[name]
    flat = not any("/" in path for path in paths)
    names: dict[str, tuple[str, str]] = {}
    for path, who in paths.items():
        file = PurePosixPath(path)
        names[stem(file).rpartition("_")[0] if flat else file.parts[-2]] = who

    words = Words(patients={name: who for name, (who, _) in names.items()})
    texts = {f"R/{name}.txt": who for name, who in names.items()}
    found = scan([*paths, *texts], words=words)
    assert found.doubt == ""
    mine = told(found)
    assert same({p: who for p, (who, _) in mine.items()}, {p: who for p, (who, _) in paths.items()})
    whose = {study.study_id: study.patient_id for study in found.studies}
    people = {who: patient for path, (patient, _) in mine.items() for who in [paths[path][0]]}
    kept = {
        path.relative_to(ROOT).as_posix(): whose[study]
        for study, files in found.reports.items()
        for path in files
    }
    assert kept == {text: people[who] for text, (who, _) in texts.items()}


@pytest.mark.parametrize("name", saying("put all into one folder named after the patient"))
def test_one_folder_for_the_one_patient_is_read_as_that_patient(name: str) -> None:
    paths = {f"Patient 7/{path}": who for path, who in REFUSED[name].items()}
    found = scan(paths)
    assert found.doubt == ""
    assert told(found).keys() == paths.keys()
    assert len({patient for patient, _ in told(found).values()}) == 1


@pytest.mark.parametrize("name", saying("name these folders after the patients, such as patient-1"))
def test_folders_that_are_named_after_the_patients_are_read_so(name: str) -> None:
    people = sorted({who for who, _ in REFUSED[name].values()})
    paths = {
        path.replace(who, f"patient-{people.index(who)}"): (who, time)
        for path, (who, time) in REFUSED[name].items()
    }
    found = scan(paths)
    assert found.doubt == ""
    assert same(
        {path: who for path, (who, _) in told(found).items()},
        {path: who for path, (who, _) in paths.items()},
    )


@pytest.mark.parametrize("name", saying("name their times, such as visit1"))
def test_times_that_are_named_as_advised_are_read_as_visits(name: str) -> None:
    numbers: dict[str, dict[str, int]] = {}
    for who, time in REFUSED[name].values():
        numbers.setdefault(who, {}).setdefault(time, len(numbers.get(who, ())) + 1)
    paths = {
        path.replace(f"{who}-{time}", f"{who}_visit{numbers[who][time]}"): (who, time)
        for path, (who, time) in REFUSED[name].items()
    }
    found = scan(paths)
    assert found.doubt == ""
    assert same(told(found), paths)

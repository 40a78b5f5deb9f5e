"""Preparing in parts, on several machines, killed and resumed: always the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from rfpmss import prepare
from rfpmss.data.cohort import parts as records
from rfpmss.data.cohort.manifest import NAME, read
from rfpmss.data.cohort.parts import Portion
from rfpmss.data.study import Source, Study
from tests.data.files import brain, write_nifti, write_series

PATIENTS = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven patients with MRI, CT and reports; two files are damaged, one text is nobody's."""
    root = tmp_path_factory.mktemp("source")
    for n in range(PATIENTS):
        write_nifti(root / "src" / f"P{n}" / "t1.nii.gz", brain(seed=n))
        if n % 2:
            write_series(
                root / "src" / f"P{n}" / "ct",
                brain((6, 12, 12), n) + 1000,
                changes={"PatientID": f"P{n}"},
            )
        (root / "src" / f"P{n}" / "report.txt").write_text(f"A mass of {n + 10} mm on the left.")
    cut = root / "src" / "P3" / "t1.nii.gz"
    cut.write_bytes(cut.read_bytes()[:90])
    (root / "src" / "P4" / "notes.pdf").write_bytes(b"%PDF-1.4 nothing")
    (root / "src" / "stray.txt").write_text("Whose is this?")
    (root / "salt").write_text("0123456789abcdef" * 2)
    return root


def run(source: Path, out: Path, *options: str) -> int:
    command = ["hospital", str(source / "src"), "--out", str(out), "--salt", str(source / "salt")]
    return prepare.main([*command, "--views", "2", "--workers", "1", *options])


def content(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".unchanged.json")  # times of files
    }


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    assert run(source, out) == 0
    return content(out)


@pytest.fixture(scope="module")
def parts(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp(f"part{number}") for number in (1, 2, 3)]
    for number, folder in enumerate(folders, start=1):
        assert run(source, folder, "--shard", f"{number}/3") == 0
    return folders


def merge(parts: list[Path], out: Path) -> int:
    return prepare.main(["merge", *map(str, parts), "--out", str(out)])


def test_three_merged_parts_are_the_bytes_of_the_whole(
    parts: list[Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert merge(parts[::-1], tmp_path / "out") == 0
    assert content(tmp_path / "out") == whole
    assert {"manifest.csv", "rejections.csv", "splits.csv", "cohort.html"} < set(whole)
    assert any(name.startswith("shards/") for name in whole)
    assert whole["splits.csv"].count(b"\n") == 1 + PATIENTS
    assert whole["rejections.csv"].count(b"Error: ") >= 3


def test_merged_parts_of_slices_of_all_levels_keep_their_heights(
    source: Path, tmp_path: Path
) -> None:
    levels = ["--order", "levels"]
    assert run(source, tmp_path / "whole", *levels) == 0
    for number in (1, 2):
        assert run(source, tmp_path / f"part{number}", *levels, "--shard", f"{number}/2") == 0
    assert merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged") == 0
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    rows = [row for row in read(tmp_path / "merged" / NAME) if row.modality in ("ct", "mri")]
    assert {row.modality for row in rows} == {"ct", "mri"}
    for row in rows:
        assert len({float(height) for height in row.heights.split()}) == 2, row.study_id


def test_a_part_tells_no_path_but_in_its_rejections(parts: list[Path]) -> None:
    for part in parts:
        for path in part.rglob("*"):
            if path.is_file() and path.name != "rejections.private.csv":
                data = path.read_bytes()
                assert b"Quimby" not in data
                assert b"t1.nii" not in data


CASES = ["missing", "twice", "other", "unfinished", "damaged", "none"]
EDITED = ["split", "report", "rejections", "piece"]


def test_a_part_carries_every_field_of_a_study() -> None:
    given = {"derived": True, "labels": (("grade", "4"),)}
    given |= {name: name for name in records.CARRIED if name not in given}
    mri = Source(kind="shard", paths=(), series="t1")
    study = Study(**given, views=(None, mri, None), others=(("mri", mri),))
    assert {field.name for field in fields(Study)} == {*records.CARRIED, *records.LEFT_OUT}
    assert records._study(json.loads(json.dumps(records._record(study)))) == study


@pytest.mark.parametrize("case", EDITED)
def test_a_part_that_was_edited_is_refused_by_name(
    case: str, parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*parts[:2], Path(shutil.copytree(parts[2], tmp_path / "third"))]
    record = json.loads((given[2] / "part.json").read_text())
    if case == "split":
        record["studies"][0]["patient_id"] = record["studies"][1]["patient_id"]
    elif case == "report":
        record["studies"][0]["report"] = "Nothing to be seen."
    elif case == "rejections":
        (given[2] / "rejections.csv").write_text("path,reason\nx-1,DataError: lost\n")
    else:
        piece = next((given[2] / record["pieces"]).glob("*.npz"))
        piece.write_bytes(next(parts[0].rglob("*.npz")).read_bytes())
    (given[2] / "part.json").write_text(json.dumps(record))
    assert merge(given, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: a part must be as it was written, got another ")
    assert str(given[2]) in error
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_part_of_before_its_sums_is_taken_with_a_note(
    parts: list[Path],
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [*parts[:2], Path(shutil.copytree(parts[2], tmp_path / "third"))]
    record = json.loads((given[2] / "part.json").read_text())
    del record["sums"]
    for study in record["studies"]:
        del study["piece"]
    (given[2] / "part.json").write_text(json.dumps(record))
    assert merge(given, tmp_path / "out") == 0
    assert f"note: {given[2]} was made before parts had sums" in capsys.readouterr().err
    assert content(tmp_path / "out") == whole


@pytest.mark.parametrize(
    "change",
    [{"shares": 3}, {"shares": [1]}, {"studies": [{}]}, {"seed": "x"}, {"pieces": 1}, {"of": None}],
)
def test_a_record_of_another_kind_is_damaged(
    change: dict[str, object],
    parts: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "third").mkdir()
    record = json.loads((parts[2] / "part.json").read_text()) | change
    del record["sums"]
    (tmp_path / "third" / "part.json").write_text(json.dumps(record))
    assert merge([*parts[:2], tmp_path / "third"], tmp_path / "out") == 1
    assert (
        f"error: part.json of the part {tmp_path / 'third'} is damaged" in capsys.readouterr().err
    )


@pytest.mark.parametrize("case", CASES)
def test_parts_that_do_not_make_a_whole_are_refused(
    case: str,
    parts: list[Path],
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, said = list(parts), "error"
    if case == "missing":
        given, said = parts[:1], "these parts are missing: 2/3, 3/3"
    elif case == "twice":
        given, said = [*parts, parts[0]], "twice"
    elif case == "none":
        given, said = [tmp_path / "nothing"], "not finished"
    else:
        given[2] = tmp_path / "third"
        assert run(source, given[2], "--shard", "3/3", "--size", "64") == 0
        said = "not of one cohort"
        if case == "unfinished":
            (given[2] / "part.json").unlink()
            said = "not finished"
        elif case == "damaged":
            (given[2] / "part.json").write_text("{")
            said = "damaged"
    capsys.readouterr()
    assert merge(given, tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    if case in ("none", "unfinished", "damaged"):
        assert str(given[-1]) in printed
    assert said in printed
    assert not (tmp_path / "out" / "manifest.csv").exists()


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = ["hospital", str(source / "src"), "--out", str(out), "--salt", str(source / "salt")]
    return subprocess.Popen(
        [sys.executable, "-m", "rfpmss.prepare", *command, "--views", "2", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_preparation_killed_by_the_system_is_resumed_to_the_same_bytes(
    workers: str, source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(source, out, "--workers", workers)
    while not list(out.glob(".pieces/*/*.npz")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.csv").exists()
    assert run(source, out) == 0
    assert content(out) == whole


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/2", "1/0"])
def test_a_shard_is_a_number_of_a_count(text: str) -> None:
    with pytest.raises(ValueError, match="--shard must be I/N"):
        Portion.parse(text)


def test_a_shard_without_a_common_secret_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["hospital", str(source / "src"), "--out", str(tmp_path), "--shard", "1/2"]
    assert prepare.main(command) == 2
    assert "--shard needs --salt" in capsys.readouterr().err

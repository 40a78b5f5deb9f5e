"""A run begins at step 0 only where it never had a checkpoint; nothing else is replaced."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from multisk._backends.numba import available
from rfpmss import ablate, evaluate, finetune, reproduce, train
from rfpmss.common import files as files_module
from rfpmss.common.command import guarded
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import sentence
from rfpmss.runs import checkpoint
from rfpmss.runs.folder import Claim, read_history, read_metrics
from rfpmss.runs.opened import OpenError, open_run


def start(folder: Path, data: Path, *words: str) -> int:
    fixed = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--train.batch", "4"]
    return train.main([*fixed, "--train.save-every", "1", "--data", str(data), *words])


def files(folder: Path) -> dict[Path, bytes]:
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if path.name != "error.txt"}


@pytest.mark.parametrize("damage", ["bytes", "gone", "notes"])
def test_a_run_whose_checkpoints_are_all_lost_is_not_begun_again(
    damage: str, run: Path, smoke_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in checkpoint.folders(run):
        if damage == "bytes":
            (folder / "tokenizer.json").write_text("rotten")
        else:
            shutil.rmtree(folder)
    if damage == "notes":
        (run / "checkpoints" / "step-2").write_text("mine")
    before = files(run)
    capsys.readouterr()
    assert start(run, smoke_cohort, "--max-steps", "3") == 1
    error = capsys.readouterr().err
    assert "error: run_dir must hold a usable checkpoint to go on from, got" in error
    assert "to begin again at step 0" in error
    assert ("trying the one before" in error) == (damage == "bytes")
    with pytest.raises(OpenError, match="must hold a usable checkpoint .* to train again from"):
        open_run(run, None, "cpu")  # training is no way out, as train has just said
    assert files(run) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_by_the_same_command(
    run: Path, smoke_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "checkpoints")
    (first, _) = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(first + "\n")
    assert start(run, smoke_cohort, "--max-steps", "1") == 0
    assert "it begins again at step 0; what it logged up to step 1 is in aside-metrics.jsonl-1" in (
        capsys.readouterr().err
    )
    assert (run / "aside-metrics.jsonl-1").read_text() == first + "\n"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("checkpoints", "file"),
        ("checkpoints", "dangling"),
        ("evaluation", "file"),
        ("tensorboard", "file"),
        ("metrics.jsonl", "folder"),
        ("cohort.json", "folder"),
        ("config.yaml", "folder"),
        (".lock", "folder"),
        ("report.html", "folder"),
    ],
)
def test_what_stands_in_place_of_a_file_or_folder_of_the_run_is_refused_before_the_first_step(
    name: str, kind: str, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if kind == "file":
        (run / name).write_text("mine")
    elif kind == "folder":
        (run / name).mkdir()
    else:
        (run / name).symlink_to(tmp_path / "nowhere")
    assert start(run, smoke_cohort, "--max-steps", "1") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {run / name} must be a ")
    assert [path.name for path in run.iterdir()] == [name]


NEVER = {
    "weights": ["--model.image-weights", "{place}/none.safetensors"],
    "manifest": ["--data", "{place}/text.txt"],
    "cache": [],
    "tracker": ["--track", "wandb"],
    "start": ["--start", "{place}/nowhere"],
    "signal": [],
}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("reason", NEVER)
def test_a_run_that_never_begins_leaves_nothing(
    reason: str,
    there: bool,
    smoke_cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.txt").write_text("no manifest")
    folder = tmp_path / "new" / "run"
    if there:
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    words = ["--preset", "smoke", "--run-dir", str(folder), "--max-steps", "1"]
    if reason == "cache":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "text.txt"))
    elif reason != "manifest":
        words += ["--data", str(smoke_cohort)]
    if reason == "tracker":
        monkeypatch.setitem(sys.modules, "wandb", None)
    if reason == "signal":
        monkeypatch.setattr(
            "rfpmss.commands.train.build", lambda *_, **__: signal.raise_signal(signal.SIGTERM)
        )
    words += [word.format(place=tmp_path) for word in NEVER[reason]]
    assert train.main(words) == (143 if reason == "signal" else 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_evaluation_that_is_refused_leaves_no_folder(run: Path) -> None:
    for path in run.rglob("config.yaml"):
        path.write_text("config: [")
    before = sorted(run.rglob("*"))
    assert evaluate.main(["--run-dir", str(run)]) == 1
    assert sorted(run.rglob("*")) == before


def test_a_start_waits_for_no_lock_that_its_holder_removes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    opened = files_module.appended

    def late(path: Path) -> BinaryIO:
        file = opened(path)
        if not other.begun:  # between opening and locking the other one leaves
            other.begun = True
            path.unlink()
        return file

    other = Claim(folder)
    with pytest.MonkeyPatch.context() as patch, Claim(folder) as claim:
        patch.setattr(files_module, "appended", late)
        claim.take()
        claim.require()


@pytest.mark.parametrize("place", [".", "shards", "shards/deep/run"])
def test_a_prepared_cohort_takes_no_run(
    place: str, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for path in smoke_cohort.parent.iterdir():
        (cohort / path.name).symlink_to(path)
    (tmp_path / "link").symlink_to(cohort)
    before = sorted(cohort.rglob("*")), sorted(smoke_cohort.parent.rglob("*"))
    for folder in (cohort / place, tmp_path / "link" / place):
        for verb, option in ((train, "--run-dir"), (ablate, "--out"), (reproduce, "--out")):
            assert verb.main([option, str(folder)]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert "must lie outside of prepared cohorts, got" in line
            assert str(folder) in line
    assert (sorted(cohort.rglob("*")), sorted(smoke_cohort.parent.rglob("*"))) == before


def test_a_folder_without_a_manifest_is_called_as_it_was_typed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for verb in (train, evaluate, finetune):
        words = ["--run-dir", str(run), "--data", str(empty)]
        words += ["--preset", "smoke"] if verb is train else []
        assert verb.main(words) == (2 if verb is train else 1)
        assert f"got {empty}, a folder without manifest.csv; write one" in capsys.readouterr().err


def test_rows_of_a_history_that_are_out_of_order_are_sorted_and_said(
    run: Path, smoke_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "metrics.jsonl"
    one, two = path.read_text().splitlines()
    path.write_text(f"{two}\n{one}\n")
    said = f"warning: the rows of {path} are out of order from line 1 on and are sorted by their"
    capsys.readouterr()
    assert [row["step"] for row in read_history(path)] == [1, 2]
    assert said in capsys.readouterr().err
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    assert start(run, smoke_cohort, "--max-steps", "3") == 0
    assert said in capsys.readouterr().err
    assert path.read_text().splitlines()[:2] == [one, two]
    read_history(path)
    assert "out of order" not in capsys.readouterr().err


def test_a_signal_that_a_library_makes_an_error_of_is_still_a_signal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body() -> int:
        try:  # as torch does: "could not determine the shape of object type ..."
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise RfpmssError("use another checkpoint") from None
        return 0

    assert guarded(body) == 143
    assert capsys.readouterr().err == "stopped by signal 15\n"


def test_a_limit_of_open_files_is_said_with_its_way_out() -> None:
    error = OSError(24, "Too many open files", "/usr/lib/python3/x.py")
    assert sentence(error) == "Too many open files; raise the limit of open files (ulimit -n)"


def test_what_a_kill_left_of_a_checkpoint_goes_at_the_next_start_though_nothing_is_saved(
    run: Path, smoke_cohort: Path
) -> None:
    place = run / "checkpoints"
    for name in (".tmp-step-1", ".tmp-4711", ".tmp-notes", "step-9.tmp"):
        (place / name).mkdir()
        (place / name / "model.safetensors").write_bytes(b"half")
    assert start(run, smoke_cohort, "--max-steps", "2") == 0
    assert {path.name for path in place.iterdir()} == {
        *("step-1", "step-2"),
        *(".tmp-notes", "step-9.tmp"),  # somebody else's
    }


def test_a_run_that_goes_on_with_other_arithmetic_says_so(
    run: Path, smoke_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba")
    capsys.readouterr()
    with available.arrays_only():
        assert start(run, smoke_cohort, "--max-steps", "3") == 0
    error = capsys.readouterr().err
    assert f"the weights of {run / 'checkpoints/step-2'}, but is not equal to one that" in error
    assert "to the bit: assignment numba there, numpy here\n" in error
    with available.arrays_only():
        assert start(run, smoke_cohort, "--max-steps", "4") == 0
    assert "to the bit" not in capsys.readouterr().err
    told = json.loads((run / "checkpoints" / "step-4" / "progress.json").read_text())
    assert told["arithmetic"]["assignment"] == "numpy"

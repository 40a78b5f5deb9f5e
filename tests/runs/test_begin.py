"""A run begins at step 0 only where it never had a checkpoint; nothing else is replaced."""

import shutil
from pathlib import Path

import pytest

from rfpmss import train
from rfpmss.common.files import sentence
from rfpmss.runs import checkpoint


def start(folder: Path, data: Path, *words: str) -> int:
    fixed = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--train.batch", "4"]
    return train.main([*fixed, "--train.save-every", "1", "--data", str(data), *words])


@pytest.fixture(scope="module")
def trained(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begin") / "run"
    assert start(folder, smoke_cohort, "--max-steps", "2") == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


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


def test_a_limit_of_open_files_is_said_with_its_way_out() -> None:
    error = OSError(24, "Too many open files", "/usr/lib/python3/x.py")
    assert sentence(error) == "Too many open files; raise the limit of open files (ulimit -n)"

"""Every command that looks at a run says in one line what is wrong with it, and ends."""

import importlib

import pytest

from rfpmss.commands.scores import score
from rfpmss.runs.checkpoint import CheckpointError
from rfpmss.runs.opened import OpenError, open_run


@pytest.mark.parametrize("verb", ["evaluate", "findings", "finetune", "report", "view"])
def test_a_command_refuses_what_is_no_run_in_one_line(verb, tmp_path, capsys, monkeypatch):
    module = importlib.import_module(f"rfpmss.{verb}")
    monkeypatch.setattr(module, "find_spec", lambda name: name, raising=False)
    assert module.main(["--run-dir", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.err == f"error: run_dir must be a run folder with a config.yaml, got {tmp_path}\n"
    assert not told.out


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("report", "report.html"),
        ("finetune", "evaluation/finetune.json"),
        ("findings", "evaluation/zeroshot_findings.json"),
    ],
)
def test_a_folder_in_place_of_a_file_is_found_before_the_run_is_opened(
    verb, name, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(importlib.import_module(f"rfpmss.{verb}"), "find_spec", str, raising=False)
    (tmp_path / "config.yaml").write_text("manifest: /nowhere/manifest.csv\n")
    (tmp_path / name).mkdir(parents=True)
    assert importlib.import_module(f"rfpmss.{verb}").main(["--run-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error == (
        f"error: {tmp_path / name} must be a regular file or not be there yet, got a folder; move "
        f"it away\n"
    )


def test_a_run_without_a_checkpoint_is_refused_by_name_in_the_grid_too(tmp_path):
    (tmp_path / "config.yaml").write_text("manifest: /nowhere/manifest.csv\n")
    with pytest.raises(OpenError, match="run_dir must hold a checkpoint, got"):
        open_run(tmp_path, None, "cpu")
    with pytest.raises(OpenError, match="run_dir must hold a checkpoint, got"):
        score(tmp_path, None, "cpu")
    assert issubclass(OpenError, CheckpointError)  # train tells both in one line

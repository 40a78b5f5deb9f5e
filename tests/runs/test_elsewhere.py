"""What a run makes of other cohorts stands apart; what it begins with from outside is known."""

import hashlib
import json
import os
import shutil
import socket
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn.parameter import is_lazy

from rfpmss import train
from rfpmss.data.cohort import manifest
from rfpmss.evaluation.labels.probe import Classifier
from rfpmss.evaluation.page import write
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.runs import checkpoint
from rfpmss.runs.content import ORIGIN, TASK
from rfpmss.runs.origin import Origin
from tests import warm

TUNE = ["--fractions", "1", "--seeds", "0", "--modes", "full", "--epochs", "1"]


def start(folder: Path, data: Path, *words: str) -> int:
    fixed = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--train.batch", "4"]
    return train.main([*fixed, "--train.save-every", "1", "--data", str(data), *words])


@pytest.fixture
def other(smoke_cohort: Path, tmp_path: Path) -> Path:
    """The cohort without one of its training studies."""
    path = Path(shutil.copytree(smoke_cohort.parent, tmp_path / "hospital")) / smoke_cohort.name
    first = next(row.study_id for row in manifest.read(path) if row.split == "train")
    manifest.write(path, [row for row in manifest.read(path) if row.study_id != first])
    return path


def files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_page_and_the_tuning_of_another_cohort_stand_apart(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evaluation").mkdir()
    for name in ("report.html", "finetuned.safetensors", "evaluation/finetune.json"):
        (run / name).write_text("of the run's own cohort")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 1.0}\nnonsense\n{"step": 5, "loss": 1.0}\n')
    before = files(run)
    for verb, words in (("finetune", TUNE), ("report", ["--quick"])):
        words = ["--run-dir", str(run), *words, "--data", str(other)]
        assert import_module(f"rfpmss.{verb}").main(words) == 0
    after = files(run)
    assert {name: after[name] for name in before} == before
    new = {path.parts[:2] for path in after.keys() - before.keys()}
    ((top, name),) = new
    assert top == "elsewhere"
    assert name.startswith("hospital-")
    for file in ("report.html", "finetuned.safetensors", "evaluation/finetune.json"):
        assert (run / top / name / file).is_file()
    curves = json.loads((run / top / name / "evaluation" / "curves.json").read_text())
    assert curves["step"] == [1, 2, 5]  # of the run itself
    said = capsys.readouterr().err
    assert "2 lines of" in said
    assert "(line 3, 4) and are left out; all others stay" in said
    assert "the rows of the steps 3 to 4 are missing" in said
    assert "left out of the page" not in said


def classifier_of(model: RFPMSS) -> dict[str, torch.Tensor]:
    """Weights of a tuned encoder: the model's, and a head of zeros."""
    made = {"head.weight": torch.zeros(1, 8), "head.bias": torch.zeros(1)}
    lazy = Classifier(model).state_dict().items()
    return {k: made["head." + k.rpartition(".")[2]] if is_lazy(v) else v for k, v in lazy}


def test_an_encoder_that_was_tuned_from_other_weights_is_not_shown(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checkpoint.load(trained)
    state = classifier_of(found.model)
    for told, taken in (
        ({ORIGIN: found.weights}, True),
        ({ORIGIN: "0" * 64}, False),
        (None, False),
    ):
        save_file(state, tmp_path / "finetuned.safetensors", told)
        tuned = write.tuned_of(tmp_path, found.model, Origin(2, found.weights, "c"))
        assert (tuned is not None) == taken
        note = "finetuned.safetensors is left out of the page: it was tuned from other"
        assert (note in capsys.readouterr().err) != taken


def test_an_encoder_that_was_tuned_on_another_label_is_not_shown(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checkpoint.load(trained)
    state = classifier_of(found.model)
    (tmp_path / "evaluation").mkdir()
    for tuned, table in (("grade", "grade"), ("grade", "side"), (None, "side"), (None, None)):
        told = {ORIGIN: found.weights} | ({TASK: tuned} if tuned else {})
        save_file(state, tmp_path / "finetuned.safetensors", told)
        rows = {"rows": []} | ({TASK: table} if table else {})
        (tmp_path / "evaluation" / "finetune.json").write_text(json.dumps(rows))
        shown = write.tuned_of(tmp_path, found.model, Origin(2, found.weights, "c"))
        assert (shown is not None) == (tuned == table)
        note = "it was tuned on another label than the table of fine-tuning; finetune again"
        assert (note in capsys.readouterr().err) != (tuned == table)


def test_published_weights_are_known_again(
    trained: Path, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = tmp_path / "bert.safetensors", tmp_path / "run"
    held = load_file(checkpoint.newest(trained) / "model.safetensors")
    start_of = "report.bert."
    words = {k.removeprefix(start_of): v for k, v in held.items() if k.startswith(start_of)}
    save_file(words, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    option = ["--model.text-weights", str(source)]
    assert start(run, smoke_cohort, "--max-steps", "1", *option) == 0
    record = yaml.safe_load((run / "config.yaml").read_text())
    assert record["published"] == {"text_weights": digest}
    save_file({name: value + 1 for name, value in words.items()}, source)
    capsys.readouterr()
    before = files(run)
    assert start(run, smoke_cohort, "--max-steps", "2", *option) == 1
    error = capsys.readouterr().err
    assert f"published.text_weights: {digest} there, " in error
    assert files(run) == before | {Path("error.txt"): files(run)[Path("error.txt")]}
    source.unlink()  # the checkpoint has them
    assert start(run, smoke_cohort, "--max-steps", "2", *option) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["published"] == record["published"]


def test_ranks_that_hold_different_checkpoints_of_a_step_are_refused(
    run: Path, trained: Path, smoke_cohort: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    newest = checkpoint.newest(other)
    moments = newest / "optimiser.safetensors"
    save_file({name: value * 2 for name, value in load_file(moments).items()}, moments)
    table = json.loads((newest / "MANIFEST.json").read_text())
    table[moments.name]["sha256"] = hashlib.sha256(moments.read_bytes()).hexdigest()
    (newest / "MANIFEST.json").write_text(json.dumps(table))
    assert checkpoint.verify(newest) is None
    before = files(run / "checkpoints")

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    words = ["--preset", "smoke", "--data", str(smoke_cohort), "--train.batch", "4"]
    words += ["--no-evaluate", "--allow-config-change", "--train.save-every", "1"]
    ranks = []
    for rank, folder in enumerate((run, other)):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        ranks.append(
            warm.start(
                [sys.executable, "-m", "rfpmss.train", *words, "--run-dir", str(folder)],
                env=os.environ | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                stderr=warm.PIPE,
            )
        )
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert "run_dir must hold the same checkpoint on every machine, got files of" in said[0]
    assert files(run / "checkpoints") == before
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2

"""The training command in this process: stages, validation, averages, trouble, trackers."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from rfpmss import train
from rfpmss.config import smoke
from rfpmss.config.sections import TERMS
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.manifest import read, write
from rfpmss.model.rfpmss import RFPMSS, count
from rfpmss.model.stages import PARTS
from rfpmss.runs import checkpoint
from rfpmss.runs.folder import Run, RunError, read_metrics
from rfpmss.runs.trackers import TrackerError, open_trackers
from rfpmss.training.loading import ahead
from rfpmss.training.schedule import Schedule

SHOWN = ("loss", *TERMS, "gradient")
Command = Callable[..., int]


@pytest.fixture
def command(smoke_cohort: Path) -> Command:
    def call(folder: Path, *words: str) -> int:
        start = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate"]
        return train.main([*start, "--data", str(smoke_cohort), "--max-steps", "4", *words])

    return call


def losses(folder: Path) -> list[tuple[str, ...]]:
    rows = read_metrics(folder / "metrics.jsonl")
    return [tuple(float(row[name]).hex() for name in SHOWN) for row in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.newest(folder) / "model.safetensors")


def part(name: str) -> str:
    return name.split(".")[0]


def test_the_second_stage_learns_on_what_the_first_has_learnt(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert command(first, "--train.stage", "backbone") == 0
    assert command(second, "--train.stage", "heads", "--start", str(first)) == 0
    printed = capsys.readouterr().out
    one, two = weights(first), weights(second)
    torch.manual_seed(0)
    config = checkpoint.read_config(first / "config.yaml")
    words = checkpoint.read_tokenizer(checkpoint.newest(first)).get_vocab_size()
    fresh = RFPMSS(config.model, config.data, words)
    for name, before in fresh.state_dict().items():
        learnt = part(name) in PARTS["backbone"]
        assert torch.equal(before, one[name]) or learnt, name
        assert torch.equal(one[name], two[name]) or not learnt, name
    for values, stage in ((one, "backbone"), (two, "heads")):
        reference = fresh.state_dict() if stage == "backbone" else one
        for kind in PARTS[stage]:
            names = [name for name in values if part(name) == kind]
            assert any(not torch.equal(values[n], reference[n]) for n in names), kind
    numbers, given = count(fresh), fresh.named_parameters()
    may = [(part(name), p.numel()) for name, p in given if p.requires_grad]  # no token types
    for stage in ("backbone", "heads"):
        learning = sum(size for kind, size in may if kind in PARTS[stage])
        assert f"total {numbers['total']:,}; learning {learning:,}" in printed


def test_the_second_stage_resumes_without_the_first(command: Command, tmp_path: Path) -> None:
    first, second, whole = (tmp_path / name for name in "abc")
    words = ("--train.stage", "heads", "--start", str(first))
    command(first, "--train.stage", "backbone", "--max-steps", "2")
    command(whole, *words)
    command(second, *words, "--max-steps", "2")
    shutil.rmtree(first / "checkpoints")
    assert command(second, *words) == 0
    assert losses(second) == losses(whole)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--train.stage", "heads"), "name a run of stage backbone with --start RUN"),
        (("--start", "/nowhere"), "run_dir must hold a checkpoint, got /nowhere"),
        (("--track", "wandb"), "--track must name installed packages, got wandb"),
    ],
)
def test_what_cannot_start_says_why(
    command: Command,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(tmp_path, *words) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # a run that never began


def test_another_runs_weights_must_fit(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tmp_path / "a", "--max-steps", "1")
    start = ("--start", str(tmp_path / "a"), "--model.anchors", "12")
    assert command(tmp_path / "b", *start) == 1
    error = capsys.readouterr().err
    assert f"--start must name a run with the same model, got {tmp_path / 'a'}" in error
    assert "size mismatch for anchors.inputs" in error


@pytest.fixture
def with_val(smoke_cohort: Path, tmp_path: Path) -> Path:
    """The cohort, its held-out patients being the split val."""
    folder = tmp_path / "cohort"
    shutil.copytree(smoke_cohort.parent, folder)
    manifest = folder / smoke_cohort.name
    rows = read(manifest)
    write(manifest, (replace(row, split=row.split.replace("test", "val")) for row in rows))
    return manifest


def test_validation_finds_the_best_checkpoint_and_disturbs_nothing(
    command: Command, with_val: Path, tmp_path: Path
) -> None:
    run, plain = tmp_path / "run", tmp_path / "plain"
    often = ("--train.save-every", "1", "--train.keep", "1", "--train.lr", "0.05")
    assert command(run, *often, "--data", str(with_val), "--train.best", "contrast") == 0
    assert command(plain, *often) == 0
    assert losses(run) == losses(plain)
    scores = {row["step"]: row["validation"] for row in read_metrics(run / "metrics.jsonl")}
    assert len(set(scores.values())) == 4
    best = min(scores, key=lambda step: scores[step])
    assert {checkpoint.step_of(path) for path in checkpoint.folders(run)} == {best, 4}
    model, tokenizer, config = checkpoint.load_model(run, weights="best")
    cohort = Cohort.open(with_val, config.data)
    batch = cohort.batch(cohort.indices("val")[:12], tokenizer, augment=None)
    rest = cohort.batch(cohort.indices("val")[12:], tokenizer, augment=None)
    from rfpmss.loss.contrast import contrast

    with torch.no_grad():
        found = [
            contrast(f.readings, f.report, f.readable, config.loss).item() * len(b.index)
            for b in (batch, rest)
            for f in (model.encode(b.images, b.present, b.tokens),)
        ]
    assert scores[best] == pytest.approx(sum(found) / 16, rel=1e-5)


def test_averaged_weights_can_be_loaded_in_place_of_the_last(
    command: Command, tmp_path: Path
) -> None:
    assert command(tmp_path, "--train.ema", "0.5") == 0
    stored = load_file(checkpoint.newest(tmp_path) / "average.safetensors")
    averaged, last = (
        checkpoint.load_model(tmp_path, weights=kind)[0].state_dict()
        for kind in ("averaged", "last")
    )
    assert all(torch.equal(value, stored[f"module.{name}"]) for name, value in averaged.items())
    assert any(not torch.equal(value, last[name]) for name, value in averaged.items())


def test_without_an_average_there_is_none_to_load(command: Command, tmp_path: Path) -> None:
    command(tmp_path, "--max-steps", "1")
    with pytest.raises(checkpoint.CheckpointError, match=r"averaged weights need .*train\.ema"):
        checkpoint.load_model(tmp_path, weights="averaged")


def test_a_longer_run_goes_on_where_the_shorter_one_ended(command: Command, tmp_path: Path) -> None:
    words = ("--max-steps", "8", "--train.schedule", "exponential", "--train.epochs")
    assert command(tmp_path / "whole", *words, "2") == 0
    assert command(tmp_path / "grown", *words, "1", "--max-steps", "4") == 0
    assert command(tmp_path / "grown", *words, "2") == 0
    assert losses(tmp_path / "grown") == losses(tmp_path / "whole")


def test_less_memory_is_the_same_training(command: Command, tmp_path: Path) -> None:
    exact = ("--train.precision", "float64", "--max-steps", "3")
    command(tmp_path / "plain", *exact)
    command(tmp_path / "cut", *exact, "--train.accumulate", "5", "--model.recompute")
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("plain", "cut")]
    for plain, cut in zip(*rows, strict=True):
        assert [cut[name] for name in SHOWN] == pytest.approx(
            [plain[name] for name in SHOWN], rel=1e-12
        )


def test_half_precision_trains(command: Command, tmp_path: Path) -> None:
    assert command(tmp_path / "half", "--train.precision", "bfloat16") == 0
    assert command(tmp_path / "full") == 0
    half, full = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("half", "full"))
    assert half[-1]["loss"] != full[-1]["loss"]
    assert half[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.05)
    kinds = {value.dtype for value in weights(tmp_path / "half").values()}
    assert kinds == {torch.float32, torch.int64}  # the latter counts batches


def test_what_is_not_finite_stops_the_run_before_the_optimiser(
    command: Command,
    smoke_cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rfpmss.training import step

    steps, calls, usual = [], [], step.nce

    def nce(*arguments: object) -> torch.Tensor:
        calls.append(1)
        return usual(*arguments) * (float("nan") if len(calls) == 3 else 1.0)  # type: ignore[arg-type]

    adam = torch.optim.AdamW.step
    monkeypatch.setattr(step, "nce", nce)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *a: steps.append(adam(*a)))
    assert command(tmp_path, "--train.save-every", "1") == 1
    error = capsys.readouterr().err
    assert "step 3 must have finite losses and gradients" in error
    assert "'nce': nan" in error
    assert len(steps) == 2
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == 2
    cohort = Cohort.open(smoke_cohort, smoke().data)
    plan = Schedule.of(smoke().train, 0, cohort.indices("train"))
    named = error.split("studies of the batch: ")[1].strip().split(", ")
    assert named == [cohort.studies[i].study_id for i in plan.chosen(2)]


def test_a_full_disk_ends_the_run_with_its_own_status(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(tmp_path, "--max-steps", "2")
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    assert command(tmp_path) == 74
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "error.txt").exists()
    monkeypatch.undo()
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == 2
    assert command(tmp_path) == 0
    assert not (tmp_path / "error.txt").exists()


def test_two_processes_do_not_write_into_one_run(tmp_path: Path) -> None:
    one, two = (Run(tmp_path, smoke(), tmp_path / "manifest.csv") for _ in range(2))
    refused = pytest.raises(RunError, match="run_dir must not be in use")
    with one.writing(0), refused, two.writing(0):
        pass
    with two.writing(0):
        pass


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_number_of_workers_changes_no_batch(smoke_cohort: Path, workers: int) -> None:
    cohort = Cohort.open(smoke_cohort, smoke().data)
    from rfpmss.data.batches.tokens import train_tokenizer

    tokenizer = train_tokenizer(cohort.reports("train"), 400)
    plan = Schedule.of(smoke().train, 3, cohort.indices("train"))

    def draw(step: int) -> torch.Tensor:
        batch = cohort.batch(plan.chosen(step), tokenizer, augment=(3, plan.epoch(step)))
        return torch.cat([*(i.flatten() for i in batch.images), batch.tokens.flatten()])

    found = list(ahead(draw, range(2, 9), workers))
    assert all(torch.equal(batch, draw(step)) for step, batch in enumerate(found, start=2))
    assert len(found) == 7


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_a_worker_raises_is_raised_at_its_step(workers: int) -> None:
    def draw(step: int) -> int:
        if step == 2:
            raise ValueError("this study is gone")
        return step

    batches = ahead(draw, range(5), workers)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="this study is gone"):
        next(batches)


class Fake(ModuleType):
    """Stands for a tracker's package and writes down what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[tuple] = []

    def __getattr__(self, name: str) -> Callable[..., "Fake"]:
        if name.startswith("__"):
            raise AttributeError(name)

        def note(*words: object, **named: object) -> "Fake":
            self.told.append((name, *words, *named.items()))
            return self

        return note


@pytest.mark.parametrize(
    ("name", "verb", "end"),
    [
        ("trackio", "log", "finish"),
        ("mlflow", "log_metrics", "end_run"),
        ("wandb", "log", "finish"),
    ],
)
def test_a_tracker_is_told_configuration_figures_and_end(
    name: str, verb: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake(name)
    monkeypatch.setitem(sys.modules, name, fake)
    for variable in ("WANDB_MODE", "TRACKIO_DIR", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(variable, raising=False)
    run = Run(tmp_path / "mine", smoke(), tmp_path / "manifest.csv")
    with run.writing(0, (name,)):  # type: ignore[arg-type]
        run.log({"step": 7, "loss": 0.5, "lr": 0.1})
    assert "train.lr" in json.dumps(fake.told[:-2], default=str)
    assert "mine" in json.dumps(fake.told[:-2], default=str)
    assert fake.told[-2:] == [(verb, {"loss": 0.5, "lr": 0.1}, ("step", 7)), (end,)]
    assert [row["step"] for row in read_metrics(run.folder / "metrics.jsonl")] == [7]
    assert list((run.folder / "tensorboard").iterdir())


def test_trackers_stay_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in ("trackio", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, Fake(name))
    for variable in ("WANDB_MODE", "TRACKIO_DIR", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(variable, raising=False)
    for tracker in open_trackers(("trackio", "mlflow", "wandb"), tmp_path, {}, 0):
        tracker.close()
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackio")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="got wandb: pip install wandb"):
        open_trackers(("wandb",), tmp_path, {}, 0)


def test_what_an_installed_tracker_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrackerError, match="got mlflow, which needs a_package_that_is_not_there"):
        open_trackers(("mlflow",), tmp_path / "run", {}, 0)


@pytest.mark.slow
def test_a_compiled_run_has_the_losses_of_an_eager_one(command: Command, tmp_path: Path) -> None:
    import subprocess

    words = ["--preset", "smoke", "--no-evaluate", "--max-steps", "3", "--timeout", "900"]
    for name, more in (("eager", []), ("compiled", ["--train.compile"])):
        # A process of its own: the run-time checks of shapes in tests cannot be traced.
        line = [sys.executable, "-m", "rfpmss.train", *words, "--run-dir", tmp_path / name, *more]
        subprocess.run(line, check=True)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("eager", "compiled")]
    for eager, compiled in zip(*rows, strict=True):
        assert compiled["loss"] == pytest.approx(eager["loss"], rel=1e-4)

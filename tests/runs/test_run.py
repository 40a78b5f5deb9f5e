"""Run folder, schedule and command line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rfpmss import embed, evaluate, finetune
from rfpmss.config import (
    PRESETS,
    AssignmentConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    PhantomConfig,
    TrainConfig,
    smoke,
)
from rfpmss.config.arguments import TrainArguments, _names, parse
from rfpmss.config.sections import Frozen
from rfpmss.options import findings, prepare
from rfpmss.runs.folder import Run, RunError, read_metrics
from rfpmss.training.schedule import Schedule


def test_a_changed_configuration_is_refused_field_by_field(tmp_path: Path) -> None:
    config = smoke()
    Run(tmp_path, config, tmp_path / "manifest.csv")
    changed = config.model_copy(update={"train": config.train.model_copy(update={"lr": 0.5})})
    with pytest.raises(RunError, match=r"config\.train\.lr: 0\.003 there, 0\.5 requested"):
        Run(tmp_path, changed, tmp_path / "manifest.csv")
    with pytest.raises(RunError, match=r"manifest:"):
        Run(tmp_path, config, tmp_path / "other.csv")
    Run(tmp_path, changed, tmp_path / "manifest.csv", allow_change=True)


def test_a_run_may_be_extended_in_epochs_but_not_shortened(tmp_path: Path) -> None:
    config = smoke()
    more = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 9})})
    Run(tmp_path, config, tmp_path / "manifest.csv")
    Run(tmp_path, more, tmp_path / "manifest.csv")
    with pytest.raises(RunError, match=r"config\.train\.epochs"):
        Run(tmp_path, config, tmp_path / "manifest.csv")


def test_metrics_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path, smoke(), tmp_path / "manifest.csv")
    with run.writing(0):
        for step in (1, 2, 3):
            run.log({"step": step, "loss": 0.5})
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 4, "lo')
    with run.writing(2):
        run.log({"step": 3, "loss": 0.25})
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.5), (3, 0.25)]


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_visits_each_study_at_most_once_and_all_but_a_remainder(
    studies: int, batch: int, epoch: int
) -> None:
    schedule = Schedule.of(TrainConfig(batch=batch), 3, np.arange(studies) + 100)
    first = epoch * schedule.epoch_steps
    seen = np.concatenate([schedule.chosen(first + i) for i in range(schedule.epoch_steps)])
    assert len(set(seen.tolist())) == len(seen) == studies - studies % min(batch, studies)
    assert set(seen.tolist()) <= set(range(100, 100 + studies))


def test_order_and_noise_depend_on_seed_and_step_only() -> None:
    one, two = (Schedule.of(TrainConfig(batch=4), 0, np.arange(20)) for _ in range(2))
    other = Schedule.of(TrainConfig(batch=4), 1, np.arange(20))
    assert all((one.chosen(i) == two.chosen(i)).all() for i in range(12))
    assert any((one.chosen(i) != other.chosen(i)).any() for i in range(5))
    assert len({one.noise(i) for i in range(100)}) == 100


def test_the_papers_rate_decays_by_a_factor_each_epoch() -> None:
    schedule = Schedule.of(TrainConfig(batch=5), 0, np.arange(10))
    assert [schedule.rate(step) for step in (0, 1, 2, 4)] == pytest.approx(
        [5e-5, 5e-5, 4.5e-5, 4.05e-5]
    )


def test_one_cycle_rises_then_falls_to_one_per_cent() -> None:
    config = TrainConfig(batch=5, epochs=50, schedule="onecycle", lr=1.0)
    schedule = Schedule.of(config, 0, np.arange(10))
    rates = [schedule.rate(step) for step in range(schedule.steps + 5)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_every_preset_survives_a_trip_through_yaml() -> None:
    for preset in PRESETS.values():
        config = preset()
        text = yaml.safe_dump(config.model_dump(mode="json"))
        assert Config.model_validate(yaml.safe_load(text)) == config


def parsed(*words: str) -> TrainArguments:
    return parse(TrainArguments, list(words), prog="train", about=None)


def test_the_preset_sets_defaults_that_options_override() -> None:
    config = parsed("--preset", "smoke", "--train.lr", "0.5", "--seed", "3").config
    assert config.preset == "smoke"
    assert config.train.lr == 0.5
    assert config.seed == 3
    assert config.model == smoke().model
    assert parsed().config.preset == "tiny"


def test_a_configuration_file_can_be_another_runs_own(tmp_path: Path) -> None:
    config = smoke().model_copy(update={"seed": 11})
    Run(tmp_path, config, tmp_path / "manifest.csv")
    assert parsed("--config-file", str(tmp_path / "config.yaml")).config == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--preset", "smok"],
            "--preset must be one of smoke, tiny, tiny3d, small, paper, paper-standardised, got "
            "smok; did you mean smoke?",
        ),
        (["--ranks", "0"], "--ranks must be at least 1, got 0"),
        (["--timeout", "0"], "--timeout must be positive and at most 10000000 seconds, got 0"),
        (["--max-steps", "0"], "--max-steps must be at least 1, got 0"),
        (["--assignment.k", "999"], "assignment.k must be at most model.anchors=16, got 999"),
        (["--trian.batch", "3"], "Perhaps you meant"),
        (["--train.batch", "0"], "greater than 0"),
        (["--seed", str(2**70)], "less than or equal to 9223372036854775807"),
        (["--train.lr", "inf"], "finite number"),
        (["--model.depth", str(2**40)], "less than or equal to 1024"),
        (["--config-file", "/nowhere.yaml"], "must be an existing file, got /nowhere.yaml"),
        (["--config-file", "/dev/zero"], "must be a regular file, got /dev/zero"),
        (["--config-file", "/dev"], "must be a regular file, got /dev"),
    ],
)
def test_a_wrong_argument_ends_in_one_clear_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*words)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert message in " ".join((shown.err + shown.out).replace("│", " ").split())


def test_a_typo_in_a_configuration_file_gets_a_suggestion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, message in (
        ("train: {epoch: 3}", "there is no field train.epoch; did you mean train.epochs?"),
        ("trian: {}", "there is no field trian; did you mean train?"),
        ("quite_different: 1", "there is no field quite_different\n"),
        ("a: &a [1]\nb: *a", "--config-file must not hold aliases"),
    ):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(SystemExit):
            parsed("--config-file", str(tmp_path / "mine.yaml"))
        assert message in capsys.readouterr().err


PARTS = [PhantomConfig, DataConfig, ModelConfig, AssignmentConfig, LossConfig, TrainConfig]
SOURCES = ("paper", "REFERS", "Multi-SK", "ViT-B/16", "BERT", "ours")
NUMBER = re.compile(r"\b(int|float|Positive|NonNegative)")


@pytest.mark.parametrize("section", [Config, *PARTS])
def test_every_field_tells_its_unit_its_bounds_and_its_source(section: type[Frozen]) -> None:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
            continue
        found = re.search(r"\S \[([^;\[\]]+); ([^;\[\]]+)\]$", field.description or "")
        assert found, f"{section.__name__}.{name}: {field.description}"
        unit, source = found.groups()
        assert source.startswith(SOURCES), f"{section.__name__}.{name}: {source}"
        if NUMBER.search(str(field.annotation)) and "Literal" not in str(field.annotation):
            assert re.search(r", [<>]", unit), f"{section.__name__}.{name} has no bounds"


def test_bounds_in_the_help_are_those_that_hold() -> None:
    for section in PARTS:
        for name, field in section.model_fields.items():
            for sign, bound in re.findall(r"([<>]=?) ([-+\d.e]+)", field.description or ""):
                limit, outside = float(bound), 1 if sign[0] == "<" else -1
                beyond = limit if len(sign) == 1 else limit + outside
                whole = "int" in str(field.annotation) and "float" not in str(field.annotation)
                value: object = int(beyond) if whole else beyond
                if "tuple[tuple" in str(field.annotation):
                    value = ((value,),)
                elif "tuple" in str(field.annotation):
                    value = (value,) * 3
                with pytest.raises(ValidationError):
                    section.model_validate({name: value})


def test_the_guide_to_training_names_options_and_fields_that_exist() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    known = set(_names(Config))
    named = re.findall(r"`((?:train|model)\.(?!safetensors)\w+)", text)
    assert len(named) > 10
    assert set(named) <= known
    options = set(re.findall(r"(--[a-z][a-z.-]+)", text)) - {"--nproc-per-node", "--help"}
    commands = (evaluate, embed, findings, finetune)
    kinds = (TrainArguments, prepare.Hospital, *(each.Arguments for each in commands))
    names = [name for kind in kinds for name in kind.__dataclass_fields__]
    own = {f"--{name.replace('_', '-')}" for name in names}
    fields = {f"--{name.replace('_', '-')}" for name in known}
    assert len(options) > 8
    assert {option.replace("--no-", "--") for option in options} <= own | fields


def test_help_answers_without_loading_torch() -> None:
    code = (
        "import sys, rfpmss.train\n"
        "try: rfpmss.train.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.splitlines()[-1].split()}
    heavy = {"torch", "numpy", "transformers", "scipy", "sklearn", "matplotlib", "numba", "nibabel"}
    assert "rfpmss" in loaded
    assert not loaded & heavy
    for word in ("--preset", "--data", "--run-dir", "--max-steps", "--seed", ".cache/rfpmss"):
        assert word in run.stdout

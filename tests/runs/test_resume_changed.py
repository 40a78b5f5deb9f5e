"""A run goes on with the settings it is given, or says which of them cannot change."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

from rfpmss import train
from rfpmss.runs import checkpoint
from rfpmss.runs.content import State, restore
from rfpmss.training.lookahead import Lookahead
from rfpmss.training.muon import Muon


def start(folder: Path, data: Path, *words: str) -> int:
    fixed = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate"]
    return train.main([*fixed, "--train.batch", "4", "--data", str(data), *words])


@pytest.fixture(scope="module")
def trained(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changed") / "run"
    assert start(folder, smoke_cohort, "--max-steps", "1") == 0
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["--train.ema", "0.9"],
        ["--train.text-rate", "0.001"],
        ["--train.optimiser", "lookahead"],
        ["--train.optimiser", "muon"],
        ["--model.depth", "3"],
        ["--data.vocabulary", "100"],
    ],
)
def test_a_field_that_cannot_change_is_named_and_the_checkpoint_is_not_blamed(
    words: list[str],
    trained: Path,
    smoke_cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    assert start(run, smoke_cohort, "--max-steps", "2", "--allow-config-change", *words) == 1
    said = capsys.readouterr().err
    name = words[0].removeprefix("--").replace("-", "_")
    assert f"config.{name}: " in said
    assert "cannot change when a run goes on" in said
    assert "remove" not in said
    assert checkpoint.verify(checkpoint.newest(run)) is None


def made(kind: type, **settings: float) -> State:
    """One layer after a step, with the groups that training makes of it."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    groups = [
        {"params": [layer.bias], "matrices": False, "rate": 1.0},
        {"params": [layer.weight], "matrices": True, "rate": settings.pop("rate", 1.0)},
    ]
    optimiser = kind(groups if kind is Muon else layer.parameters(), lr=0.1, **settings)
    layer(torch.ones(4, 3)).square().sum().backward()
    optimiser.step()
    return State({"model": layer}, optimiser, Tokenizer(WordLevel()))


def saved(folder: Path, state: State) -> Path:
    (folder / "config.yaml").write_text("config: {}\n")
    return checkpoint.save(folder, 1, state, keep=1)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, Lookahead, Muon])
def test_rates_are_those_that_are_asked_for_and_moments_those_that_were_kept(
    kind: type, tmp_path: Path
) -> None:
    folder = saved(tmp_path, made(kind, weight_decay=0.25))
    old = made(kind, weight_decay=0.25)
    new = made(kind, weight_decay=0.75, rate=8.0) if kind is Muon else made(kind, weight_decay=0.75)
    wanted = [{k: v for k, v in g.items() if k != "params"} for g in new.optimiser.param_groups]
    new.optimiser.state.clear()
    restore(folder, new)
    found = [{k: v for k, v in g.items() if k != "params"} for g in new.optimiser.param_groups]
    assert found == wanted
    assert {group["weight_decay"] for group in found} == {0.75}
    left, right = (state.optimiser.state_dict()["state"] for state in (old, new))
    assert left.keys() == right.keys()
    for index, entries in left.items():
        for name, value in entries.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(right[index][name]))


def test_moments_are_taken_from_adam_by_adamw_and_refused_by_another_kind(tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    restore(folder, made(torch.optim.AdamW))
    with pytest.raises(ValueError, match="must keep momentum_buffer, since, slow of parameter 0"):
        restore(folder, made(Lookahead))
    with pytest.raises(ValueError, match="parameter groups"):
        restore(folder, made(Muon, weight_decay=0.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.exp_avg", torch.ones(1, 2, 3)),
        ("0.exp_avg", torch.ones(2, 3, dtype=torch.complex64)),
        ("0.step", torch.tensor(float("nan"))),
        ("0.step", torch.tensor(-1.0)),
        ("0.step", torch.tensor(0.5)),
        ("0.exp_avg", torch.full((2, 3), float("nan"))),
        ("0.exp_avg_sq", torch.full((2, 3), float("inf"))),
        ("0.exp_avg_sq", -torch.ones(2, 3)),
        ("0.other", torch.ones(2, 3)),
        ("9.exp_avg", torch.ones(2, 3)),
        ("-1.exp_avg", torch.ones(2, 3)),
    ],
)
def test_moments_that_are_none_are_refused(name: str, value: torch.Tensor, tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    file = folder / "optimiser.safetensors"
    save_file(load_file(file) | {name: value}, file)
    with pytest.raises(ValueError, match="the optimiser"):
        restore(folder, made(torch.optim.Adam))


@pytest.mark.parametrize("since", [5, 1.5, True])
def test_a_slow_copy_that_would_never_step_is_refused(since: float, tmp_path: Path) -> None:
    folder = saved(tmp_path, made(Lookahead))
    held = json.loads((folder / "optimiser.json").read_text())
    held["state"]["0.since"] = since
    (folder / "optimiser.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match="since of parameter 0 must be that of a run"):
        restore(folder, made(Lookahead))


def test_undefined_weights_are_refused_before_the_first_step(tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"bias": torch.full((2,), float("nan"))}, file)
    with pytest.raises(ValueError, match="must hold finite values, got others in bias"):
        restore(folder, made(torch.optim.Adam))


def test_settings_in_a_checkpoint_are_not_used(tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    held = json.loads((folder / "optimiser.json").read_text())
    held["param_groups"][0] |= {"betas": [2, "y"], "lr": "x"}
    (folder / "optimiser.json").write_text(json.dumps(held))
    state = made(torch.optim.Adam)
    restore(folder, state)
    state.optimiser.step()
    assert state.optimiser.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int8, torch.int64])
def test_weights_of_another_kind_of_number_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    file = folder / "model.safetensors"
    save_file({name: value.to(kind) for name, value in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="must be of type torch.float32"):
        restore(folder, made(torch.optim.Adam))


def test_weights_of_another_precision_are_taken(tmp_path: Path) -> None:
    folder = saved(tmp_path, made(torch.optim.Adam))
    file, state = folder / "model.safetensors", made(torch.optim.Adam)
    save_file({name: value.double() for name, value in load_file(file).items()}, file)
    restore(folder, state)
    assert state.modules["model"].weight.dtype == torch.float32


def test_a_run_with_muon_goes_on_as_if_it_had_not_stopped(
    smoke_cohort: Path, tmp_path: Path
) -> None:
    words = ["--train.optimiser", "muon", "--train.weight-decay", "0.1"]
    for name, stops in (("whole", ["2"]), ("stopped", ["1", "2"])):
        for most in stops:
            assert start(tmp_path / name, smoke_cohort, "--max-steps", most, *words) == 0
    left, right = (checkpoint.newest(tmp_path / name) for name in ("whole", "stopped"))
    for name in ("model.safetensors", "optimiser.safetensors"):
        assert (left / name).read_bytes() == (right / name).read_bytes()

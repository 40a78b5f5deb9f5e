"""Checkpoints that survive kills, full disks and bit-rot: safetensors, JSON and SHA-256.

A checkpoint is written to a temporary folder, hashed, synced and renamed, so ``step-N`` exists only
whole. Reading verifies every hash first and falls back to the previous good checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rfpmss.config import Config

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.model.rfpmss import RFPMSS

MANIFEST = "MANIFEST.json"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message says what to do."""


@dataclass(frozen=True)
class State:
    """Everything that a step changes or needs."""

    modules: dict[str, nn.Module]
    """What is trained or remembered; one ``<name>.safetensors`` each."""
    optimiser: torch.optim.Optimizer
    """Its tensors and numbers are stored without pickle."""
    tokenizer: Tokenizer
    """Stored as ``tokenizer.json``."""


def save(run_dir: Path, step: int, state: State, keep: int) -> Path:
    """Write ``checkpoints/step-N`` atomically and prune all but the last ``keep``.

    Raises:
        CheckpointError: if the disk refuses; earlier checkpoints are left as they were.
    """
    folder = run_dir / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step}"
    temporary = folder / f".tmp-{os.getpid()}"
    try:
        for left_behind in folder.glob(".tmp-*"):
            shutil.rmtree(left_behind)
        temporary.mkdir()
        for name, module in state.modules.items():
            _save_tensors(temporary / f"{name}.safetensors", module.state_dict())
        tensors, scalars = _flatten(state.optimiser.state_dict())
        _save_tensors(temporary / "optimiser.safetensors", tensors)
        _write(temporary / "optimiser.json", json.dumps(scalars))
        _write(temporary / "progress.json", json.dumps({"step": step}))
        _write(temporary / "tokenizer.json", state.tokenizer.to_str())
        shutil.copy(run_dir / "config.yaml", temporary / "config.yaml")
        files = sorted(path for path in temporary.iterdir())
        table = {
            path.name: {"sha256": _sha256(path), "size": path.stat().st_size} for path in files
        }
        _write(temporary / MANIFEST, json.dumps(table, indent=1))
        for path in (*files, temporary / MANIFEST, temporary):
            _sync(path)
        if final.exists():  # a damaged one of the same step: verified as such before we got here
            shutil.rmtree(final)
        os.rename(temporary, final)
        _sync(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(folder).free
        raise CheckpointError(
            f"the checkpoint {final} could not be written ({_reason(error)}; {free:,} bytes free); "
            f"earlier checkpoints are intact: make room and start again to resume"
        ) from None
    for old in _folders(run_dir)[keep:]:
        shutil.rmtree(old)
    return final


def latest(run_dir: Path) -> Path | None:
    """The newest checkpoint whose files match their hashes; damaged ones are named on stderr."""
    for folder in _folders(run_dir):
        damage = verify(folder)
        if damage is None:
            return folder
        print(f"skipping {folder}: {damage}; trying the one before", file=sys.stderr)
    return None


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        table = json.loads((folder / MANIFEST).read_text())
        expected = {name: (entry["sha256"], entry["size"]) for name, entry in table.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    if "progress.json" not in expected or "model.safetensors" not in expected:
        return f"{MANIFEST} is incomplete"
    for name, (digest, size) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _sha256(path) != digest:
            return f"{name} does not match its SHA-256"
    return None


def restore(folder: Path, state: State) -> int:
    """Load a verified checkpoint into ``state``, in place; return its step."""
    for name, module in state.modules.items():
        module.load_state_dict(load_file(folder / f"{name}.safetensors"))
    scalars = json.loads((folder / "optimiser.json").read_text())
    tensors = load_file(folder / "optimiser.safetensors")
    state.optimiser.load_state_dict(_unflatten(tensors, scalars))
    return json.loads((folder / "progress.json").read_text())["step"]


def load_model(run_dir: Path, device: str = "cpu") -> tuple[RFPMSS, Tokenizer, Config]:
    """The model of a run's newest good checkpoint, in evaluation mode, with tokenizer and config.

    Raises:
        CheckpointError: if the run has no usable checkpoint.

    Example:
        >>> model, tokenizer, config = load_model(Path("runs/tiny-0"))  # doctest: +SKIP
    """
    from rfpmss.model.rfpmss import RFPMSS

    folder = latest(run_dir)
    if folder is None:
        raise CheckpointError(
            f"run_dir must hold a checkpoint, got {run_dir} without a usable one; train first: "
            f"python -m rfpmss.train --run-dir {run_dir}"
        )
    config = read_config(folder / "config.yaml")
    tokenizer = read_tokenizer(folder)
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size())
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval(), tokenizer, config


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a verified checkpoint."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def read_config(path: Path) -> Config:
    """The resolved configuration of a run (the manifest entry left out)."""
    content = yaml.safe_load(path.read_text())
    return Config.model_validate(content["config"])


def _folders(run_dir: Path) -> list[Path]:
    found = [
        path
        for path in (run_dir / "checkpoints").glob("step-*")
        if path.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: value.detach().contiguous().clone() for name, value in tensors.items()}, path)


def _flatten(state: dict) -> tuple[dict[str, Tensor], dict]:
    tensors, scalars = {}, {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, {"state": scalars, "param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], scalars: dict) -> dict:
    state: dict[int, dict] = {}
    for key, value in (*tensors.items(), *scalars["state"].items()):
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": scalars["param_groups"]}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]

"""Checkpoints that survive kills, full disks and bit-rot: safetensors, JSON and SHA-256.

A checkpoint is written to a temporary folder, hashed, synced and renamed, so ``step-N`` exists only
whole. Reading verifies every hash first and falls back to the previous good checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rfpmss.config import Config
from rfpmss.content import Content, State, collect, load_weights
from rfpmss.distributed import ALONE, Peers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.model.rfpmss import RFPMSS

MANIFEST = "MANIFEST.json"

Weights = Literal["last", "averaged", "best"]

AVERAGED = "module."
"""How the names of averaged weights begin."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message says what to do."""


class DiskError(CheckpointError):
    """The disk did not take a checkpoint."""


def save(
    run_dir: Path,
    step: int,
    state: State,
    keep: int,
    peers: Peers = ALONE,
    score: float | None = None,
) -> Path:
    """Write ``checkpoints/step-N`` atomically; prune all but the last ``keep`` and the best.

    All ranks call it, each with its parts of what is sharded; rank 0 writes.

    Args:
        run_dir: the run folder.
        step: optimisation steps done.
        state: what to write.
        keep: newest checkpoints that stay.
        peers: the ranks.
        score: of this state on the validation split, lower is better; None where there is none.

    Raises:
        DiskError: if the disk refuses; earlier checkpoints are left as they were.
        PeerError: on the other ranks, if it refuses on rank 0.
    """
    final = at(run_dir, step)
    content = collect(state, peers)

    def write() -> int:
        _write_folder(final, content, {"step": step, "score": score})
        best = _scored(run_dir)[:1]
        for old in folders(run_dir)[keep:]:
            if old not in best:
                shutil.rmtree(old)
        return step

    peers.first(write)
    return final


def at(run_dir: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` lies."""
    return run_dir / "checkpoints" / f"step-{step}"


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was taken."""
    return int(folder.name.removeprefix("step-"))


def folders(run_dir: Path) -> list[Path]:
    """All checkpoints of a run, good or damaged, the newest first."""
    found = [
        path
        for path in (run_dir / "checkpoints").glob("step-*")
        if path.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, key=step_of, reverse=True)


def best_of(run_dir: Path) -> Path | None:
    """The undamaged checkpoint with the lowest validation score; None where none has a score."""
    return next((folder for folder in _scored(run_dir) if verify(folder) is None), None)


def latest(run_dir: Path) -> Path | None:
    """The newest checkpoint whose files match their hashes; damaged ones are named on stderr."""
    for folder in folders(run_dir):
        damage = verify(folder)
        if damage is None:
            return folder
        print(f"skipping {folder}: {damage}; trying the one before", file=sys.stderr)
    return None


def newest(run_dir: Path) -> Path:
    """The newest good checkpoint of a run that has one.

    Raises:
        CheckpointError: if it has none.
    """
    folder = latest(run_dir)
    if folder is None:
        raise CheckpointError(
            f"run_dir must hold a checkpoint, got {run_dir} without a usable one; train first: "
            f"python -m rfpmss.train --run-dir {run_dir}"
        )
    return folder


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


def load_model(
    run_dir: Path, device: str = "cpu", weights: Weights = "last"
) -> tuple[RFPMSS, Tokenizer, Config]:
    """The model of a run, in evaluation mode, with tokenizer and configuration.

    Args:
        run_dir: the run folder.
        device: where the model goes.
        weights: of the newest good checkpoint; their average over the steps, if the run kept one
            (``train.ema``); or those of the checkpoint that was best on the split ``val``.

    Raises:
        CheckpointError: if the run has no usable checkpoint, or not these weights.

    Example:
        >>> model, tokenizer, config = load_model(Path("runs/tiny-0"))  # doctest: +SKIP
    """
    from rfpmss.model.rfpmss import RFPMSS

    folder = best_of(run_dir) if weights == "best" else newest(run_dir)
    if folder is None:
        raise CheckpointError(
            f"the best weights need a run on a cohort with a split val, got {run_dir} without a "
            f"checkpoint that was scored on one"
        )
    config = read_config(folder / "config.yaml")
    tokenizer = read_tokenizer(folder)
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size())
    if weights != "averaged":
        load_weights(folder / "model.safetensors", model)
    elif (folder / "average.safetensors").is_file():
        average = load_file(folder / "average.safetensors")
        names = [name for name in average if name.startswith(AVERAGED)]
        model.load_state_dict({name.removeprefix(AVERAGED): average[name] for name in names})
    else:
        raise CheckpointError(f"averaged weights need a run with train.ema, got {run_dir}")
    return model.to(device).eval(), tokenizer, config


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a verified checkpoint."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def read_config(path: Path) -> Config:
    """The resolved configuration of a run (the manifest entry left out)."""
    content = yaml.safe_load(path.read_text())
    return Config.model_validate(content["config"])


def _write_folder(final: Path, content: Content, progress: dict) -> None:
    folder = final.parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{os.getpid()}"
    try:
        for left_behind in folder.glob(".tmp-*"):
            shutil.rmtree(left_behind)
        temporary.mkdir()
        _fill(temporary, content, progress)
        if final.exists():  # a damaged one of the same step: verified as such before we got here
            shutil.rmtree(final)
        os.rename(temporary, final)
        _sync(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(folder).free
        raise DiskError(
            f"the checkpoint {final} could not be written ({_reason(error)}): it needs "
            f"{content.size:,} bytes, {free:,} bytes free; earlier checkpoints are intact: "
            f"make room and start again to resume"
        ) from None


def _fill(folder: Path, content: Content, progress: dict) -> None:
    free = shutil.disk_usage(folder).free
    if free < content.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for name, tensors in content.tensors.items():
        _save_tensors(folder / f"{name}.safetensors", tensors)
    for name, text in content.texts.items():
        _write(folder / name, text)
    _write(folder / "progress.json", json.dumps(progress))
    shutil.copy(folder.parents[1] / "config.yaml", folder / "config.yaml")
    files = sorted(folder.iterdir())
    table = {path.name: {"sha256": _sha256(path), "size": path.stat().st_size} for path in files}
    _write(folder / MANIFEST, json.dumps(table, indent=1))
    for path in (*files, folder / MANIFEST, folder):
        _sync(path)


def _scored(run_dir: Path) -> list[Path]:
    """Checkpoints with a validation score, the best first."""
    scores = {}
    for folder in folders(run_dir):
        try:
            score = json.loads((folder / "progress.json").read_text())["score"]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if isinstance(score, float):
            scores[folder] = score
    return sorted(scores, key=lambda folder: scores[folder])


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: value.detach().contiguous().clone() for name, value in tensors.items()}, path)


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

"""Checkpoints that survive kills, full disks and bit-rot: safetensors, JSON and SHA-256.

A checkpoint is written to a temporary folder, hashed, synced and renamed, so ``step-N`` exists only
whole. Reading verifies every hash first and falls back to the previous good checkpoint.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rfpmss.common import files
from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import read_text, regular
from rfpmss.common.yaml import read_mapping
from rfpmss.config import Config
from rfpmss.data.batches.tokens import load_tokenizer
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.hub import require_shapes
from rfpmss.runs import record
from rfpmss.runs.content import Content, State, collect, load_weights, restore, undefined
from rfpmss.runs.folder import lost
from rfpmss.runs.stored import (
    LEFT,
    MANIFEST,
    PROGRESS,
    arithmetic_of,
    at,
    best_of,
    clear_left,
    discard,
    folders,
    latest,
    ours,
    prune,
    set_aside,
    sha256,
    step_of,
    verify,
    weights_of,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "MANIFEST",
    "CheckpointError",
    "DiskError",
    "Loaded",
    "UndefinedError",
    "Weights",
    "arithmetic_of",
    "at",
    "best_of",
    "chosen",
    "fitting",
    "folders",
    "latest",
    "load",
    "load_encoder",
    "load_folder",
    "load_model",
    "newest",
    "read_config",
    "read_tokenizer",
    "resume",
    "save",
    "step_of",
    "verify",
    "weights_of",
]

Weights = Literal["last", "averaged", "best"]

AVERAGED = "module."
"""How the names of averaged weights begin."""


ATTEMPTS = 5
"""How often a checkpoint is chosen again that a training run prunes while it is read."""


class CheckpointError(RfpmssError, RuntimeError):
    """A checkpoint could not be written or read; the message says what to do."""


class DiskError(CheckpointError):
    """The disk did not take a checkpoint."""

    status: ClassVar[int] = files.DISK


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, read."""

    folder: Path
    """The checkpoint."""
    model: RFPMSS
    """In evaluation mode."""
    tokenizer: Tokenizer
    config: Config
    weights: str
    """SHA-256 of the file that the weights are from."""


class UndefinedError(CheckpointError):
    """What was to be saved holds infinite or undefined values."""


def save(
    run_dir: Path,
    step: int,
    state: State,
    keep: int,
    peers: Peers = ALONE,
    score: float | None = None,
    arithmetic: dict[str, str] | None = None,
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
        arithmetic: who computed it.

    Raises:
        DiskError: if the disk refuses; earlier checkpoints are left as they were.
        UndefinedError: if a value is infinite or undefined; nothing is written.
        PeerError: on the other ranks, if it refuses on rank 0.
    """
    final = at(run_dir, step)
    content = collect(state, peers)

    def write() -> int:
        if bad := [name for held in content.tensors.values() for name in undefined(held)]:
            raise UndefinedError(
                f"weights and their averages must be finite, got infinite or undefined values "
                f"after step {step} in {', '.join(bad[:3])}; nothing was saved for this step: go "
                f"on from the checkpoint before with a lower train.lr"
            )
        _write_folder(final, content, {"step": step, "score": score, "arithmetic": arithmetic})
        prune(run_dir, keep, final)
        return step

    peers.first(write)
    return final


def newest(run_dir: Path) -> Path:
    """The newest good checkpoint of a run that has one.

    Raises:
        CheckpointError: if it has none.
    """
    folder = latest(run_dir)
    if folder is None:
        if problem := lost(run_dir, _save_every(run_dir)):
            raise CheckpointError(f"{problem} to train again from step 0")
        raise CheckpointError(
            f"run_dir must hold a checkpoint, got {run_dir} without a usable one; train first: "
            f"python -m rfpmss.train --run-dir {run_dir}"
        )
    return folder


def _save_every(run_dir: Path) -> int:
    """Steps after which a run had its first checkpoint; 0 where that is not known any more."""
    try:
        return read_config(run_dir / record.FILE).train.save_every
    except (CheckpointError, OSError):
        return 0


def load_model(
    run_dir: Path, device: str = "cpu", weights: Weights = "last"
) -> tuple[RFPMSS, Tokenizer, Config]:
    """The model of a run, in evaluation mode, with tokenizer and configuration; see `load`."""
    found = load(run_dir, device, weights)
    return found.model, found.tokenizer, found.config


def load(run_dir: Path, device: str = "cpu", weights: Weights = "last") -> Loaded:
    """What a run has learnt, from a checkpoint.

    A run that is still training may prune a checkpoint while it is read; the next newest is taken.

    Args:
        run_dir: the run folder.
        device: where the model goes.
        weights: of the newest good checkpoint; their average over the steps, if the run kept one
            (``train.ema``); or those of the checkpoint that was best on the split ``val``.

    Raises:
        CheckpointError: if the run has no usable checkpoint, or not these weights.

    Example:
        >>> load(Path("runs/tiny-0")).config.preset  # doctest: +SKIP
        'tiny'
    """
    for _ in range(ATTEMPTS - 1):
        folder = chosen(run_dir, weights)
        try:
            return load_folder(folder, device, weights)
        except CheckpointError:
            if verify(folder) is None:
                raise

    return load_folder(chosen(run_dir, weights), device, weights)


def chosen(run_dir: Path, weights: Weights = "last") -> Path:
    """The undamaged checkpoint that has the weights.

    Raises:
        CheckpointError: if the run has none.
    """
    folder = best_of(run_dir) if weights == "best" else newest(run_dir)
    if folder is None:
        raise CheckpointError(
            f"the best weights need a run on a cohort with a split val, got {run_dir} without a "
            f"checkpoint that was scored on one"
        )
    return folder


def load_folder(folder: Path, device: str = "cpu", weights: Weights = "last") -> Loaded:
    """What `load` gives, of one verified checkpoint.

    Raises:
        CheckpointError: if its files do not fit together, or hold undefined weights.
    """
    config, tokenizer = read_config(folder / "config.yaml"), read_tokenizer(folder)
    with fitting(folder, "model.safetensors"):
        sizes = (config.model, config.data, tokenizer.get_vocab_size())
        require_shapes(folder / "model.safetensors", RFPMSS, *sizes)
        model = RFPMSS(*sizes)
        if weights != "averaged":
            load_weights(folder / "model.safetensors", model)
        elif (folder / "average.safetensors").is_file():
            average = load_file(regular(folder / "average.safetensors"))
            names = [name for name in average if name.startswith(AVERAGED)]
            model.load_state_dict({name.removeprefix(AVERAGED): average[name] for name in names})
        else:
            run_dir = folder.parents[1]
            raise CheckpointError(f"averaged weights need a run with train.ema, got {run_dir}")

    if bad := undefined(model.state_dict()):
        raise CheckpointError(
            f"a checkpoint must hold finite weights, got {folder} with infinite or undefined "
            f"values in {', '.join(bad[:3])}; use an earlier one, or train again with a lower "
            f"train.lr"
        )

    with fitting(folder, MANIFEST):  # which was whole, but may be pruned by now
        digest = weights_of(folder, averaged=weights == "averaged")

    return Loaded(folder, model.to(device).eval(), tokenizer, config, digest)


def load_encoder(path: Path, encoder: nn.Module) -> dict[str, str]:
    """Load a file of weights that stands alone into an encoder; return what it says of them.

    Raises:
        CheckpointError: if it is damaged, of another encoder, or holds undefined weights.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            told = dict(file.metadata() or {})
        load_weights(path, encoder)
        bad = undefined(encoder.state_dict())
        problem = f"infinite or undefined values in {', '.join(bad[:3])}" if bad else ""
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        problem = _clause(error)

    if problem:
        raise CheckpointError(
            f"weights must be whole, finite and of this encoder, got {path}: {problem}; remove the "
            f"file to train them again"
        )

    return told


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a verified checkpoint.

    Raises:
        CheckpointError: if its file is none.
    """
    with fitting(folder, "tokenizer.json"):
        return load_tokenizer(read_text(folder / "tokenizer.json"))


def read_config(path: Path) -> Config:
    """The resolved configuration of a run (the manifest entry left out).

    Raises:
        CheckpointError: if the file holds none of this version.
    """
    with fitting(path.parent, path.name):
        return Config.model_validate(read_mapping(path)["config"])


def resume(folder: Path, state: State, config: Config, cohort: str) -> None:
    """Load a verified checkpoint into the state of a run.

    Args:
        folder: the checkpoint.
        state: made as ``config`` asks.
        config: of the run now, which may be another one than that of the checkpoint.
        cohort: digest of its cohort now.

    Raises:
        CheckpointError: if its files do not fit the run; where configuration or cohort were
            changed, it names what may not be.
    """
    there = record.checked(folder / record.FILE)
    if lines := _changed(there, config, UNUSED):
        raise _fixed(folder, lines)

    try:
        with fitting(folder, "*.safetensors"):
            restore(folder, state)
    except CheckpointError:
        lines = _changed(there, config, SHAPING)
        if not (lines := lines + record.cohort_lines(there, {"cohort": cohort}, None, None)):
            raise
        raise _fixed(folder, lines) from None


def _fixed(folder: Path, lines: list[str]) -> CheckpointError:
    """The refusal of changes that a run which goes on cannot make."""
    return CheckpointError(
        f"what decides which weights there are, and how they are optimised, cannot change when "
        f"a run goes on, got {folder} with\n"
        + "\n".join(lines)
        + "\nask for what is there, or choose another --run-dir; the checkpoint is undamaged"
    )


SHAPING = (
    *("model.", "data.series", "data.size", "data.slices", "data.order", "data.depth"),
    "data.tokens",
    *("assignment.bank", "train.ema", "train.optimiser", "train.stage", "train.text_rate"),
    "train.stem_fan_in",
)
"""Fields, and a section, that decide what a checkpoint holds."""


UNUSED = ("data.vocabulary",)
"""Fields that nothing reads where a checkpoint brings its own words: a new value is ignored."""


def _changed(there: record.Record, config: Config, fields: tuple[str, ...]) -> list[str]:
    """Which of the fields differ from those of a checkpoint, a line each."""
    old, new = dict(record.leaves(there["config"])), config.model_dump(mode="json")
    return [
        f"  config.{name}: {old[name]} there, {value} requested"
        for name, value in record.leaves(new)
        if name.startswith(fields) and old.get(name, value) != value
    ]


@contextmanager
def fitting(folder: Path, name: str) -> Iterator[None]:
    """Turn whatever a file that is whole, but holds another thing, raises into one sentence.

    Raises:
        CheckpointError: names the checkpoint, the file and what is wrong.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(
            f"a checkpoint must hold what a run of this version wrote, got {folder / name}: "
            f"{_clause(error)}; use another checkpoint, or remove {folder} to go on from the one "
            f"before"
        ) from None


def _clause(error: Exception) -> str:
    """The first telling line of an error of another library."""
    if isinstance(error, KeyError):
        return f"{error} is missing"

    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return told[:200]


def _write_folder(final: Path, content: Content, progress: dict) -> None:
    folder = final.parent
    temporary = folder / f"{LEFT}{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_left(folder.parent)
        temporary.mkdir()
        _fill(temporary, content, progress)
        _make_room(final)
        os.rename(temporary, final)
        files.sync(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _refused(error, final, content.size) from None


def _make_room(final: Path) -> None:
    """Move away what stands under a new checkpoint's name: damaged, or of another step."""
    if not final.exists() and not final.is_symlink():
        return

    other = at(final.parents[1], step_of(final))
    if not ours(final):
        set_aside(final)
    elif verify(final) is None and not other.exists():
        final.rename(other)
    else:
        discard(final)


def _fill(folder: Path, content: Content, progress: dict) -> None:
    free = shutil.disk_usage(folder).free
    if free < content.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, tensors in content.tensors.items():
        _save_tensors(folder / f"{name}.safetensors", tensors)

    for name, text in content.texts.items():
        _write(folder / name, text)

    _write(folder / PROGRESS, json.dumps(progress))
    files.fill(folder / "config.yaml", files.read_bytes(folder.parents[1] / "config.yaml"))
    found = sorted(folder.iterdir())
    table = {path.name: {"sha256": sha256(path), "size": path.stat().st_size} for path in found}
    _write(folder / MANIFEST, json.dumps(table, indent=1))

    for path in (*found, folder / MANIFEST, folder):
        files.sync(path)


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: value.detach().contiguous().clone() for name, value in tensors.items()}, path)


def _write(path: Path, text: str) -> None:
    files.fill(path, text)  # synced with its folder, which then gets its name


def _refused(error: Exception, final: Path, size: int) -> DiskError:
    """What the disk said of a checkpoint of ``size`` bytes, and the way out.

    Only where room is short the sentence says how much: elsewhere more of it would not help.
    """
    known = error if isinstance(error, OSError) else files.told(error, final)
    reason = known.strerror or str(error) or type(error).__name__
    room = f": it needs {size:,} bytes, {_free(final.parent)} bytes free"
    way = files.way_of(known.errno)
    return DiskError(
        f"the checkpoint {final} could not be written ({reason})"
        f"{room if known.errno in files.ROOM else ''}; earlier checkpoints were not touched"
        f"{f': {way}' if way else ''}; start again to resume"
    )


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free:,}"
    except OSError:
        return "an unknown number of"

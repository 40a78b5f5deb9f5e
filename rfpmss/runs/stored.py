"""Checkpoints on disk: which there are, which are whole, which of them stay."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from rfpmss.common import files, strict
from rfpmss.config.bounds import MOST_STEPS

MANIFEST = "MANIFEST.json"
"""Size and SHA-256 of each other file of a checkpoint."""

PROGRESS = "progress.json"
"""The step, the score on the split val, and who computed."""

NEEDED = (PROGRESS, "model.safetensors")

LARGEST = 1 << 20
"""Bytes of either file; they have about 1,000."""

OURS = re.compile(r"[a-z]+\.safetensors|[A-Za-z]+\.json|config\.yaml")
"""Names of the files of a checkpoint."""

LEFT = ".tmp-"
"""How the name of a folder begins that is being written or removed."""


def at(run_dir: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` lies."""
    return run_dir / "checkpoints" / f"step-{step}"


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was taken: what it says itself, else what it is called."""
    step = _progress(folder).get("step")
    named = int(folder.name.removeprefix("step-"))
    return step if strict.whole(step) and 0 <= step < MOST_STEPS else named


def score_of(folder: Path) -> float | None:
    """The score of a checkpoint on the split val, lower is better; None where it has none."""
    score = _progress(folder).get("score")
    return score if isinstance(score, float) and math.isfinite(score) else None


def arithmetic_of(folder: Path) -> dict[str, str]:
    """Who computed a checkpoint; empty where it does not say so."""
    told = _progress(folder).get("arithmetic")
    return (
        {name: str(value)[:100] for name, value in told.items()} if isinstance(told, dict) else {}
    )


def folders(run_dir: Path) -> list[Path]:
    """All checkpoints of a run, good or damaged, the newest first."""
    found = [
        path
        for path in (run_dir / "checkpoints").glob("step-*")
        if path.name.removeprefix("step-").isdecimal()
    ]
    return sorted(found, key=step_of, reverse=True)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        table = strict.loads(files.read_bytes(folder / MANIFEST, LARGEST))
        expected = {name: (entry["sha256"], entry["size"]) for name, entry in table.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{MANIFEST} is missing or unreadable"

    if any(name not in expected for name in NEEDED):
        return f"{MANIFEST} is incomplete"
    if any(name != Path(name).name for name in expected):
        return f"{MANIFEST} names files elsewhere"

    damages = (_damage(folder / name, *entry) for name, entry in expected.items())
    return next(filter(None, damages), None)


def _damage(path: Path, digest: str, size: int) -> str | None:
    """What is wrong with one file of a checkpoint, or None."""
    try:
        if not path.is_file():
            return f"{path.name} is missing"
        if path.stat().st_size != size:
            return f"{path.name} has {path.stat().st_size} bytes instead of {size}"
        if sha256(path) != digest:
            return f"{path.name} does not match its SHA-256"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"

    return None


def weights_of(folder: Path, *, averaged: bool = False) -> str:
    """SHA-256 of the weights of a verified checkpoint, as its `MANIFEST` says."""
    name = "average.safetensors" if averaged else "model.safetensors"
    return str(strict.loads(files.read_bytes(folder / MANIFEST, LARGEST))[name]["sha256"])


def prune(run_dir: Path, keep: int, written: Path) -> None:
    """Remove checkpoints that are no longer wanted.

    The newest ``keep`` undamaged ones stay, the best undamaged one, and what was just written.
    Damaged ones count for nothing, and go when ``keep`` undamaged newer ones stand.

    Args:
        run_dir: the run folder.
        keep: undamaged checkpoints that stay.
        written: the checkpoint of this call; nothing is removed unless it proves undamaged.
    """
    if verify(written) is not None:
        return

    found = folders(run_dir)
    good = [folder for folder in found if folder == written or verify(folder) is None]
    scored = {folder: score for folder in good if (score := score_of(folder)) is not None}
    best = min(scored, key=lambda folder: scored[folder], default=written)
    stay = {*good[:keep], best, written}
    oldest = step_of(good[keep - 1]) if len(good) >= keep else -1
    for folder in found:
        if folder not in stay and step_of(folder) <= oldest and ours(folder):
            with suppress(OSError):  # it goes next time
                discard(folder)


def ours(folder: Path) -> bool:
    """Whether a checkpoint, damaged or not, is all that stands there: nothing else is removed."""
    if folder.is_symlink():  # to a checkpoint: the link alone would go
        return folder.is_dir()
    return folder.is_dir() and all(OURS.fullmatch(path.name) for path in folder.iterdir())


def set_aside(path: Path) -> Path:
    """Give what is somebody else's another name, and say so; return the new path."""
    numbers = itertools.count(1)
    names = (path.with_name(f"aside-{path.name}-{number}") for number in numbers)
    other = next(name for name in names if not os.path.lexists(name))
    path.rename(other)
    sys.stderr.write(f"warning: {path} was in the way of a file of the run: it is {other} now\n")

    return other


def discard(folder: Path) -> None:
    """Remove a checkpoint so that no half of it is ever found under its name."""
    if folder.is_symlink() or not folder.is_dir():
        files.remove(folder)
        return

    aside = folder.with_name(f"{LEFT}{folder.name}")
    files.remove(aside)
    folder.rename(aside)
    files.remove(aside)


def clear_left(run_dir: Path) -> None:
    """Remove folders that killed writers were writing or removing; for who writes into the run."""
    for path in (run_dir / "checkpoints").glob(f"{LEFT}*"):
        if path.name.removeprefix(LEFT).removeprefix("step-").isdecimal():
            files.remove(path)


def latest(run_dir: Path) -> Path | None:
    """The newest checkpoint whose files match their hashes; damaged ones are named on stderr."""
    found = folders(run_dir)
    for at, folder in enumerate(found, start=1):
        damage = verify(folder)
        if damage is None:
            return folder
        rest = "trying the one before" if at < len(found) else "there is none before"
        sys.stderr.write(f"skipping {folder}: {damage}; {rest}\n")

    return None


def best_of(run_dir: Path) -> Path | None:
    """The undamaged checkpoint with the lowest validation score; None where none has a score."""
    scored = {folder: s for folder in folders(run_dir) if (s := score_of(folder)) is not None}
    ranked = sorted(scored, key=lambda folder: scored[folder])
    return next((folder for folder in ranked if verify(folder) is None), None)


def sha256(path: Path) -> str:
    """Digest of a file, hexadecimal."""
    with files.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _progress(folder: Path) -> dict:
    try:
        found = strict.loads(files.read_bytes(folder / PROGRESS, LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

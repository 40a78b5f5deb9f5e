"""Which weights and which cohort a file of scores is of; scores of others are not passed off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rfpmss.common import strict
from rfpmss.common.files import read_bytes, write_text
from rfpmss.runs.stored import sha256

ENDING = "_origin.json"
"""Of the file beside ``NAME.json``."""

LARGEST = 1 << 16
"""Bytes of such a file; it has about 500."""


@dataclass(frozen=True)
class Origin:
    """What scores were made of."""

    step: int
    """Of the checkpoint."""
    weights: str
    """SHA-256 of its file of weights."""
    cohort: str
    """Digest of the cohort's fingerprint."""

    def other(self, said: object) -> str:
        """How scores that say ``said`` of themselves are of other weights; empty: they are not.

        Example:
            >>> Origin(3, "a", "c").other({"step": 2, "weights": "b", "cohort": "c"})
            'of other weights (step 2; these are of step 3)'
        """
        if not isinstance(said, dict):
            return "of weights that are not known"
        if said.get("weights") == self.weights:
            return ""

        return f"of other weights (step {said.get('step')}; these are of step {self.step})"


def mark(origin: Origin | None, folder: Path, name: str, files: Sequence[str], split: str) -> None:
    """Write beside finished files of scores what they are of; None: it is not known."""
    path = folder / f"{name}{ENDING}"
    if origin is None:
        path.unlink(missing_ok=True)
        return

    digests = {file: sha256(folder / file) for file in files}
    said = asdict(origin) | {"split": split, "files": digests}
    write_text(path, json.dumps(said, indent=1) + "\n")


def of(folder: Path, name: str, file: str) -> dict[str, Any] | None:
    """What a file of scores is of.

    Args:
        folder: the folder of the scores.
        name: what the scores are called.
        file: the file; it must be as it was written.

    Returns:
        ``step``, ``weights``, ``cohort`` and ``split``; None where that is not known.
    """
    try:
        said = strict.loads(read_bytes(folder / f"{name}{ENDING}", LARGEST))
        known = said["files"][file] == sha256(folder / file) and strict.whole(said["step"])
        known = known and all(isinstance(said[n], str) for n in ("weights", "cohort", "split"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None

    return said if known else None

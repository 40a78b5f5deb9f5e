"""A trained run opened for looking at: what every command after training starts with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rfpmss.checkpoint import CheckpointError, load_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS


class OpenError(CheckpointError):
    """A run cannot be looked at; the message is one sentence."""


@dataclass(frozen=True)
class Opened:
    """A run ready to be looked at."""

    model: RFPMSS
    cohort: Cohort
    tokenizer: Tokenizer
    config: Config


def open_or_tell(run_dir: Path, data: Path | None, device: str) -> Opened | None:
    """`open_run` for a command: None where it fails, after one line on stderr that says why."""
    try:
        return open_run(run_dir, data, device)
    except OpenError as error:
        print(f"error: {error}", file=sys.stderr)
        return None


def open_run(run_dir: Path, data: Path | None, device: str) -> Opened:
    """Model, cohort, tokenizer and configuration of a run.

    Args:
        run_dir: of rfpmss.train.
        data: manifest of a prepared cohort; None: the one that the run was trained on.
        device: cpu, cuda, cuda:1, ...

    Raises:
        OpenError: if the folder, its checkpoints or the cohort cannot be read.
    """
    import torch
    import yaml

    from rfpmss.data.batch import Cohort
    from rfpmss.data.errors import DataError

    if not (run_dir / "config.yaml").is_file():
        raise OpenError(f"run_dir must be a run folder with a config.yaml, got {run_dir}")
    try:
        model, tokenizer, config = load_model(run_dir, device)
        torch.set_num_threads(config.train.threads)
        manifest = data or Path(yaml.safe_load((run_dir / "config.yaml").read_text())["manifest"])
        cohort = Cohort.open(manifest, config.data)
    except (CheckpointError, DataError, FileNotFoundError) as error:
        raise OpenError(str(error)) from None
    return Opened(model, cohort, tokenizer, config)

"""A trained run opened for looking at: what every command after training starts with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS


@dataclass(frozen=True)
class Opened:
    """A run ready to be looked at."""

    model: RFPMSS
    cohort: Cohort
    tokenizer: Tokenizer
    config: Config


def open_run(run_dir: Path, data: Path | None, device: str) -> Opened | str:
    """Model, cohort, tokenizer and configuration of a run, or a sentence saying what is wrong."""
    import torch
    import yaml

    from rfpmss import checkpoint
    from rfpmss.data.batch import Cohort
    from rfpmss.data.errors import DataError

    if not (run_dir / "config.yaml").is_file():
        return f"run_dir must be a run folder with a config.yaml, got {run_dir}"
    try:
        model, tokenizer, config = checkpoint.load_model(run_dir, device)
        torch.set_num_threads(config.train.threads)
        manifest = data or Path(yaml.safe_load((run_dir / "config.yaml").read_text())["manifest"])
        cohort = Cohort.open(manifest, config.data)
    except (checkpoint.CheckpointError, DataError, FileNotFoundError) as error:
        return str(error)
    return Opened(model, cohort, tokenizer, config)

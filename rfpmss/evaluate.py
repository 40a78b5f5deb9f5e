"""Evaluate: zero-shot retrieval of a trained run, every pair, with chance and ceiling.

    python -m rfpmss.evaluate --run-dir runs/tiny-0
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --data other.csv    another hospital's cohort

Writes RUN/evaluation/retrieval.json, retrieval_full.json, .csv and .tex; with --data they are named
after it, retrieval-NAME.json and so on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.evaluate`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    split: str = "test"
    """Studies to score: train, val or test."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""


@dataclass(frozen=True)
class Opened:
    """A run ready to be looked at."""

    model: RFPMSS
    cohort: Cohort
    tokenizer: Tokenizer
    config: Config


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(
        Arguments, args=argv, prog="python -m rfpmss.evaluate", description=__doc__
    )
    from rfpmss import evaluation

    opened = open_run(arguments.run_dir, arguments.data, arguments.device)
    if isinstance(opened, str):
        print(f"error: {opened}", file=sys.stderr)
        return 1
    name = "retrieval" if arguments.data is None else f"retrieval-{arguments.data.parent.name}"
    rows = evaluation.run(
        opened.model,
        opened.cohort,
        opened.tokenizer,
        opened.config,
        arguments.run_dir,
        split=arguments.split,
        name=name if arguments.split == "test" else f"{name}-{arguments.split}",
    )
    evaluation.print_table(rows)
    print(f"tables: {(arguments.run_dir / 'evaluation').resolve()}")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())

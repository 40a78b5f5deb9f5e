"""Evaluate: zero-shot retrieval of a trained run, every pair, with chance and ceiling.

    python -m rfpmss.evaluate --run-dir runs/tiny-0
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --data other.csv    another hospital's cohort

Writes RUN/evaluation/retrieval.json, retrieval_full.json, .csv and .tex; with --data they are named
after its folder, or by --name: retrieval-NAME.json and so on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.evaluate`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    name: str | None = None
    """What --data is called in the names of the files."""
    split: str = "test"
    """Studies to score: train, val or test."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(
        Arguments, args=argv, prog="python -m rfpmss.evaluate", description=__doc__
    )
    from rfpmss import evaluation
    from rfpmss.evaluation.opened import open_run

    opened = open_run(arguments.run_dir, arguments.data, arguments.device)
    if isinstance(opened, str):
        print(f"error: {opened}", file=sys.stderr)
        return 1
    called = arguments.name or (arguments.data.parent.name if arguments.data else "")
    name = f"retrieval-{called}" if called else "retrieval"
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


if __name__ == "__main__":
    sys.exit(main())

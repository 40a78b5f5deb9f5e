"""Report: write the page of a trained run again, one self-contained HTML file.

    python -m rfpmss.report --run-dir runs/tiny-0

Retrieval is scored again first, so that the page and the tables belong to the same checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from rfpmss.arguments import program


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.report`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    quick: bool = False
    """Measure attention on a few studies only, as after training."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog=program("report"), description=__doc__)
    from rfpmss import evaluation
    from rfpmss.evaluation.opened import open_or_tell

    opened = open_or_tell(arguments.run_dir, arguments.data, arguments.device)
    if opened is None:
        return 1
    parts = (opened.model, opened.cohort, opened.tokenizer, opened.config)
    evaluation.run(*parts, arguments.run_dir)
    path = evaluation.page(arguments.run_dir, *parts, quick=arguments.quick)
    print(f"page: {path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Evaluate: zero-shot retrieval and written reports of a trained run, with chance and ceiling.

    python -m rfpmss.evaluate --run-dir runs/tiny-0
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --data other.csv    another hospital's cohort
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --beams 1 4         and the reports it writes

Writes RUN/evaluation/retrieval.json, retrieval_full.json, .csv and .tex; with --data they are named
after its folder, or by --name: retrieval-NAME.json and so on. With --beams also writing.json,
writing_findings.csv, writing_words.csv and their .tex.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from rfpmss.common.command import guarded
from rfpmss.common.files import require_writable
from rfpmss.config.arguments import program

if TYPE_CHECKING:
    from rfpmss.runs.opened import Opened


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
    beams: tuple[int, ...] = ()
    """Also score the reports written by searches of these widths; 1 is greedy."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.beams):
            raise ValueError(f"--beams must be at least 1, got {min(self.beams)}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog=program("evaluate"), description=__doc__)
    return guarded(lambda: evaluate(arguments), arguments.run_dir)


def evaluate(arguments: Arguments) -> int:
    """Score, write and print the tables; return 0."""
    from rfpmss import evaluation
    from rfpmss.runs.opened import open_run, require_run

    require_run(arguments.run_dir)
    require_writable(arguments.run_dir / "evaluation")
    opened = open_run(
        arguments.run_dir,
        arguments.data,
        arguments.device,
        allow_change=arguments.allow_config_change,
    )
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
    if arguments.beams:
        _reports(arguments, opened, name.replace("retrieval", "writing"))
    print(f"tables: {(arguments.run_dir / 'evaluation').resolve()}")
    return 0


def _reports(arguments: Arguments, opened: Opened, name: str) -> None:
    import numpy as np

    from rfpmss.evaluation.writing.scores import score, write

    indices = np.asarray(opened.cohort.indices(arguments.split))
    opened.model.eval()
    size = opened.config.train.batch
    scored = score(opened.model, opened.cohort, opened.tokenizer, indices, size, arguments.beams)
    folder = arguments.run_dir / "evaluation"
    write(scored, folder, name if arguments.split == "test" else f"{name}-{arguments.split}")
    for row in scored.findings:
        print(
            f"{row['search']}  {row['finding']}  {100 * row['right']:.1f} % right "
            f"({100 * row['low']:.1f}-{100 * row['high']:.1f}), "
            f"commonest value {100 * row['majority']:.1f} %"
        )


if __name__ == "__main__":
    sys.exit(main())

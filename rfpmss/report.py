"""Report: write the page of a trained run again, one self-contained HTML file.

    python -m rfpmss.report --run-dir runs/tiny-0

Retrieval is scored again first, so that the page and the tables belong to the same checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rfpmss.common.command import guarded
from rfpmss.common.files import require_writable
from rfpmss.config.arguments import read


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
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "report", __doc__)
    return guarded(lambda: report(arguments), arguments.run_dir)


def report(arguments: Arguments) -> int:
    """Score again and write the page; return 0."""
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
    parts = (opened.model, opened.cohort, opened.tokenizer, opened.config)
    evaluation.run(*parts, arguments.run_dir, origin=opened.origin)
    path = evaluation.page(arguments.run_dir, *parts, quick=arguments.quick, origin=opened.origin)
    print(f"page: {path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What ``rfpmss report`` does."""

from __future__ import annotations

from rfpmss import evaluation
from rfpmss.options.report import Arguments
from rfpmss.runs.folder import METRICS
from rfpmss.runs.opened import open_to_write


def report(arguments: Arguments) -> int:
    """Score again and write the page; return 0."""
    opened = open_to_write(arguments)
    parts = (opened.model, opened.cohort, opened.tokenizer, opened.config)
    evaluation.run(*parts, opened.place, origin=opened.origin)
    path = evaluation.page(
        opened.place,
        *parts,
        history=arguments.run_dir / METRICS,
        quick=arguments.quick,
        origin=opened.origin,
    )
    print(f"page: {path.resolve()}")

    return 0

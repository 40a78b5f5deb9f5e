"""What ``rfpmss report`` does."""

from __future__ import annotations

from rfpmss import evaluation
from rfpmss.common.files import require_writable
from rfpmss.options.report import Arguments
from rfpmss.runs.opened import open_run, require_run


def report(arguments: Arguments) -> int:
    """Score again and write the page; return 0."""
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

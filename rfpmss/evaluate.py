"""Evaluate: zero-shot retrieval and written reports of a trained run, with chance and ceiling.

    python -m rfpmss.evaluate --run-dir runs/tiny-0
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --data other.csv    another hospital's cohort
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --data other.csv --adapt     its own figures
    python -m rfpmss.evaluate --run-dir runs/tiny-0 --beams 1 4         and the reports it writes

Writes RUN/evaluation/retrieval.json, retrieval_full.json, .csv and .tex; with --data they are named
after its folder, or by --name: retrieval-NAME.json and so on; with --adapt they end in -adapted.
With --beams also writing.json, writing_findings.csv, writing_words.csv and their .tex.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.evaluate import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "evaluate", __doc__)
    return guarded(lambda: _run(arguments), arguments.run_dir, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.evaluate import evaluate  # seconds of imports that --help does not need

    return evaluate(arguments)


if __name__ == "__main__":
    sys.exit(main())

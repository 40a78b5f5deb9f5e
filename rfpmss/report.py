"""Report: write the page of a trained run again, one self-contained HTML file.

    python -m rfpmss.report --run-dir runs/tiny-0

Retrieval is scored again first, so that the page and the tables belong to the same checkpoint.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.report import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "report", __doc__)
    return guarded(lambda: _run(arguments), arguments.run_dir, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.report import report  # seconds of imports that --help does not need

    return report(arguments)


if __name__ == "__main__":
    sys.exit(main())

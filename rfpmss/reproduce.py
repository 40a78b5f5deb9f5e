"""Reproduce: every table and figure on the phantom cohort within a budget, and one page.

    python -m rfpmss.reproduce --budget 10min
    python -m rfpmss.reproduce --budget full --out runs/full --jobs 2

Each step is a command that can be run alone. OUT/commands.json tells them with their seconds,
OUT/targets.json, .csv and .tex what was to be reached and what was with each seed, and
OUT/seed-0/report.html shows it. Starting again with the same --out goes on with the first step that
is not done.
"""

from __future__ import annotations

import sys

from rfpmss.commands.steps import BUDGETS, commands, shown
from rfpmss.common.command import guarded
from rfpmss.config.arguments import read
from rfpmss.options.reproduce import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "reproduce", __doc__)
    return guarded(lambda: (_list if arguments.list else _run)(arguments), arguments.out)


def _list(arguments: Arguments) -> int:
    for words in commands(arguments, BUDGETS[arguments.budget]):
        print(shown(words))
    return 0


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.reproduce import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

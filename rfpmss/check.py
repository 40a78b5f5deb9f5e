"""Check: whether a prepared cohort is as it was written: manifest, shards, every image.

    rfpmss check COHORT
    rfpmss check COHORT --accept      a manifest that was changed on purpose counts from now on

Names the studies whose images are damaged. Exit status 0: as it was written; 1: not.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import guarded
from rfpmss.config.arguments import read
from rfpmss.options.check import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "check", __doc__)
    return guarded(lambda: _run(arguments), arguments.cohort)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.check import check  # seconds of imports that --help does not need

    return check(arguments)


if __name__ == "__main__":
    sys.exit(main())

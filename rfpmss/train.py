"""Pretrain on a prepared cohort, save, evaluate.

    python -m rfpmss.train                       the phantom cohort, preset tiny, one HTML page
    python -m rfpmss.train --data manifest.csv   your own prepared cohort
    python -m rfpmss.train --ranks 2 --max-restarts 3          two processes, started again if lost
    torchrun --nproc-per-node 2 -m rfpmss.train                the same under your own torchrun

Starting again with the same --run-dir resumes from the newest good checkpoint.
"""

from __future__ import annotations

import os
import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.common.ranks import speaks
from rfpmss.config.arguments import TrainArguments, parse, program


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parse(TrainArguments, argv, prog=program("train"), about=__doc__)
    if arguments.supervised and "TORCHELASTIC_RUN_ID" not in os.environ:
        words = sys.argv[1:] if argv is None else argv
        return guarded(lambda: _supervise(arguments, words), arguments.folder)

    return guarded(
        lambda: _run(arguments),
        arguments.folder,
        shown=lambda error: speaks() or getattr(error, "everywhere", False),
        room=TORCH,
    )


def _supervise(arguments: TrainArguments, words: list[str]) -> int:
    from rfpmss.runs.supervisor import supervise  # without torch, which its ranks load

    return supervise(arguments, words)


def _run(arguments: TrainArguments) -> int:
    from rfpmss.commands.train import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

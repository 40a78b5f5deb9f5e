"""Finetune: how much pretraining helps when labels are few (Table 2).

    python -m rfpmss.finetune --run-dir runs/tiny-0
    python -m rfpmss.finetune --run-dir runs/tiny-0 --baseline no-consistency=runs/other
    python -m rfpmss.finetune --run-dir runs/tiny-0 --train-baseline labels contrast resnet

A linear probe and full tuning at 1, 10 and 100 % of the labelled training patients, each against
the same encoder with random weights, against other ways to pretrain it under the same budget, and
against the encoders of other runs. By default the grade is told from CT and MRI, as before surgery:
the slide shows it to an encoder of random weights already. On your own patients any label of
`rfpmss prepare hospital --labels TABLE` can be learned. Writes
RUN/evaluation/finetune.json, .csv, .tex, the test scores, and the tuned encoder.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.finetune import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "finetune", __doc__)
    return guarded(lambda: _run(arguments), arguments.run_dir, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.finetune import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

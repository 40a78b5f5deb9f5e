"""Findings: what sentences alone tell of images, calibrated, by hospital, scanner, sex and age.

    python -m rfpmss.findings --run-dir runs/tiny-0
    python -m rfpmss.findings --run-dir runs/tiny-0 --prompts mine.yaml --elsewhere hospital-b

No label is learned from. A study's images are compared with sentences that say a finding is there
and with others that say it is not, in every language of the file that the model reads. The truth
is a label of the manifest, or what the reports state where there is none. Threshold and temperature
are chosen on the split val; without enough patients in it on half of the held-out ones, who are
then not scored. Writes RUN/evaluation/zeroshot_findings.json and .csv, _groups.csv and _gaps.csv;
`rfpmss report` shows them.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.findings import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "findings", __doc__)
    return guarded(lambda: _run(arguments), arguments.run_dir, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.findings import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

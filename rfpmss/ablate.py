"""Ablate: every row of Tables 3 to 5 and Fig. 6, each pretrained over several seeds.

    python -m rfpmss.ablate --out runs/ablation --rows 4a --seeds 0 1 2
    python -m rfpmss.ablate --out runs/short --rows all --epochs 20 --jobs 2
    python -m rfpmss.ablate --out runs/eq6 --rows eq6 --edition 2 --elsewhere OTHER/manifest.csv

Each row and seed is a run of rfpmss.train in OUT/ROW/seed-N. Starting again with the same --out
goes on where it stopped. Writes OUT/ablation.json, .csv and .tex after every finished run, and
for the rows eq6 (docs/results.md) OUT/eq6.csv and eq6_differences.csv.
"""

from __future__ import annotations

import sys

from rfpmss.common.command import TORCH, guarded
from rfpmss.config.arguments import read
from rfpmss.options.ablate import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "ablate", __doc__)
    return guarded(lambda: _run(arguments), arguments.out, room=TORCH)


def _run(arguments: Arguments) -> int:
    from rfpmss.commands.ablate import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

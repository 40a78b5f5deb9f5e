"""Prepare: any source to a manifest and shards.

    python -m rfpmss.prepare hospital SRC --out DIR    DICOM, NIfTI, TIFF, PNG, JPEG and texts
    python -m rfpmss.prepare public --brats2021 SRC --upenn-gbm SRC --mapping XLSX --out DIR
    python -m rfpmss.prepare phantom --out DIR         the generated cohort
    python -m rfpmss.prepare merge PART ... --out DIR  the parts that --shard made
    python -m rfpmss.prepare export MANIFEST --out DIR tar files for clusters (WebDataset)

DIR/manifest.csv is what ``python -m rfpmss.train --data`` takes; DIR/rejections.csv lists every
file that was left out, and why; DIR/cohort.html shows what is there. Starting again resumes.
"""

from __future__ import annotations

import sys

import tyro

from rfpmss.common.command import guarded
from rfpmss.config.arguments import asked, program
from rfpmss.config.bounds import require_filled
from rfpmss.data.cohort.options import Export, Merge
from rfpmss.data.phantom.command import Phantom, command
from rfpmss.data.sources.options import Public
from rfpmss.options.prepare import Hospital


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = sys.argv[1:] if argv is None else argv
    try:
        require_filled(given)
        arguments = asked(
            lambda: tyro.extras.subcommand_cli_from_dict(
                {
                    "hospital": Hospital,
                    "public": Public,
                    "phantom": command(given),
                    "merge": Merge,
                    "export": Export,
                },
                prog=program("prepare"),
                description=__doc__,
                args=given,
            )
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    return guarded(lambda: _run(arguments), arguments.out)


def _run(arguments: Hospital | Public | Phantom | Merge | Export) -> int:
    from rfpmss.commands.prepare import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Embed: a folder of new patients to one Parquet file of vectors, by an exported model.

    python -m rfpmss.embed PATIENTS --model tiny --out embeddings.parquet

PATIENTS is a hospital's folder (DICOM, NIfTI, TIFF, PNG, texts; any nesting), or the manifest.csv
of a prepared cohort. Columns, one row a study:

    patient_id, study_id     salted hashes; the same --salt gives the same ids
    study                    study vector, all images fused; null without an image
    report                   report vector in the space of `study`; null without a report
    joint_ct, joint_mri, joint_pathology, joint_report
                             unit vectors in the joint space; null where the modality is absent
    inputs_ct, ...           input-space features, with --inputs

Cosines compare `study` with `report`, and joint columns with each other. The file says which
weights made it (SHA-256). Embeddings of patients are personal data: keep them like the images.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import tyro

from rfpmss.common.command import TORCH, guarded
from rfpmss.common.errors import RfpmssError
from rfpmss.config.arguments import asked, program
from rfpmss.config.bounds import require_filled
from rfpmss.options.embed import Arguments


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    try:
        require_filled(sys.argv[1:] if argv is None else argv)
        arguments = asked(
            lambda: tyro.cli(Arguments, args=argv, prog=program("embed"), description=__doc__)
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    return guarded(lambda: _run(arguments), arguments.out, room=TORCH)


def _run(arguments: Arguments) -> int:
    if find_spec("pyarrow") is None:
        raise RfpmssError("Parquet files need the package pyarrow: pip install 'multisk[parquet]'")
    from rfpmss.commands.embed import run  # seconds of imports that --help does not need

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

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

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from rfpmss.common.command import guarded
from rfpmss.common.device import require
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import opened, whole
from rfpmss.common.quiet import quiet
from rfpmss.config.arguments import asked, program
from rfpmss.config.bounds import option, require_filled
from rfpmss.data.sources.folder import FolderOptions, at_least, check_places

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float
    from tokenizers import Tokenizer
    from torch import Tensor

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.features import Features
    from rfpmss.model.rfpmss import RFPMSS


@dataclass(frozen=True, kw_only=True)
class Arguments(FolderOptions):
    """What ``python -m rfpmss.embed`` takes."""

    src: tyro.conf.Positional[Path | None] = None
    """Folder of patients, read as ``prepare hospital`` does; or the manifest.csv of a cohort."""
    model: Path
    """Folder of rfpmss.export."""
    out: Path
    """New Parquet file."""
    salt: Path | None = None
    """File with the secret of the hashed ids; by default .salt beside --out, made if absent."""
    inputs: bool = False
    """Also the features of the input space."""
    adapt: bool = False
    """Standardise by the means and deviations of these studies, in the place of those of training:
    for another hospital, with at least 32 of its studies. Vectors of two files compare only if both
    were made by the same figures."""
    batch: int = 16
    """Studies encoded at once."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "batch")


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
    if find_spec("pyarrow") is None:
        print(
            "error: Parquet files need the package pyarrow: pip install 'multisk[parquet]'",
            file=sys.stderr,
        )
        return 1
    return guarded(lambda: _quietly(arguments), arguments.out)


def _quietly(arguments: Arguments) -> int:
    try:
        with quiet():
            studies = embed(arguments)
    except RfpmssError:
        raise
    except ValueError as error:
        raise RfpmssError(str(error)) from None
    except FileNotFoundError as error:
        if error.filename is not None:
            raise
        raise RfpmssError(str(error)) from None
    print(f"{studies} studies: {arguments.out.resolve()}")
    return 0


def embed(arguments: Arguments) -> int:
    """Prepare, encode, write; return the number of studies.

    Raises:
        DataError: if no study can be read.
        FileNotFoundError: if there is no such manifest.
        ValueError: if the model cannot be loaded.
    """
    from rfpmss.data.batches.batch import Cohort
    from rfpmss.evaluation.adapt import adapt
    from rfpmss.model.rfpmss import RFPMSS
    from rfpmss.runs.checkpoint import read_tokenizer

    _check(arguments)
    require(arguments.device)
    model = RFPMSS.from_pretrained(arguments.model, map_location=arguments.device)
    tokenizer = read_tokenizer(arguments.model)
    known = model.report.bert.config.vocab_size
    if tokenizer.get_vocab_size() != known:
        raise ValueError(
            f"the tokenizer must have the {known} words of the model, got "
            f"{tokenizer.get_vocab_size()} in {arguments.model}"
        )
    digest = _sha256(arguments.model / "model.safetensors")
    with tempfile.TemporaryDirectory(prefix="rfpmss-embed-") as work:
        manifest = arguments.src
        if manifest is None or not manifest.is_file():
            manifest = _prepare(arguments, model, Path(work))
        cohort = Cohort.open(manifest, model.data)
        for note in adapt(model, cohort, tokenizer, arguments.batch) if arguments.adapt else ():
            print(f"note: {note}", file=sys.stderr)
        schema = _schema(model, digest, inputs=arguments.inputs, adapted=arguments.adapt)
        _write(arguments.out, schema, _tables(model, cohort, tokenizer, arguments.batch, schema))
    return len(cohort)


def _check(arguments: Arguments) -> None:
    """Refuse places that cannot be read or written, before anything takes time."""
    src, out = arguments.src, arguments.out
    if src is not None and not src.is_file() and not src.is_dir():
        raise ValueError(f"SRC must be an existing folder or manifest, got {src}")
    if out.exists():
        raise ValueError(f"--out must be a new file, got {out}; remove it or name another")
    if src is not None and src.is_file():
        _require_plain(arguments)
    if src is None or src.is_dir():
        check_places(src, out, arguments.salt)


def _require_plain(arguments: Arguments) -> None:
    """Refuse options that say how a folder is read, beside a manifest: they would do nothing."""
    names = [entry.name for entry in fields(FolderOptions)] + ["salt"]
    defaults = {entry.name: entry.default for entry in fields(Arguments)}
    for name in names:
        if name not in ("src", "workers") and getattr(arguments, name) != defaults[name]:
            raise ValueError(
                f"{option(name)} needs a folder SRC, got the manifest {arguments.src}, whose ids "
                f"and images are made already"
            )


def _prepare(arguments: Arguments, model: RFPMSS, work: Path) -> Path:
    """The folder's studies decoded into ``work``, at the size that the model takes."""
    from rfpmss.data.cohort.build import build
    from rfpmss.data.errors import LayoutError
    from rfpmss.data.privacy.private import SALT, draw_salt, keep_salt
    from rfpmss.data.sources.hospital import show

    out = arguments.out.resolve()
    secret = arguments.salt or out.parent / SALT
    salt = draw_salt(secret)
    found, src = arguments.find(arguments.src, out, salt)
    print(show(found))
    if found.doubt:
        raise LayoutError(found.doubt)
    keep_salt(secret, salt)
    choice = arguments.choice(size=model.data.resize, count=model.data.slices)
    made = build(found, src, work, choice, shares=(1.0, 0.0, 0.0), workers=arguments.workers)
    if made.rejected:
        print(f"{sum(made.rejected.values())} files were left out:")
        print("\n".join(f"{count:>6}  {reason}" for reason, count in made.rejected.items()))
        print("`rfpmss prepare hospital` with the same options says which")
    return work / "manifest.csv"


def _schema(model: RFPMSS, digest: str, *, inputs: bool, adapted: bool) -> pa.Schema:
    """Fixed-size lists of float32, each column with its meaning."""
    import pyarrow as pa

    from rfpmss.config import MODALITIES

    fields = [pa.field(name, pa.string(), nullable=False) for name in ("patient_id", "study_id")]
    width, config = model.fuse.width, model.config
    columns = [("study", width, "all images fused"), ("report", width, "in the space of study")]
    columns += [(f"joint_{m}", config.joint_dim, "unit vector, joint space") for m in MODALITIES]
    if inputs:
        columns += [(f"inputs_{m}", config.token_dim, "input-space feature") for m in MODALITIES]
    for name, size, meaning in columns:
        about = {"meaning": f"{meaning}; null where absent"}
        fields.append(pa.field(name, pa.list_(pa.float32(), size), metadata=about))
    said = {"model_sha256": digest, "writer": "rfpmss embed"} | (
        {"adapted": "yes"} if adapted else {}
    )
    return pa.schema(fields, metadata=said)


def _tables(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, size: int, schema: pa.Schema
) -> Iterator[pa.Table]:
    """The studies in the order of the manifest, ``size`` at a time."""
    import torch

    from rfpmss.common.progress import progress

    device = next(model.parameters()).device
    with progress("embedding", len(cohort), unit="studies") as advance:
        for start in range(0, len(cohort), size):
            chosen = range(start, min(start + size, len(cohort)))
            batch = cohort.batch(chosen, tokenizer, augment=None).to(device)
            with torch.no_grad():
                features = model.encode(batch.images, batch.present, batch.tokens)
            yield _table(features, [cohort.studies[i] for i in chosen], schema)
            for _ in chosen:
                advance()


def _table(features: Features, studies: list, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    from rfpmss.config import MODALITIES, VIEWS

    present = features.present
    vectors = {
        "study": (features.study, present[:, : len(VIEWS)].any(dim=1)),
        "report": (features.report, present[:, -1]),
    }
    for i, name in enumerate(MODALITIES):
        vectors[f"joint_{name}"] = (features.joint[:, i], present[:, i])
        vectors[f"inputs_{name}"] = (features.inputs[:, i], present[:, i])
    columns = [
        pa.array([getattr(study, field.name) for study in studies])
        if field.name in ("patient_id", "study_id")
        else _lists(*vectors[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _lists(vectors: Float[Tensor, "n d"], exist: Bool[Tensor, " n"], kind: pa.DataType) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    rows = vectors.float().cpu().numpy()
    there = exist.tolist()
    return pa.array(
        [np.asarray(row) if ok else None for row, ok in zip(rows, there, strict=True)], kind
    )


def _write(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """A Parquet file, whole or not at all."""
    import pyarrow.parquet as pq

    # Into a file of ours: pyarrow's is not synced, and its errors name no file.
    with (
        whole(path, private=True) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table)


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

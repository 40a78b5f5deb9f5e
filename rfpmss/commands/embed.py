"""What ``rfpmss embed`` does."""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from rfpmss.common.device import require
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import opened, opened_text, read_text, require_writable, whole
from rfpmss.common.progress import progress
from rfpmss.common.quiet import quiet
from rfpmss.config import MODALITIES, VIEWS, DataConfig
from rfpmss.config.bounds import option
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import load_tokenizer
from rfpmss.data.cohort.build import REJECTIONS, build, count
from rfpmss.data.errors import IncompleteError, LayoutError
from rfpmss.data.privacy.private import SALT, draw_salt, keep_salt
from rfpmss.data.sources.folder import FolderOptions, check_places
from rfpmss.data.sources.hospital import show
from rfpmss.evaluation.adapt import adapt
from rfpmss.evaluation.retrieval.embed import refuse_undefined
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.hub import LARGEST_TOKENIZER as LARGEST
from rfpmss.model.stored.hub import TOKENIZER
from rfpmss.options.embed import Arguments

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from tokenizers import Tokenizer
    from torch import Tensor

    from rfpmss.model.features import Features

Secret = tuple[Path, bytes]
"""Where the salt of identifiers lies, or will lie, and the salt."""


def run(arguments: Arguments) -> int:
    """Embed, each refusal in one sentence; return the exit status."""
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
    _check(arguments)
    require(arguments.device)
    model = RFPMSS.from_pretrained(arguments.model, map_location=arguments.device)
    tokenizer = _tokenizer(arguments.model)
    known = model.report.bert.config.vocab_size
    if tokenizer.get_vocab_size() != known:
        raise ValueError(
            f"the tokenizer must have the {known} words of the model, got "
            f"{tokenizer.get_vocab_size()} in {arguments.model}"
        )

    digest = _sha256(arguments.model / "model.safetensors")
    with tempfile.TemporaryDirectory(prefix="rfpmss-embed-") as work:
        manifest, secret = arguments.src, None
        if manifest is None or not manifest.is_file():
            manifest, secret = _prepare(arguments, model.data, Path(work))
        cohort = Cohort.open(manifest, model.data)
        for note in adapt(model, cohort, tokenizer, arguments.batch) if arguments.adapt else ():
            print(f"note: {note}", file=sys.stderr)
        schema = _schema(model, digest, inputs=arguments.inputs, adapted=arguments.adapt)
        tables = _tables(model, cohort, tokenizer, arguments.batch, schema)
        _write(arguments.out, schema, tables, secret)

    return len(cohort)


def _tokenizer(model: Path) -> Tokenizer:
    """The words of an exported model.

    Raises:
        ValueError: if the file holds none; names it.
    """
    path = model / TOKENIZER
    try:
        return load_tokenizer(read_text(path, most=LARGEST))
    except OSError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(
            f"the tokenizer must be that of an exported model, got {path}: {error}; export the run "
            f"again, or ask whoever gave you the model for the file"
        ) from None


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


def _prepare(arguments: Arguments, data: DataConfig, work: Path) -> tuple[Path, Secret]:
    """The folder's studies decoded into ``work``, at the size that the model takes.

    Returns:
        Their manifest, and the secret of their identifiers, which is kept with what is written: a
        folder that gives nothing leaves no secret behind.
    """
    out = arguments.out.resolve()
    place = arguments.salt or out.parent / SALT
    salt = draw_salt(place)
    found, src = arguments.find(arguments.src, out, salt)
    print(show(found))
    if found.doubt:
        raise LayoutError(found.doubt)

    found = found.settled()
    for folder in {place.parent, out.parent}:
        require_writable(folder)
    choice = arguments.choice(
        size=data.resize,
        count=data.slices,
        order=data.order,
        depth=data.depth,
        spacing=data.spacing,
    )
    try:
        made = build(found, src, work, choice, shares=(1.0, 0.0, 0.0), workers=arguments.workers)
    except IncompleteError:
        _say_left_out(_reasons(work))
        raise IncompleteError("no study could be prepared, for the reasons above", WHICH) from None

    if made.rejected:
        _say_left_out(made.rejected)
        print(WHICH)

    return work / "manifest.csv", (place, salt)


WHICH = "`rfpmss prepare hospital` with the same options says which files"


def _reasons(work: Path) -> dict[str, int]:
    """Why files were left out of a preparation that came to nothing, and how many."""
    with opened_text(work / REJECTIONS, newline="") as file:
        return count([(row["path"], row["reason"]) for row in csv.DictReader(file)])


def _say_left_out(rejected: dict[str, int]) -> None:
    print(f"{sum(rejected.values())} files were left out:")
    print("\n".join(f"{number:>6}  {reason}" for reason, number in rejected.items()))


def _schema(model: RFPMSS, digest: str, *, inputs: bool, adapted: bool) -> pa.Schema:
    """Fixed-size lists of float32, each column with its meaning."""
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
    device = next(model.parameters()).device
    with progress("embedding", len(cohort), unit="studies") as advance:
        for start in range(0, len(cohort), size):
            chosen = range(start, min(start + size, len(cohort)))
            batch = cohort.batch(chosen, tokenizer, augment=None).to(device)
            with torch.no_grad():
                features = model.encode(batch.images, batch.present, batch.tokens, batch.shown)
            studies = [cohort.studies[i] for i in chosen]
            vectors = ("inputs", "joint", "study", "report")
            made = {name: getattr(features, name).float().cpu().numpy() for name in vectors}
            refuse_undefined(made, [study.study_id for study in studies])
            yield _table(features, studies, schema)
            for _ in chosen:
                advance()


def _table(features: Features, studies: list, schema: pa.Schema) -> pa.Table:
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
    rows = vectors.float().cpu().numpy()
    there = exist.tolist()
    return pa.array(
        [np.asarray(row) if ok else None for row, ok in zip(rows, there, strict=True)], kind
    )


def _write(
    path: Path, schema: pa.Schema, tables: Iterator[pa.Table], secret: Secret | None
) -> None:
    """A Parquet file, whole or not at all, and before it a new secret of its identifiers."""
    # Into a file of ours: pyarrow's is not synced, and its errors name no file.
    with whole(path, private=True) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        if secret:
            keep_salt(*secret)


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

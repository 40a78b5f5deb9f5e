"""Prepared cohorts as WebDataset tar files, for clusters that stream from object stores."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfpmss.common.files import whole, write_text
from rfpmss.data.cohort.manifest import Row, manifest_of, read, unpack_labels
from rfpmss.data.cohort.options import Export
from rfpmss.data.cohort.places import entry
from rfpmss.data.cohort.shards import Shard
from rfpmss.data.cohort.verify import digested
from rfpmss.data.errors import DataError, DuplicateError

INDEX = "dataset.json"
"""Written last: names and sizes of all tar files."""


LONGEST = 80
"""Bytes of a name of a sample: USTAR has 100 for it with its view, number and ending."""


@dataclass(frozen=True)
class Written:
    """One tar file."""

    name: str
    studies: int
    bytes: int


def export(wanted: Export) -> list[Written]:
    """Write ``<split>-000000.tar``, ...; the same cohort gives the same bytes.

    A sample is a study. Its parts are ``<id>.<view>.npy`` (8 bits, axes image, channel, row,
    column), ``<id>.<view>.1.npy`` for further series, ``<id>.report.txt`` and ``<id>.json`` with
    ids, split, labels, whether the report is derived, and the boxes of every view.

    Raises:
        DuplicateError: if ``out`` holds an export.
        DataError: if the cohort is damaged.
    """
    if (wanted.out / INDEX).exists():
        raise DuplicateError(f"--out holds an export already ({INDEX})")

    manifest = manifest_of(wanted.manifest)
    if not manifest.is_file():
        raise FileNotFoundError(2, "no such manifest", str(wanted.manifest))

    rows = read(manifest)
    _check_names(rows)
    studies: dict[str, dict[str, list[Row]]] = {}
    shards: dict[str, Shard] = {}
    for row in digested(rows, manifest.parent, shards, every=True):
        studies.setdefault(row.split or "all", {}).setdefault(row.study_id, []).append(row)

    wanted.out.mkdir(parents=True, exist_ok=True)
    made = []
    for split, members in sorted(studies.items()):
        names = list(members)
        for number, start in enumerate(range(0, len(names), wanted.per_file)):
            block = [members[name] for name in names[start : start + wanted.per_file]]
            path = wanted.out / f"{split}-{number:06d}.tar"
            _write(path, block, manifest.parent, shards)
            made.append(Written(path.name, len(block), path.stat().st_size))

    index = [vars(item) for item in made]
    write_text(wanted.out / INDEX, json.dumps(index, indent=1) + "\n")
    return made


def _check_names(rows: Sequence[Row]) -> None:
    """Refuse studies whose names no sample can have, before anything is written."""
    for number, row in enumerate(rows, start=2):
        name = row.study_id
        if "." in name or "/" in name or len(name.encode()) > LONGEST:
            raise DataError(
                f"a study_id must have at most {LONGEST} bytes, none of them a dot or a slash, to "
                f"name a sample in a tar file, got {name[:200]!r} in line {number} of the manifest",
                "give the study another identifier in all its rows and in truth.json, and accept "
                "it with rfpmss check COHORT --accept",
            )


def _write(path: Path, studies: Sequence[list[Row]], root: Path, shards: dict[str, Shard]) -> None:
    form = tarfile.USTAR_FORMAT
    with (
        whole(path, private=True) as file,
        tarfile.open(fileobj=file, mode="w", format=form) as archive,
    ):
        for rows in studies:
            for name, data in _parts(rows, root, shards):
                about = tarfile.TarInfo(name)  # no times, no owners: the content alone
                about.size = len(data)
                about.mode = 0o644
                archive.addfile(about, io.BytesIO(data))


def _parts(
    rows: Sequence[Row], root: Path, shards: dict[str, Shard]
) -> Iterator[tuple[str, bytes]]:
    """The files of one sample; WebDataset groups them by what stands before the first dot."""
    key = rows[0].study_id
    about = {
        **{"study_id": key, "patient_id": rows[0].patient_id, "split": rows[0].split},
        **{"labels": dict(unpack_labels(rows[0].labels)), "derived": False, "series": {}},
        "boxes": {},
    }
    seen: dict[str, int] = {}
    for row in rows:
        if row.modality == "report":
            about["derived"] = row.derived == "yes"
            yield f"{key}.report.txt", row.report.encode()
            continue
        number = seen[row.modality] = seen.get(row.modality, -1) + 1
        name = f"{row.modality}.{number}" if number else row.modality
        about["series"][name], about["boxes"][name] = row.series, row.boxes
        if row.heights:
            about.setdefault("heights", {})[name] = row.heights
        for what in ("voxel", "sequence"):
            if said := getattr(row, what):
                about.setdefault(what, {})[name] = said
        shard, place = entry(row, root, shards)
        image = shard[place]
        data = io.BytesIO()
        np.save(data, np.ascontiguousarray(image), allow_pickle=False)
        yield f"{key}.{name}.npy", data.getvalue()

    yield f"{key}.json", json.dumps(about, ensure_ascii=False).encode()

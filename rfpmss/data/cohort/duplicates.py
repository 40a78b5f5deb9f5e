"""The same image under two patients: found by its content, kept within one split."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rfpmss.common.files import opened_text
from rfpmss.data.cohort.manifest import write_csv
from rfpmss.data.readers.resize import resize
from rfpmss.data.study import Study

FILE = "duplicates.csv"
SIDE = 16
"""The coarse print has SIDE x SIDE bits."""
NEAR = 8
"""Prints that differ in at most so many of their bits are reported as alike."""
LARGEST = 20_000
"""Of more images than this only exact doubles are looked for."""


@dataclass(frozen=True)
class Double:
    """Two studies of different patients with the same, or nearly the same, image."""

    one: Study
    other: Study
    view: str
    exact: bool


def digest(images: UInt8[np.ndarray, "s c h w"]) -> str:
    """128 bits of SHA-256 over size and content of the stored images of one view."""
    content = str(images.shape).encode() + np.ascontiguousarray(images).tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def coarse(image: UInt8[np.ndarray, "c h w"]) -> str:
    """A print of an image that small changes of grey values or size leave nearly as it is.

    Whether each of 16 x 16 fields is brighter than its right neighbour, as hexadecimal digits.
    """
    grey = image.astype(np.float32).mean(axis=0)
    small = resize(grey, (SIDE, SIDE + 1))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def doubles(studies: Sequence[Study], notes: Sequence[Mapping[str, dict]]) -> list[Double]:
    """Pairs of different patients that share an image.

    Args:
        studies: in a fixed order.
        notes: of `shards.read_notes`, with ``digest`` and ``coarse`` of each series.
    """
    found: list[Double] = []
    by_view: dict[str, list[tuple[Study, str, str]]] = defaultdict(list)
    for study, said in zip(studies, notes, strict=True):
        for name, note in said.items():
            if "digest" in note:
                view = name.partition(".")[0]
                by_view[view].append((study, note["digest"], note["coarse"]))

    for view, items in sorted(by_view.items()):
        first: dict[str, Study] = {}
        for study, content, _ in items:
            known = first.setdefault(content, study)
            if known.patient_id != study.patient_id:
                found.append(Double(known, study, view, exact=True))
        found += _near(view, items)

    return found


def _near(view: str, items: Sequence[tuple[Study, str, str]]) -> Iterable[Double]:
    if len(items) > LARGEST:
        return

    prints = np.stack([np.frombuffer(bytes.fromhex(c), np.uint8) for _, _, c in items])
    for number, (study, content, _) in enumerate(items):
        differ = np.bitwise_count(prints[number + 1 :] ^ prints[number]).sum(axis=1)
        for place in np.flatnonzero(differ <= NEAR):
            other, theirs, _ = items[number + 1 + int(place)]
            if theirs != content and other.patient_id != study.patient_id:
                yield Double(study, other, view, exact=False)


def groups(found: Iterable[Double], studies: Iterable[Study] = ()) -> dict[str, str]:
    """The patient that stands for each one who must share a split with others.

    Args:
        found: patients who share an image exactly do.
        studies: patients of one `Study.kin`, who may be one person, do as well.
    """
    root: dict[str, str] = {}

    def top(patient: str) -> str:
        while root.get(patient, patient) != patient:
            patient = root[patient]
        return patient

    pairs = [(d.one.patient_id, d.other.patient_id) for d in found if d.exact]
    first: dict[str, str] = {}
    for study in studies:
        if study.kin and first.setdefault(study.kin, study.patient_id) != study.patient_id:
            pairs.append((first[study.kin], study.patient_id))

    for one, other in pairs:
        a, b = sorted((top(one), top(other)))
        root[b] = a

    return {patient: top(patient) for patient in root}


def read(out: Path) -> dict[str, int]:
    """How many pairs of studies are the ``same`` and how many are ``alike``."""
    path = out / FILE
    if not path.is_file():
        return {}

    with opened_text(path, newline="") as file:
        return dict(Counter(row["kind"] for row in csv.DictReader(file)))


def write(out: Path, found: Sequence[Double]) -> None:
    """Write ``duplicates.csv``, or remove it where there are none."""
    path = out / FILE
    if not found:
        path.unlink(missing_ok=True)
        return

    rows = (
        {
            "study": double.one.study_id,
            "other": double.other.study_id,
            "modality": double.view,
            "kind": "same" if double.exact else "alike",
        }
        for double in found
    )
    order = sorted(rows, key=lambda row: tuple(row.values()))
    write_csv(path, ("study", "other", "modality", "kind"), order)

"""Prepared studies as plain NumPy arrays that memory-map.

One ``shards/<view>-<number>.npy`` per view and per `SIZE` studies, 8 bits per value, axes
[study, image, channel, row, column]. Plain .npy because it maps without a copy or a parser, any
program reads it, it streams front to back, its bytes depend on the content alone, and it can never
hold code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, UnreadableError
from rfpmss.data.manifest import Row, pack_labels
from rfpmss.data.study import Study
from rfpmss.data.views import Box, Choice, read_views

SIZE = 1024
"""Studies in one shard."""

Rejection = tuple[str, str, str]
"""Study, view, reason."""


def piece_path(folder: Path, study_id: str) -> Path:
    """Where one prepared study waits for its shard."""
    return folder / f"{study_id}.npz"


def write_piece(folder: Path, study: Study, choice: Choice) -> None:
    """Decode one study once; the piece appears only when complete.

    A view that cannot be read is left out and its reason is stored beside the others.
    """
    arrays: dict[str, np.ndarray] = {}
    notes: dict[str, object] = {}
    for view, source in zip(VIEWS, study.views, strict=True):
        if source is None:
            continue
        try:
            made = read_views(view, source, choice)
        except DataError as error:
            notes[view] = {"class": type(error).__name__, "reason": error.reason}
            continue
        except MemoryError:
            notes[view] = {"class": "BombError", "reason": "the memory does not suffice"}
            continue
        except OSError:
            notes[view] = {"class": "UnreadableError", "reason": "the file cannot be opened"}
            continue
        arrays[view] = made.images
        notes[view] = {"boxes": [list(box) if box else None for box in made.boxes]}
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    final = piece_path(folder, study.study_id)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, notes=text, **arrays)  # type: ignore[arg-type]
    temporary.replace(final)


def read_piece(path: Path) -> tuple[dict[str, UInt8[np.ndarray, "s c h w"]], dict[str, dict]]:
    """Arrays and notes of a piece."""
    with np.load(path, allow_pickle=False) as piece:
        notes = json.loads(piece["notes"].tobytes().decode())
        return {view: piece[view] for view in VIEWS if view in piece.files}, notes


def assemble(
    root: Path, pieces: Path, studies: Sequence[Study], prefix: str = ""
) -> tuple[list[Row], list[Rejection]]:
    """Put the pieces of all studies into shards under ``root``; give the manifest's rows.

    Args:
        root: folder of the manifest; gets ``shards/``.
        pieces: folder with a piece of every study.
        studies: in the order of the manifest.
        prefix: keeps the shards of several machines apart.
    """
    shards = root / "shards"
    shutil.rmtree(shards, ignore_errors=True) if not prefix else None
    shards.mkdir(exist_ok=True)
    rows: list[Row] = []
    rejections: list[Rejection] = []
    for start in range(0, len(studies), SIZE):
        block = studies[start : start + SIZE]
        loaded = [read_piece(piece_path(pieces, study.study_id)) for study in block]
        places = _write_shards(shards, loaded, f"{prefix}{start // SIZE:05d}")
        for number, (study, (_, notes)) in enumerate(zip(block, loaded, strict=True)):
            rows += _rows(study, notes, places[number])
            rejections += [
                (study.study_id, view, f"{note['class']}: {note['reason']}")
                for view, note in notes.items()
                if "reason" in note
            ]
    return rows, rejections


def _write_shards(
    shards: Path, loaded: Sequence[tuple[dict[str, np.ndarray], dict]], name: str
) -> list[dict[str, str]]:
    """One file per view and image size; the place of every study's views."""
    places: list[dict[str, str]] = [{} for _ in loaded]
    for view in VIEWS:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, (arrays, _) in enumerate(loaded):
            if view in arrays:
                by_shape.setdefault(arrays[view].shape, []).append(number)
        for kind, (shape, numbers) in enumerate(sorted(by_shape.items())):
            file = f"{view}-{name}{f'-{kind}' if kind else ''}.npy"
            stack = np.lib.format.open_memmap(
                shards / file, mode="w+", dtype=np.uint8, shape=(len(numbers), *shape)
            )
            for row, number in enumerate(numbers):
                stack[row] = loaded[number][0][view]
                places[number][view] = f"shards/{file}#{row}"
            stack.flush()
    return places


def _rows(study: Study, notes: dict[str, dict], places: dict[str, str]) -> Iterable[Row]:
    common = {
        "patient_id": study.patient_id,
        "study_id": study.study_id,
        "split": study.split,
        "labels": pack_labels(study.labels),
    }
    for view, source in zip(VIEWS, study.views, strict=True):
        if view in places and source is not None:
            boxes = "|".join(_box_text(box) for box in notes[view]["boxes"])
            yield Row(
                **common,
                modality=view,
                path=places[view],
                series=source.series,
                boxes=boxes if boxes.strip("|") else "",
            )
    if study.report is not None:
        yield Row(
            **common,
            modality="report",
            report=study.report,
            derived="yes" if study.derived else "",
        )


def _box_text(box: Box | None) -> str:
    return " ".join(f"{value:.5f}" for value in box) if box else ""


def open_shard(path: Path) -> UInt8[np.ndarray, "n s c h w"]:
    """Map a shard into memory, read-only.

    Raises:
        UnreadableError: if it is no array of the right kind.
    """
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise UnreadableError(f"the shard {path.name} is missing or damaged") from None
    if shard.ndim != 5 or shard.dtype != np.uint8:
        raise UnreadableError(f"the shard {path.name} holds no stack of images")
    return shard

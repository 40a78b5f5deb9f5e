"""Place: where a prepared view lies in the shards, and reading its images from there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from rfpmss.config import CHANNELS, VIEWS
from rfpmss.data.cohort.manifest import Row, jail, reference
from rfpmss.data.cohort.shards import Shard, open_shard
from rfpmss.data.errors import TextError, UnreadableError
from rfpmss.data.study import Box


@dataclass(frozen=True)
class Place:
    """Where a prepared view lies."""

    shard: Shard | UInt8[np.ndarray, "n s c h w"]
    row: int
    boxes: tuple[Box | None, ...]
    further: tuple[Place, ...] = ()
    """Other series or time points of the view, in the order of the manifest."""

    def series(self, number: int) -> Place:
        """One of the view's series; a study with fewer repeats those it has."""
        return (self, *self.further)[number % (1 + len(self.further))]


def locate(rows: list[Row], root: Path, shards: dict[str, Shard]) -> tuple[Place | None, ...]:
    """Where each view of a study lies, from its rows of the manifest.

    Args:
        rows: of one study.
        root: folder of the manifest.
        shards: those already open; gets the others.

    Raises:
        DataError: if a shard is missing, damaged or of another kind than the row says.
    """
    found: dict[str, list[Place]] = {}
    for row in rows:
        if not row.path:
            continue
        shard, number = entry(row, root, shards)
        if shard.shape[2] != CHANNELS[row.modality] or shard.shape[3] != shard.shape[4]:
            raise UnreadableError(f"the shard {shard.name} is no stack of {row.modality} images")
        place = Place(shard, number, _boxes(row.boxes, shard.shape[1]))
        found.setdefault(row.modality, []).append(place)

    result = {view: replace(first, further=tuple(rest)) for view, (first, *rest) in found.items()}
    return tuple(result.get(view) for view in VIEWS)


def entry(row: Row, root: Path, shards: dict[str, Shard]) -> tuple[Shard, int]:
    """The shard of a row with an image, and its place there.

    Raises:
        DataError: if there is none.
    """
    name, number = reference(row.path)
    if name not in shards:  # thousands of rows share a shard: its path is resolved once
        shards[name] = open_shard(jail(root, name))

    shard = shards[name]
    if number >= len(shard):
        raise UnreadableError(f"the shard {shard.name} has no row {number}")

    return shard, number


def _boxes(text: str, count: int) -> tuple[Box | None, ...]:
    if not text:
        return (None,) * count

    boxes = tuple(_box(item) for item in text.split("|"))
    if len(boxes) != count:
        raise TextError(f"boxes must be one for each of {count} images, got {len(boxes)}")

    return boxes


def _box(text: str) -> Box | None:
    if not text.strip():
        return None

    try:
        x0, y0, x1, y1 = (float(part) for part in text.split())
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan

    if not all(math.isfinite(side) for side in (x0, y0, x1, y1)):
        raise TextError("a box must be four numbers x0 y0 x1 y1, got something else")

    return (x0, y0, x1, y1)


def gather(
    places: Sequence[Place], pick: Float64[np.ndarray, " n"], count: int
) -> UInt8[np.ndarray, "n s c h w"]:
    """``count`` stored images of each place, which are all of one shard."""
    shard = places[0].shard
    stack = np.empty((len(places), count, *shard.shape[2:]), np.uint8)
    for position, place in enumerate(places):
        for k, image in enumerate(_which(pick[position], count, shard.shape[1])):
            stack[position, k] = shard[place.row, image]

    return stack


def _which(pick: float, count: int, stored: int) -> list[int]:
    """``count`` of the stored images: the best first, or from a random start."""
    start = int(pick * stored)
    return [(start + k) % stored for k in range(count)]

"""Place: where a prepared view lies in the shards, and reading its images from there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from rfpmss.config import CHANNELS, SEQUENCES, VIEWS
from rfpmss.data.cohort.manifest import Row, jail, reference
from rfpmss.data.cohort.shards import Shard, open_shard
from rfpmss.data.errors import TextError, UnreadableError
from rfpmss.data.study import Box

Order = Literal["best", "levels"]
"""Of the images of a series, as ``DataConfig.order``."""


@dataclass(frozen=True)
class Place:
    """Where a prepared view lies."""

    shard: Shard | UInt8[np.ndarray, "n s c h w"]
    row: int
    boxes: tuple[Box | None, ...]
    heights: tuple[float, ...] = ()
    """Of the images above the middle of the volume, mm; empty: not known."""
    further: tuple[Place, ...] = ()
    """Other series or time points of the view, in the order of the manifest; of boxes of MRI the
    other sequences."""
    voxel: tuple[float, ...] = ()
    """Of a box: millimetres along x, y, z; empty: slices of their own."""
    sequence: int = -1
    """Of a box of MRI: its place in ``SEQUENCES``."""

    @property
    def all(self) -> tuple[Place, ...]:
        """The view's series, this one first."""
        return (self, *self.further)

    def series(self, number: int) -> Place:
        """One of the view's series; a study with fewer repeats those it has."""
        return (self, *self.further)[number % (1 + len(self.further))]

    def images(self, count: int, order: Order, pick: float | None = None) -> list[int]:
        """Which ``count`` of the stored images enter.

        Args:
            count: how many; of fewer stored ones some enter twice.
            order: ``best``: the best first, or from a random start; ``levels``: from the neck
                upwards, the k-th of them from the k-th share of the heights that are stored.
            pick: random number in [0, 1); None: without a draw the best, or the middle of each
                share.
        """
        stored = self.shard.shape[1]
        if order == "levels" and self.heights:
            rising = np.argsort(self.heights, kind="stable").tolist()
            within = stored // 2 if pick is None else min(int(pick * stored), stored - 1)
            return [rising[(k * stored + within) // count] for k in range(count)]

        start = int((pick or 0.0) * stored)
        return [(start + k) % stored for k in range(count)]

    def slices(self, depth: int, pick: float | None = None) -> range:
        """Which ``depth`` consecutive slices of a box enter: without a draw the middle ones."""
        room = self.shard.shape[1] - depth
        start = room // 2 if pick is None else min(int(pick * (room + 1)), room)
        return range(start, start + depth)


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
        channels = 1 if row.sequence else CHANNELS[row.modality]
        if shard.shape[2] != channels or shard.shape[3] != shard.shape[4]:
            raise UnreadableError(f"the shard {shard.name} is no stack of {row.modality} images")
        count = shard.shape[1]
        place = Place(
            shard,
            number,
            _boxes(row.boxes, count),
            _heights(row.heights, count),
            voxel=_voxel(row),
            sequence=SEQUENCES.index(row.sequence) if row.sequence else -1,
        )
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


def _heights(text: str, count: int) -> tuple[float, ...]:
    if not text:
        return ()

    try:
        heights = tuple(float(part) for part in text.split())
    except ValueError:
        heights = (math.nan,)

    if len(heights) != count or not all(map(math.isfinite, heights)):
        raise TextError(f"heights must be a number for each of {count} images, got something else")

    return heights


def _voxel(row: Row) -> tuple[float, ...]:
    """Of a box, whose sequence then has a name if it is one of MRI."""
    try:
        voxel = tuple(float(part) for part in row.voxel.split())
    except ValueError:
        voxel = (math.nan,)

    if len(voxel) not in (0, 3) or not all(0 < side < math.inf for side in voxel):
        raise TextError("voxel must be three lengths x y z in mm, got something else")

    names = SEQUENCES if voxel and row.modality == "mri" else ("",)
    if row.sequence not in names:
        raise TextError(
            f"sequence must be one of {', '.join(SEQUENCES)} for a box of mri, and empty for "
            f"others, got {row.sequence[:20]!r} for {row.modality}"
        )

    return voxel


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
    places: Sequence[Place], pick: Float64[np.ndarray, " n"] | None, count: int, order: Order
) -> UInt8[np.ndarray, "n s c h w"]:
    """``count`` stored images of each place, which are all of one shard; see `Place.images`."""
    shard = places[0].shard
    stack = np.empty((len(places), count, *shard.shape[2:]), np.uint8)
    for position, place in enumerate(places):
        drawn = None if pick is None else float(pick[position])
        for k, image in enumerate(place.images(count, order, drawn)):
            stack[position, k] = shard[place.row, image]

    return stack

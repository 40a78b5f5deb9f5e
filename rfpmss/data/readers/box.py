"""A box about the head, and volumes resampled into it: the same place in the patient.

The box has axes to Left, Posterior and Superior, like every stored image, whatever the planes of a
series were. Nothing is registered: the headers say where a voxel lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from rfpmss.data.errors import GeometryError, ShortError
from rfpmss.data.readers.grid import onto
from rfpmss.data.readers.volume import Volume

HEAD = 180.0
"""Extent of a head below its vertex, mm: what hangs further down, a neck, does not move the box."""
PLANE = 0.02
"""Least share of a plane that the head fills."""
INSIDE = 0.5
"""Least share of the head, as far as a series shows it, that lies in the box."""
PARALLEL = 1e-3
"""Voxels that a step along one axis may move along another one: separable weights do."""
LATTICE = 64
"""Most places along an axis where the head is looked for."""


@dataclass(frozen=True)
class Head:
    """Where a series shows the head, mm to the Left, Posterior, Superior."""

    centre: Float64[np.ndarray, " 3"]
    """Middle of its extent."""
    points: Float64[np.ndarray, "n 3"]
    """On a lattice."""


def head_of(volume: Volume, inside: Bool[np.ndarray, "z y x"] | None = None) -> Head:
    """Where the head lies in a volume.

    Args:
        volume: any series.
        inside: voxels of the head; None: those brighter than the background.

    Raises:
        ShortError: if it is a single slice.
    """
    if min(volume.array.shape) < 2:
        raise ShortError(
            "the series is a single slice, and a box is of volumes",
            "nothing to do, or prepare without --depth where single slices are wanted",
        )

    steps = [max(1, n // LATTICE) for n in volume.array.shape]
    lattice = tuple(slice(None, None, step) for step in steps)
    shown = foreground(volume.array[lattice]) if inside is None else inside[lattice]
    ends = [_extent(shown, axis) for axis in range(3)]
    low, high = ends[0]
    deep = round(HEAD / (volume.spacing[2] * steps[0]))
    ends[0] = (max(low, high - deep), high)

    z, y, x = np.nonzero(shown[ends[0][0] :])
    rows = np.stack([x, y, z + ends[0][0]], axis=1) * steps[::-1]
    middle = np.array([sum(end) / 2 for end in ends][::-1]) * steps[::-1]
    placed = np.vstack([middle, rows]) @ volume.affine[:3, :3].T + volume.affine[:3, 3]

    return Head(placed[0], placed[1:])


def foreground(array: Shaped[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Voxels brighter than the background, as `rfpmss.data.views` tells them."""
    low, high = np.percentile(array, (1, 99))
    return array > low + 0.1 * (high - low)


def _extent(shown: Bool[np.ndarray, "z y x"], axis: int) -> tuple[int, int]:
    """First and last plane of which the head fills `PLANE`; all of them where none is."""
    share = shown.mean(axis=tuple({0, 1, 2} - {axis}))
    filled = np.flatnonzero(share > PLANE)
    return (int(filled[0]), int(filled[-1])) if len(filled) else (0, len(share) - 1)


def box_at(
    centre: Float64[np.ndarray, " 3"],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Volume:
    """An empty box of (z, y, x) voxels of ``spacing`` mm along x, y, z about a place.

    Example:
        >>> box_at(np.zeros(3), (2, 3, 3), (1.0, 1.0, 4.0)).affine[:3, 3].tolist()
        [-1.0, -1.0, -2.0]
    """
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = centre - (np.array(shape[::-1]) - 1) / 2 * spacing
    return Volume(np.broadcast_to(np.float32(0), shape), affine)


def share_inside(head: Head, box: Volume) -> float:
    """Which share of a head lies in a box; 1 where nothing is seen of it."""
    if not len(head.points):
        return 1.0

    at = (head.points - box.affine[:3, 3]) / np.diag(box.affine)[:3]
    within = (at > -0.5) & (at < np.array(box.array.shape[::-1]) - 0.5)
    return float(within.all(axis=1).mean())


def require_inside(head: Head, box: Volume) -> None:
    """Refuse a box that would leave out most of the head.

    Raises:
        GeometryError: names the share and the sides of the box.
    """
    if (share := share_inside(head, box)) < INSIDE:
        sides = zip(box.array.shape[::-1], box.spacing, strict=True)
        size = " x ".join(f"{n * mm:.0f}" for n, mm in sides)
        raise GeometryError(
            f"{share:.0%} of what the series shows lies in the box of {size} mm, and half of it "
            "must",
            "prepare with a larger --depth, --size or --spacing",
        )


def into(volume: Volume, box: Volume) -> Float32[np.ndarray, "z y x"]:
    """A volume resampled into a box; outside of the volume its smallest value.

    Linear where the box is finer, averaged by triangles where it is coarser. Where the axes are
    parallel, one small matrix an axis: five times as fast as `onto`, and linear ramps stay what
    they are to rounding.

    Example:
        >>> ramp = Volume(np.arange(8.0, dtype=np.float32).reshape(1, 1, 8), np.eye(4))
        >>> into(ramp, box_at(np.array([3.0, 0, 0]), (1, 1, 3), (1.5, 1.0, 1.0))).ravel().tolist()
        [1.5, 3.0, 4.5]
    """
    matrix = np.linalg.inv(volume.affine) @ box.affine
    steps = np.diag(matrix)[:3]
    if np.abs(matrix[:3, :3] - np.diag(steps)).max() > PARALLEL:
        return onto(volume, box, covered=0.0).array

    x, y, z = (
        weights(old, new, float(start), float(step))
        for old, new, start, step in zip(
            volume.array.shape[::-1], box.array.shape[::-1], matrix[:3, 3], steps, strict=True
        )
    )
    low = volume.array.min()
    image = volume.array.astype(np.float32) - np.float32(low)
    image = np.matmul(y, image @ x.T)
    image = (z @ image.reshape(len(image), -1)).reshape(box.array.shape)

    return image + np.float32(low)


@lru_cache(maxsize=64)
def weights(old: int, new: int, start: float, step: float) -> Float32[np.ndarray, "new old"]:
    """Weights of the old samples in new ones at ``start + step * i``; no weight outside.

    A triangle as wide as the coarser of the two grids, tilted so that its mean is the new place
    itself; voxels are boxes, so half a voxel about the outermost centres is inside.
    """
    place = start + step * np.arange(new)
    inside = (place >= -0.5) & (place <= old - 0.5)
    centre = place.clip(0, old - 1)[:, None]
    samples = np.arange(old)
    table = np.maximum(1 - np.abs(samples - centre) / max(abs(step), 1.0), 0)
    table /= table.sum(axis=1, keepdims=True)
    mean = table @ samples[:, None]
    spread = (table * (samples - mean) ** 2).sum(axis=1, keepdims=True)
    tilt = np.divide(centre - mean, spread, out=np.zeros_like(mean), where=spread > 1e-12)
    table *= 1 + tilt * (samples - mean)

    return (table * inside[:, None]).astype(np.float32)

"""One volume on the grid of another: the same place in the patient, no registration."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from rfpmss.data.errors import GeometryError
from rfpmss.data.readers.volume import Volume

COVERED = 0.25
"""Least share of the reference grid that a resampled volume must fill."""
OFF = 0.05
"""Voxels that the corners of one grid may lie apart."""
ROUNDING = 0.025
"""Millimetres that they may in any case: positions rounded to 0.01 mm, along two axes."""


def same_grid(a: Volume, b: Volume, tolerance: float | None = None) -> bool:
    """Whether each voxel of both lies at the same place.

    Args:
        a: a volume.
        b: another one.
        tolerance: millimetres that the corners may lie apart; None: `OFF` of a voxel's smallest
            side, at least `ROUNDING`, as programs round affines and positions.
    """
    if a.array.shape != b.array.shape:
        return False

    if tolerance is None:
        tolerance = max(OFF * min(a.spacing), ROUNDING)

    ends = [(0, n - 1) for n in a.array.shape[::-1]]
    corners = np.array([(*corner, 1) for corner in product(*ends)]).T
    apart = np.linalg.norm(((a.affine - b.affine) @ corners)[:3], axis=0)
    return bool(apart.max() <= tolerance)


def onto(volume: Volume, reference: Volume, covered: float = COVERED) -> Volume:
    """Resample ``volume`` linearly onto the grid of ``reference``.

    Where the reference is coarser the volume is smoothed first, so that nothing is aliased; outside
    of the volume its smallest value is taken.

    Args:
        volume: any volume in the same frame of reference.
        reference: gives the shape and the affine.
        covered: least share of the reference that the volume must fill.

    Raises:
        GeometryError: if it fills less.

    Example:
        >>> fine = Volume(np.arange(8.0, dtype=np.float32).reshape(1, 1, 8), np.eye(4))
        >>> coarse = Volume(np.zeros((1, 1, 3), np.float32), np.diag([2.0, 1, 1, 1]))
        >>> onto(fine, coarse).array.shape
        (1, 1, 3)
    """
    if same_grid(volume, reference, 1e-4):
        return volume

    image = _smooth(volume, reference)
    matrix = np.linalg.inv(volume.affine) @ reference.affine  # (x, y, z) to (x, y, z)
    turn = np.array([2, 1, 0])
    linear, shift = matrix[:3, :3][np.ix_(turn, turn)], matrix[:3, 3][turn]
    shape = reference.array.shape
    inside = _inside(linear, shift, shape, image.shape)
    if inside < covered:
        raise GeometryError(f"the series covers {inside:.0%} of the one it shall be laid upon")

    low = float(image.min())
    # Voxels are boxes: the half voxel around the outermost centres is inside.
    padded = np.pad(image, 1, mode="edge")
    result = ndimage.affine_transform(
        padded,
        linear,
        tuple(shift + 1),  # type: ignore[arg-type]
        output_shape=shape,
        order=1,
        mode="constant",
        cval=low,
    )
    return Volume(result.astype(np.float32), reference.affine)


def _smooth(volume: Volume, reference: Volume) -> Float32[np.ndarray, "z y x"]:
    """Low-pass along each axis of ``volume`` by how much coarser the reference is there."""
    steps = np.linalg.inv(volume.affine[:3, :3]) @ reference.affine[:3, :3]
    ratio = np.abs(steps).max(axis=1)[::-1]  # voxels of z, y, x that one step of the reference is
    sigma = np.where(ratio > 1.01, 0.5 * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0.0)
    image = volume.array.astype(np.float32)

    return ndimage.gaussian_filter(image, sigma) if sigma.any() else image


def _inside(
    linear: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], old: tuple[int, ...]
) -> float:
    """Share of the new grid inside the old one, on a lattice of at most 16 points an axis."""
    axes = [np.linspace(0, n - 1, min(n, 16)) for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ linear.T + shift
    limits = np.array(old) - 0.5
    return float(((points > -0.5) & (points < limits)).all(axis=1).mean())

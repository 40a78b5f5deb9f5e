"""Tilted and unevenly spaced slices to a regular grid."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage


def straighten(
    array: Float32[np.ndarray, "z y x"], moves: Float64[np.ndarray, "z 2"]
) -> tuple[Float32[np.ndarray, "z h w"], tuple[int, int]]:
    """Put slices that lie shifted against each other onto one grid of rows and columns.

    Args:
        array: slices.
        moves: rows and columns that each slice lies further down and right than the first.

    Returns:
        The slices on a grid that holds them all, the smallest value around them, linearly
        interpolated; and row and column of the new grid's corner, seen from the first slice's.

    Example:
        >>> image = np.ones((2, 1, 2), np.float32)
        >>> image[1] = 3
        >>> straighten(image, np.array([[0.0, 0.0], [0.0, 1.0]]))[0].tolist()
        [[[1.0, 1.0, 1.0]], [[1.0, 3.0, 3.0]]]
    """
    if np.abs(moves).max() < 1e-3:
        return array, (0, 0)

    low = np.floor(moves.min(axis=0) + 1e-6).astype(int)
    high = np.ceil(moves.max(axis=0) - 1e-6).astype(int)
    shape = tuple(np.array(array.shape[1:]) + high - low)
    empty = float(array.min())
    result = [
        ndimage.affine_transform(
            plane,
            np.ones(2),
            tuple(low - move),  # type: ignore[arg-type]
            shape,
            order=1,
            mode="constant",
            cval=empty,
        )
        for plane, move in zip(array, moves, strict=True)
    ]

    return np.stack(result).astype(np.float32), (int(low[0]), int(low[1]))


def interpolate(
    array: Float32[np.ndarray, "z y x"], along: Float64[np.ndarray, " z"], step: float
) -> Float32[np.ndarray, "w y x"]:
    """Slices every ``step`` mm, linearly between those at the places ``along``, from the first on.

    Example:
        >>> image = np.array([[[0.0]], [[3.0]]], np.float32)
        >>> interpolate(image, np.array([0.0, 3.0]), 1.0).ravel().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    new = np.arange(along[0], along[-1] + 1e-6, step)
    right = np.clip(np.searchsorted(along, new), 1, len(along) - 1)
    share = ((new - along[right - 1]) / (along[right] - along[right - 1])).astype(np.float32)
    share = share[:, None, None]

    return array[right - 1] * (1 - share) + array[right] * share

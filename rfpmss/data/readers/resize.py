"""Antialiased resizing as two small matrix products, the same bits everywhere."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Shaped


def resize(
    image: Shaped[np.ndarray, "h w *channels"], size: tuple[int, int]
) -> Shaped[np.ndarray, "a b *channels"]:
    """Resample with a triangle filter as wide as the coarser of the two grids.

    Args:
        image: rows, columns and any further axes; integers are rounded back.
        size: new rows and columns.

    Example:
        >>> resize(np.ones((4, 6), np.float32), (2, 3))
        array([[1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
    """
    if image.shape[:2] == size:
        return image

    flat = image.astype(np.float32).reshape(image.shape[0], -1)
    flat = weights(image.shape[0], size[0]) @ flat
    rows = flat.reshape(size[0], image.shape[1], -1)
    result = np.matmul(weights(image.shape[1], size[1]), rows)
    result = result.reshape(*size, *image.shape[2:])
    if image.dtype.kind in "iu":
        info = np.iinfo(image.dtype)
        return np.clip(np.round(result), info.min, info.max).astype(image.dtype)

    return result


@lru_cache(maxsize=64)
def weights(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """Rows of weights that sum to one: new sample i from old samples, half-pixel centres."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale - 0.5
    reach = max(scale, 1.0)
    table = np.maximum(1 - np.abs(np.arange(old) - centre[:, None]) / reach, 0)
    table /= table.sum(axis=1, keepdims=True)

    return table.astype(np.float32)

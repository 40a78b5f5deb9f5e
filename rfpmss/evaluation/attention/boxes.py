"""Boxes from attention maps, and how well they meet the reference boxes (Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""

THRESHOLDS = tuple(np.linspace(0.2, 0.9, 15).round(3).tolist())
"""Shares of a map's maximum that are tried on validation patients."""


def box_of(heat: Float[np.ndarray, "h w"], threshold: float) -> Box:
    """Box around the connected part above ``threshold`` that holds the maximum.

    Example:
        >>> heat = np.zeros((8, 8))
        >>> heat[2:4, 3:6] = 1.0
        >>> box_of(heat, 0.5)
        (3.0, 2.0, 6.0, 4.0)
    """
    top = np.unravel_index(int(heat.argmax()), heat.shape)
    parts = np.empty(heat.shape, np.int32)
    ndimage.label(heat >= min(threshold, float(heat[top])), output=parts)
    rows, columns = np.nonzero(parts == parts[top])

    return (
        *(float(columns.min()), float(rows.min())),
        *(float(columns.max() + 1), float(rows.max() + 1)),
    )


def overlap_of(first: Box, second: Box) -> float:
    """Intersection over union.

    Example:
        >>> overlap_of((0.0, 0.0, 2.0, 2.0), (1.0, 0.0, 3.0, 2.0))
        0.3333333333333333
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))

    return common / (areas - common) if areas > common else 0.0


def points_inside(heat: Float[np.ndarray, "h w"], box: Box) -> float:
    """Pointing game: the share of the map's maxima that lies in the box (one maximum: 0 or 1)."""
    rows, columns = np.nonzero(heat == heat.max())
    x, y = columns + 0.5, rows + 0.5
    inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
    return float(inside.mean())


def overlaps(
    heats: Float[np.ndarray, "n h w"], boxes: Sequence[Box], threshold: float
) -> Float[np.ndarray, " n"]:
    """Intersection over union of every map's box with its reference."""
    return np.array(
        [overlap_of(box_of(heat, threshold), box) for heat, box in zip(heats, boxes, strict=True)]
    )


def best_threshold(heats: Float[np.ndarray, "n h w"], boxes: Sequence[Box]) -> tuple[float, float]:
    """The threshold with the highest mean overlap, and that overlap; for validation patients."""
    means = [float(overlaps(heats, boxes, threshold).mean()) for threshold in THRESHOLDS]
    best = int(np.argmax(means))
    return THRESHOLDS[best], means[best]


def covered(box: Box, size: int, patch: int) -> Float[np.ndarray, " p"]:
    """Share of each patch that lies in ``box``, row by row: what a map of patches can know of it.

    Example:
        >>> covered((2.0, 0.0, 8.0, 4.0), 8, 4)
        array([0.5, 1. , 0. , 0. ])
    """
    start = np.arange(0, size, patch)
    x, y = (
        np.clip(np.minimum(high, start + patch) - np.maximum(low, start), 0, None) / patch
        for low, high in ((box[0], box[2]), (box[1], box[3]))
    )
    return (y[:, None] * x).ravel()


def centre_heat(size: int) -> Float[np.ndarray, "h w"]:
    """A control that looks at the middle: height falls with the larger distance from it.

    Its thresholds give centred squares of every size.
    """
    distance = np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
    return 1.0 - np.maximum(distance[:, None], distance[None, :])

"""The control of CT against MRI: how far the outline of the head alone goes, without a network.

A figure between CT and MRI that does not pass it need not come from a finding. Masks by one fixed
threshold, compared by their overlap: as they lie, and moved upon each other by their moments, which
takes position, tilt and size away and leaves the shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int
from torch import Tensor

from rfpmss.config import VIEWS

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Cohort

SIDE = 64
"""Pixels of a mask's side."""
LEVEL = 0.15
"""Threshold, as a share of the way from the darkest to the brightest pixels."""
ENDS = (0.02, 0.98)
"""Quantiles that stand for the darkest and the brightest."""
SOME = 64
"""Studies decoded at a time."""
CHANNEL = {"ct": 0, "mri": 2}
"""Of the view: the brain window, and T2, whose background is dark in every case."""


def masks(images: Float32[Tensor, "b c h w"], view: str) -> Bool[np.ndarray, "b s s"]:
    """The head in each image."""
    plain = F.interpolate(images[:, CHANNEL[view], None], (SIDE, SIDE), mode="area")[:, 0]
    low, high = plain.flatten(1).quantile(torch.tensor(ENDS, dtype=plain.dtype), dim=1)
    return (plain > (low + LEVEL * (high - low))[:, None, None]).numpy()


def aligned(heads: Bool[np.ndarray, "b s s"]) -> Bool[np.ndarray, "b s s"]:
    """Masks moved, turned and scaled to the same middle, long axis and area.

    An empty mask stays empty.
    """
    found = np.zeros_like(heads)
    side = heads.shape[-1]
    y, x = np.mgrid[:side, :side].astype(np.float64)
    for mask, into in zip(heads, found, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows) < 3:
            continue
        centre = np.array([columns.mean(), rows.mean()])
        vectors = np.linalg.eigh(np.cov(columns, rows))[1]
        long = vectors[:, 1] * (1 if vectors[1, 1] >= 0 else -1)
        scale = np.sqrt(len(rows) / (0.4 * side**2))
        across, down = (x - (side - 1) / 2) * scale, (y - (side - 1) / 2) * scale
        u = centre[0] + across * long[1] + down * long[0]
        v = centre[1] - across * long[0] + down * long[1]
        at = np.round(v).astype(int), np.round(u).astype(int)
        inside = (at[0] >= 0) & (at[0] < side) & (at[1] >= 0) & (at[1] < side)
        into[inside] = mask[at[0][inside], at[1][inside]]

    return found


def overlap(
    first: Bool[np.ndarray, "n s s"], second: Bool[np.ndarray, "m s s"]
) -> Float64[np.ndarray, "n m"]:
    """Intersection over union of every pair of masks."""
    a, b = (part.reshape(len(part), -1).astype(np.float64) for part in (first, second))
    both = a @ b.T
    either = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - both
    return both / np.maximum(either, 1.0)


def controls(
    cohort: Cohort, indices: Int[np.ndarray, " n"]
) -> dict[tuple[str, str], list[Float64[np.ndarray, "n n"]]]:
    """Similarities of every study's CT to every study's MRI and back: as they lie, and aligned.

    Where a study has no such image its mask is empty.
    """
    ct, mri = (_heads(cohort, indices, view) for view in ("ct", "mri"))
    found = [overlap(ct, mri), overlap(aligned(ct), aligned(mri))]
    return {("ct", "mri"): found, ("mri", "ct"): [scores.T for scores in found]}


def _heads(cohort: Cohort, indices: Int[np.ndarray, " n"], view: str) -> Bool[np.ndarray, "n s s"]:
    """The head in one image of a view of each study, a few studies at a time."""
    parts = [
        masks(cohort.images(indices[start : start + SOME], VIEWS.index(view)), view)
        for start in range(0, len(indices), SOME)
    ]
    return np.concatenate(parts)

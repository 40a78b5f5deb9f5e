"""Uncertainty: intervals and tests that respect that a patient may appear more than once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped


def interval(
    values: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean, whole groups (patients) drawn with replacement.

    Args:
        values: one figure per query.
        groups: the patient of each.
        draws: bootstrap samples.
        seed: of the draws.
        level: coverage.

    Example:
        >>> interval(np.ones(4), np.arange(4))
        (1.0, 1.0)
    """
    if not len(values):
        raise ValueError("values must not be empty, got none")
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, weights=values)
    sizes = np.bincount(group).astype(float)
    count = len(sums)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

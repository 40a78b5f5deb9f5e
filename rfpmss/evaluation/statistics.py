"""Uncertainty: intervals and tests that respect that a patient may appear more than once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import stats

ENOUGH = 10
"""Fewest patients of whom a share tells something: of five right among nine, the exact 95 %
interval (Clopper and Pearson, 1934) goes from 21 to 86 %."""


@dataclass(frozen=True)
class Delong:
    """Areas under correlated ROC curves (DeLong, DeLong and Clarke-Pearson, 1988)."""

    auc: Float[np.ndarray, " s"]
    """Area under each of ``s`` curves."""
    covariance: Float[np.ndarray, "s s"]
    """Covariance of the areas."""

    def interval(
        self, weights: Sequence[float] = (1.0,), level: float = 0.95
    ) -> tuple[float, float]:
        """Normal interval of a weighted sum of the areas, cut to [0, 1]."""
        w = np.asarray(weights, float)
        width = stats.norm.ppf(0.5 + level / 2) * np.sqrt(max(w @ self.covariance @ w, 0.0))
        low, high = w @ self.auc - width, w @ self.auc + width
        return float(max(low, 0.0)), float(min(high, 1.0))

    def p_value(self, contrast: Sequence[Sequence[float]]) -> float:
        """Two-sided p of ``contrast @ auc = 0``, chi-squared with the contrast's rank.

        Identical curves have p 1.
        """
        rows = np.asarray(contrast, float)
        difference = rows @ self.auc
        spread = rows @ self.covariance @ rows.T
        # What equal curves leave is rounding of the terms that cancel, not of what is left.
        rounding = len(self.auc) ** 2 * np.finfo(float).eps
        size = np.abs(rows) @ np.abs(self.covariance) @ np.abs(rows).T
        variances, axes = np.linalg.eigh(spread)
        free = variances > rounding * size.max()
        if not free.any():
            return 1.0 if np.abs(difference).max() <= rounding else 0.0

        statistic = ((difference @ axes[:, free]) ** 2 / variances[free]).sum()
        return float(stats.chi2.sf(statistic, free.sum()))


def delong(positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, "s n"]) -> Delong:
    """Areas under the ROC curves of several scores of the same cases, and their covariance.

    Args:
        positive: which cases have the finding.
        scores: one row per test, higher means more likely positive. Ties count one half.

    Raises:
        ValueError: if there are not at least two positive and two negative cases.

    Example:
        >>> delong(np.array([0, 0, 1, 1], bool), np.array([[0.1, 0.4, 0.35, 0.8]])).auc.tolist()
        [0.75]
    """
    cases, controls = scores[:, positive], scores[:, ~positive]
    m, n = cases.shape[1], controls.shape[1]
    if m < 2 or n < 2:
        raise ValueError(f"positive must hold two of each kind, got {m} positive, {n} negative")

    # Mid-ranks give the placement values without comparing every pair.
    together = stats.rankdata(np.concatenate([cases, controls], axis=1), axis=1)
    above = (together[:, :m] - stats.rankdata(cases, axis=1)) / n
    below = 1 - (together[:, m:] - stats.rankdata(controls, axis=1)) / m
    covariance = np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n

    return Delong(above.mean(axis=1), covariance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of the p-values of one table.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)

    return adjusted.tolist()


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
    return _limits(_means(values, groups, draws, seed), level)


def _means(values: np.ndarray, groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The mean on each of the resamples of whole groups."""
    if not len(values):
        raise ValueError("values must not be empty, got none")

    both = np.stack([values, np.ones(len(values))], axis=1)
    sums = resampled(both, groups, draws, seed)
    return sums[:, 0] / sums[:, 1]


def resampled(
    values: Float[np.ndarray, "n k"], groups: Shaped[np.ndarray, " n"], draws: int, seed: int
) -> Float[np.ndarray, "r k"]:
    """The sum of each column on each of the resamples of whole groups (patients)."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    sums = [np.bincount(group, weights=column, minlength=count) for column in values.T]
    return _drawn(count, draws, seed) @ np.stack(sums, axis=1)


@lru_cache(maxsize=4)
def _drawn(count: int, draws: int, seed: int) -> np.ndarray:
    """How often each of ``count`` groups stands in each resample: a table has one for all rows."""
    chances = np.full(count, 1 / count)
    drawn = np.random.default_rng(seed).multinomial(count, chances, size=draws).astype(float)
    drawn.flags.writeable = False
    return drawn


def _limits(figures: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """Difference of a statistic between two methods on the same patients."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided: twice the smaller share of resamples on either side of zero, at least 2 / (draws
    + 1)."""


def paired_interval(
    gains: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compare two methods whose figure is a mean over cases, on resamples of the patients.

    Args:
        gains: what one method has more than the other, case by case.
        groups: the patient of each case.
        draws: resamples.
        seed: of the resamples.
        level: coverage of the interval.
    """
    return _paired(float(gains.mean()), _means(gains, groups, draws, seed), level)


def paired_areas(
    positive: Bool[np.ndarray, " n"],
    first: Float[np.ndarray, "s n"],
    second: Float[np.ndarray, "t n"],
    groups: Shaped[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compare the mean areas under the ROC curves of two methods on resamples of the patients.

    Args:
        positive: which cases have the finding.
        first: scores of one method, a row per test (a seed).
        second: scores of the other method.
        groups: the patient of each case.
        draws: resamples; those with fewer than two cases of a kind are drawn again.
        seed: of the resamples.
        level: coverage of the interval.

    Raises:
        ValueError: if hardly any resample has two cases of each kind.
    """
    gains = _wins(positive, first) - _wins(positive, second)
    found = _areas(positive, gains, groups, draws, seed)
    return _paired(float(gains.mean()), found, level)


def area_interval(
    positive: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Area under the ROC curve and its bootstrap percentile interval, whole patients resampled.

    Args:
        positive: which cases have the finding.
        scores: higher means more likely positive; ties count one half.
        groups: the patient of each case.
        draws: resamples; those with fewer than two cases of a kind are drawn again.
        seed: of the resamples.
        level: coverage.

    Raises:
        ValueError: if hardly any resample has two cases of each kind.

    Example:
        >>> area_interval(np.arange(8) > 3, np.arange(8.0), np.arange(8))
        (1.0, 1.0, 1.0)
    """
    wins = _wins(positive, scores[None])
    return float(wins.mean()), *_limits(_areas(positive, wins, groups, draws, seed), level)


def area_gap(
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Area of one group of cases less that of another, with a bootstrap percentile interval.

    The groups are resampled apart. What a patient has in both makes the difference scatter less
    than is said here.

    Args:
        first: which cases are positive, their scores, their patients; as `area_interval`.
        second: of the other group.
        draws: resamples.
        seed: of the resamples.
        level: coverage.
    """
    areas, spread = [], []
    for (positive, scores, patients), own in ((first, seed), (second, seed + 1000)):
        wins = _wins(positive, scores[None])
        areas.append(float(wins.mean()))
        spread.append(_areas(positive, wins, patients, draws, own))

    return areas[0] - areas[1], *_limits(spread[0] - spread[1], level)


def _areas(
    positive: Bool[np.ndarray, " n"],
    wins: Float[np.ndarray, "p q"],
    groups: Shaped[np.ndarray, " n"],
    draws: int,
    seed: int,
) -> Float[np.ndarray, " r"]:
    """The mean over pairs of a case and a control, on resamples of the patients."""
    _, group = np.unique(groups, return_inverse=True)
    found = np.empty(0)
    for block in range(20):
        drawn = _drawn(int(group.max()) + 1, draws, seed + block)
        cases, controls = drawn[:, group[positive]], drawn[:, group[~positive]]
        pairs = cases.sum(axis=1) * controls.sum(axis=1)
        defined = np.minimum(cases.sum(axis=1), controls.sum(axis=1)) >= 2
        sums = ((cases @ wins) * controls).sum(axis=1)
        found = np.append(found, sums[defined] / pairs[defined])
        if len(found) >= draws:
            return found[:draws]

    raise ValueError(
        f"positive must leave two cases of each kind in most resamples of the patients, got "
        f"{positive.sum()} positive and {(~positive).sum()} negative cases"
    )


def _wins(
    positive: Bool[np.ndarray, " n"], scores: Float[np.ndarray, "s n"]
) -> Float[np.ndarray, "p q"]:
    """How often each case scores above each control, over the rows of scores; a tie is half."""
    cases, controls = scores[:, positive, None], scores[:, None, ~positive]
    return ((cases > controls) + 0.5 * (cases == controls)).mean(axis=0)


def _paired(difference: float, resampled: np.ndarray, level: float) -> Paired:
    # Sums in another order leave rounding where a resample has no difference.
    settled = np.where(np.abs(resampled) < 1e-12, 0.0, resampled)
    tail = min((settled <= 0).sum(), (settled >= 0).sum())
    p_value = min(1.0, 2 * (float(tail) + 1) / (len(resampled) + 1))
    return Paired(difference, *_limits(resampled, level), p_value)

"""Thresholds, temperatures, and how far probabilities are from frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import minimize_scalar
from scipy.special import expit

from rfpmss.evaluation.statistics import resampled

BINS = 5
"""Of equal count. Ten of them say 0.14 of 60 patients whose probabilities are right, five 0.10."""

COLDEST, HOTTEST = 1e-3, 1e3
"""Bounds of a temperature."""


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error: mean distance of probability and frequency over bins."""

    error: float
    """As counted: never 0, right probabilities included."""
    low: float
    """95 % interval of what infinitely many patients would give; 0 where ``error`` is one that
    right probabilities give too."""
    high: float
    right: float
    """Mean error of so many patients if the probabilities were right."""
    excess: float
    """Mean probability less the share that has the finding."""


def threshold(logits: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """The score from which a case counts as positive: highest sensitivity plus specificity.

    Half way between two scores (Youden, 1950); of equal ones the middle one.

    Example:
        >>> threshold(np.array([-2.0, -1.0, 1.0, 4.0]), np.array([False, False, True, True]))
        0.0
    """
    values = np.unique(logits)
    cuts = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    cases, controls = np.sort(logits[positive]), np.sort(logits[~positive])
    sensitivity = 1 - np.searchsorted(cases, cuts) / len(cases)
    specificity = np.searchsorted(controls, cuts) / len(controls)
    gain = (sensitivity + specificity).round(9)
    best = np.flatnonzero(gain == gain.max())
    return float(cuts[best[len(best) // 2]])


def temperature(logits: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """The T with the highest likelihood of ``sigmoid(logits / T)`` (Guo et al., 2017).

    Scores that say nothing, or the contrary, have the highest one there is: all probabilities are
    then one half.
    """
    sign = np.where(positive, 1.0, -1.0)
    ends = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(
        lambda log: np.logaddexp(0.0, -sign * logits * np.exp(-log)).mean(),
        bounds=ends,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def calibration(
    probability: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    patients: Shaped[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Calibration:
    """Compare probabilities with frequencies, in bins of equal count.

    The count of a bin scatters, so the plain error lies above that of infinitely many patients, and
    resamples lie above it once more. The interval is that of resamples of whole patients, less what
    they add: its lower end twice, its upper end once, so that it errs to the wide side. Where the
    probabilities are right that fails, as the true error is at its bound; there a draw of findings
    from the probabilities themselves (Broecker and Smith, 2007) says which errors are no sign of
    anything, and the interval reaches to 0.

    Args:
        probability: of the finding.
        positive: whether it is there.
        patients: of each case.
        draws: resamples.
        seed: of the resamples.
        level: coverage.
    """
    count = len(probability)
    bins = _bins(probability)
    members = np.eye(int(bins.max()) + 1)[bins]
    gaps = members * (probability - positive)[:, None]
    error = float(np.abs(gaps.sum(axis=0)).sum() / count)

    sums = resampled(np.concatenate([gaps, np.ones((count, 1))], axis=1), patients, draws, seed)
    spread = np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]
    added = float(spread.mean()) - error

    rng = np.random.default_rng(seed)
    drawn = rng.random((draws, count)) < probability
    chance = np.abs((probability - drawn) @ members).sum(axis=1) / count

    tail = (1 - level) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    usual = error <= np.quantile(chance, 1 - tail)
    return Calibration(
        error=error,
        low=0.0 if usual else max(0.0, float(low) - 2 * added),
        high=min(1.0, max(0.0, float(high) - added)),
        right=float(chance.mean()),
        excess=float(probability.mean() - positive.mean()),
    )


def probabilities(logits: Float[np.ndarray, " n"], heat: float) -> Float[np.ndarray, " n"]:
    """``sigmoid(logits / heat)``."""
    return expit(logits / heat)


def _bins(probability: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of each case; equal probabilities share one."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, BINS + 1)[1:-1]))
    _, bins = np.unique(np.searchsorted(edges, probability, side="right"), return_inverse=True)
    return bins

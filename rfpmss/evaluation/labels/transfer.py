"""Table 2: areas under ROC curves at 1, 10 and 100 % of the labels, each against a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from rfpmss.config import VIEWS
from rfpmss.evaluation.labels.probe import (
    Classifier,
    Tuning,
    image_features,
    linear_probe,
    task,
    tune,
)
from rfpmss.evaluation.statistics import delong, holm, paired_areas
from rfpmss.model.rfpmss import RFPMSS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Cohort

Key = tuple[str, str, float]
"""Start of the encoder, mode, fraction of labels."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is tuned."""

    label: str = "grade"
    """Label of the manifest."""
    positive: tuple[str, ...] = ("4",)
    """Values that count as positive."""
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the labelled training patients; each holds the smaller ones."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the subset, the head and the order."""
    views: tuple[str, ...] = VIEWS
    """Imaging modalities that are looked at; the others are treated as absent."""
    modes: tuple[str, ...] = ("linear", "full")
    """linear: the encoder stays as it is; full: everything is tuned."""
    tuning: Tuning = Tuning()


@dataclass(frozen=True)
class Outcome:
    """Test scores of every cell of the table, and the tuned encoder of the first start."""

    scores: dict[Key, Float[np.ndarray, "s t"]]
    """One row per seed."""
    positive: Bool[np.ndarray, " t"]
    patients: Shaped[np.ndarray, " t"]
    classifier: Classifier | None
    """Of the first start, all labels, first seed, full tuning."""


def transfer(
    starts: Mapping[str, RFPMSS],
    cohort: Cohort,
    tokenizer: Tokenizer,
    plan: Plan,
    advance: Callable[..., None],
) -> Outcome:
    """Tune every start in every mode at every fraction and seed.

    Args:
        starts: encoders by name; the first is the one in question.
        cohort: with labels.
        tokenizer: to make batches.
        plan: what to do.
        advance: called after each cell.
    """
    scores: dict[Key, list[np.ndarray]] = {}
    problems = {seed: task(cohort, plan.label, plan.positive, seed) for seed in plan.seeds}
    first = problems[plan.seeds[0]]
    classifier = None
    for name, model in starts.items():
        fixed = (
            image_features(model, cohort, tokenizer, plan.views) if "linear" in plan.modes else None
        )
        for mode, fraction, seed in _cells(plan):
            if mode == "linear" and fixed is not None:
                found = linear_probe(fixed, problems[seed], fraction)
            else:
                tuned, found = tune(
                    model,
                    cohort,
                    tokenizer,
                    problems[seed],
                    fraction,
                    seed,
                    plan.views,
                    plan.tuning,
                )
                if model is next(iter(starts.values())) and fraction == max(plan.fractions):
                    classifier = classifier or tuned

            scores.setdefault((name, mode, fraction), []).append(found)
            advance()

    patients = np.array([cohort.studies[i].patient_id for i in first.test])
    stacked = {key: np.stack(rows) for key, rows in scores.items()}
    return Outcome(stacked, first.positive[first.test], patients, classifier)


def table(outcome: Outcome, reference: str, draws: int = 1000) -> list[dict[str, object]]:
    """A row per start, mode and fraction; p-values against ``reference``, Holm over the table.

    ``auc`` is the mean over seeds; its interval and the comparisons treat the seeds as correlated
    tests of the same patients, so that they tell about new patients, not about new seeds (whose
    standard deviation is ``auc_sd``).
    """
    rows: list[dict[str, object]] = []
    for (name, mode, fraction), scores in outcome.scores.items():
        seeds = len(scores)
        found = delong(outcome.positive, scores)
        low, high = found.interval([1 / seeds] * seeds)
        row: dict[str, object] = {
            **{"start": name, "mode": mode, "fraction": fraction, "seeds": seeds},
            **{"n": len(outcome.positive), "positive": int(outcome.positive.sum())},
            **{"auc": float(found.auc.mean()), "auc_sd": _deviation(found.auc)},
            **{"auc_low": low, "auc_high": high},
            **{"difference": None, "difference_low": None, "difference_high": None},
            **{"p_delong": None, "p_bootstrap": None, "p_holm": None},
        }
        if name != reference:
            ours = outcome.scores[reference, mode, fraction]
            both = np.concatenate([ours, scores])
            contrast = [1 / seeds] * seeds + [-1 / seeds] * seeds
            paired = paired_areas(outcome.positive, ours, scores, outcome.patients, draws=draws)
            row |= {
                **{"difference": paired.difference},
                **{"difference_low": paired.low, "difference_high": paired.high},
                "p_delong": delong(outcome.positive, both).p_value([contrast]),
                "p_bootstrap": paired.p_value,
            }

        rows.append(row)

    return adjust(rows)


def adjust(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows with Holm's adjustment over all of them."""
    compared = [row for row in rows if row["p_delong"] is not None]
    adjusted = holm([float(str(row["p_delong"])) for row in compared])
    for row, p_value in zip(compared, adjusted, strict=True):
        row["p_holm"] = p_value

    return rows


def random_start(config: Config, vocabulary: int, seed: int = 0) -> RFPMSS:
    """A model of the same shape that was never trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RFPMSS(config.model, config.data, vocabulary).eval()


def _cells(plan: Plan) -> Iterator[tuple[str, float, int]]:
    for mode in plan.modes:
        for fraction in plan.fractions:
            for seed in plan.seeds:
                yield mode, fraction, seed


def _deviation(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

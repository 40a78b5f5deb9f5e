"""Figures of findings: of all held-out patients, by group, and how far groups are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Shaped

from rfpmss.evaluation.prompted.calibration import (
    calibration,
    probabilities,
    temperature,
    threshold,
)
from rfpmss.evaluation.statistics import ENOUGH, area_gap, area_interval, interval

RowOf = dict[str, object]
"""A row of a table, by column."""


@dataclass(frozen=True)
class Cases:
    """Scores of one finding in one language."""

    logits: Float[np.ndarray, " n"]
    """Higher: the finding is more likely; ``sigmoid`` is the probability before calibration."""
    positive: Bool[np.ndarray, " n"]
    patients: Shaped[np.ndarray, " n"]

    @classmethod
    def join(cls, parts: Sequence[Cases]) -> Cases:
        """Several as one."""
        names = ("logits", "positive", "patients")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, chosen: Bool[np.ndarray, " n"]) -> Cases:
        """Some of them."""
        return Cases(self.logits[chosen], self.positive[chosen], self.patients[chosen])

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `rfpmss.evaluation.statistics.area_gap` takes them."""
        return self.positive, self.logits, self.patients

    @property
    def few(self) -> str:
        """Why they cannot be scored; empty: they can."""
        having, lacking = (
            len(np.unique(self.patients[self.positive == kind])) for kind in (True, False)
        )
        if min(having, lacking) >= ENOUGH:
            return ""
        return f"{having} patients with it, {lacking} without; {ENOUGH} of each are the least"


@dataclass(frozen=True)
class Rule:
    """What validation patients say; None where they are too few."""

    threshold: float | None = None
    temperature: float | None = None
    note: str = ""


def rule(cases: Cases) -> Rule:
    """Threshold and temperature of a finding, from validation patients alone."""
    if cases.few:
        return Rule(note=f"no threshold and temperature: of validation {cases.few}")
    return Rule(threshold(cases.logits, cases.positive), temperature(cases.logits, cases.positive))


def figures(cases: Cases, chosen: Rule) -> RowOf:
    """Area, sensitivity, specificity and calibration with 95 % intervals by patient.

    Groups with fewer than ten patients of a kind have counts and a note, no figures.
    """
    row: RowOf = {
        "n": len(cases),
        "patients": len(np.unique(cases.patients)),
        "positive": int(cases.positive.sum()),
        **dict.fromkeys(FIGURES),
        "note": cases.few or chosen.note,
    }
    if cases.few:
        return row

    row |= _named("auc", *area_interval(cases.positive, cases.logits, cases.patients))
    row |= _calibrated("ece", cases, 1.0)
    if chosen.threshold is not None:
        told = cases.logits >= chosen.threshold
        row["threshold"] = chosen.threshold
        row |= _share("sensitivity", told[cases.positive], cases.patients[cases.positive])
        row |= _share("specificity", ~told[~cases.positive], cases.patients[~cases.positive])
    if chosen.temperature is not None:
        row["temperature"] = chosen.temperature
        row |= _calibrated("ece_after", cases, chosen.temperature)

    return row


def _three(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


FIGURES = (
    *_three("auc"),
    "threshold",
    *_three("sensitivity"),
    *_three("specificity"),
    *(*_three("ece"), "ece_right", "ece_excess"),
    "temperature",
    *(*_three("ece_after"), "ece_after_right", "ece_after_excess"),
)
"""Columns that a group too small has empty."""


def _named(name: str, *values: float) -> RowOf:
    return dict(zip(_three(name), values, strict=True))


def _share(name: str, right: Bool[np.ndarray, " n"], patients: np.ndarray) -> RowOf:
    values = right.astype(float)
    return _named(name, float(values.mean()), *interval(values, patients))


def _calibrated(name: str, cases: Cases, heat: float) -> RowOf:
    found = calibration(probabilities(cases.logits, heat), cases.positive, cases.patients)
    return _named(name, found.error, found.low, found.high) | {
        f"{name}_right": found.right,
        f"{name}_excess": found.excess,
    }


def by_group(
    cases: Cases, chosen: Rule, group: str, values: Shaped[np.ndarray, " n"]
) -> Iterator[tuple[RowOf, Cases]]:
    """A row of each value of a group, with the cases it is of.

    The rule is that of all: of a hospital that was never seen there is no other.
    """
    for value in sorted(set(values.tolist())):
        some = cases.take(values == value)
        yield {"group": group, "value": value} | figures(some, replace(chosen, note="")), some


def gap(scored: list[tuple[RowOf, Cases]]) -> RowOf | None:
    """The areas of the best and of the worst value of a group, and their difference.

    Best and worst are chosen by what is compared, so equal groups differ too: the interval is that
    of these two as if they had been named beforehand.

    Args:
        scored: rows of one group.

    Returns:
        None where fewer than two values have an area.
    """
    found = [(row, cases) for row, cases in scored if row["auc"] is not None]
    if len(found) < 2:
        return None

    found.sort(key=lambda pair: float(str(pair[0]["auc"])))
    (low, worst), (high, best) = found[0], found[-1]
    return {
        **{"group": low["group"], "values": len(found)},
        **{"best": high["value"], "best_auc": high["auc"], "best_n": high["n"]},
        **{"worst": low["value"], "worst_auc": low["auc"], "worst_n": low["n"]},
        **_named("gap", *area_gap(best.sides, worst.sides)),
    }

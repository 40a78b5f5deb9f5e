"""The experiment on Eq. 5 and 6 (docs/results.md): arms compared by seed, endpoints fixed before.

A seed gives all arms the same first weights and batches, so that differences of one seed scatter
far less than runs do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from rfpmss.evaluation.grid import NONE
from rfpmss.evaluation.page.tables import TableError, read_rows, trusted
from rfpmss.evaluation.statistics import holm, paired_interval

UNTOLD = "untold.json"
"""In the folder of scores: `rfpmss.evaluation.labels.untold`."""
HOME, AWAY, ADAPTED = "home", "away", "adapted"
FILES = {
    **{HOME: "retrieval", AWAY: "retrieval-elsewhere"},
    ADAPTED: "retrieval-elsewhere-adapted",
}
"""Where a run is scored, and what its files are called there."""
DIRECTIONS = (("mri", "report"), ("ct", "mri"))
"""The ones that Eq. 6 can change most directly: the study vector has no part in it."""
SPACES = ("joint", "inputs", "study")
"""Where untold findings are looked for; the first is the endpoint."""
PRIMARY, SECONDARY, DESCRIBED = "primary", "secondary", "described"


@dataclass(frozen=True)
class Endpoint:
    """One figure of a run."""

    name: str
    family: str
    """`PRIMARY` and `SECONDARY` are tested, each with Holm's adjustment."""
    place: str = HOME
    direction: tuple[str, str] = ("", "")
    """Empty for untold findings."""
    measure: str = "r5"
    """``r5``, ``log_rank``, or the space of the features of untold findings."""


@dataclass(frozen=True)
class Figure:
    """An endpoint of one run."""

    value: float
    each: Float[np.ndarray, " q"] = field(default_factory=lambda: np.zeros(0))
    """Query by query; empty for areas under curves."""
    patients: Shaped[np.ndarray, " q"] = field(default_factory=lambda: np.zeros(0))


Run = Mapping[str, Figure]
"""Figures of a run by the name of the endpoint."""


def endpoints() -> tuple[Endpoint, ...]:
    """All, those that are tested first."""
    families = {HOME: PRIMARY, ADAPTED: SECONDARY, AWAY: DESCRIBED}
    recalls = [
        Endpoint(_name(place, pair, "r5"), family, place, pair)
        for place, family in families.items()
        for pair in DIRECTIONS
    ]
    ranks = [
        Endpoint(_name(place, pair, "log_rank"), DESCRIBED, place, pair, "log_rank")
        for place in families
        for pair in DIRECTIONS
    ]
    areas = [
        Endpoint(f"untold_{space}_auc", DESCRIBED if at else PRIMARY, measure=space)
        for at, space in enumerate(SPACES)
    ]
    found = [*recalls, *areas, *ranks]
    order = (PRIMARY, SECONDARY, DESCRIBED)

    return tuple(sorted(found, key=lambda endpoint: order.index(endpoint.family)))


def _name(place: str, pair: tuple[str, str], measure: str) -> str:
    return f"{place}_{pair[0]}_{pair[1]}_{measure}"


def read(folder: Path) -> dict[str, Figure]:
    """The figures that the folder of a run holds.

    Raises:
        TableError: if a file of scores is damaged.
    """
    scores = folder / "evaluation"
    found: dict[str, Figure] = {}
    for place, name in FILES.items():
        path = scores / f"{name}_queries.json"
        with trusted(path):
            for entry in read_rows(path):
                pair = str(entry["query"]), str(entry["gallery"])
                if pair not in DIRECTIONS:
                    continue
                patients = np.array(list(map(str, entry["patient"])))
                hits, ranks = (np.array(entry[key], float) for key in ("hit5", "rank"))
                for measure, each in (("r5", hits), ("log_rank", np.log(ranks))):
                    figure = Figure(float(each.mean()), each, patients)
                    found[_name(place, pair, measure)] = figure

    path = scores / UNTOLD
    with trusted(path):
        rows = [row for row in read_rows(path) if row["auc"] is not None]
        for space in SPACES:
            if areas := [float(row["auc"]) for row in rows if row["space"] == space]:
                found[f"untold_{space}_auc"] = Figure(float(np.mean(areas)))

    return found


def controls(folder: Path) -> dict[str, dict[str, Any]]:
    """Chance, ceiling and outline of each R@5, the same for all runs on one cohort."""
    found: dict[str, dict[str, Any]] = {}
    for place, name in FILES.items():
        path = folder / "evaluation" / f"{name}_full.json"
        with trusted(path):
            for row in read_rows(path):
                kept = {key: row.get(f"{key}_r5") for key in ("chance", "ceiling", "outline")}
                found[_name(place, (row["query"], row["gallery"]), "r5")] = kept

    return found | {f"untold_{space}_auc": {"chance": 0.5} for space in SPACES}


def compare(
    runs: Mapping[str, Mapping[int, Run]], seeds: Sequence[int]
) -> Iterator[dict[str, object]]:
    """Every arm against `NONE`, endpoint by endpoint, over the seeds that both have.

    ``low`` and ``high`` are of new seeds (paired t), ``patient_low`` and ``patient_high`` of new
    patients (bootstrap of the gain averaged over seeds). P-values only once all seeds are there.

    Args:
        runs: by arm and seed.
        seeds: that were planned.

    Raises:
        TableError: if runs of a pair were scored on different queries.
    """
    base = runs.get(NONE, {})
    complete = all(set(seeds) <= set(runs[name]) for name in runs) and NONE in runs
    lines = [
        _line(name, endpoint, pairs, complete=complete)
        for endpoint in endpoints()
        for name, mine in runs.items()
        if name != NONE
        if (
            pairs := [
                (mine[seed][endpoint.name], base[seed][endpoint.name])
                for seed in seeds
                if endpoint.name in mine.get(seed, {}) and endpoint.name in base.get(seed, {})
            ]
        )
    ]
    for family in (PRIMARY, SECONDARY):
        tested = [line for line in lines if line["family"] == family and line["p"] is not None]
        adjusted = holm([float(str(line["p"])) for line in tested])
        for line, p_value in zip(tested, adjusted, strict=True):
            line["p_holm"] = p_value

    yield from lines


def _line(
    name: str, endpoint: Endpoint, pairs: Sequence[tuple[Figure, Figure]], *, complete: bool
) -> dict[str, object]:
    gains = np.array([mine.value - other.value for mine, other in pairs])
    low, high, p_value = paired_t(gains)
    tested = complete and endpoint.family != DESCRIBED
    line: dict[str, object] = {
        **{"row": name, "endpoint": endpoint.name, "family": endpoint.family},
        **{"seeds": len(pairs), "value": float(np.mean([mine.value for mine, _ in pairs]))},
        **{"without": float(np.mean([other.value for _, other in pairs]))},
        **{"difference": float(gains.mean()), "sd": None, "low": low, "high": high},
        **{"patient_low": None, "patient_high": None},
        **{"p": p_value if tested else None, "p_holm": None},
    }
    if len(gains) > 1:
        line["sd"] = float(gains.std(ddof=1))

    figures = [figure for pair in pairs for figure in pair]
    if not np.unique([len(figure.patients) for figure in figures]).size == 1 or any(
        (figure.patients != figures[0].patients).any() for figure in figures
    ):
        raise TableError(
            f"runs of {name} and {NONE} must be scored on the same queries, got others for "
            f"{endpoint.name}; remove complete.json in their folders and start again"
        )

    if len(figures[0].patients):
        each = np.mean([mine.each - other.each for mine, other in pairs], axis=0)
        found = paired_interval(each, figures[0].patients)
        line |= {"patient_low": found.low, "patient_high": found.high}

    return line


def paired_t(
    gains: Float[np.ndarray, " s"], level: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Interval and two-sided p of a mean difference of pairs (Student); None for a single pair.

    Example:
        >>> [round(x, 3) for x in paired_t(np.array([1.0, 2.0, 3.0]))]
        [-0.484, 4.484, 0.074]
    """
    if len(gains) < 2:
        return None, None, None

    error = gains.std(ddof=1) / np.sqrt(len(gains))
    if error == 0:
        return float(gains[0]), float(gains[0]), 1.0 if gains[0] == 0 else 0.0

    width = stats.t.ppf(0.5 + level / 2, len(gains) - 1) * error
    p_value = 2 * stats.t.sf(abs(gains.mean()) / error, len(gains) - 1)
    return float(gains.mean() - width), float(gains.mean() + width), float(p_value)

"""The rows of Tables 3 to 5 and Fig. 6: what each changes, and their comparison with ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rfpmss.config import VIEWS, Config
from rfpmss.data.cohort.manifest import Row
from rfpmss.evaluation.page.tables import TableError, read_rows, trusted
from rfpmss.evaluation.statistics import holm, interval, paired_interval

OURS = "ours"
NONE = "no-consistency"
EQ6 = "eq6"
"""The experiment on Eq. 5 and 6: `rfpmss.evaluation.arms`."""

PAIRS = (
    *(("study", "report"), ("report", "study"), ("ct", "report"), ("mri", "report")),
    *(("pathology", "report"), ("ct", "mri"), ("pathology", "mri")),
)
"""Directions in the table."""


@dataclass(frozen=True)
class Variant:
    """One row: a name, where it stands in the paper, what it changes."""

    title: str
    table: str
    changes: Mapping[str, object]
    """``section.field`` -> value; a number in ``scale`` multiplies instead."""
    scale: Mapping[str, float] | None = None
    only: tuple[str, ...] = ()
    """Modalities that the run may see; all when empty."""
    missing: float = 0.0
    """Share of the views that are taken away from the patients it learns from."""
    slow: bool = False
    """Takes several times as long as ours; a grid runs it last."""
    experiment: str = ""
    """The experiment of docs/results.md that it is an arm of."""


VARIANTS: dict[str, Variant] = {
    OURS: Variant("ours", "4a", {}, experiment=EQ6),
    "reconstruction": Variant(
        "reconstruction + contrast",
        "4a",
        {"loss.structure": "reconstruction", "model.rebuild": True},
        experiment=EQ6,
    ),
    "no-cross-modal": Variant("w/o cross-modal SSPC", "4a", {"loss.structure": "no-cross-modal"}),
    "no-sspc": Variant("w/o SSPC", "4a", {"loss.structure": "no-sspc"}),
    "modified-sk": Variant("modified SK", "4a", {"assignment.solver": "modified"}),
    NONE: Variant("without Eq. 5-6 at all", "4a", {"loss.consistency": 0.0}, experiment=EQ6),
    "anchors-quarter": Variant(
        "K / 4, K' / 4", "4b", {}, {"model.anchors": 0.25, "assignment.k": 0.25}
    ),
    "anchors-half": Variant("K / 2, K' / 2", "4b", {}, {"model.anchors": 0.5, "assignment.k": 0.5}),
    "k-half": Variant("K, K' / 2", "4b", {}, {"assignment.k": 0.5}),
    "k-more": Variant("K, 1.5 K'", "4b", {}, {"assignment.k": 1.5}),
    "resnet": Variant("row 1: ResNet-101 trunk", "5", {"model.backbone": "resnet101"}, slow=True),
    "no-recurrence": Variant("row 2: no recurrent concatenation", "5", {"model.recurrent": "none"}),
    "no-fusion": Variant("row 3: no view fusion", "5", {"model.fusion": "none"}),
    "fusion-view": Variant("view fusion of the paper", "5", {"model.fusion": "view"}),
    "fusion-token": Variant("view fusion token by token", "5", {"model.fusion": "token"}),
    "no-language": Variant("row 6: without report generation", "5", {"loss.language": 0.0}),
    "no-contrast": Variant("row 5: without study-report contrast", "5", {"loss.contrast": 0.0}),
    **{
        f"separate-{view}": Variant(f"{view} and report alone", "3", {}, only=(view, "report"))
        for view in VIEWS
    },
    "separate-images": Variant(
        "images without reports",
        "3",
        {
            **{"loss.language": 0.0, "loss.contrast": 0.0, "loss.report_weight": 0.0},
            "loss.other_weight": 1.0,
        },
    ),
    "sweeps-3": Variant(
        "3 sweeps", "solver", {"assignment.solver": "sinkhorn", "assignment.steps": 3}
    ),
    "sweeps-20": Variant(
        "20 sweeps", "solver", {"assignment.solver": "sinkhorn", "assignment.steps": 20}
    ),
    "loads-free": Variant(
        "learned loads, within 50 % of even", "solver", {"assignment.slack": 0.5}
    ),
    "loads-tail": Variant("loads falling as 1 / sqrt(j)", "solver", {"assignment.tail": 0.5}),
    "pairs-all": Variant("Eq. 9 over all pairs", "solver", {"loss.pairs": "all"}),
    "refers-recipe": Variant(
        "SGD with Lookahead, the text encoder at a tenth",
        "solver",
        {
            **{"train.optimiser": "lookahead", "train.lr": 3e-3, "train.text_rate": 0.1},
            **{"train.schedule": "onecycle", "train.warmup": 0.025, "train.weight_decay": 1e-4},
            "train.clip": 10.0,
        },
    ),
    **{
        f"logit-{weight:g}": Variant(
            f"sim(a, b) = cos / tau, weight {weight:g}",
            EQ6,
            {"loss.similarity": "logit", "loss.consistency": weight},
            experiment=EQ6,
        )
        for weight in (0.3, 1.0)
    },
    "no-standardise": Variant("vectors not standardised", "recipe", {"model.standardise": False}),
    "no-study-words": Variant(
        "the decoder sees patches alone", "recipe", {"model.study_words": False}
    ),
    "token-types": Variant("BERT's token types learn", "recipe", {"model.token_types": True}),
    "adamw": Variant("AdamW for all parameters", "recipe", {"train.optimiser": "adamw"}),
    "pairs-paper": Variant("Eq. 9 over the paper's pairs", "recipe", {"loss.pairs": "paper"}),
    "slices-4": Variant(
        "4 slices a view", "views", {"data.slices": 4, "phantom.views": 4}, slow=True
    ),
    "slices-attention": Variant(
        "4 slices a view, attention over them",
        "views",
        {"data.slices": 4, "phantom.views": 4, "model.slice_pooling": "attention"},
        slow=True,
    ),
    "series-2": Variant("2 series or time points a view", "views", {"data.series": 2}),
    **{
        f"missing-{share}": Variant(
            f"{share} % of the views missing in training", "missing", {}, missing=share / 100
        )
        for share in (25, 50, 75)
    },
}
"""Every row by name. Row 4 of Table 5 (labels instead of reports) is a matter of fine-tuning."""


def changed(config: Config, variant: Variant, seed: int) -> Config:
    """The configuration of one row and seed, checked.

    Example:
        >>> from rfpmss.config import smoke
        >>> changed(smoke(), VARIANTS["k-half"], 1).assignment.k
        2
    """
    tree = config.model_dump()
    tree["seed"] = seed
    for path, value in variant.changes.items():
        section, field = path.split(".")
        tree[section][field] = value

    for path, factor in (variant.scale or {}).items():
        section, field = path.split(".")
        tree[section][field] = max(1, round(tree[section][field] * factor))

    return Config.model_validate(tree)


def chosen(names: Sequence[str]) -> list[str]:
    """Rows by name, table (``3 4a 4b 5 solver recipe views missing``) or experiment; ours first.

    Raises:
        ValueError: if a name is none of these.
    """
    tables = {variant.table for variant in VARIANTS.values()}  # every experiment has rows in one
    for name in names:
        if name not in VARIANTS and name not in tables and name != "all":
            raise ValueError(
                f"rows must be of {', '.join(VARIANTS)}, a table of {', '.join(sorted(tables))}, "
                f"or all, got {name}"
            )

    return [
        name
        for name, variant in VARIANTS.items()
        if name == OURS or {name, variant.table, variant.experiment, "all"} & set(names)
    ]


def kept(rows: Iterable[Row], variant: Variant) -> Iterator[Row]:
    """The rows of a manifest that a variant's run may see.

    Held-out patients keep all their views, so that every variant answers the same queries. Of the
    others each view goes with the variant's probability, whichever the run's seed, never all.
    """
    for study, group in groupby(rows, key=lambda row: row.study_id):
        mine = [row for row in group if not variant.only or row.modality in variant.only]
        views = sorted({row.modality for row in mine if row.modality in VIEWS})
        draw = np.random.default_rng(list(study.encode()))
        last = draw.choice(views) if views else ""
        away = {view for view in views if draw.random() < variant.missing}
        if away == set(views):
            away -= {last}
        yield from (row for row in mine if row.split != "train" or row.modality not in away)


def summary(folders: Mapping[str, Mapping[int, Path]], draws: int = 2000) -> list[dict[str, Any]]:
    """A line per row and direction: R@5 and R@10 over seeds, paired with ours by patient.

    Args:
        folders: run folder of each row and seed that is complete.
        draws: bootstrap resamples of an interval; p-values take more, see `_fine`.

    Rows whose queries differ from ours are not paired. Holm over all paired lines.
    """
    lines: list[dict[str, Any]] = []
    ours = _hits(folders.get(OURS, {}))
    for name, seeds in folders.items():
        for pair, (patients, hits) in _hits(seeds).items():
            line: dict[str, Any] = {
                **{"row": name, "title": VARIANTS[name].title, "table": VARIANTS[name].table},
                **{"query": pair[0], "gallery": pair[1], "seeds": len(seeds), "n": len(patients)},
            }
            for k, values in hits.items():
                low, high = interval(values.mean(axis=0), patients)
                line |= {f"r{k}": float(values.mean()), f"r{k}_low": low, f"r{k}_high": high}
                line[f"r{k}_sd"] = (
                    float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else 0.0
                )

            line |= {"difference_r5": None, "p_bootstrap": None, "p_holm": None}
            if name != OURS and pair in ours and np.array_equal(ours[pair][0], patients):
                gain = hits[5].mean(axis=0) - ours[pair][1][5].mean(axis=0)
                paired = paired_interval(gain, patients, draws=max(draws, _fine(len(patients))))
                line |= {"difference_r5": paired.difference, "p_bootstrap": paired.p_value}
            lines.append(line)

    tested = [line for line in lines if line["p_bootstrap"] is not None]
    for line, p_value in zip(tested, holm([line["p_bootstrap"] for line in tested]), strict=True):
        line["p_holm"] = p_value

    return lines


def _fine(patients: int) -> int:
    """Resamples of a p-value: the smallest that can come out, times 200 lines, is still small."""
    return min(100_000, (1 << 24) // max(1, patients))


def _hits(
    seeds: Mapping[int, Path],
) -> dict[tuple[str, str], tuple[np.ndarray, dict[int, np.ndarray]]]:
    """For each direction the patients, and for each k the hits, one row per seed."""
    read = [_queries(folder) for folder in seeds.values()]
    if any(len(t[pair][0]) != len(read[0][pair][0]) for t in read for pair in t if pair in read[0]):
        raise TableError(
            f"seeds of a row must be scored on the same queries, got others in "
            f"{next(iter(seeds.values())).parent}; remove complete.json there and start again"
        )
    return {
        pair: (
            read[0][pair][0],
            {k: np.array([hits[pair][1][k] for hits in read]) for k in (5, 10)},
        )
        for pair in PAIRS
        if read and all(pair in table for table in read)
    }


def _queries(folder: Path) -> dict[tuple[str, str], tuple[np.ndarray, dict[int, list[float]]]]:
    """For each direction the patients of a run, and for each k the hits."""
    path = folder / "evaluation" / "retrieval_queries.json"
    found = {}
    with trusted(path):
        if not path.exists():
            raise ValueError
        for entry in read_rows(path):
            patients = np.array(list(map(str, entry["patient"])))
            hits = {k: list(map(float, entry[f"hit{k}"])) for k in (5, 10)}
            if any(len(values) != len(patients) for values in hits.values()):
                raise ValueError
            found[str(entry["query"]), str(entry["gallery"])] = patients, hits

    return found

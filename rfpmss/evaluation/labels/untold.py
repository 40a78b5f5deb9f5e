"""What a model keeps of the findings that one modality shows and no report tells, by few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rfpmss.config import MODALITIES
from rfpmss.data.phantom.untold import SHOWN_BY
from rfpmss.evaluation.labels.probe import linear_probe, task
from rfpmss.evaluation.retrieval.embed import embed
from rfpmss.evaluation.statistics import delong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.evaluation.retrieval.embed import Embeddings
    from rfpmss.model.rfpmss import RFPMSS

FRACTION = 0.1
"""Of the training patients, whose labels are learned from."""
DRAWS = (0, 1, 2)
"""Seeds of the choice of labels; the same for every model, so that models are paired."""


def untold(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, size: int
) -> list[dict[str, object]]:
    """Areas under ROC curves of linear probes, a row a finding and space; none without labels.

    A finding that too few patients have or lack to be learned and told has no area.

    Args:
        model: trained.
        cohort: of the second edition, or any whose labels have these names.
        tokenizer: of the training run.
        size: studies read at a time.
    """
    labelled = {name for study in cohort.studies for name, _ in study.labels}
    findings = [name for name in SHOWN_BY if name in labelled]
    if not findings:
        return []

    embeddings = embed(model, cohort, tokenizer, np.arange(len(cohort)), size)
    return [
        {"finding": name, "modality": SHOWN_BY[name], "space": space}
        | _area(cohort, name, features)
        for name in findings
        for space, features in _spaces(embeddings, SHOWN_BY[name])
    ]


def _spaces(
    embeddings: Embeddings, modality: str
) -> Iterator[tuple[str, Float[np.ndarray, "n f"]]]:
    place = MODALITIES.index(modality)
    yield "joint", embeddings.joint[:, place]
    yield "inputs", embeddings.inputs[:, place]
    yield "study", embeddings.study


def _area(cohort: Cohort, name: str, features: Float[np.ndarray, "n f"]) -> dict[str, object]:
    try:
        problems = [task(cohort, name, ("yes",), seed) for seed in DRAWS]
    except ValueError:
        return {"labels": 0, "n": 0, "positive": 0, "auc": None}

    test = problems[0].test
    positive = problems[0].positive[test]
    scores = np.stack([linear_probe(features, problem, FRACTION) for problem in problems])
    return {
        "labels": len(problems[0].subset(FRACTION)),
        **{"n": len(test), "positive": int(positive.sum())},
        "auc": float(delong(positive, scores).auc.mean()),
    }

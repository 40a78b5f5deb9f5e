"""A split of the cohort as vectors: what every zero-shot figure is computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from rfpmss.common.errors import RfpmssError
from rfpmss.config import MODALITIES, VIEWS
from rfpmss.evaluation.retrieval.ranks import cosines, unit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS

SIDES = (*MODALITIES, "study")
"""What can be query or gallery: each modality, and the study (all images of a patient)."""

PAIRS = tuple(permutations(SIDES, 2))
"""Every ordered (query, gallery)."""


@dataclass(frozen=True)
class Embeddings:
    """Features of ``n`` studies, as NumPy arrays."""

    index: Int[np.ndarray, " n"]
    """Places of the studies in the cohort."""
    patient: Shaped[np.ndarray, " n"]
    """Their patients."""
    inputs: Float[np.ndarray, "n m d"]
    """Features before the joint projection."""
    joint: Float[np.ndarray, "n m e"]
    """Features in the joint space, of unit length; zero where absent."""
    study: Float[np.ndarray, "n f"]
    """Study vectors v."""
    report: Float[np.ndarray, "n f"]
    """Report vectors t."""
    present: Bool[np.ndarray, "n m"]
    """Modalities that exist."""

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Matching:
    """One side against another: who takes part, and how similar they are."""

    rows: Int[np.ndarray, " q"]
    """Studies that have the query."""
    columns: Int[np.ndarray, " g"]
    """Studies that have the gallery item."""
    scores: Float[np.ndarray, "q g"]
    """Cosine similarities."""


class ScoreError(RfpmssError, ValueError):
    """There is nothing to score, or what a model gives is no number."""


def embed(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, indices: Int[np.ndarray, " n"], size: int
) -> Embeddings:
    """Encode studies without augmentation, ``size`` at a time.

    Raises:
        ScoreError: if there is no study, or a feature is infinite or undefined; names the studies.
    """
    if not len(indices):
        raise ScoreError("indices must name at least one study, got none")

    names = ("inputs", "joint", "study", "report", "present")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for features in _features(model, cohort, tokenizer, indices, size):
        for name, part in parts.items():
            part.append(getattr(features, name).cpu().numpy())

    patients = np.array([cohort.studies[i].patient_id for i in indices])
    joined = {name: np.concatenate(part) for name, part in parts.items()}
    refuse_undefined(joined, [cohort.studies[i].study_id for i in indices])
    return Embeddings(index=np.asarray(indices), patient=patients, **joined)


def refuse_undefined(features: Mapping[str, np.ndarray], studies: Sequence[str]) -> None:
    """Refuse vectors of a model that are no numbers: finite weights may still overflow.

    Args:
        features: by name, a row for each study.
        studies: their names.

    Raises:
        ScoreError: names the studies.
    """
    finite = np.ones(len(studies), bool)
    for values in features.values():
        finite &= np.isfinite(values.reshape(len(studies), -1)).all(axis=1)

    bad = [name for name, fine in zip(studies, finite, strict=True) if not fine]
    if bad:
        raise ScoreError(
            f"features must be finite, got infinite or undefined ones for {len(bad)} of "
            f"{len(studies)} studies: {', '.join(bad[:5])}; use the weights of an earlier "
            f"checkpoint, or train again with a lower train.lr"
        )


def match(embeddings: Embeddings, query: str, gallery: str) -> Matching:
    """Similarity of two sides, each reduced to the studies that have it.

    Single modalities meet in the joint space. Study and report meet where Eq. 7 trains them. A
    study and one of its own views meet in the joint space with the study standing for its *other*
    views, so that no image is ever compared with itself.

    Raises:
        ValueError: if a side is unknown or both are the same.
    """
    if query not in SIDES or gallery not in SIDES or query == gallery:
        raise ValueError(f"query and gallery must be two of {SIDES}, got {query} and {gallery}")

    if {query, gallery} == {"study", "report"}:
        some = embeddings.present[:, : len(VIEWS)].any(axis=1)
        told = embeddings.present[:, MODALITIES.index("report")]
        sides = {"study": (embeddings.study, some), "report": (embeddings.report, told)}
    else:
        sides = {
            side: _in_joint_space(embeddings, side, other)
            for side, other in ((query, gallery), (gallery, query))
        }

    (left, have), (right, held) = sides[query], sides[gallery]
    rows, columns = np.flatnonzero(have), np.flatnonzero(held)
    return Matching(rows, columns, cosines(left[rows], right[columns]))


def _in_joint_space(embeddings: Embeddings, side: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    if side != "study":
        place = MODALITIES.index(side)
        return embeddings.joint[:, place], embeddings.present[:, place]

    places = [i for i, view in enumerate(VIEWS) if view != other]
    present = embeddings.present[:, places]
    vectors = unit(embeddings.joint[:, places]) * present[..., None]
    return vectors.sum(axis=1), np.any(present, axis=1, keepdims=True)[:, 0]


def _features(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, indices: np.ndarray, size: int
) -> Iterator:
    device = next(model.parameters()).device
    training = model.training
    model.eval()

    try:
        with torch.no_grad():
            for start in range(0, len(indices), size):
                chosen = indices[start : start + size]
                batch = cohort.batch(chosen, tokenizer, augment=None).to(device)
                yield model.encode(batch.images, batch.present, batch.tokens, batch.shown)
    finally:
        model.train(training)

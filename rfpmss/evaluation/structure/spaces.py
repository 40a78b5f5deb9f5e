"""Structure of the spaces: maps (Fig. 5), kept neighbourhoods, findings that anchors carry."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from rfpmss.config import MODALITIES
from rfpmss.evaluation.retrieval.embed import Embeddings

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Cohort

BINS = 4
"""Groups of equal size into which a numeric label with many values is cut."""

SHUFFLES = 20
"""Permutations whose mean is what chance gives a mutual information."""


@dataclass(frozen=True)
class Map:
    """Points of all present modalities in two dimensions."""

    name: str
    xy: Float[np.ndarray, "n 2"]
    """Scaled to [0, 1] with one scale for both axes."""
    study: Int[np.ndarray, " n"]
    """Row of the embeddings of each point."""
    modality: Int[np.ndarray, " n"]
    """Place in ``MODALITIES`` of each point."""


def maps(embeddings: Embeddings, seed: int = 0) -> list[Map]:
    """The joint space by principal components, t-SNE and, where it is installed, UMAP.

    Fewer than 12 points give none.
    """
    study, modality = np.nonzero(embeddings.present)
    points = embeddings.joint[study, modality].astype(np.float64)
    if len(points) < 12:
        return []

    from sklearn.manifold import TSNE

    near = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(2, perplexity=near, init="pca", random_state=seed).fit_transform(points)
    placed = {"principal components": pca(points), "t-SNE": tsne, "UMAP": umap(points, seed)}

    return [
        Map(name, _framed(xy.astype(np.float64)), study, modality)
        for name, xy in placed.items()
        if xy is not None
    ]


def pca(points: Float[np.ndarray, "n d"], count: int = 2) -> Float[np.ndarray, "n c"]:
    """Coordinates on the first principal components; signs are arbitrary."""
    centred = points - points.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :count] * values[:count]


def umap(points: Float[np.ndarray, "n d"], seed: int = 0) -> Float[np.ndarray, "n 2"] | None:
    """Coordinates by UMAP, starting from the principal components; None if it is not installed.

    Starting from given places it needs no spectral decomposition, which fails on spaces whose
    modalities lie apart.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it misses TensorFlow, which nobody asks
        try:
            module = importlib.import_module("umap")
        except ImportError:
            return None

    near, start = min(15, len(points) - 1), pca(points).astype(np.float32)
    made = module.UMAP(n_neighbors=near, init=start, random_state=seed, n_jobs=1)
    return made.fit_transform(points)


def cka(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n e"]) -> float:
    """Linear centred kernel alignment: 1 for spaces equal up to rotation and scale.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> round(cka(x, 2 * x[:, ::-1]), 12)
        1.0
    """
    x, y = (part - part.mean(axis=0) for part in (first, second))
    shared = np.linalg.norm(x.T @ y) ** 2
    size = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(shared / size) if size > 0 else 0.0


def preservation(embeddings: Embeddings, neighbours: int = 10) -> list[dict[str, object]]:
    """How far the projection into the joint space keeps each modality's neighbourhoods.

    Trustworthiness is 1 if no study gains a near neighbour it did not have before; 0.5 is about
    what unrelated spaces give.
    """
    from sklearn.manifold import trustworthiness

    table: list[dict[str, object]] = []
    for place, name in enumerate(MODALITIES):
        rows = embeddings.present[:, place]
        count = int(rows.sum())
        near = min(neighbours, (count - 1) // 2)
        if near < 1:
            continue
        before, after = (
            part[rows, place].astype(np.float64) for part in (embeddings.inputs, embeddings.joint)
        )
        shuffled = np.random.default_rng(0).permutation(count)
        table.append(
            {
                **{"modality": name, "n": count, "neighbours": near},
                "trustworthiness": float(trustworthiness(before, after, n_neighbors=near)),
                "trustworthiness_shuffled": float(
                    trustworthiness(before, after[shuffled], n_neighbors=near)
                ),
                "cka": cka(before, after),
                "cka_shuffled": cka(before, after[shuffled]),
            }
        )

    return table


def labels(cohort: Cohort, indices: Int[np.ndarray, " n"]) -> dict[str, list[str]]:
    """Labels that all these studies have and that differ, numbers with many values in bins."""
    studies = [cohort.studies[i] for i in indices]
    names = [name for name, _ in studies[0].labels] if studies else []
    found = {}
    for name in names:
        values = [study.label(name) for study in studies]
        if any(value is None for value in values) or len(set(values)) < 2:
            continue
        found[name] = _binned([str(value) for value in values])

    return found


def carried(
    assigned: Bool[np.ndarray, "n k"], values: dict[str, list[str]], seed: int = 0
) -> list[dict[str, object]]:
    """Mutual information, in bits, of each anchor's assignment with each label.

    ``excess`` is what exceeds the mean over shuffled labels: a finite sample of unrelated pairs
    has a positive mutual information too.
    """
    draw, table = np.random.default_rng(seed), []
    for name, column in values.items():
        _, codes = np.unique(column, return_inverse=True)
        chance = np.mean(
            [_information(assigned, draw.permutation(codes)) for _ in range(SHUFFLES)], axis=0
        )
        found = _information(assigned, codes)
        entropy = _entropy(np.bincount(codes) / len(codes))
        table.append(
            {
                **{"label": name, "entropy": entropy, "information": found.tolist()},
                "excess": np.maximum(found - chance, 0.0).tolist(),
            }
        )

    return table


def _information(
    assigned: Bool[np.ndarray, "n k"], codes: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " k"]:
    kinds = np.eye(codes.max() + 1)[codes]
    taken = assigned.astype(float)
    joint = np.stack([kinds.T @ taken, kinds.T @ (1 - taken)]) / len(codes)
    marginal = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / marginal), 0.0)

    return terms.sum(axis=(0, 1))


def _entropy(shares: Float[np.ndarray, " c"]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _binned(values: list[str]) -> list[str]:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return values

    if len(np.unique(numbers)) <= 2 * BINS:
        return values

    edges = np.quantile(numbers, np.arange(1, BINS) / BINS)
    return [f"quarter {int(part) + 1}" for part in np.searchsorted(edges, numbers, side="right")]


def _framed(xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    low = xy.min(axis=0)
    size = float((xy.max(axis=0) - low).max())
    return (xy - low) / (size if size > 0 else 1.0)

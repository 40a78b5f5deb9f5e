"""Zero-shot retrieval: where the right patient stands, ties counted exactly, chance beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

DIGITS = 6
"""Similarities are compared after rounding to this many decimals: single-precision noise is far
below, so equal reports tie instead of being ordered by rounding errors."""


@dataclass(frozen=True)
class Ranks:
    """Where each query's best right answer stands in its gallery.

    Equal scores are resolved as the expectation over all orders of the tied items, in closed form:
    with ``ahead`` items scored higher and ``right`` right answers among ``tied`` equal ones, the
    first right answer is beyond position ``ahead + p`` with probability C(tied-right, p) /
    C(tied, p).
    """

    query: Int[np.ndarray, " q"]
    """Rows of the similarity matrix that are queries with a right answer in the gallery."""
    ahead: Int[np.ndarray, " q"]
    """Items scored above the best right answer."""
    tied: Int[np.ndarray, " q"]
    """Items with its score, itself included."""
    right: Int[np.ndarray, " q"]
    """Right answers among the tied items."""
    relevant: Int[np.ndarray, " q"]
    """Right answers in the whole gallery."""
    gallery: int
    """Items in the gallery."""

    def hits(self, k: int) -> Float[np.ndarray, " q"]:
        """Probability that a right answer is among the first ``k``; their mean is R@k.

        Example:
            >>> rank(np.ones((4, 4)), np.arange(4), np.arange(4)).hits(1).tolist()
            [0.25, 0.25, 0.25, 0.25]
        """
        return 1.0 - _all_wrong(k - self.ahead, self.right, self.tied)

    def positions(self) -> Float[np.ndarray, " q"]:
        """Expected rank of the first right answer, from 1."""
        return self.ahead + (self.tied + 1.0) / (self.right + 1.0)

    def chance(self, k: int) -> Float[np.ndarray, " q"]:
        """What ``hits`` gives for a gallery in random order."""
        everything = np.full_like(self.relevant, self.gallery)
        return 1.0 - _all_wrong(np.full_like(self.relevant, k), self.relevant, everything)


def rank(
    scores: Float[np.ndarray, "n g"],
    queries: Shaped[np.ndarray, " n"],
    gallery: Shaped[np.ndarray, " g"],
) -> Ranks:
    """Rank a gallery for every query; an answer is right if it is of the query's patient.

    Args:
        scores: similarity of query and gallery item, higher is better; finite.
        queries: patient of each query.
        gallery: patient of each gallery item. Queries without a right answer are left out.

    Raises:
        ValueError: if a score is not finite or the lengths do not fit.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.8, 0.2]])
        >>> rank(scores, np.array(["a", "b"]), np.array(["a", "b"])).positions().tolist()
        [1.0, 2.0]
    """
    if scores.shape != (len(queries), len(gallery)):
        raise ValueError(
            f"scores must have a row per query and a column per gallery item, got {scores.shape} "
            f"for {len(queries)} and {len(gallery)}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, got infinite or undefined ones")

    correct = queries[:, None] == gallery[None, :]
    query = np.flatnonzero(correct.any(axis=1))
    scores, correct = scores[query].round(DIGITS), correct[query]
    best = np.where(correct, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    equal = scores == best

    return Ranks(
        query=query,
        ahead=(scores > best).sum(axis=1),
        tied=equal.sum(axis=1),
        right=(equal & correct).sum(axis=1),
        relevant=correct.sum(axis=1),
        gallery=len(gallery),
    )


def cosines(
    queries: Float[np.ndarray, "n e"], gallery: Float[np.ndarray, "g e"]
) -> Float[np.ndarray, "n g"]:
    """Cosine similarities in double precision; a zero vector has similarity zero to all.

    Example:
        >>> cosines(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0]]
    """
    return unit(queries) @ unit(gallery).T


def unit(vectors: Float[np.ndarray, "*n e"]) -> Float[np.ndarray, "*n e"]:
    """Vectors of length one, in double precision; zero stays zero."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _all_wrong(
    drawn: Int[np.ndarray, " q"], right: Int[np.ndarray, " q"], items: Int[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """Probability that ``drawn`` of ``items`` without replacement hold none of the ``right``."""
    drawn = np.clip(drawn, 0, items)
    result = np.ones(len(items))
    for i in range(int(right.max(initial=0))):
        left = np.maximum(items - drawn - i, 0) / np.maximum(items - i, 1)
        result *= np.where(i < right, left, 1.0)

    return result

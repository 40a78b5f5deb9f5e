"""Every ordered pair of modalities and study as a row of Tables 1 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from rfpmss.config import MODALITIES, VIEWS
from rfpmss.data.phantom.latents import visible
from rfpmss.data.phantom.narrative import seen
from rfpmss.evaluation.retrieval.ceiling import Findings, agreement
from rfpmss.evaluation.retrieval.embed import PAIRS, Embeddings, match
from rfpmss.evaluation.retrieval.ranks import Ranks, rank
from rfpmss.evaluation.statistics import interval

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Cohort

Outlines = Mapping[tuple[str, str], Sequence[Float[np.ndarray, "n n"]]]
"""Similarities by outlines alone, by query and gallery."""

DEPTHS = (1, 5, 10)
"""The k of R@k."""

CONTRACT = (
    *("query", "gallery", "n", "r1", "r5", "r10", "medr", "meanr", "chance_r5", "ceiling_r5"),
)
"""Fields of ``retrieval.json``."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One retrieval direction; recalls are fractions, ranks count from 1."""

    query: str
    """What is asked with."""
    gallery: str
    """What is searched."""
    n: int
    """Queries: studies that have both sides."""
    items: int
    """Gallery items: all studies that have the gallery side."""
    r1: float
    r5: float
    r10: float
    medr: float
    """Median over queries of the expected rank."""
    meanr: float
    """Mean rank."""
    r1_low: float
    r1_high: float
    r5_low: float
    r5_high: float
    r10_low: float
    r10_high: float
    chance_r1: float
    chance_r5: float
    chance_r10: float
    chance_meanr: float
    ceiling_r1: float | None
    """None where no latent findings are known."""
    ceiling_r5: float | None
    ceiling_r10: float | None
    ceiling_medr: float | None
    ceiling_meanr: float | None
    outline_r1: float | None = None
    """What the outline of the head alone reaches, the better of both ways of `outline.controls`;
    None but between CT and MRI."""
    outline_r5: float | None = None
    outline_r10: float | None = None

    def contract(self) -> dict[str, object]:
        """The fields of ``retrieval.json``."""
        full = asdict(self)
        return {name: full[name] for name in CONTRACT}


def rows(
    embeddings: Embeddings,
    findings: Sequence[dict[str, Findings]] | None = None,
    outlines: Outlines | None = None,
) -> list[Row]:
    """Score every pair that at least one study has.

    Args:
        embeddings: one split.
        findings: for each study, what each modality shows; None where that is not known.
        outlines: of `outline.controls`, for the same studies.
    """
    scored = [
        _row(embeddings, query, gallery, findings, (outlines or {}).get((query, gallery), ()))
        for query, gallery in PAIRS
    ]
    return [row for row in scored if row is not None]


def queries(embeddings: Embeddings) -> list[dict[str, object]]:
    """The expected rank and the hits of every single query, for tests between runs."""
    table: list[dict[str, object]] = []
    for query, gallery in PAIRS:
        matching = match(embeddings, query, gallery)
        asked, offered = embeddings.patient[matching.rows], embeddings.patient[matching.columns]
        ranks = rank(matching.scores, asked, offered)
        if len(ranks.query):
            table.append(
                {
                    **{"query": query, "gallery": gallery},
                    "patient": asked[ranks.query].tolist(),
                    "rank": ranks.positions().tolist(),
                    **{f"hit{k}": ranks.hits(k).tolist() for k in DEPTHS},
                }
            )

    return table


def findings_of(cohort: Cohort, indices: Int[np.ndarray, " n"]) -> list[dict[str, Findings]] | None:
    """What each modality of each study shows; None if any study has no latent record."""
    found = []
    for index in map(int, indices):
        truth, stated = cohort.truth(index), cohort.stated(index)
        if truth is None:
            return None
        found.append(
            {
                name: dict(visible(truth, name)) if stated is None else seen(truth, stated, name)
                for name in MODALITIES
            }
        )

    return found


def _row(
    embeddings: Embeddings,
    query: str,
    gallery: str,
    findings: Sequence[dict[str, Findings]] | None,
    outlines: Sequence[Float[np.ndarray, "n n"]],
) -> Row | None:
    matching = match(embeddings, query, gallery)
    asked, offered = embeddings.patient[matching.rows], embeddings.patient[matching.columns]
    ranks = rank(matching.scores, asked, offered)
    if not len(ranks.query):
        return None

    patients = asked[ranks.query]
    figures: dict[str, float | None] = {}
    for k in DEPTHS:
        hits = ranks.hits(k)
        figures[f"r{k}"] = float(hits.mean())
        figures[f"r{k}_low"], figures[f"r{k}_high"] = interval(hits, patients)
        figures[f"chance_r{k}"] = float(ranks.chance(k).mean())

    best = None
    if findings is not None:
        left = [_shown(findings[i], embeddings.present[i], query, gallery) for i in matching.rows]
        right = [
            _shown(findings[i], embeddings.present[i], gallery, query) for i in matching.columns
        ]
        best = rank(agreement(left, right), asked, offered)

    if outlines:
        places = np.ix_(matching.rows, matching.columns)
        plain = [rank(scores[places], asked, offered) for scores in outlines]
        figures |= {
            f"outline_r{k}": max(float(one.hits(k).mean()) for one in plain) for k in DEPTHS
        }

    figures["medr"] = float(np.median(ranks.positions()))
    figures["meanr"] = float(ranks.positions().mean())
    figures["chance_meanr"] = float(((ranks.gallery + 1) / (ranks.relevant + 1)).mean())
    names = {"query": query, "gallery": gallery, "n": len(ranks.query), "items": ranks.gallery}

    return Row(**names, **figures, **_ceiling(best))  # type: ignore[arg-type]


def _ceiling(best: Ranks | None) -> dict[str, float | None]:
    recalls = {f"ceiling_r{k}": best and float(best.hits(k).mean()) for k in DEPTHS}
    positions = None if best is None else best.positions()
    return recalls | {
        "ceiling_medr": None if positions is None else float(np.median(positions)),
        "ceiling_meanr": None if positions is None else float(positions.mean()),
    }


def _shown(findings: dict[str, Findings], present: np.ndarray, side: str, other: str) -> Findings:
    """Findings that a side shows; the study shows what its views (but not ``other``) show."""
    if side != "study":
        return findings[side]

    shown: dict[str, object] = {}
    for place, view in enumerate(VIEWS):
        if view != other and present[place]:
            shown |= findings[view]

    return shown

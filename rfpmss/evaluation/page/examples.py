"""What the page shows of single patients: retrieved studies and generated reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from rfpmss.data.batches.tokens import decode
from rfpmss.evaluation.page.pictures import Picture, pictures
from rfpmss.evaluation.retrieval.embed import Embeddings, match
from rfpmss.evaluation.retrieval.ranks import rank
from rfpmss.evaluation.statistics import interval
from rfpmss.evaluation.writing.findings import agree, read_findings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS

PERCENTILES = (10, 50, 75, 95)
"""Examples are the queries at these percentiles of rank: typical ones, good and bad."""

SHOWN = 5
"""Studies shown per query."""


Kind = Literal["missed", "contradicted", "added", "agrees", "unsaid"]
"""What a text makes of a finding, the gravest first; unsaid: of a finding that is not there."""

ABSENT = ("no", "none")
"""Values by which a report says that a finding is not there."""


@dataclass(frozen=True)
class Compared:
    """One finding of a text against the same finding of a reference text."""

    name: str
    told: str
    """Empty where the text does not state it."""
    true: str
    """Empty where the reference does not state it."""
    kind: Kind

    @property
    def right(self) -> bool:
        """Both texts state it, and agree."""
        return self.kind == "agrees"


@dataclass(frozen=True)
class Hit:
    """A retrieved study."""

    place: int
    """Its place in the ranking, from 1."""
    study_id: str
    right: bool
    """It is of the query's patient."""
    similarity: float
    pictures: list[Picture]
    report: str
    compared: list[Compared]
    """Findings of its report against those of the query."""


@dataclass(frozen=True)
class Example:
    """A query report and what it found."""

    study_id: str
    report: str
    percentile: int
    rank: float
    gallery: int
    hits: list[Hit]


@dataclass(frozen=True)
class Written:
    """A generated report beside the original."""

    study_id: str
    pictures: list[Picture]
    original: str
    generated: str
    compared: list[Compared]


def compare(told: str, true: str) -> list[Compared]:
    """Every finding of a generated text or of the original, the gravest error first.

    Example:
        >>> made = compare("Right mass. No necrosis.", "Left mass. Necrosis. Calcified foci.")
        >>> [(item.name, item.kind) for item in made]
        [('calcification', 'missed'), ('side', 'contradicted'), ('necrosis', 'contradicted')]
    """
    left, right = read_findings(told), read_findings(true)
    found = [
        Compared(name, left.get(name, ""), right.get(name, ""), _kind(name, left, right))
        for name in {**right, **left}
    ]
    return sorted(found, key=lambda item: get_args(Kind).index(item.kind))


def shared(told: str, true: str) -> list[Compared]:
    """Findings that both texts state, in the order of the second."""
    left, right = read_findings(told), read_findings(true)
    return [
        Compared(name, left[name], value, _kind(name, left, right))
        for name, value in right.items()
        if name in left
    ]


def _kind(name: str, told: Mapping[str, str], true: Mapping[str, str]) -> Kind:
    if name not in told:
        return "unsaid" if true[name] in ABSENT else "missed"
    if name not in true:
        return "unsaid" if told[name] in ABSENT else "added"
    return "agrees" if agree(name, told[name], true[name]) else "contradicted"


def retrieved(cohort: Cohort, tokenizer: Tokenizer, embeddings: Embeddings) -> list[Example]:
    """Query reports at fixed percentiles of rank, each with its best studies and the right one."""
    matching = match(embeddings, "report", "study")
    queries, gallery = embeddings.patient[matching.rows], embeddings.patient[matching.columns]
    ranks = rank(matching.scores, queries, gallery)
    if not len(ranks.query):
        return []

    positions = ranks.positions()
    order = np.argsort(positions, kind="stable")
    found = []
    for percentile in PERCENTILES:
        chosen = int(order[round(percentile / 100 * (len(order) - 1))])
        row = int(ranks.query[chosen])
        query = cohort.studies[embeddings.index[matching.rows[row]]]
        scores = matching.scores[row]
        best = np.argsort(-scores, kind="stable")
        right = gallery[best] == queries[row]
        places = list(range(min(SHOWN, len(best))))
        if not right[places].any():
            places.append(int(np.flatnonzero(right)[0]))
        index = embeddings.index[matching.columns[best[places]]]
        batch = cohort.batch(index, tokenizer, augment=None)
        hits = []
        for i, place in enumerate(places):
            study = cohort.studies[index[i]]
            hits.append(
                Hit(
                    place=place + 1,
                    study_id=study.study_id,
                    right=bool(right[place]),
                    similarity=float(scores[best[place]]),
                    pictures=pictures(batch, i),
                    report=study.report or "",
                    compared=shared(study.report or "", query.report or ""),
                )
            )

        rank_of = float(positions[chosen])
        found.append(
            Example(query.study_id, query.report or "", percentile, rank_of, len(gallery), hits)
        )

    return found


def write_reports(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    indices: np.ndarray,
    size: int,
    *,
    width: int = 1,
) -> list[str]:
    """A generated report for every study, from its images alone; greedy, or by beam search."""
    device = next(model.parameters()).device
    texts = []
    for start in range(0, len(indices), size):
        batch = cohort.batch(indices[start : start + size], tokenizer, augment=None).to(device)
        length = cohort.config.tokens
        written = model.generate(
            batch.images, batch.present, length, width=width, shown=batch.shown
        )
        texts += [decode(tokenizer, row) for row in written.cpu()]

    return texts


def written(
    cohort: Cohort, tokenizer: Tokenizer, indices: np.ndarray, texts: Sequence[str], count: int = 6
) -> list[Written]:
    """The first studies that have a report, with what was generated for them."""
    told = [i for i, index in enumerate(indices) if cohort.studies[index].report][:count]
    if not told:
        return []

    batch = cohort.batch(indices[told], tokenizer, augment=None)
    found = []
    for row, i in enumerate(told):
        study = cohort.studies[indices[i]]
        original = study.report or ""
        found.append(
            Written(
                study_id=study.study_id,
                pictures=pictures(batch, row),
                original=original,
                generated=texts[i],
                compared=compare(texts[i], original),
            )
        )

    return found


def finding_accuracy(
    texts: Sequence[str], originals: Sequence[str], patients: Sequence[str] | None = None
) -> list[dict[str, object]]:
    """How often a generated report states each finding rightly, with a 95 % bootstrap interval.

    Whole patients are drawn with replacement; without ``patients`` every report is of its own.

    ``n`` originals state the finding, ``told`` of the generated ones too, ``missed`` of them do
    not, ``contradicted`` state another value; ``right`` is the share of ``n`` that is stated and
    right; ``majority`` is what always saying the commonest value gives.
    """
    names: dict[str, None] = {}
    pairs = [
        (read_findings(text), read_findings(original))
        for text, original in zip(texts, originals, strict=True)
    ]
    for _, true in pairs:
        names |= dict.fromkeys(true)

    table = []
    for name in names:
        rows = [place for place, (_, true) in enumerate(pairs) if name in true]
        stated = [(pairs[place][0], pairs[place][1][name]) for place in rows]
        hits = np.array(
            [name in told and agree(name, told[name], value) for told, value in stated], float
        )
        low, high = interval(hits, np.array([patients[row] if patients else row for row in rows]))
        values = Counter(value for _, value in stated)
        majority = max(sum(agree(name, v, value) for _, value in stated) for v in values)
        table.append(
            {
                "finding": name,
                "n": len(stated),
                "told": (said := sum(name in told for told, _ in stated)),
                **{"missed": len(stated) - said, "contradicted": said - int(hits.sum())},
                **{"right": float(hits.mean()), "low": low, "high": high},
                "majority": majority / len(stated),
            }
        )

    return table

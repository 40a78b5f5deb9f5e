"""Which anchors the features of a modality are assigned to, and how far two assignments agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from rfpmss.config import MODALITIES, AssignmentConfig
from rfpmss.evaluation.retrieval.embed import Embeddings
from rfpmss.loss.consistency import assign

if TYPE_CHECKING:
    from rfpmss.model.rfpmss import RFPMSS


@dataclass(frozen=True)
class Sample:
    """One feature: a modality of a study."""

    study: int
    """Row of the embeddings."""
    modality: str


@dataclass(frozen=True)
class Comparison:
    """Two samples on the same joint-space anchors (Fig. 7)."""

    title: str
    anchors: str
    """Modality whose anchors are shown."""
    samples: tuple[Sample, Sample]
    assigned: Bool[np.ndarray, "2 k"]

    @property
    def shared(self) -> int:
        """Anchors that both samples take."""
        return int(self.assigned.all(axis=0).sum())

    @property
    def differing(self) -> int:
        """Anchors that exactly one of them takes."""
        return int((self.assigned[0] != self.assigned[1]).sum())


def assignments(
    model: RFPMSS, embeddings: Embeddings, config: AssignmentConfig
) -> Bool[np.ndarray, "n a m k"]:
    """The ``config.k`` anchors of modality m that the joint feature of modality a takes.

    The assignment is solved over the studies given, as in training, and read out as the k largest
    entries of each row. Absent modalities take none.
    """
    device = next(model.parameters()).device
    present = torch.from_numpy(embeddings.present)
    with torch.no_grad():
        inputs, joint = (
            torch.from_numpy(part).to(device) for part in (embeddings.inputs, embeddings.joint)
        )
        cross = model.anchors(inputs, joint).cross.cpu()
        count, anchors = cross.shape[2], cross.shape[3]
        scores = cross.permute(1, 2, 0, 3).reshape(-1, len(present), anchors)
        rows = present.T.repeat_interleave(count, dim=0)
        plan = assign(scores.double(), rows, config)

    chosen = torch.zeros_like(plan, dtype=torch.bool)
    chosen.scatter_(-1, plan.topk(config.k, dim=-1).indices, value=True)
    chosen &= rows[..., None]
    return chosen.reshape(count, count, len(present), anchors).permute(2, 0, 1, 3).numpy()


def overlap(
    assigned: Bool[np.ndarray, "n a m k"], present: Bool[np.ndarray, "n a"], k: int
) -> list[dict[str, object]]:
    """Share of anchors in common for each pair of modalities: same patient, others, chance.

    Both features stand on the second modality's anchors. Chance is k / K, what two independent
    assignments of k out of K have in common on average.
    """
    table = []
    for a, first in enumerate(MODALITIES):
        for b, second in enumerate(MODALITIES):
            both = present[:, a] & present[:, b]
            if a == b or both.sum() < 2:
                continue
            left = assigned[both, a, b].astype(float)
            right = assigned[both, b, b].astype(float)
            common = left @ right.T / k
            count = len(common)
            same = float(np.trace(common)) / count
            table.append(
                {
                    "first": first,
                    "second": second,
                    "n": count,
                    "same": same,
                    "others": float(common.sum() - np.trace(common)) / (count * (count - 1)),
                    "chance": k / assigned.shape[-1],
                }
            )

    return table


def comparisons(embeddings: Embeddings, assigned: Bool[np.ndarray, "n a m k"]) -> list[Comparison]:
    """Pairs worth looking at: one patient across modalities, the nearest and farthest patient."""
    found = []
    for first, second in (("ct", "mri"), ("mri", "report"), ("pathology", "report")):
        rows = np.flatnonzero(_present(embeddings, first) & _present(embeddings, second))
        if len(rows):
            one = int(rows[0])
            pair = (Sample(one, first), Sample(one, second))
            found.append(_compare(f"One patient: {first} and {second}", second, pair, assigned))

    for modality in ("mri", "ct"):
        rows = np.flatnonzero(_present(embeddings, modality))
        if len(rows) < 3:
            continue
        joint = embeddings.joint[rows, MODALITIES.index(modality)]
        near, far = _extremes(joint @ joint[0])
        for word, other in (("nearest", near), ("farthest", far)):
            pair = (Sample(int(rows[0]), modality), Sample(int(rows[other]), modality))
            title = f"Two patients: {modality} and its {word} {modality}"
            found.append(_compare(title, modality, pair, assigned))
        break

    return found


def _compare(
    title: str, anchors: str, pair: tuple[Sample, Sample], assigned: np.ndarray
) -> Comparison:
    place = MODALITIES.index(anchors)
    rows = [assigned[sample.study, MODALITIES.index(sample.modality), place] for sample in pair]
    return Comparison(title, anchors, pair, np.stack(rows))


def _present(embeddings: Embeddings, modality: str) -> Bool[np.ndarray, " n"]:
    return embeddings.present[:, MODALITIES.index(modality)]


def _extremes(similarity: Float[np.ndarray, " n"]) -> tuple[int, int]:
    others = similarity[1:]
    return int(others.argmax()) + 1, int(others.argmin()) + 1

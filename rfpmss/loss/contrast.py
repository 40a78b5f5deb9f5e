"""Eq. 7: study against report; Eq. 8 and 9: modality against modality."""

from __future__ import annotations

from itertools import combinations

from jaxtyping import Bool, Float
from torch import Tensor

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.precision import precise
from rfpmss.config import MODALITIES, LossConfig
from rfpmss.loss.masked import match

PAPER_PAIRS = (("ct", "mri"), ("mri", "pathology"), ("mri", "report"), ("pathology", "report"))
"""The pairs of Eq. 9, which leaves out CT-report and CT-pathology."""

BACKWARD = 0.25
"""Share of the report-to-study direction when Eq. 7 is taken in both directions."""


def contrast(
    readings: Float[Tensor, "b r f"],
    report: Float[Tensor, "b f"],
    pairs: Bool[Tensor, "b r"],
    config: LossConfig,
    peers: Peers = ALONE,
) -> Float[Tensor, ""]:
    """Eq. 7 over the pairs that exist, averaged over the readings of a study.

    Args:
        readings: the study vector, or without fusion one vector per view.
        report: report vectors.
        pairs: readings that exist of studies that have a report.
        config: temperature, and whether both directions count.
        peers: ranks that hold the other studies of the batch.
    """
    total = precise(report.new_zeros(()))
    for i in range(readings.shape[1]):
        forward, backward = match(readings[:, i], report, pairs[:, i], config.temperature, peers)
        if config.symmetric:
            forward = (1 - BACKWARD) * forward + BACKWARD * backward
        total = total + forward

    return total / readings.shape[1]


def nce(
    joint: Float[Tensor, "b m e"],
    present: Bool[Tensor, "b m"],
    config: LossConfig,
    peers: Peers = ALONE,
) -> Float[Tensor, ""]:
    """Eq. 9: the weighted sum over modality pairs of Eq. 8, averaged over both directions.

    Eq. 8 is InfoNCE (van den Oord, Li and Vinyals 2018), the paper's reference 44.

    A study enters a pair only when it has both modalities.
    """
    total = precise(joint.new_zeros(()))
    for x, y in PAPER_PAIRS if config.pairs == "paper" else combinations(MODALITIES, 2):
        i, j = MODALITIES.index(x), MODALITIES.index(y)
        both = present[:, i] & present[:, j]
        # Eq. 8 in both directions, then its weight lambda in Eq. 9.
        forward, backward = match(joint[:, i], joint[:, j], both, config.kappa, peers)
        weight = config.report_weight if "report" in (x, y) else config.other_weight
        total = total + weight * (forward + backward) / 2

    return total

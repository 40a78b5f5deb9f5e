"""The spine: one batch to its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfpmss.bank import Bank
from rfpmss.config import Config
from rfpmss.loss.consistency import consistency, targets
from rfpmss.loss.contrast import contrast, nce
from rfpmss.loss.language import language
from rfpmss.loss.total import Losses
from rfpmss.model.rfpmss import REPORT, RFPMSS

if TYPE_CHECKING:
    from rfpmss.data.batch import Batch


def step(model: RFPMSS, bank: Bank, batch: Batch, config: Config) -> Losses:
    """Forward a batch, assign it together with the bank, compare; the bank then moves on."""
    features = model(batch.images, batch.present, batch.tokens)
    size, present = len(features.present), features.present
    pairs = features.readable & present[:, REPORT, None]

    pool = bank.join(features)
    scores = model.anchors(features.inputs, features.joint)
    past = model.anchors(pool.inputs, pool.joint)
    own, cross = targets(past.own, past.cross, pool.present, config.assignment, config.loss)
    losses = Losses(
        language=language(features.logits, batch.tokens, pairs),
        contrast=contrast(features.readings, features.report, pairs, config.loss),
        nce=nce(features.joint, present, config.loss),
        consistency=consistency(
            scores.own, scores.cross, own[-size:], cross[-size:], present, config.loss
        ),
    )
    bank.push(features)
    return losses

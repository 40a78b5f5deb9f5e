"""The spine: one batch to its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import Config
from rfpmss.loss.consistency import bounds, consistency, reconstruction, spread, targets
from rfpmss.loss.contrast import contrast, nce
from rfpmss.loss.language import per_word
from rfpmss.loss.total import Losses
from rfpmss.model.features import Features
from rfpmss.model.rfpmss import REPORT, RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.reading import read

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch


def step(model: RFPMSS, bank: Bank, batch: Batch, config: Config, peers: Peers = ALONE) -> Losses:
    """Forward a batch, assign it together with the bank, compare; the bank then moves on.

    With peers the batch is this rank's part of the global batch, and the losses this rank's share:
    their mean over ranks is the loss.
    """
    parts, total, words = read(model, batch, config)
    features = model.compared(parts, peers)
    pairs = features.readable & features.present[:, REPORT, None]
    losses = Losses(
        language=per_word(total, words, peers),
        contrast=contrast(features.readings, features.report, pairs, config.loss, peers),
        nce=nce(features.joint, features.present, config.loss, peers),
        **_structure(model, bank, features, config, peers),
    )
    bank.push(features, peers)

    return losses


def _structure(
    model: RFPMSS, bank: Bank, features: Features, config: Config, peers: Peers
) -> dict[str, Float[Tensor, ""]]:
    """Eq. 6: predict from the batch's scores what is assigned to batch and bank together.

    ``trivial`` and ``floor`` are the losses of the best constant and of the best value for each
    entry (`bounds`).
    """
    inputs, present, size = features.inputs, features.present, len(features.present)
    if config.loss.structure == "reconstruction":
        trivial, floor = spread(inputs, present, peers)
        error = reconstruction(inputs, features.rebuilt, present, peers)
        return {"consistency": error, "trivial": trivial, "floor": floor}

    pool = bank.join(features, config.assignment.start, peers)
    known = model.anchors(pool.inputs, pool.joint)
    own, cross = targets(
        known.own, known.cross, pool.present, config.assignment, config.loss, peers
    )

    if config.loss.stop_gradient:
        inputs = inputs.detach()

    scores = model.anchors(inputs, features.joint)
    wanted = own[-size:], cross[-size:], present, config.loss, peers
    trivial, floor = bounds(*wanted)
    found = {
        "consistency": consistency(scores.own, scores.cross, *wanted),
        "trivial": trivial,
        "floor": floor,
    }
    if config.assignment.start != "wait":
        return found

    return {name: value * pool.ready for name, value in found.items()}

"""The losses on the split ``val``, by which the best checkpoint is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rfpmss.model.stages import train_mode
from rfpmss.training.bank import Bank
from rfpmss.training.parallel import Spine

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort


@torch.no_grad()
def validate(spine: Spine, cohort: Cohort, tokenizer: Tokenizer) -> float | None:
    """``train.best`` on the split ``val``, averaged over its studies; None where there are none.

    Centre crops, no dropout, and no bank: the result depends on weights and studies alone, and
    nothing that training uses is touched. All ranks call it; up to ranks - 1 studies are left out.
    """
    model, config, peers = spine.model, spine.config, spine.peers
    studies = cohort.indices("val")
    studies = studies[: len(studies) - len(studies) % peers.size]
    if not len(studies):
        return None

    pointer, kind = spine.bank.pointer, spine.bank.inputs.dtype
    bank = spine.bank
    spine.bank = Bank(0, config.model).to(pointer.device, kind)
    model.eval()
    size = config.train.batch - config.train.batch % peers.size
    found = []
    for first in range(0, len(studies), size):
        part = studies[first : first + size]
        share = len(part) // peers.size
        own = part[peers.rank * share : (peers.rank + 1) * share]
        total, losses = spine(cohort.batch(own, tokenizer, augment=None).to(pointer.device))
        value = total if config.train.best == "loss" else getattr(losses, config.train.best)
        found.append(peers.mean(value.double()) * len(part))

    spine.bank = bank
    train_mode(model)
    return (torch.stack(found).sum() / len(studies)).item()

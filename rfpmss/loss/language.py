"""Eq. 4: the likelihood of the report under the report decoder."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.precision import precise
from rfpmss.config import PAD


def language(
    logits: Float[Tensor, "b r u vocabulary"],
    tokens: Int64[Tensor, "b t"],
    pairs: Bool[Tensor, "b r"],
    peers: Peers = ALONE,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood per word (Eq. 4 with its sign, averaged instead of summed).

    Args:
        logits: scores of the word after tokens 0 .. t-2, for each reading of the study.
        tokens: the reports; padding is never a target.
        pairs: readings that exist of studies that have a report; the others do not count.
        peers: ranks that hold the other studies of the batch.

    Returns:
        A scalar; zero when nothing counts.
    """
    target = tokens[:, None, 1:].masked_fill(~pairs[..., None], PAD)
    total = F.cross_entropy(
        rearrange(precise(logits), "b r t w -> (b r t) w"),
        rearrange(target, "b r t -> (b r t)"),
        ignore_index=PAD,
        reduction="sum",
    )
    return per_word(total, (target != PAD).sum(), peers)


def per_word(
    total: Float[Tensor, ""], words: Int64[Tensor, ""], peers: Peers = ALONE
) -> Float[Tensor, ""]:
    """This rank's share of the mean over the words of all ranks."""
    return total * peers.size / peers.total(words).clamp(min=1)

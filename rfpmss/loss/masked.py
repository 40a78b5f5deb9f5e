"""Means and cross-entropies over the entries that exist; exact zeros where none does.

With peers every rank holds its rows and computes its share: the mean of the shares over ranks is
the value for all rows together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.precision import precise


def masked_mean(
    x: Float[Tensor, "n ..."], mask: Bool[Tensor, "n ..."], peers: Peers = ALONE
) -> Float[Tensor, "*s"]:
    """Mean over the rows that ``mask`` keeps; zero, with a gradient of zero, where it keeps none.

    Example:
        >>> masked_mean(torch.tensor([1.0, 5.0]), torch.tensor([True, False])).item()
        1.0
    """
    kept = x.masked_fill(~mask, 0.0).sum(dim=0)
    return kept * peers.size / peers.total(mask.sum(dim=0)).clamp(min=1)


def match(
    rows: Float[Tensor, "b d"],
    columns: Float[Tensor, "b d"],
    exist: Bool[Tensor, " b"],
    temperature: float,
    peers: Peers = ALONE,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of finding each row's own column by cosine, and each column's own row.

    Only pairs in ``exist`` take part, as queries and as candidates.
    """
    rows, columns = (F.normalize(precise(x), dim=-1) for x in (rows, columns))
    absent, first = ~peers.gather(exist), peers.rank * len(rows)
    results = []
    for queries, gallery in ((rows, columns), (columns, rows)):
        logits = queries @ peers.gather(gallery).T / temperature
        own = logits.diagonal(offset=first)  # before masking: rows that do not exist stay finite
        # Eq. 7 and 8: -log of own / sum over candidates, candidates that do not exist left out.
        logits = logits.masked_fill(absent, torch.finfo(logits.dtype).min)
        results.append(masked_mean(logits.logsumexp(dim=1) - own, exist, peers))

    return results[0], results[1]

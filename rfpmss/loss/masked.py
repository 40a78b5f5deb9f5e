"""Means and cross-entropies over the entries that exist; exact zeros where none does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rfpmss.precision import precise


def masked_mean(x: Float[Tensor, "n ..."], mask: Bool[Tensor, "n ..."]) -> Float[Tensor, "*s"]:
    """Mean over the rows that ``mask`` keeps; zero, with a gradient of zero, where it keeps none.

    Example:
        >>> masked_mean(torch.tensor([1.0, 5.0]), torch.tensor([True, False])).item()
        1.0
    """
    kept = x.masked_fill(~mask, 0.0).sum(dim=0)
    return kept / mask.sum(dim=0).clamp(min=1)


def match(
    rows: Float[Tensor, "b d"],
    columns: Float[Tensor, "b d"],
    exist: Bool[Tensor, " b"],
    temperature: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of finding each row's own column by cosine, and each column's own row.

    Only pairs in ``exist`` take part, as queries and as candidates.
    """
    rows, columns = (F.normalize(precise(x), dim=-1) for x in (rows, columns))
    logits = rows @ columns.T / temperature
    lowest = torch.finfo(logits.dtype).min
    own = logits.diagonal()
    forward = logits.masked_fill(~exist[None, :], lowest).logsumexp(dim=1) - own
    backward = logits.masked_fill(~exist[:, None], lowest).logsumexp(dim=0) - own
    return masked_mean(forward, exist), masked_mean(backward, exist)

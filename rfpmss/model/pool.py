"""The mean over the tokens that exist."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rfpmss.common.precision import cast_to


def masked_mean(
    x: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "b w"]:
    """Mean over the tokens that ``mask`` keeps (all without one); every row keeps at least one.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [5.0]]]), torch.tensor([[True, False]])).tolist()
        [[1.0]]
    """
    if mask is None:
        return x.mean(dim=1)
    weight = mask.to(x.dtype)
    with cast_to("float32", x):
        return torch.einsum("btw,bt->bw", x, weight) / weight.sum(dim=1, keepdim=True)

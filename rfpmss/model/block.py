"""Attention, perceptron and the pre-norm transformer block that every encoder here is made of.

Vaswani et al. 2017, with the norm in front (Fig. 3a; Dosovitskiy et al. 2021).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rfpmss.model.activation import activate, perceptron
from rfpmss.model.moments import masked_mean

EPS = 1e-6
"""Added to the variance in every layer normalisation of the encoders."""


class Attention(nn.Module):
    """Multi-head attention; one matrix projects queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        mask: Bool[Tensor, "b 1 _ t"] | None = None,
        *,
        causal: bool = False,
    ) -> Float[Tensor, "b t d"]:
        """Let every token look at the tokens that ``mask`` allows, or at none after it."""
        query, key, value = self.split(self.project(x), 3)
        return self._mix(query, key, value, mask, causal=causal)

    def extend(
        self, x: Float[Tensor, "b 1 d"], key: Tensor | None, value: Tensor | None
    ) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b h t e"], Float[Tensor, "b h t e"]]:
        """Let a new token look at itself and the tokens before it; also the grown keys, values."""
        query, new_key, new_value = self.split(self.project(x), 3)
        key = new_key if key is None else torch.cat([key, new_key], dim=2)
        value = new_value if value is None else torch.cat([value, new_value], dim=2)
        return self._mix(query, key, value, None), key, value

    def cross(
        self,
        x: Float[Tensor, "b t d"],
        memory: tuple[Float[Tensor, "b h n e"], Float[Tensor, "b h n e"]],
        mask: Bool[Tensor, "b 1 _ n"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Let every token look at the keys and values that :meth:`remember` made."""
        width = x.shape[-1]
        projected = F.linear(x, self.project.weight[:width], self.project.bias[:width])
        return self._mix(self.split(projected, 1)[0], *memory, mask)

    def remember(
        self, memory: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b h n e"], Float[Tensor, "b h n e"]]:
        """Keys and values of a memory."""
        width = memory.shape[-1]
        projected = F.linear(memory, self.project.weight[width:], self.project.bias[width:])
        key, value = self.split(projected, 2)
        return key, value

    def weights(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t t"]:
        """How much each token (row) takes from each token (column), head by head."""
        query, key, _ = self.split(self.project(x), 3)
        # Vaswani et al. 2017, Eq. 1, without the values.
        return (query @ key.mT / key.shape[-1] ** 0.5).softmax(dim=-1)

    def split(self, projected: Float[Tensor, "b t _"], parts: int) -> tuple[Tensor, ...]:
        """Cut a projection into ``parts`` tensors (b, heads, t, width of a head)."""
        return tuple(
            rearrange(part, "b t (h e) -> b h t e", h=self.heads)
            for part in projected.chunk(parts, dim=-1)
        )

    def _mix(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        *,
        causal: bool = False,
    ) -> Tensor:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.out(rearrange(mixed, "b h t e -> b t (h e)"))


class Perceptron(nn.Module):
    """Two linear maps around an activation."""

    def __init__(self, dim: int, hidden: int, activation: Literal["mish", "gelu"]) -> None:
        super().__init__()
        self.activation: Literal["mish", "gelu"] = activation
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)

        for layer in (self.widen, self.narrow):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Widen, activate, narrow."""
        if (
            self.activation == "mish"
            and (found := perceptron(x, self.widen, self.narrow)) is not None
        ):
            return found
        return self.narrow(self.hidden(x))

    def hidden(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b m"]:
        """Widen and activate."""
        return activate(self.widen(x), self.activation)


class Block(nn.Module):
    """Normalise, attend, add; normalise, perceptron, add."""

    def __init__(
        self, dim: int, heads: int, hidden: int, activation: Literal["mish", "gelu"]
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.perceptron = Perceptron(dim, hidden, activation)

    def forward(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b 1 _ t"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """One block; ``mask`` False marks tokens that nobody may look at."""
        x = x + self.attention(self.norm1(x), mask)
        return x + self.perceptron(self.norm2(x))

    def mean(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b d"]:
        """The mean over tokens of what the block gives, the last linear map after the mean.

        Linear maps and means commute: a sixth of the block's products are done once per row
        instead of once per token.
        """
        allowed = None if mask is None else rearrange(mask, "b t -> b 1 1 t")
        x = x + self.attention(self.norm1(x), allowed)
        hidden = masked_mean(self.perceptron.hidden(self.norm2(x)), mask)
        return masked_mean(x, mask) + self.perceptron.narrow(hidden)


class Join(nn.Module):
    """Concatenate two vectors and map 2D to D; at the start this is their sum, [I, I].

    The product with the concatenation is the sum of two products, so the concatenation is never
    made, and the second vector may be broadcast over the tokens of the first.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(dim).repeat(1, 2))
            self.linear.bias.zero_()

    def forward(
        self, x: Float[Tensor, "*#b t d"], y: Float[Tensor, "*#b _ d"]
    ) -> Float[Tensor, "*b t d"]:
        """``linear(concatenate(x, y))`` with ``y`` broadcast against ``x``."""
        width = x.shape[-1]
        left, right = self.linear.weight.split(width, dim=1)
        return F.linear(x, left) + F.linear(y, right, self.linear.bias)


def spread(width: int) -> float:
    """Standard deviation at which word embeddings and BERT's maps start.

    BERT's 0.02 belongs to a width of 768; a map keeps its gain when the deviation goes with
    1 / sqrt(width). Left at 0.02, a width of 64 passes on a hundredth of a word's signal and a
    network trained from scratch never finds single words.

    Example:
        >>> spread(768), spread(192)
        (0.02, 0.04)
    """
    return 0.02 * (768 / width) ** 0.5

"""Medical Image Transformer: patch stems of their own, one trunk, recurrent concatenation."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rfpmss.config import CHANNELS, VIEWS, ModelConfig
from rfpmss.model.block import EPS, Block, Join
from rfpmss.model.features import Views

Images = tuple[Float[Tensor, "b _ _ _ _"], Float[Tensor, "b _ _ _ _"], Float[Tensor, "b _ _ _ _"]]
"""One tensor (b, slices, channels, height, width) per view, in the order of ``VIEWS``."""


class MedicalImageTransformer(nn.Module):
    """All images of all views through one pre-norm vision transformer (Fig. 3a).

    Args:
        config: widths, depth, activation, and how positions and the aggregation embedding join.
        size: side of an image, pixels; a multiple of ``config.patch``.
    """

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.patch, self.recurrence = config.patch, config.recurrent
        grid = (size // config.patch) ** 2
        self.stems = nn.ModuleDict(
            {view: nn.Linear(CHANNELS[view] * config.patch**2, config.dim) for view in VIEWS}
        )
        self.aggregation = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + grid, config.dim).normal_(std=0.02))
        self.place = Join(config.dim) if config.position == "concatenate" else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.mlp, config.activation)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.recur = Join(config.dim) if config.recurrent == "concatenate" else None

    def forward(self, images: Images, present: Bool[Tensor, "b m"]) -> Views:
        """Aggregation embedding and patch tokens of each view, averaged over its slices.

        What an absent view holds never matters: it is replaced by zeros on entry and its features
        are zero on leaving.
        """
        batch = present.shape[0]
        x = torch.cat(
            [
                self.stem(name, view.masked_fill(~present[:, i, None, None, None, None], 0.0))
                for i, (name, view) in enumerate(zip(VIEWS, images, strict=True))
            ]
        )
        vectors, tokens = self.trunk(x)
        rows = [batch * view.shape[1] for view in images]
        return Views(
            _per_study(vectors, rows, present, "(b s) d -> b d"),
            _per_study(tokens, rows, present, "(b s) p d -> b p d"),
        )

    def stem(self, view: str, images: Float[Tensor, "b s c h w"]) -> Float[Tensor, "b*s p d"]:
        """Cut into patches, flatten and map to the width of the trunk; no positions yet."""
        return self.stems[view](
            rearrange(
                images, "b s c (h i) (w j) -> (b s) (h w) (c i j)", i=self.patch, j=self.patch
            )
        )

    def trunk(
        self, patches: Float[Tensor, "r p d"]
    ) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r p d"]]:
        """Positions, self-attention blocks and recurrent concatenation."""
        x = self.norm(self.layers(patches))
        aggregation, tokens = x[:, :1], x[:, 1:]
        if self.recur is not None:
            tokens = self.recur(tokens, aggregation)
        elif self.recurrence == "add":
            tokens = tokens + aggregation
        return aggregation.squeeze(1), tokens

    def layers(self, patches: Float[Tensor, "r p d"]) -> Float[Tensor, "r p+1 d"]:
        """The tokens after the last block, aggregation embedding first, not yet normalised."""
        x = torch.cat([self.aggregation.expand(len(patches), -1, -1), patches], dim=1)
        x = self.dropout(
            x + self.positions if self.place is None else self.place(x, self.positions)
        )
        for block in self.blocks:
            x = block(x)
        return x


def _per_study(x: Tensor, rows: list[int], present: Tensor, pattern: str) -> Tensor:
    """Average the slices of each view, stack to (b, v, ...) and blank what is absent."""
    views = [reduce(part, pattern, "mean", b=present.shape[0]) for part in x.split(rows)]
    stacked = torch.stack(views, dim=1)
    absent = ~present[:, : len(views)]
    return stacked.masked_fill(absent.reshape(*absent.shape, *[1] * (stacked.ndim - 2)), 0.0)

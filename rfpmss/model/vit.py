"""Medical Image Transformer: patches, concatenated positions, recurrent concatenation (Fig. 3a)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfpmss.config import SEQUENCES, ModelConfig
from rfpmss.model.block import EPS, Block, Join


class PatchStem(nn.Module):
    """Cut an image into patches, flatten each, map it to the width of the trunk."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.linear = nn.Linear(channels * config.patch**2, config.dim)

    def forward(self, images: Float[Tensor, "r c h w"]) -> Float[Tensor, "r p d"]:
        """Patch vectors without positions, row by row of the grid."""
        patches = rearrange(
            images, "r c (h i) (w j) -> r (h w) (c i j)", i=self.patch, j=self.patch
        )
        return self.linear(patches)


class SequenceStem(nn.Module):
    """A linear map for each named sequence; a patch vector is the mean over those that are shown.

    Of several sequences of one name the mean enters, so that their order and repetition change
    nothing.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch, self.thick = config.patch, config.thick
        maps = [nn.Linear(config.thick * config.patch**2, config.dim) for _ in SEQUENCES]
        self.weight = nn.Parameter(torch.stack([one.weight.detach() for one in maps]))
        self.bias = nn.Parameter(torch.stack([one.bias.detach() for one in maps]))

    def forward(
        self, images: Float[Tensor, "b s q h w"], shown: Int64[Tensor, "b q"]
    ) -> Float[Tensor, "r p d"]:
        """Patch vectors without positions, a row for each ``thick`` slices.

        Args:
            images: slices of boxes from below, a channel a sequence.
            shown: place of each sequence in ``SEQUENCES``; -1: there is none, and what the images
                hold there never matters.
        """
        patches = rearrange(
            images,
            "b (s z) q (h i) (w j) -> b q s (h w) (z i j)",
            z=self.thick,
            i=self.patch,
            j=self.patch,
        )
        patches = patches.masked_fill((shown < 0)[:, :, None, None, None], 0.0)
        total = patches.new_zeros(())
        count = patches.new_zeros(shown.shape[0])  # len() would fix the batch of an export
        for name in self._names(shown):
            mine = (shown == name).to(patches)
            there = mine.amax(dim=1)
            share = mine / mine.sum(dim=1, keepdim=True).clamp(min=1)
            mean = torch.einsum("bq,bqspf->bspf", share, patches)
            found = F.linear(mean, self.weight[name], self.bias[name])
            total = total + found * there[:, None, None, None]
            count = count + there

        return (total / count.clamp(min=1)[:, None, None, None]).flatten(0, 1)

    def _names(self, shown: Int64[Tensor, "b q"]) -> Iterable[int]:
        """Those that the batch has, never none; a graph goes through all of them."""
        if torch.compiler.is_compiling():
            return range(len(SEQUENCES))
        return [name for name in shown.unique().tolist() if name >= 0] or [0]


class MedicalImageTransformer(nn.Module):
    """Pre-norm vision transformer (ViT) whose aggregation embedding rejoins every patch at the end.

    Args:
        config: widths, depth, and how positions and the aggregation embedding join.
        size: side of an image, pixels; a multiple of ``config.patch``.
    """

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.recurrence, self.recompute = config.recurrent, config.recompute
        grid = size // config.patch
        self.aggregation = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + grid**2, config.dim).normal_(std=0.02))

        with torch.no_grad():
            self.positions[0, 1:] = waves(grid, config.dim).to(self.positions)

        self.place = Join(config.dim) if config.position == "concatenate" else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.mlp, config.activation)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.recur = Join(config.dim) if config.recurrent == "concatenate" else None

    def forward(
        self, patches: Float[Tensor, "r p d"]
    ) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r p d"]]:
        """Aggregation embedding, and patch tokens after the recurrent concatenation."""
        x = self.norm(self.layers(patches))
        aggregation, tokens = x[:, :1], x[:, 1:]
        # The paper's iterative concatenation: the aggregation embedding joins each patch once more.
        if self.recur is not None:
            tokens = self.recur(tokens, aggregation)
        elif self.recurrence == "add":
            tokens = tokens + aggregation

        return aggregation.squeeze(1), tokens

    def layers(self, patches: Float[Tensor, "r p d"]) -> Float[Tensor, "r p+1 d"]:
        """The tokens after the last block, aggregation embedding first, not yet normalised."""
        x = self.embed(patches)
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)

        return x

    def embed(self, patches: Float[Tensor, "r p d"]) -> Float[Tensor, "r p+1 d"]:
        """The tokens before the first block."""
        x = torch.cat([self.aggregation.expand(patches.shape[0], -1, -1), patches], dim=1)
        x = x + self.positions if self.place is None else self.place(x, self.positions)
        return self.dropout(x)

    def attention(self, patches: Float[Tensor, "r p d"]) -> Float[Tensor, "depth r p+1 p+1"]:
        """Attention of every block, averaged over its heads: who (row) looks at whom (column)."""
        x, maps = self.embed(patches), []
        for block in cast("list[Block]", list(self.blocks)):
            maps.append(block.attention.weights(block.norm1(x)).mean(dim=1))
            x = block(x)

        return torch.stack(maps)


def waves(grid: int, dim: int) -> Float[Tensor, "p d"]:
    """Where learned positions start: sines and cosines of row and column, period 6 to 600 cells.

    Small random positions carry so little at first that a small network trained from scratch sees
    what an image shows long before it sees where. Dimensions beyond a multiple of four are zero.

    Example:
        >>> waves(3, 8).shape
        torch.Size([9, 8])
    """
    along = line(grid, dim // 4 * 2)
    rows = along[:, None].expand(grid, grid, -1)
    columns = along[None, :].expand(grid, grid, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)

    return nn.functional.pad(both, (0, dim - both.shape[1]))


def line(count: int, dim: int) -> Float[Tensor, "n d"]:
    """Sines and cosines of a place on an axis (Vaswani et al. 2017, section 3.5), period 6 to 600.

    Where heights start, too.

    Example:
        >>> line(2, 5)[0]
        tensor([0., 0., 1., 1., 0.])
    """
    # Periods 2 pi to 200 pi: 100 in the place of 10,000, as a grid has tens of places, not
    # thousands.
    frequency = 100.0 ** -(torch.arange(dim // 2) / max(1, dim // 2))
    angle = torch.arange(count)[:, None] * frequency
    both = torch.cat([angle.sin(), angle.cos()], dim=1)

    return nn.functional.pad(both, (0, dim - both.shape[1]))

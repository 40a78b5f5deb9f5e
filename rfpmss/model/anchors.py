"""Learned anchors of every modality in the input space and in the joint space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rfpmss.common.precision import cast_to, precise
from rfpmss.config import MODALITIES, ModelConfig


@dataclass(frozen=True)
class Scores:
    """Cosines between features and anchors, in float32 or better."""

    own: Float[Tensor, "n m k"]
    """Input-space feature of modality m on that modality's input-space anchors."""
    cross: Float[Tensor, "n a m k"]
    """Joint-space feature of modality a on the joint-space anchors of modality m."""


class Anchors(nn.Module):
    """K anchors per modality and space, drawn from N(0, 1), of unit norm at each use."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (len(MODALITIES), config.anchors)
        self.inputs = nn.Parameter(torch.randn(*shape, config.token_dim))
        self.joint = nn.Parameter(torch.randn(*shape, config.joint_dim))

    def forward(self, inputs: Float[Tensor, "n m d"], joint: Float[Tensor, "n m e"]) -> Scores:
        """Score every feature; a zero feature (absent modality) scores zero."""
        with cast_to("float32", inputs):
            inputs, joint = precise(inputs), precise(joint)
            # The paper's X = G Z^T, with both sides of unit norm: cosines.
            own = torch.einsum("nmd,mkd->nmk", inputs, _unit(self.inputs)) / _norm(inputs)
            flat = joint @ rearrange(_unit(self.joint), "m k e -> e (m k)") / _norm(joint)
            cross = rearrange(flat, "n a (m k) -> n a m k", m=len(MODALITIES))

        return Scores(own, cross)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(precise(x), dim=-1)


def _norm(x: Tensor) -> Tensor:
    """Dividing the products spares a normalised copy of the whole bank."""
    return x.norm(dim=-1, keepdim=True).clamp(min=1e-12)

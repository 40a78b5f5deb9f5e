"""Token projection, joint transformer and projection to the joint space, one set per modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.precision import precise
from rfpmss.config import MODALITIES, VIEWS, ModelConfig
from rfpmss.model.block import EPS, Block
from rfpmss.model.features import Text, Views, together
from rfpmss.model.moments import Standardise, masked_mean


class Gated(nn.Module):
    """A linear map whose result gates itself: y * sigmoid(W y + b), y = A x + a.

    The paper's "gated linear projection" (its reference 47, context gating:
    Miech, Laptev and Sivic 2018).
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.gate = nn.Linear(out, out)

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b o"]:
        """Map and gate."""
        y = self.linear(x)
        return y * self.gate(y).sigmoid()


class Projection(nn.Module):
    """One modality's way into the joint space.

    Tokens are projected (gated, normalised): their mean is the input-space feature. One
    transformer block, the mean and a second gated projection give the joint-space feature.
    """

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = Gated(width, config.token_dim)
        self.norm = nn.LayerNorm(config.token_dim, eps=EPS)
        self.block = Block(config.token_dim, config.joint_heads, config.joint_mlp, "gelu")
        self.joint = Gated(config.token_dim, config.joint_dim)
        self.rebuild = nn.Linear(config.joint_dim, config.token_dim) if config.rebuild else None
        self.recompute = config.recompute

    def forward(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b e"]]:
        """Input-space feature and joint-space feature, before it is compared."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._project, tokens, mask, use_reentrant=False)
        return self._project(tokens, mask)

    def _project(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.norm(self.tokens(tokens))
        return masked_mean(x, mask), self.joint(self.block.mean(x, mask))


class Projections(nn.Module):
    """The projections of all modalities."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = dict.fromkeys(VIEWS, config.dim) | {"report": config.text_dim}
        self.of = nn.ModuleDict({name: Projection(widths[name], config) for name in MODALITIES})
        kinds = len(MODALITIES)
        self.standardise = Standardise(kinds, config.joint_dim) if config.standardise else None

    def forward(
        self, views: Views, texts: Sequence[Text], present: Bool[Tensor, "b m"]
    ) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b m e"]]:
        """Input-space and joint-space features, zero where a modality is absent.

        Joint-space features are compared after `compared`.

        Args:
            views: of the images.
            texts: parts of the batch's reports; together all of them.
            present: which modalities each study has.
        """
        pairs = [self.of[view](views.tokens[:, i]) for i, view in enumerate(VIEWS)]
        found = [self.of["report"](text.tokens, text.mask) for text in texts]
        rows = [text.rows for text in texts]
        pairs.append(tuple(together(parts, rows) for parts in zip(*found, strict=True)))
        inputs, joint = (torch.stack(parts, dim=1) for parts in zip(*pairs, strict=True))
        absent = ~present[..., None]

        return inputs.masked_fill(absent, 0.0), joint.masked_fill(absent, 0.0)

    def compared(
        self,
        joint: Float[Tensor, "b m e"],
        present: Bool[Tensor, "b m"],
        peers: Peers = ALONE,
    ) -> Float[Tensor, "b m e"]:
        """Joint-space features standardised, where the model does that, and of unit norm."""
        if self.standardise is not None:
            joint = self.standardise(joint, present, peers)
        return F.normalize(precise(joint), dim=-1)

    def rebuild(self, joint: Float[Tensor, "b m e"]) -> Float[Tensor, "b m d"] | None:
        """Input-space features guessed from joint-space features, where heads for it exist."""
        heads = [cast("Projection", self.of[name]).rebuild for name in MODALITIES]
        rebuilt = [head(joint[:, i]) for i, head in enumerate(heads) if head is not None]
        return torch.stack(rebuilt, dim=1) if rebuilt else None

"""View fusion: an attention value per view weighs the views of a study (Fig. 3b)."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import VIEWS, ModelConfig
from rfpmss.model.features import Study, Views
from rfpmss.model.moments import Standardise


class Fusion(nn.Module):
    """Views to study vector and decoder memory.

    ``view`` (paper): a perceptron on the concatenated view vectors gives one value per view, a
    softmax over the present views the weights, and the weighted vectors and tokens are
    concatenated. ``token`` (the earlier published reading): a sigmoid gate per view and patch
    position; vectors stay unweighted. ``none``: each view faces the report alone.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind, width = config.fusion, len(VIEWS) * config.dim
        self.width = config.dim if config.fusion == "none" else width
        readings = len(VIEWS) if config.fusion == "none" else 1
        self.standardise = Standardise(readings, self.width) if config.standardise else None

        if config.fusion == "view":
            self.attend = nn.Sequential(
                nn.Linear(width, config.dim), nn.Tanh(), nn.Linear(config.dim, len(VIEWS))
            )
        elif config.fusion == "token":
            self.attend = nn.Linear(width, len(VIEWS))

    def forward(self, views: Views, present: Bool[Tensor, "b m"]) -> Study:
        """Fuse; absent views get weight zero and no study depends on what they hold."""
        present = present[:, : len(VIEWS)]
        if self.kind == "none":
            return _apart(views, present)
        if self.kind == "token":
            return self._by_token(views, present)

        weights = self.weigh(views.vectors, present)
        return _together(
            views.vectors * weights[..., None],
            views.tokens * weights[..., None, None],
            weights,
            present,
        )

    def compared(
        self,
        readings: Float[Tensor, "b r f"],
        readable: Bool[Tensor, "b r"],
        peers: Peers = ALONE,
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b r f"]]:
        """Study vectors and readings as Eq. 7 compares them: standardised, where the model does.

        The study vector is the mean of the readings that exist; with fusion there is one.
        """
        if self.standardise is not None:
            readings = self.standardise(readings, readable, peers)
        return _mean(readings, readable), readings

    def weigh(
        self, vectors: Float[Tensor, "b v d"], present: Bool[Tensor, "b v"]
    ) -> Float[Tensor, "b v"]:
        """Softmax over the present views; all zero where there is none."""
        # Fig. 3b: views concatenated, a perceptron, and a softmax of what it says of each.
        values = self.attend(rearrange(vectors, "b v d -> b (v d)"))
        lowest = torch.finfo(values.dtype).min
        weights = values.masked_fill(~present, lowest).softmax(dim=-1)
        return weights.masked_fill(~present, 0.0)

    def _by_token(self, views: Views, present: Tensor) -> Study:
        gates = self.attend(rearrange(views.tokens, "b v p d -> b p (v d)")).sigmoid()
        gates = rearrange(gates, "b p v -> b v p").masked_fill(~present[..., None], 0.0)
        weights = gates.mean(dim=-1)
        return _together(views.vectors, views.tokens * gates[..., None], weights, present)


def _together(vectors: Tensor, tokens: Tensor, weights: Tensor, present: Tensor) -> Study:
    study = rearrange(vectors, "b v d -> b (v d)")
    return Study(
        readings=study[:, None],
        readable=present.any(dim=1, keepdim=True),
        memory=rearrange(tokens, "b v p d -> b 1 (v p) d"),
        seen=_some(repeat(present, "b v -> b 1 (v p)", p=tokens.shape[2])),
        weights=weights,
    )


def _apart(views: Views, present: Tensor) -> Study:
    return Study(
        readings=views.vectors,
        readable=present,
        memory=views.tokens,
        seen=_some(repeat(present, "b v -> b v p", p=views.tokens.shape[2])),
        weights=_shares(present).to(views.vectors),
    )


def _mean(readings: Tensor, readable: Tensor) -> Tensor:
    if readings.shape[1] == 1:
        return readings[:, 0]
    return (readings * _shares(readable)[..., None].to(readings)).sum(dim=1)


def _shares(present: Tensor) -> Tensor:
    return present / present.sum(dim=1, keepdim=True).clamp(min=1)


def _some(mask: Tensor) -> Tensor:
    """Where nothing exists, everything (it is zero) may be looked at: a softmax needs a term."""
    return mask | ~mask.any(dim=-1, keepdim=True)

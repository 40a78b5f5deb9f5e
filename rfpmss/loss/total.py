"""The four losses together."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from rfpmss.config import LossConfig


@dataclass(frozen=True)
class Losses:
    """Unweighted losses of a batch."""

    language: Float[Tensor, ""]
    """Eq. 4, per word."""
    contrast: Float[Tensor, ""]
    """Eq. 7."""
    nce: Float[Tensor, ""]
    """Eq. 9."""
    consistency: Float[Tensor, ""]
    """Eq. 6."""

    def total(self, weights: LossConfig) -> Float[Tensor, ""]:
        """The weighted sum that is minimised; a term of weight zero is left out of the graph.

        Example:
            >>> one = torch.ones(())
            >>> Losses(one, one, one, one).total(LossConfig(nce=0.5)).item()
            3.5
        """
        terms = ((getattr(weights, f.name), getattr(self, f.name)) for f in fields(self))
        return torch.stack([weight * term for weight, term in terms if weight]).sum()

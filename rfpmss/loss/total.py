"""The four losses together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rfpmss.config import LossConfig
from rfpmss.config.sections import TERMS


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
    trivial: Float[Tensor, ""] | None = None
    """What Eq. 6 gives to who knows nothing of anybody; beside the losses, not one of them."""
    floor: Float[Tensor, ""] | None = None
    """What it gives to who knows every target."""

    def total(self, weights: LossConfig) -> Float[Tensor, ""]:
        """The weighted sum that is minimised; a term of weight zero is left out of the graph.

        Example:
            >>> one = torch.ones(())
            >>> Losses(one, one, one, one).total(LossConfig(nce=0.5)).item()
            3.5
        """
        terms = ((getattr(weights, name), getattr(self, name)) for name in TERMS)
        return torch.stack([weight * term for weight, term in terms if weight]).sum()

    def detached(self) -> Losses:
        """The same without a gradient."""
        found = {name: term.detach() for name, term in vars(self).items() if term is not None}
        return replace(self, **found)

    def shown(self) -> dict[str, Float[Tensor, ""]]:
        """All values by the names under which they are logged."""
        names = {"trivial": "consistency_trivial", "floor": "consistency_floor"}
        values = {names.get(name, name): value for name, value in vars(self).items()}
        return {name: value for name, value in values.items() if value is not None}

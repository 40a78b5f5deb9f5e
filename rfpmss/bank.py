"""The bank: past features that are assigned to anchors together with the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rfpmss.config import MODALITIES, ModelConfig
from rfpmss.model.features import Features


@dataclass(frozen=True)
class Pool:
    """Rows to assign: those of the bank first, then those of the batch; no gradient."""

    inputs: Float[Tensor, "n m d"]
    joint: Float[Tensor, "n m e"]
    present: Bool[Tensor, "n m"]


class Bank(nn.Module):
    """A ring of the last ``size`` studies' features, saved with the model.

    It counts only when full: until then its rows are marked absent, so that shapes never change.
    """

    inputs: Tensor
    joint: Tensor
    present: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, size: int, config: ModelConfig) -> None:
        super().__init__()
        shape = (size, len(MODALITIES))
        self.register_buffer("inputs", torch.zeros(*shape, config.token_dim))
        self.register_buffer("joint", torch.zeros(*shape, config.joint_dim))
        self.register_buffer("present", torch.zeros(shape, dtype=torch.bool))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """Rows the bank has room for."""
        return len(self.inputs)

    @torch.no_grad()
    def join(self, features: Features) -> Pool:
        """The bank's rows and the batch's."""
        full = self.filled >= len(self)
        return Pool(
            torch.cat([self.inputs, features.inputs.to(self.inputs)]),
            torch.cat([self.joint, features.joint.to(self.joint)]),
            torch.cat([self.present & full, features.present]),
        )

    @torch.no_grad()
    def push(self, features: Features) -> None:
        """Write the batch over the oldest rows; of a batch larger than the bank, its end."""
        rows = min(len(features.present), len(self))
        if not rows:
            return
        where = (self.pointer + torch.arange(rows, device=self.pointer.device)) % len(self)
        for name in ("inputs", "joint", "present"):
            kept, new = getattr(self, name), getattr(features, name)[-rows:]
            kept.index_copy_(0, where, new.detach().to(kept))
        self.pointer.add_(rows).remainder_(len(self))
        self.filled.add_(rows).clamp_(max=len(self))

"""The bank: past features that are assigned to anchors together with the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import MODALITIES, ModelConfig
from rfpmss.model.features import Features


@dataclass(frozen=True)
class Pool:
    """Rows to assign: those of the bank first, then those of the batch; no gradient."""

    inputs: Float[Tensor, "n m d"]
    joint: Float[Tensor, "n m e"]
    present: Bool[Tensor, "n m"]
    ready: Bool[Tensor, ""]
    """Whether the bank is full."""


class Bank(nn.Module):
    """A ring of the last ``size`` studies' features, the paper's repository, saved with the model.

    Rows that do not count are marked absent, so that shapes never change and nothing waits for the
    device. Every rank holds the whole bank; each brings its share of the rows to an assignment.
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
    def join(
        self,
        features: Features,
        start: Literal["full", "rows", "wait"] = "full",
        peers: Peers = ALONE,
    ) -> Pool:
        """The bank's rows, or this rank's share of them, and the batch's.

        The bank's rows count once it is full; with ``start="rows"`` each from when it is written.
        """
        share = slice(*(len(self) * r // peers.size for r in (peers.rank, peers.rank + 1)))
        ready = self.filled >= len(self)
        kept = self.present[share] if start == "rows" else self.present[share] & ready
        return Pool(
            torch.cat([self.inputs[share], features.inputs.to(self.inputs)]),
            torch.cat([self.joint[share], features.joint.to(self.joint)]),
            torch.cat([kept, features.present]),
            ready,
        )

    @torch.no_grad()
    def push(self, features: Features, peers: Peers = ALONE) -> None:
        """Write the batch of all ranks over the oldest rows; of a batch too large, its end."""
        rows = min(len(features.present) * peers.size, len(self))
        if not rows:
            return

        where = (self.pointer + torch.arange(rows, device=self.pointer.device)) % len(self)
        for name in ("inputs", "joint", "present"):
            kept, new = getattr(self, name), peers.gather(getattr(features, name).detach())
            kept.index_copy_(0, where, new[-rows:].to(kept))

        self.pointer.add_(rows).remainder_(len(self))
        self.filled.add_(rows).clamp_(max=len(self))

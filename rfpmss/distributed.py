"""What ranks tell each other, with gradients that are those of one process.

Every rank computes its share of the losses of the global batch; the mean over ranks of the shares
is the loss, and the mean over ranks of the gradients is its gradient. Without a group there is one
rank and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

BUCKET = 2**24
"""Elements that are averaged in one message."""


@dataclass(frozen=True)
class Peers:
    """The ranks that train together.

    Example:
        >>> ALONE.size, ALONE.gather(torch.tensor([1.0])).tolist()
        (1, [1.0])
    """

    group: Any = None
    """A process group, or None for a process on its own."""

    @property
    def size(self) -> int:
        """Number of ranks."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """This rank's place among them."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def gather(self, x: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "n ..."]:
        """The rows of all ranks in rank order; every rank has equally many.

        Gradients of all ranks come back to the rank that owns the row, and add up.
        """
        if self.group is None:
            return x
        if x.dtype == torch.bool:
            return _gather(x.to(torch.uint8), self.group).bool()
        return _Gather.apply(x, self.group)  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def total(self, x: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
        """The sum over ranks, without a gradient."""
        if self.group is None:
            return x
        x = x.clone()
        dist.all_reduce(x, group=self.group)
        return x

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over ranks; all ranks pass the same shapes."""
        if self.group is None:
            return
        bucket: list[Tensor] = []
        for tensor in [*tensors, None]:
            full = sum(t.numel() for t in bucket) >= BUCKET
            if bucket and (tensor is None or full or tensor.dtype != bucket[0].dtype):
                self._average(bucket)
                bucket = []
            if tensor is not None:
                bucket.append(tensor)

    def _average(self, bucket: list[Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        dist.all_reduce(flat, group=self.group)
        flat /= self.size
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))


ALONE = Peers()
"""A process on its own."""


def world() -> Peers:
    """All ranks of the running job."""
    return Peers(dist.group.WORLD) if dist.is_available() and dist.is_initialized() else ALONE


def average_gradients(module: torch.nn.Module, peers: Peers) -> None:
    """Make every rank's gradients the mean over ranks; a missing gradient counts as zero."""
    if peers.group is None:
        return
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    peers.average(p.grad for p in parameters if p.grad is not None)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group, ctx.rows = group, len(x)
        return _gather(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, group=ctx.group)
        start = dist.get_rank(ctx.group) * ctx.rows
        return gradient[start : start + ctx.rows], None


def _gather(x: Tensor, group: Any) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, x.contiguous(), group=group)
    return torch.cat(parts)

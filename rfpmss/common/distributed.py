"""What ranks tell each other, with gradients that are those of one process.

Every rank computes its share of the losses of the global batch; the mean over ranks of the shares
is the loss, and the mean over ranks of the gradients is its gradient. Without a group there is one
rank and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from rfpmss.common.errors import RfpmssError
from rfpmss.common.ranks import local, size

PATIENCE = timedelta(minutes=30)
"""How long ranks wait for each other outside of steps."""


class PeerError(RfpmssError, RuntimeError):
    """Another rank stopped, died or hangs."""

    everywhere: ClassVar[bool] = True


@dataclass(frozen=True)
class Peers:
    """The ranks that train together.

    Example:
        >>> ALONE.size, ALONE.gather(torch.tensor([1.0])).tolist()
        (1, [1.0])
    """

    group: Any = None
    """A process group, or None for a process on its own."""
    gradients: Any = None
    """A second group of the same ranks, so that messages sent while gradients still travel cannot
    be taken for one another."""
    patient: Any = None
    """The same ranks once more, for what rank 0 may do as long as it needs."""

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

    def mean(self, x: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
        """The mean over ranks, without a gradient."""
        return self.total(x) / self.size

    def first(self, action: Callable[[], int]) -> int:
        """What ``action`` gives on rank 0, where alone it runs, on every rank.

        Raises:
            PeerError: on the other ranks, when it raised on rank 0.
        """
        if self.group is None:
            return action()

        answer = torch.full((), -1, dtype=torch.int64)
        try:
            if self.rank == 0:
                answer.fill_(action())
        finally:
            dist.broadcast(answer, src=0, group=self.patient or self.group)

        if answer < 0:
            raise PeerError("rank 0 stopped; its message says why")

        return int(answer)

    def texts(self, own: str) -> list[str]:
        """What every rank says, in rank order, on every rank; they may come late."""
        if self.group is None:
            return [own]

        group = self.patient or self.group
        mine = torch.frombuffer(bytearray(own.encode()), dtype=torch.uint8)
        sizes = [torch.zeros((), dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor(len(mine)), group=group)
        room = int(max(sizes))
        padded = torch.cat([mine, mine.new_zeros(room - len(mine))])
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        said = zip(parts, sizes, strict=True)

        return [bytes(part[: int(size)].tolist()).decode() for part, size in said]


ALONE = Peers()
"""A process on its own."""


@contextmanager
def job(timeout: float) -> Iterator[Peers]:
    """The ranks that ``torchrun`` started, or a process on its own.

    Args:
        timeout: seconds that a rank waits for the others within a step before it gives up; while
            they start and while rank 0 writes it waits for half an hour.

    Raises:
        PeerError: in the body, when a rank died or did not answer in time.
        RankError: if the environment describes no job.
    """
    local()
    if size() == 1:
        yield ALONE
        return

    limit = timedelta(seconds=timeout)
    dist.init_process_group(timeout=PATIENCE)
    try:
        groups = [dist.new_group(timeout=limit) for _ in range(2)]
        yield Peers(*groups, patient=dist.group.WORLD)
    except RuntimeError as error:
        if not _is_transport(error):
            raise
        raise PeerError(
            f"all ranks must answer within --timeout {timeout:g} seconds; one died or hangs "
            f"({str(error).splitlines()[0]}); start again to resume"
        ) from None
    finally:
        dist.destroy_process_group()


def _is_transport(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def whole(x: Tensor) -> Tensor:
    """A tensor of which every rank holds a part, put together; others as they are.

    All ranks call it for the same tensors in the same order.
    """
    return x.full_tensor() if hasattr(x, "full_tensor") else x  # pyright: ignore


def like(x: Tensor, target: Tensor) -> Tensor:
    """This rank's part of ``x``, where ``target`` is held in parts; otherwise ``x``."""
    if not hasattr(target, "full_tensor"):
        return x

    from torch.distributed.tensor import distribute_tensor

    mesh, placements = target.device_mesh, target.placements  # pyright: ignore
    return distribute_tensor(x.to(target.device), mesh, placements, src_data_rank=None)


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

"""The sweeps as anybody would write them after merging equal channels: two matrices in torch."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def sweeps(scores: Tensor, k: int, eps: float, damping: float, steps: int) -> Tensor:
    """The plan after `steps` sweeps of row, column, depth.

    Args:
        scores: (*batch, N, K).
        k: Channels at scale 1.
        eps: Temperature.
        damping: Scale of the other channels.
        steps: Sweeps.
    """
    return iterated(sweep, scores, k, eps, damping, steps)


def compiled() -> Callable[..., Tensor]:
    """The same with the sweep through torch.compile (inductor), once for every shape."""

    @functools.cache
    def program() -> Callable[..., tuple[Tensor, Tensor]]:
        return torch.compile(sweep, dynamic=False)

    return lambda *given: iterated(program(), *given)


def iterated(
    step: Callable[..., Any], scores: Tensor, k: int, eps: float, damping: float, steps: int
) -> Tensor:
    """Start from the kernels, sweep, give the plan's part."""
    top, rest = torch.exp(scores / eps), torch.exp(scores * (damping / eps))
    for _ in range(steps):
        top, rest = step(top, rest, k)
    return top


def sweep(top: Tensor, rest: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows, columns, depths of the plan's channels and of the others, each group as its sum."""
    n, columns = top.shape[-2:]
    top = top * (k / top.sum(-1, keepdim=True))
    rest = rest * ((columns - k) / rest.sum(-1, keepdim=True))
    top = top * (n * k / columns / top.sum(-2, keepdim=True))
    rest = rest * (n * (columns - k) / columns / rest.sum(-2, keepdim=True))
    both = top + rest
    return top / both, rest / both

"""The K x N x K iteration with all channels in memory, linear domain, no shift."""

import torch
from torch import Tensor

OFFSET = 1e-5  # what the published iteration adds to its denominators


def start(scores: Tensor, k: int, eps: float, damping: float) -> Tensor:
    """The kernel of every channel (K, N, K), scaled to the total 1."""
    columns = scores.shape[1]
    scales = torch.full((columns, 1, 1), damping, dtype=scores.dtype)
    scales[:k] = 1.0
    table = capped(torch.exp(scales * scores / eps))
    return table.div_(table.sum())


def as_published(scores: Tensor, k: int, eps: float, damping: float, steps: int) -> Tensor:
    """The plan after `steps` sweeps of column, depth, row, with the published passes over memory.

    Every step expands its factors to the full table, multiplies into a new table and searches the
    product for infinities; a last row step follows the sweeps.

    Args:
        scores: (N, K).
        k: Channels at scale 1; the others have the scale `damping`.
        eps: Temperature.
        damping: Scale of the other channels.
        steps: Sweeps.
    """
    n, columns = scores.shape
    table = start(scores, k, eps, damping)
    for _ in range(steps):
        for axis, target in ((1, n / columns), (0, 1.0), (2, 1.0)):
            factor = target / (table.sum(axis, keepdim=True) + OFFSET)
            repeats = [1, 1, 1]
            repeats[axis] = table.shape[axis]
            table = capped(table * factor.repeat(repeats))
    return (table / table.sum(2, keepdim=True))[:k].sum(0)


def in_place(scores: Tensor, k: int, eps: float, damping: float, steps: int) -> Tensor:
    """The same sweeps with one table in memory and no search: the most that tuning can give it."""
    n, columns = scores.shape
    table = start(scores, k, eps, damping)
    for _ in range(steps):
        for axis, target in ((1, n / columns), (0, 1.0), (2, 1.0)):
            table *= target / (table.sum(axis, keepdim=True) + OFFSET)
    table /= table.sum(2, keepdim=True)
    return table[:k].sum(0)


def capped(table: Tensor) -> Tensor:
    """Replace infinities by the largest finite entry."""
    bad = torch.isinf(table).nonzero()
    if len(bad):
        table[tuple(bad.T)] = 0.0
        table[tuple(bad.T)] = table.max()
    return table

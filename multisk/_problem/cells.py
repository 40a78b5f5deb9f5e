"""Cells that budgets decide before any solving: a row with as many cells as budget has them all."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multisk._problem.problem import readable
from multisk._problem.sharding import total

SLACK = 1e-6  # of a cell: the rounding of float32 budgets
UNREAD = 4  # passes where nobody can look; a cell that they leave is solved like any free one

Bounds = tuple[Tensor, Tensor]
"""The least and the most that each row, or each column, has to sum to."""


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of the budgets of rows, or of columns, for cells that are still free."""

    least: Float[Tensor, "b m"]
    most: Float[Tensor, "b m"]
    cells: Tensor  # counted, (b, m)

    def full(self) -> Bool[Tensor, "b m"]:
        """Whether all free cells have to be 1."""
        return self.least.detach() >= self.cells

    def empty(self) -> Bool[Tensor, "b m"]:
        """Whether all free cells have to be 0."""
        return self.most.detach() <= 0

    def impossible(self) -> Bool[Tensor, "b"]:
        """Whether some budget was overdrawn, or asks for more than its cells hold."""
        least, most = self.least.detach(), self.most.detach()
        return ((most < -SLACK) | (least > self.cells + SLACK)).any(-1)


@dataclass(frozen=True, eq=False)
class Decided:
    """Which cells are still free, which are 1, and what is left for rows and columns."""

    free: Bool[Tensor, "b n k"]
    ones: Bool[Tensor, "b n k"]
    rows: Left
    columns: Left
    read: bool  # whether values could be looked at: then no cell is left that a budget decides


def decide(
    x: Float[Tensor, "b n k"],
    mask: Bool[Tensor, "b n k"] | None,
    rows: Bounds,
    columns: Bounds,
    group: Any,
) -> Decided:
    """Settle full and empty rows and columns until none is left; each may make another so."""
    free = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.clone()
    read = group is None and all(map(readable, (x, *rows, *columns, free)))
    if group is None and torch.compiler.is_compiling():
        # As one operator, which may look at values. Inductor takes minutes for the passes: it
        # writes every sum over a short axis out again wherever its result is used.
        limits = [limit.detach() for limit in (*rows, *columns)]
        free, ones = torch.ops.multisk.decide(free, *limits)
        left = _count(ones, free, rows, columns, group)
    else:
        free, ones, left = passes(free, rows, columns, group, read=read)

    return Decided(free, ones, *left, read)


def passes(
    free: Bool[Tensor, "b n k"], rows: Bounds, columns: Bounds, group: Any, *, read: bool
) -> tuple[Bool[Tensor, "b n k"], Bool[Tensor, "b n k"], tuple[Left, Left]]:
    """Which of the `free` cells stay free, which are 1, and what is left for rows and columns."""
    ones = torch.zeros_like(free)
    left = _count(ones, free, rows, columns, group)

    for _ in range(sum(free.shape[1:]) + 1 if read else UNREAD):
        by_row, by_column = left
        # A line whose budget equals its free cells has them all; one without budget has none.
        full = by_row.full()[..., None] | by_column.full()[..., None, :]
        empty = by_row.empty()[..., None] | by_column.empty()[..., None, :]
        if read and not bool((free & (full | empty)).any()):
            break

        ones = ones | (free & full & ~empty)
        free = free & ~(full | empty)
        left = _count(ones, free, rows, columns, group)

    return free, ones, left


def _count(
    ones: Tensor, free: Tensor, rows: Bounds, columns: Bounds, group: Any
) -> tuple[Left, Left]:
    """What ones leave of the budgets of rows, and of those of columns over all ranks."""
    given, taken = ones.sum(-1), total(ones.sum(-2), group)
    row_cells, column_cells = free.sum(-1), total(free.sum(-2), group)
    by_row = Left(rows[0] - given, rows[1] - given, row_cells)
    return by_row, Left(columns[0] - taken, columns[1] - taken, column_cells)

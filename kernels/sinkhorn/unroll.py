"""The gradient of a fixed number of sweeps of two channel groups, one reading of the scores each.

Let e and f be the cotangents of the groups' logarithms after a row step. A column step's change
log c - LA_j - log(n - c) + LB_j passes b's cotangent v on as e = -v exp(A - LA), f = v exp(B - LB);
a row step's change adds -g A / r to e and -h B / (m - r) to f with g_i = u_i + sum_j e and
h_i = -u_i + sum_j f, u the cotangent of a; the depth step P = sigmoid(t) ends in
t' = (1 - P) e - P f. Potentials and column sums of every sweep are kept, cells are computed anew.
"""

import torch

from ._tile import (
    Tile,
    cdiv,
    launch,
    launch_options,
    on_nvidia,
    padded,
    spread,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._unroll import back_columns, back_plan, back_sweep
from .sweep import Budgets, Kept, room_for, sweep

ELEMENTS = 1024  # four cotangents a cell live beside the cell itself
Start = tuple[torch.Tensor, torch.Tensor] | None
Visit = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def sweeps_backward(
    scores: torch.Tensor,
    scales: torch.Tensor,
    budgets: Budgets,
    start: Start,
    steps: int,
    grad: torch.Tensor,
    *,
    rows_first: bool = True,
    kept: Kept | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cotangents of scores, scales (B, 2), rows (B, N) and columns (B, K) of a plan after sweeps.

    Args:
        scores: X, (B, N, K), any strides.
        scales: (B or 1, 2): scale over temperature of the plan's group and of the other.
        budgets: the margins.
        start: potentials (a, b) before the first sweep, held fixed; None starts from the scores.
        steps: sweeps, at least 1 without a start.
        grad: cotangent of the plan, (B, N, K), any strides. With rows first the plan is
            sigmoid((high - low) X + a + b); else a last row step follows.
        rows_first: whether a sweep is row, column, depth; else column, depth, row.
        kept: what the sweeps left; None makes them once more.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS)
    if kept is None:
        kept = _retrace(scores, scales, budgets, start, steps, rows_first)
    # A first sweep reads no potentials: any will do.
    before = (kept.rows.select(0, -1), kept.columns.select(0, -1)) if start is None else start
    lines = [(before[0].contiguous(), before[1].contiguous())]
    lines += zip(kept.rows.unbind(0), kept.columns.unbind(0), strict=True)
    state = _State(scores, scales, budgets, tile)
    state.back_from_plan(*lines[-1], grad, row_step=not rows_first)
    for step in reversed(range(steps)):
        first = start is None and step == 0
        visit = (*lines[step], kept.sums.select(0, step))
        state.back_through_sweep(visit, first=first, row_step=rows_first or not first)
    scales_bar = state.dots.sum(-1)
    return state.x_bar.to(scores.dtype), scales_bar, state.row_bar, state.column_bar


def _retrace(
    scores: torch.Tensor,
    scales: torch.Tensor,
    budgets: Budgets,
    start: Start,
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> Kept:
    """The sweeps once more, for what they leave."""
    kept = room_for(scores, budgets, steps)
    # A first sweep reads no potentials: any will do.
    before = (kept.rows.select(0, 0), kept.columns.select(0, 0)) if start is None else start
    a, b = before[0].contiguous(), before[1].contiguous()
    for step, here in enumerate(zip(*(part.unbind(0) for part in kept), strict=True)):
        first = start is None and step == 0
        plain = rows_first or not first
        a, b = sweep(scores, scales, a, b, budgets, first=first, row_step=plain, kept=Kept(*here))
    return kept


class _State:
    """Cotangents on their way back through the sweeps."""

    def __init__(
        self, scores: torch.Tensor, scales: torch.Tensor, budgets: Budgets, tile: Tile
    ) -> None:
        batch, count, width = scores.shape
        kind, device = working_dtype(scores), scores.device
        self.scores, self.budgets, self.tile = scores, budgets, tile
        self.scales = spread(scales, batch, 2)
        self.free = scores if budgets.free is None else budgets.free
        self.rows = spread(budgets.rows, batch, count)
        self.row_cells = spread(budgets.row_cells, batch, count)
        self.columns = spread(budgets.columns, batch, width)
        self.column_cells = spread(budgets.column_cells, batch, width)
        self.x_bar = torch.empty(scores.shape, dtype=kind, device=device)
        self.a_bar = torch.empty((batch, count), dtype=kind, device=device)
        self.b_bar = torch.empty((batch, width), dtype=kind, device=device)
        self.row_bar = torch.empty((batch, count), dtype=kind, device=device)
        self.column_bar = torch.empty((batch, width), dtype=kind, device=device)
        self.dots = torch.empty((batch, 2, count), dtype=kind, device=device)
        self.part = torch.empty((batch, tile.programs, width), dtype=kind, device=device)

    def back_from_plan(
        self, a: torch.Tensor, b: torch.Tensor, grad: torch.Tensor, *, row_step: bool
    ) -> None:
        """Begin with the plan's own cotangent."""
        launch(
            back_plan,
            (self.a_bar.shape[0] * self.tile.programs,),
            self.scores,
            self.free,
            grad,
            self.scales,
            a,
            b,
            self.rows,
            self.a_bar,
            self.x_bar,
            self.row_bar,
            self.dots,
            self.part,
            self.scores.shape[1],
            self.tile.programs,
            self.tile.steps,
            *self.scores.stride(),
            *self.free.stride(),
            *grad.stride(),
            self.scales.stride(0),
            *self.rows.stride(),
            ROW=row_step,
            **self.options(grad),
        )
        self.add_columns(last=True)

    def back_through_sweep(self, visit: Visit, *, first: bool, row_step: bool) -> None:
        """Go back through one sweep."""
        batch, count, _ = self.scores.shape
        a, b, sums = visit
        launch(
            back_sweep,
            (batch * self.tile.programs,),
            self.scores,
            self.free,
            self.scales,
            a,
            b,
            sums,
            self.rows,
            self.row_cells,
            self.columns,
            self.column_cells,
            self.a_bar,
            self.b_bar,
            self.x_bar,
            self.row_bar,
            self.dots,
            self.part,
            count,
            batch,
            self.tile.programs,
            self.tile.steps,
            *self.scores.stride(),
            *self.free.stride(),
            self.scales.stride(0),
            *self.rows.stride(),
            *self.row_cells.stride(),
            *self.columns.stride(),
            *self.column_cells.stride(),
            FIRST=first,
            ROW=row_step,
            **self.options(),
        )
        self.add_columns(last=False)

    def add_columns(self, *, last: bool) -> None:
        """Give the columns what their rows passed on."""
        batch, _, width = self.scores.shape
        block = min(32, padded(width))
        launch(
            back_columns,
            (batch, cdiv(width, block)),
            self.part,
            self.columns,
            self.column_cells,
            self.b_bar,
            self.column_bar,
            self.tile.programs,
            *self.columns.stride(),
            *self.column_cells.stride(),
            K=width,
            LAST=last,
            ACC=triton_dtype(self.scores),
            BLOCK_P=64,
            BLOCK_K=block,
            **launch_options(4),
        )

    def options(self, *tables: torch.Tensor) -> dict:
        """What both large kernels are told at compile time; AMD's warps are twice as wide."""
        warps = self.tile.warps if on_nvidia() else max(1, self.tile.warps // 2)
        return {
            "K": self.scores.shape[2],
            "WIDE": starts_wide(self.scores, self.free, *tables),
            "MASKED": self.budgets.free is not None,
            "ACC": triton_dtype(self.scores),
            "BLOCK_N": self.tile.rows,
            "BLOCK_K": self.tile.columns,
            **launch_options(warps),
        }

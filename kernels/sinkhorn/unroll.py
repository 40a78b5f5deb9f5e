"""The gradient of a fixed number of sweeps of two channel groups, one reading of the scores each.

Let e and f be the cotangents of the groups' logarithms after a row step. A column step's change
log c - LA_j - log(n - c) + LB_j passes b's cotangent v on as e = -v exp(A - LA), f = v exp(B - LB);
a row step's change adds -g A / r to e and -h B / (m - r) to f with g_i = u_i + sum_j e and
h_i = -u_i + sum_j f, u the cotangent of a; the depth step P = sigmoid(t) ends in
t' = (1 - P) e - P f. Potentials and column sums of every sweep are kept, cells are computed anew.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    cdiv,
    kernel,
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
from ._walk import cells, or_alone, shares, table_of
from .sweep import Budgets, Kept, _balance_rows, _two_scales, room_for, sweep

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
            _back_plan,
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
            _back_sweep,
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
            _back_columns,
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


@triton.jit
@no_type_check
def _per_mass(x, mass):
    """The quotient x / mass; 0 where there is no mass to scale."""
    return tl.where(mass > 0, x / tl.where(mass > 0, mass, 1.0), 0.0)


@triton.jit
@no_type_check
def _through_rows(cotangent, x, change, mass, ROW: tl.constexpr):
    """Back through x + (log mass - log sum exp x): cotangents of the old x and of the mass."""
    pulled = _per_mass(change, mass)
    if ROW:
        cotangent -= tl.exp(x) * pulled[:, None]
    return cotangent, pulled


@triton.jit
@no_type_check
def _shared(x, a, b, live, high, low):
    """After a depth step: both groups' logarithms, P and 1 - P."""
    t = (high - low) * x + a[:, None] + b[None, :]
    la, lb, one = shares(t)
    p = tl.where(t >= 0, 1.0, one - 1.0) / one
    q = tl.where(t >= 0, one - 1.0, 1.0) / one
    la = tl.where(live, la - tl.log(one), float("-inf"))
    return la, tl.where(live, lb - tl.log(one), float("-inf")), p, q


@triton.jit
@no_type_check
def _open(scores, free, at, live, steps, MASKED: tl.constexpr, ACC: tl.constexpr):
    """The tile's scores, and which of its cells take part; at = (n, k)."""
    x = cells(scores, at[0], at[1], live, steps[0], steps[1], 0.0).to(ACC)
    if MASKED:
        live = live & (cells(free, at[0], at[1], live, steps[2], steps[3], 0) != 0)
    return x, live


@kernel
@no_type_check
def _back_plan(
    scores,
    free,
    grad,
    scales,
    row_potential,
    column_potential,
    budget,
    a_bar,
    x_bar,
    row_bar,
    dots,
    part,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    grad_problem,
    grad_row,
    grad_column,
    scale_problem,
    budget_problem,
    budget_row,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    ROW: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    b = tl.load(column_potential + problem * K + k, mask=k < K, other=0.0).to(ACC)
    total = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & (k < K)[None, :]
        x, live = _open(
            table_of(scores, problem, stride_problem, WIDE),
            table_of(free, problem, free_problem, WIDE),
            (n, k),
            cell,
            (stride_row, stride_column, free_row, free_column),
            MASKED,
            ACC,
        )
        line = problem * rows + n
        a = tl.load(row_potential + line, mask=inside, other=0.0).to(ACC)
        la, lb, p, q = _shared(x, a, b, live, high, low)
        r = budget + problem * budget_problem + n * budget_row
        r = tl.load(r, mask=inside, other=0.0).to(ACC)
        if ROW:
            la, _ = _balance_rows(la, 1.0, r, True)  # noqa: FBT003
        source = table_of(grad, problem, grad_problem, WIDE)
        g = cells(source, n, k, cell, grad_row, grad_column, 0.0).to(ACC)
        e = g * tl.exp(la)
        pulled = tl.zeros([BLOCK_N], ACC)
        if ROW:
            e, pulled = _through_rows(e, la, tl.sum(e, axis=1), r, True)  # noqa: FBT003
        bent = q * e
        total += tl.sum(bent, axis=0)
        tl.store(a_bar + line, tl.sum(bent, axis=1), mask=inside)
        tl.store(row_bar + line, pulled, mask=inside)
        dot = tl.sum(x * bent, axis=1)
        to = dots + problem * 2 * rows + n
        tl.store(to, dot, mask=inside)
        tl.store(to + rows, -dot, mask=inside)
        tl.store(x_bar + line[:, None] * K + k[None, :], (high - low) * bent, mask=cell)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, total, mask=k < K)


@triton.jit
@no_type_check
def _column_pull(v, mass, sums, mask):
    """Cotangent of a column step's change, where there is one, and the log sum it divided by."""
    sums = tl.load(sums, mask=mask, other=0.0)
    return tl.where(mass > 0, v, 0.0)[None, :], or_alone(sums, LOG=True)[None, :]


@triton.jit
@no_type_check
def _add_to(at, value, mask):
    """Add to what is kept there; no other program touches it."""
    tl.store(at, tl.load(at, mask=mask, other=0.0) + value, mask=mask)


@kernel
@no_type_check
def _back_sweep(
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    sums,
    budget,
    size,
    goal,
    depth,
    a_bar,
    b_bar,
    x_bar,
    row_bar,
    dots,
    part,
    rows,
    batch,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    scale_problem,
    budget_problem,
    budget_row,
    size_problem,
    size_row,
    goal_problem,
    goal_column,
    depth_problem,
    depth_column,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    FIRST: tl.constexpr,
    ROW: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    c = tl.load(goal + problem * goal_problem + k * goal_column, mask=wide, other=0.0)
    h = tl.load(depth + problem * depth_problem + k * depth_column, mask=wide, other=0.0)
    v = tl.load(b_bar + problem * K + k, mask=wide, other=0.0)
    up, log_a = _column_pull(v, c, sums + problem * K + k, wide)
    down, log_b = _column_pull(v, h - c, sums + (batch.to(tl.int64) + problem) * K + k, wide)
    total = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        x, live = _open(
            table_of(scores, problem, stride_problem, WIDE),
            table_of(free, problem, free_problem, WIDE),
            (n, k),
            cell,
            (stride_row, stride_column, free_row, free_column),
            MASKED,
            ACC,
        )
        line = problem * rows + n
        r = tl.load(budget + problem * budget_problem + n * budget_row, mask=inside, other=0.0)
        m = tl.load(size + problem * size_problem + n * size_row, mask=inside, other=0.0)
        r, rest = r.to(ACC), (m - r).to(ACC)
        if FIRST:
            la = tl.where(live, high * x, float("-inf"))
            lb = tl.where(live, low * x, float("-inf"))
        else:
            a = tl.load(row_potential + line, mask=inside, other=0.0).to(ACC)
            b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
            la, lb, p, q = _shared(x, a, b, live, high, low)
        la, _ = _balance_rows(la, 1.0, r, ROW)
        lb, _ = _balance_rows(lb, 1.0, rest, ROW)
        u = tl.load(a_bar + line, mask=inside, other=0.0)
        e, f = -up * tl.exp(la - log_a), down * tl.exp(lb - log_b)
        e, pulled = _through_rows(e, la, u + tl.sum(e, axis=1), r, ROW)
        f, other = _through_rows(f, lb, tl.sum(f, axis=1) - u, rest, ROW)
        _add_to(row_bar + line, pulled - other, inside)
        if not FIRST:
            e = q * e - p * f
            f = -e
            tl.store(a_bar + line, u + tl.sum(e, axis=1), mask=inside)
            total += tl.sum(e, axis=0)
        to = dots + problem * 2 * rows + n
        _add_to(to, tl.sum(x * e, axis=1), inside)
        _add_to(to + rows, tl.sum(x * f, axis=1), inside)
        _add_to(x_bar + line[:, None] * K + k[None, :], high * e + low * f, cell)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, total, mask=wide)


@kernel
@no_type_check
def _back_columns(
    part,
    budget,
    size,
    b_bar,
    column_bar,
    programs,
    budget_problem,
    budget_column,
    size_problem,
    size_column,
    K: tl.constexpr,
    LAST: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Add what the rows pass on to the columns, and collect the cotangent of their budgets."""
    problem = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    to = problem * K + k
    total, own = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    for begin in range(0, programs, BLOCK_P):
        p = (begin + tl.arange(0, BLOCK_P)).to(tl.int64)
        cell = (p < programs)[:, None] & wide[None, :]
        at = part + (problem * programs + p[:, None]) * K + k[None, :]
        total += tl.sum(tl.load(at, mask=cell, other=0.0), axis=0)
    if not LAST:
        c = tl.load(budget + problem * budget_problem + k * budget_column, mask=wide, other=0.0)
        n = tl.load(size + problem * size_problem + k * size_column, mask=wide, other=0.0)
        v = tl.load(b_bar + to, mask=wide, other=0.0)
        own = _per_mass(v, c.to(ACC)) + _per_mass(v, (n - c).to(ACC))
        own += tl.load(column_bar + to, mask=wide, other=0.0)
        total += v
    tl.store(b_bar + to, total, mask=wide)
    tl.store(column_bar + to, own, mask=wide)

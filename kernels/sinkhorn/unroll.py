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
    cells,
    launch_options,
    or_alone,
    shares,
    spread,
    tile_for,
    triton_dtype,
    working_dtype,
)
from .sweep import Budgets, _balance_rows, _log_step, sweep_sums

ELEMENTS = 1024  # four cotangents a cell live beside the cell itself
Start = tuple[torch.Tensor, torch.Tensor] | None
Visit = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


def sweeps_backward(
    scores: torch.Tensor,
    scales: torch.Tensor,
    budgets: Budgets,
    start: Start,
    steps: int,
    grad: torch.Tensor,
    *,
    rows_first: bool = True,
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
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS)
    a, b, visits = _retrace(scores, scales, budgets, start, steps, rows_first)
    state = _State(scores, scales, budgets, tile)
    state.visit(a, b, None, grad=grad, row_step=not rows_first)
    for index, (a, b, sums) in reversed(list(enumerate(visits))):
        first = start is None and index == 0
        state.visit(a, b, sums, first=first, row_step=rows_first or not first)
    scales_bar = state.dots.sum(-1)
    return state.x_bar.to(scores.dtype), scales_bar, state.row_bar, state.column_bar


def _retrace(
    scores: torch.Tensor,
    scales: torch.Tensor,
    budgets: Budgets,
    start: Start,
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> tuple[torch.Tensor, torch.Tensor, list[Visit]]:
    """The sweeps once more: what each began with and its log column sums (2, B, K)."""
    batch, count, width = scores.shape
    rows, columns = budgets.rows, budgets.columns
    if start is None:
        a = torch.empty((batch, count), dtype=rows.dtype, device=scores.device)
        b = torch.empty((batch, width), dtype=columns.dtype, device=scores.device)
    else:
        a, b = start[0].contiguous(), start[1].contiguous()
    visits: list[Visit] = []
    for step in range(steps):
        first = start is None and step == 0
        after, sums = sweep_sums(
            scores, scales, a, b, budgets, first=first, row_step=rows_first or not first
        )
        visits.append((a, b, sums))
        a, b = after, _advance_columns(b, sums, budgets, first=first)
    return a, b, visits


def _advance_columns(
    b: torch.Tensor,
    sums: torch.Tensor,
    budgets: Budgets,
    *,
    first: bool,
) -> torch.Tensor:
    """Column potentials after the column step whose log sums are known."""
    batch, width = b.shape
    columns = spread(budgets.columns, batch, width)
    size = spread(budgets.column_cells, batch, width)
    moved = torch.empty_like(b)
    block = min(256, max(16, triton.next_power_of_2(width)))
    _advance[(batch, triton.cdiv(width, block))](
        sums,
        b,
        columns,
        size,
        moved,
        batch,
        *columns.stride(),
        *size.stride(),
        K=width,
        FIRST=first,
        BLOCK_K=block,
        **launch_options(4),
    )
    return moved


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

    def visit(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        sums: torch.Tensor | None,
        *,
        grad: torch.Tensor | None = None,
        first: bool = False,
        row_step: bool,
    ) -> None:
        """Go back through the plan (`grad` given) or through one sweep."""
        batch, count, width = self.scores.shape
        last = grad is not None
        ends = self.scores if grad is None else grad
        _back[(batch * self.tile.programs,)](
            self.scores,
            self.free,
            ends,
            self.scales,
            a,
            b,
            b if sums is None else sums,
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
            *ends.stride(),
            self.scales.stride(0),
            *self.rows.stride(),
            *self.row_cells.stride(),
            *self.columns.stride(),
            *self.column_cells.stride(),
            K=width,
            LAST=last,
            FIRST=first,
            ROW=row_step,
            MASKED=self.budgets.free is not None,
            ACC=triton_dtype(self.scores),
            BLOCK_N=self.tile.rows,
            BLOCK_K=self.tile.columns,
            **launch_options(self.tile.warps),
        )
        block = min(32, max(16, triton.next_power_of_2(width)))
        _back_columns[(batch, triton.cdiv(width, block))](
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
            FIRST=first,
            ACC=triton_dtype(self.scores),
            BLOCK_P=64,
            BLOCK_K=block,
            **launch_options(4),
        )


@triton.jit(do_not_specialize=["batch"])
@no_type_check
def _advance(
    sums,
    before,
    budget,
    size,
    after,
    batch,
    budget_problem,
    budget_column,
    size_problem,
    size_column,
    K: tl.constexpr,
    FIRST: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    c = tl.load(budget + problem * budget_problem + k * budget_column, mask=wide, other=0.0)
    n = tl.load(size + problem * size_problem + k * size_column, mask=wide, other=0.0)
    at = sums + problem * K + k
    moved = _log_step(c, tl.load(at, mask=wide, other=0.0))
    at += batch.to(tl.int64) * K
    moved -= _log_step(n - c, tl.load(at, mask=wide, other=0.0))
    if not FIRST:
        moved += tl.load(before + problem * K + k, mask=wide, other=0.0)
    tl.store(after + problem * K + k, moved.to(after.dtype.element_ty), mask=wide)


@triton.jit
@no_type_check
def _per_mass(x, mass):
    """x / mass; 0 where there is no mass to scale."""
    return tl.where(mass > 0, x / tl.where(mass > 0, mass, 1.0), 0.0)


@triton.jit
@no_type_check
def _through_rows(cotangent, x, change, mass, ROW: tl.constexpr):
    """Back through x + (log mass - log sum exp x): cotangents of the old x and of the mass."""
    pulled = _per_mass(change, mass)
    if ROW:
        cotangent -= tl.exp(x) * pulled[:, None]
    return cotangent, pulled


@triton.jit(do_not_specialize=["rows", "batch", "programs", "steps"])
@no_type_check
def _back(
    scores,
    free,
    grad,
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
    grad_problem,
    grad_row,
    grad_column,
    stride_scale,
    budget_problem,
    budget_row,
    size_problem,
    size_row,
    goal_problem,
    goal_column,
    depth_problem,
    depth_column,
    K: tl.constexpr,
    LAST: tl.constexpr,
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
    high = tl.load(scales + problem * stride_scale).to(ACC)
    low = tl.load(scales + problem * stride_scale + 1).to(ACC)
    b = tl.zeros([BLOCK_K], ACC)
    if not FIRST:
        b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    if not LAST:
        c = tl.load(goal + problem * goal_problem + k * goal_column, mask=wide, other=0.0)
        h = tl.load(depth + problem * depth_problem + k * depth_column, mask=wide, other=0.0)
        v = tl.load(b_bar + problem * K + k, mask=wide, other=0.0)
        up, down = tl.where(c > 0, v, 0.0), tl.where(h - c > 0, v, 0.0)
        at = sums + problem * K + k
        log_a = or_alone(tl.load(at, mask=wide, other=0.0), LOG=True)
        at += batch.to(tl.int64) * K
        log_b = or_alone(tl.load(at, mask=wide, other=0.0), LOG=True)
    total = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = scores + problem * stride_problem
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        to = x_bar + (problem * rows + n[:, None]) * K + k[None, :]
        cell = live
        if MASKED:
            source = free + problem * free_problem
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        r = tl.load(budget + problem * budget_problem + n * budget_row, mask=inside, other=0.0)
        m = tl.load(size + problem * size_problem + n * size_row, mask=inside, other=0.0)
        r, rest = r.to(ACC), (m - r).to(ACC)
        line = problem * rows + n
        if FIRST:
            la, lb, p, q = high * x, low * x, x, x
        else:
            a = tl.load(row_potential + line, mask=inside, other=0.0).to(ACC)
            t = (high - low) * x + a[:, None] + b[None, :]
            la, lb, one = shares(t)
            p = tl.where(t >= 0, 1.0, one - 1.0) / one
            q = tl.where(t >= 0, one - 1.0, 1.0) / one
            la, lb = la - tl.log(one), lb - tl.log(one)
        la = tl.where(live, la, float("-inf"))
        if ROW or not LAST:
            la, _ = _balance_rows(la, 1.0, r, ROW)
        if LAST:
            source = grad + problem * grad_problem
            g = cells(source, n, k, live, grad_row, grad_column, 0.0).to(ACC)
            e = g * tl.where(live, tl.exp(la), 0.0)
            pulled = tl.zeros([BLOCK_N], ACC)
            if ROW:
                e, pulled = _through_rows(e, la, tl.sum(e, axis=1), r, ROW)
            bent = q * e
            u = tl.zeros([BLOCK_N], ACC)
        else:
            lb, _ = _balance_rows(tl.where(live, lb, float("-inf")), 1.0, rest, ROW)
            u = tl.load(a_bar + line, mask=inside, other=0.0)
            e = -up[None, :] * tl.exp(la - log_a[None, :])
            f = down[None, :] * tl.exp(lb - log_b[None, :])
            e, pulled = _through_rows(e, la, u + tl.sum(e, axis=1), r, ROW)
            f, other = _through_rows(f, lb, tl.sum(f, axis=1) - u, rest, ROW)
            pulled -= other
            pulled += tl.load(row_bar + line, mask=inside, other=0.0)
            bent = e if FIRST else q * e - p * f
        line_dots = dots + problem * 2 * rows + n
        if FIRST:
            first, second = tl.sum(x * e, axis=1), tl.sum(x * f, axis=1)
            bent = high * e + low * f
        else:
            first = tl.sum(x * bent, axis=1)
            second = -first
            tl.store(a_bar + line, u + tl.sum(bent, axis=1), mask=inside)
            total += tl.sum(bent, axis=0)
            bent *= high - low
        if not LAST:
            bent += tl.load(to, mask=cell, other=0.0)
            first += tl.load(line_dots, mask=inside, other=0.0)
            second += tl.load(line_dots + rows, mask=inside, other=0.0)
        tl.store(to, bent, mask=cell)
        tl.store(row_bar + line, pulled, mask=inside)
        tl.store(line_dots, first, mask=inside)
        tl.store(line_dots + rows, second, mask=inside)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, total, mask=wide)


@triton.jit(do_not_specialize=["programs"])
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
    FIRST: tl.constexpr,
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

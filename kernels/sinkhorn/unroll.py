"""The gradient of a fixed number of sweeps of two channel groups, one reading of the scores each.

A and B are the logarithms of the two groups' tables, LA and LB the log-sums of their columns; a
column has the load c of its n free cells, a row the budget r of its m. Let e and f be the
cotangents of A and B after a row step. A column step's change log c - LA_j - log(n - c) + LB_j
passes b's cotangent v on as e = -v exp(A - LA), f = v exp(B - LB); a row step's change adds
-g A / r to e and -h B / (m - r) to f with g_i = u_i + sum_j e and h_i = -u_i + sum_j f, u the
cotangent of a; the depth step P = sigmoid(t) ends in t' = (1 - P) e - P f. Potentials and column
sums of every sweep are kept, cells are computed anew.
"""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    cdiv,
    kernel,
    launch,
    launch_options,
    padded,
    tile_for,
    triton_dtype,
    view,
    walk,
    wavefronts,
    working_dtype,
)
from ._walk import add_up, begin, block, cells, line, or_alone, shares, table, tile_of, views
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
        self.scales = view(scales, batch, 2)[:2]
        self.sides = budgets.row_sides(batch, count)
        self.column_sides = budgets.column_sides(batch, width)
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
        self.launch(
            _back_plan,
            (grad, *grad.stride(), a, b, *self.sides[:3]),
            (self.a_bar, self.x_bar, self.row_bar, self.dots, self.part),
            {"ROW": row_step},
            grad,
        )
        self.add_columns(last=True)

    def back_through_sweep(self, visit: Visit, *, first: bool, row_step: bool) -> None:
        """Go back through one sweep."""
        self.launch(
            _back_sweep,
            (*visit, *self.sides, *self.column_sides),
            (self.a_bar, self.b_bar, self.x_bar, self.row_bar, self.dots, self.part),
            {"FIRST": first, "ROW": row_step},
        )
        self.add_columns(last=False)

    def launch(
        self,
        kernel: Any,
        given: tuple[Any, ...],
        kept: tuple[torch.Tensor, ...],
        flags: dict[str, bool],
        *more: torch.Tensor,
    ) -> None:
        """Visit the scores once; `more` are tables that are read beside them."""
        walk(
            kernel,
            self.tile,
            self.scores,
            self.budgets.free,
            *self.scales,
            *given,
            *kept,
            self.scores.shape[0],
            more=more,
            warps=wavefronts(self.tile.warps),  # AMD's are twice as wide
            **flags,
        )

    def add_columns(self, *, last: bool) -> None:
        """Give the columns what their rows passed on."""
        batch, _, width = self.scores.shape
        columns = min(32, padded(width))
        launch(
            _back_columns,
            (batch, cdiv(width, columns)),
            self.part,
            *self.column_sides,
            self.b_bar,
            self.column_bar,
            self.tile.programs,
            K=width,
            LAST=last,
            ACC=triton_dtype(self.scores),
            BLOCK_P=64,
            BLOCK_K=columns,
            **launch_options(4),
        )


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


@kernel
@no_type_check
def _back_plan(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, grad, grad_problem, grad_row,
    grad_column, row_potential, column_potential, budget, budget_problem, budget_row, a_bar, x_bar,
    row_bar, dots, part, batch, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, ROW: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    grad = table(grad, problem, grad_problem, grad_row, grad_column, WIDE)
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    total = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        row = problem * rows + n
        a = tl.load(row_potential + row, mask=inside, other=0.0).to(ACC)
        la, lb, p, q = _shared(x, a, b, live, high, low)
        r = line(budget, problem, budget_problem, n, budget_row, inside).to(ACC)
        if ROW:
            la, _ = _balance_rows(la, 1.0, r, True)  # noqa: FBT003

        g = cells(grad, n, k, cell, 0.0).to(ACC)
        e = g * tl.exp(la)
        pulled = tl.zeros([BLOCK_N], ACC)
        if ROW:
            e, pulled = _through_rows(e, la, tl.sum(e, axis=1), r, True)  # noqa: FBT003
        bent = q * e
        total += tl.sum(bent, axis=0)
        tl.store(a_bar + row, tl.sum(bent, axis=1), mask=inside)
        tl.store(row_bar + row, pulled, mask=inside)
        dot = tl.sum(x * bent, axis=1)
        to = dots + problem * 2 * rows + n
        tl.store(to, dot, mask=inside)
        tl.store(to + rows, -dot, mask=inside)
        tl.store(x_bar + row[:, None] * K + k[None, :], (high - low) * bent, mask=cell)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, total, mask=wide)


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
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, row_potential,
    column_potential, sums, budget, budget_problem, budget_row, size, size_problem, size_row, goal,
    goal_problem, goal_column, depth, depth_problem, depth_column, a_bar, b_bar, x_bar, row_bar,
    dots, part, batch, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, FIRST: tl.constexpr, ROW: tl.constexpr,
    MASKED: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    c = line(goal, problem, goal_problem, k, goal_column, wide)
    h = line(depth, problem, depth_problem, k, depth_column, wide)
    v = tl.load(b_bar + problem * K + k, mask=wide, other=0.0)
    up, log_a = _column_pull(v, c, sums + problem * K + k, wide)
    down, log_b = _column_pull(v, h - c, sums + (batch.to(tl.int64) + problem) * K + k, wide)
    total = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        row = problem * rows + n
        r = line(budget, problem, budget_problem, n, budget_row, inside)
        m = line(size, problem, size_problem, n, size_row, inside)
        r, rest = r.to(ACC), (m - r).to(ACC)
        if FIRST:
            la = tl.where(live, high * x, float("-inf"))
            lb = tl.where(live, low * x, float("-inf"))
        else:
            a = tl.load(row_potential + row, mask=inside, other=0.0).to(ACC)
            b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
            la, lb, p, q = _shared(x, a, b, live, high, low)
        la, _ = _balance_rows(la, 1.0, r, ROW)
        lb, _ = _balance_rows(lb, 1.0, rest, ROW)

        u = tl.load(a_bar + row, mask=inside, other=0.0)
        e, f = -up * tl.exp(la - log_a), down * tl.exp(lb - log_b)
        e, pulled = _through_rows(e, la, u + tl.sum(e, axis=1), r, ROW)
        f, other = _through_rows(f, lb, tl.sum(f, axis=1) - u, rest, ROW)
        _add_to(row_bar + row, pulled - other, inside)
        if not FIRST:
            e = q * e - p * f
            f = -e
            tl.store(a_bar + row, u + tl.sum(e, axis=1), mask=inside)
            total += tl.sum(e, axis=0)
        to = dots + problem * 2 * rows + n
        _add_to(to, tl.sum(x * e, axis=1), inside)
        _add_to(to + rows, tl.sum(x * f, axis=1), inside)
        _add_to(x_bar + row[:, None] * K + k[None, :], high * e + low * f, cell)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, total, mask=wide)


@kernel
@no_type_check
def _back_columns(
    part, budget, budget_problem, budget_column, size, size_problem, size_column,
    b_bar, column_bar, programs,
    K: tl.constexpr, LAST: tl.constexpr,
    ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Add what the rows pass on to the columns, and collect the cotangent of their budgets."""
    problem = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    to = problem * K + k
    source = part + problem * programs * K
    total = add_up(source, programs, k, K, False, False, ACC, BLOCK_P, BLOCK_K)  # noqa: FBT003
    own = tl.zeros([BLOCK_K], ACC)
    if not LAST:
        c = line(budget, problem, budget_problem, k, budget_column, wide)
        n = line(size, problem, size_problem, k, size_column, wide)
        v = tl.load(b_bar + to, mask=wide, other=0.0)
        own = _per_mass(v, c.to(ACC)) + _per_mass(v, (n - c).to(ACC))
        own += tl.load(column_bar + to, mask=wide, other=0.0)
        total += v
    tl.store(b_bar + to, total, mask=wide)
    tl.store(column_bar + to, own, mask=wide)

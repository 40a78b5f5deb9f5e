"""One sweep of Algorithm 1 for two channel groups, or of a transport, in one reading of the scores.

After a depth step the two groups share each cell: P and 1 - P with P = sigmoid(t) and
t = (high - low) X + a_i + b_j. Two vectors are the whole state. A row has the budget r and the
other group what its free cells leave, m - r; a column c and n - c. Row, column and depth step are

    a_i += log r_i / (m_i - r_i) - lse_j log P + lse_j log(1 - P)
    b_j += log c_j / (n_j - c_j) - lse_i log A + lse_i log B

where A and B are P and 1 - P after the row step. Before the first sweep the groups are
exp(high X) and exp(low X), not yet sharing the cells.

A transport P = exp(scale X + a_i + b_j) has neither cap nor depth; tau = 0 is an exact margin:

    a_i = (log r_i - log sum_j exp(scale X_ij + b_j)) / (1 + tau)
    l_j = log sum_i exp(scale X_ij + a_i)

and b_j = (log c_j - l_j) / (1 + tau) of the columns is left to the caller: their sums may have to
cross machines first.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    cdiv,
    is_aligned,
    kernel,
    launch,
    launch_options,
    padded,
    partials,
    triton_dtype,
    view,
    walk,
    walk_tile,
    working_dtype,
)
from ._walk import (
    add_partials,
    add_up,
    begin,
    block,
    leave_logs,
    line,
    merge_max,
    one,
    or_alone,
    row_log_sum,
    row_shift,
    shares,
    tile_of,
    views,
)


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What the plan's group has to sum to, and how many cells there are to share.

    Attributes:
        rows: r, broadcast to (B, N).
        row_cells: m, free cells of a row, broadcast to (B, N).
        columns: c, broadcast to (B, K).
        column_cells: n, free cells of a column, broadcast to (B, K).
        free: (B, N, K), nonzero where a cell takes part; None means all do.
    """

    rows: torch.Tensor
    row_cells: torch.Tensor
    columns: torch.Tensor
    column_cells: torch.Tensor
    free: torch.Tensor | None = None

    def row_sides(self, batch: int, count: int) -> tuple[Any, ...]:
        """Budgets r and m with their strides, as a launch takes them."""
        return *view(self.rows, batch, count), *view(self.row_cells, batch, count)

    def column_sides(self, batch: int, width: int) -> tuple[Any, ...]:
        """Budgets c and n with their strides, as a launch takes them."""
        return *view(self.columns, batch, width), *view(self.column_cells, batch, width)


class Kept(NamedTuple):
    """What sweeps leave for their derivative: of S sweeps, or of one without the first axis."""

    rows: torch.Tensor  # (S, B, N), row potentials after a sweep
    columns: torch.Tensor  # (S, B, K), column potentials
    sums: torch.Tensor  # (S, 2, B, K), both groups' log column sums before its column step


def room_for(scores: torch.Tensor, budgets: Budgets, steps: int) -> Kept:
    """Memory for what `steps` sweeps leave."""
    batch, count, width = scores.shape
    device = scores.device
    return Kept(
        torch.empty((steps, batch, count), dtype=budgets.rows.dtype, device=device),
        torch.empty((steps, batch, width), dtype=budgets.columns.dtype, device=device),
        torch.empty((steps, 2, batch, width), dtype=working_dtype(scores), device=device),
    )


def sweep(
    scores: torch.Tensor,
    scales: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    budgets: Budgets,
    *,
    first: bool = False,
    row_step: bool = True,
    kept: Kept | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Potentials after one more sweep, in the dtypes they came in.

    Args:
        scores: X, (B, N, K), any strides.
        scales: (B or 1, 2): scale over temperature of the plan's group and of the other.
        row_potential: a, (B, N) contiguous; not read in the first sweep.
        column_potential: b, (B, K) contiguous; not read in the first sweep.
        budgets: the margins.
        first: start from the scores themselves.
        row_step: whether the first sweep has its row step (not in the order that starts with
            columns; the groups then start with their multiplicities r and m - r).
        kept: where to write both, and the log column sums.
        tile: another cut than the chosen one.
    """
    after = torch.empty_like(row_potential) if kept is None else kept.rows
    moved = torch.empty_like(column_potential) if kept is None else kept.columns
    part = _visit(
        scores, scales, row_potential, column_potential, budgets, (first, row_step), after, tile
    )
    batch, width = column_potential.shape
    columns = min(32, padded(width))
    launch(
        _column_step,
        (batch, cdiv(width, columns)),
        part,
        *budgets.column_sides(batch, width),
        column_potential,
        moved,
        moved if kept is None else kept.sums,
        batch,
        part.shape[2],
        K=width,
        FIRST=first,
        KEEP=kept is not None,
        ACC=triton_dtype(part),
        BLOCK_P=64,
        BLOCK_K=columns,
        **launch_options(4),
    )
    return after, moved


def sweep_sums(
    scores: torch.Tensor,
    scales: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    budgets: Budgets,
    *,
    first: bool = False,
    row_step: bool = True,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sweep` up to its column sums: (a, log sums (2, B, K)), for rows spread over machines."""
    after = torch.empty_like(row_potential)
    part = _visit(
        scores, scales, row_potential, column_potential, budgets, (first, row_step), after, tile
    )
    groups, batch, programs, _, width = part.shape
    sums = add_partials(part.view(groups * batch, programs, 2, width), log=True)
    return after, sums.view(groups, batch, width)


def _visit(
    scores: torch.Tensor,
    scales: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    budgets: Budgets,
    phase: tuple[bool, bool],
    after: torch.Tensor,
    tile: Tile | None,
) -> torch.Tensor:
    """The row step into `after`, and the partial column log-sums (2, B, P, 2, K) after it."""
    batch, count, width = scores.shape
    tile = tile or walk_tile(scores)
    shape, kind = (2, batch, tile.programs, 2, width), working_dtype(scores)
    part = torch.empty(shape, dtype=kind, device=scores.device)
    walk(
        _sweep,
        tile,
        scores,
        budgets.free,
        *view(scales, batch, 2)[:2],
        *budgets.row_sides(batch, count),
        row_potential,
        column_potential,
        after,
        part,
        batch,
        FIRST=phase[0],
        ROW=phase[1],
        # Scores that lie anywhere want an address a value: fewer values a thread then.
        warps=tile.warps if width % 16 or is_aligned(scores) else 8,
    )
    return part


def transport_sweep(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    yields: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    row_step: bool = True,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row potentials after the row step (B, N), and the log column sums (B, K) of them, without b.

    A column without mass has -inf: on another machine it may have some.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,).
        row_potential: a, (B, N) contiguous; read where there is no row step.
        column_potential: b, (B, K) contiguous.
        rows: r, broadcast to (B, N).
        yields: tau of the rows, broadcast to (B,).
        free: (B, N, K), nonzero where a cell takes part.
        row_step: whether a is moved before the columns are summed.
        tile: another cut than the chosen one.
    """
    batch, count, _ = scores.shape
    tile = tile or walk_tile(scores, sharing=batch)
    after = torch.empty((batch, count), dtype=row_potential.dtype, device=scores.device)
    part = partials(scores, tile, 2)
    walk(
        _transport,
        tile,
        scores,
        free,
        *view(scale, batch),
        *view(yields, batch),
        *view(rows, batch, count),
        row_potential,
        column_potential,
        after,
        part,
        ROW=row_step,
    )
    return after, add_partials(part, log=True).select(1, 0)


@triton.jit
@no_type_check
def _two_scales(at, ACC: tl.constexpr):
    """What multiplies the scores in the plan's group and in the other."""
    return tl.load(at).to(ACC), tl.load(at + 1).to(ACC)


@triton.jit
@no_type_check
def _balance_rows(x, divisor, budget, ROW: tl.constexpr):
    """Shift the logarithms x so that the row sums of exp(x) / divisor are the budgets."""
    has = budget > 0
    moved = tl.log(tl.where(has, budget, 1.0))
    if ROW:
        moved -= row_log_sum(x, divisor)
    moved = tl.where(has, moved, 0.0)
    return x + moved[:, None], moved


@kernel
@no_type_check
def _sweep(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, budget, budget_problem,
    budget_row, size, size_problem, size_row, row_potential, column_potential, after, part, batch,
    rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, FIRST: tl.constexpr, ROW: tl.constexpr,
    MASKED: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    top_a, sum_a = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    top_b, sum_b = top_a, sum_a
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        r = line(budget, problem, budget_problem, n, budget_row, inside)
        m = line(size, problem, size_problem, n, size_row, inside)
        if FIRST:
            la, lb, mass = high * x, low * x, tl.full([BLOCK_N, BLOCK_K], 1.0, ACC)
        else:
            a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
            b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
            la, lb, mass = shares((high - low) * x + a.to(ACC)[:, None] + b[None, :])

        la = tl.where(live, la, float("-inf"))
        lb = tl.where(live, lb, float("-inf"))
        la, moved = _balance_rows(la, mass, r.to(ACC), ROW)
        lb, other = _balance_rows(lb, mass, (m - r).to(ACC), ROW)
        moved = (moved - other).to(after.dtype.element_ty)
        tl.store(after + problem * rows + n, moved if FIRST else a + moved, mask=inside)
        if not FIRST:
            mass = tl.log(mass)
            la, lb = la - mass, lb - mass
        top_a, sum_a = merge_max(top_a, sum_a, la, 0)
        top_b, sum_b = merge_max(top_b, sum_b, lb, 0)

    to = part + tl.program_id(0).to(tl.int64) * 2 * K
    leave_logs(to, top_a, sum_a, k, K)
    leave_logs(to + batch.to(tl.int64) * programs * 2 * K, top_b, sum_b, k, K)


@kernel
@no_type_check
def _column_step(
    part, budget, budget_problem, budget_column, size, size_problem, size_column,
    column_potential, after, sums, batch, programs,
    K: tl.constexpr, FIRST: tl.constexpr, KEEP: tl.constexpr,
    ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    c = line(budget, problem, budget_problem, k, budget_column, wide)
    n = line(size, problem, size_problem, k, size_column, wide)
    source = part + problem * programs * 2 * K
    ours = _log_sums(source, programs, k, K, ACC, BLOCK_P, BLOCK_K)
    lines = batch.to(tl.int64) * K
    theirs = _log_sums(source + 2 * lines * programs, programs, k, K, ACC, BLOCK_P, BLOCK_K)
    if KEEP:
        tl.store(sums + problem * K + k, ours, mask=wide)
        tl.store(sums + lines + problem * K + k, theirs, mask=wide)
    moved = _log_step(c, ours) - _log_step(n - c, theirs)
    if not FIRST:
        moved += tl.load(column_potential + problem * K + k, mask=wide, other=0.0)
    tl.store(after + problem * K + k, moved.to(after.dtype.element_ty), mask=wide)


@triton.jit
@no_type_check
def _log_step(budget, total):
    """Change log(budget) - total of a potential; none where there is nothing to scale."""
    has = budget > 0
    return tl.where(has, tl.log(tl.where(has, budget, 1.0)) - total, 0.0)


@triton.jit
@no_type_check
def _log_sums(
    part, programs, k,
    K: tl.constexpr, ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A group's log column sums; 0 without mass. In a resident launch they were just written."""
    total = add_up(part, programs, k, K, True, True, ACC, BLOCK_P, BLOCK_K)  # noqa: FBT003
    return or_alone(total, LOG=True)


@kernel
@no_type_check
def _transport(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem, budget,
    budget_problem, budget_row, row_potential, column_potential, after, part, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, ROW: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    factor, tau = one(scale, problem, scale_problem, ACC), one(tau, problem, tau_problem, ACC)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    top, sums = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        t = factor * x
        if ROW:
            r = line(budget, problem, budget_problem, n, budget_row, inside).to(ACC)
            a = row_shift(t + b[None, :], live, r, tau)
        else:
            a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        tl.store(after + problem * rows + n, a.to(after.dtype.element_ty), mask=inside)
        top, sums = merge_max(top, sums, tl.where(live, t + a[:, None], float("-inf")), 0)

    leave_logs(part + tl.program_id(0).to(tl.int64) * 2 * K, top, sums, k, K)

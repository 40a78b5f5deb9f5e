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
from typing import NamedTuple, no_type_check

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
    spread,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import (
    add_log_partials,
    cells,
    merge_max,
    or_alone,
    row_log_sum,
    row_shift,
    shares,
    table_of,
)

ELEMENTS = 2048


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
    columns = spread(budgets.columns, batch, width)
    count = spread(budgets.column_cells, batch, width)
    block = min(32, padded(width))
    launch(
        _column_step,
        (batch, cdiv(width, block)),
        part,
        column_potential,
        columns,
        count,
        moved,
        moved if kept is None else kept.sums,
        batch,
        part.shape[2],
        *columns.stride(),
        *count.stride(),
        K=width,
        FIRST=first,
        KEEP=kept is not None,
        ACC=triton_dtype(part),
        BLOCK_P=64,
        BLOCK_K=block,
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
    sums = add_log_partials(part.view(groups * batch, programs, 2, width))
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
    kind = working_dtype(scores)
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS)
    rows, size = spread(budgets.rows, batch, count), spread(budgets.row_cells, batch, count)
    scales = spread(scales, batch, 2)
    part = torch.empty((2, batch, tile.programs, 2, width), dtype=kind, device=scores.device)
    free = scores if budgets.free is None else budgets.free
    # Scores that lie anywhere want an address a value: fewer values a thread then.
    warps = tile.warps if width % 16 or is_aligned(scores) else 8
    launch(
        _sweep,
        (batch * tile.programs,),
        scores,
        free,
        scales,
        row_potential,
        column_potential,
        rows,
        size,
        after,
        part,
        count,
        batch,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *free.stride(),
        scales.stride(0),
        *rows.stride(),
        *size.stride(),
        K=width,
        WIDE=starts_wide(scores, free),
        FIRST=phase[0],
        ROW=phase[1],
        MASKED=budgets.free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(warps),
    )
    return part


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
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    budget,
    size,
    after,
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
    top_a, sum_a = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    top_b, sum_b = top_a, sum_a
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        r = tl.load(budget + problem * budget_problem + n * budget_row, mask=inside, other=0.0)
        m = tl.load(size + problem * size_problem + n * size_row, mask=inside, other=0.0)
        if FIRST:
            la, lb, one = high * x, low * x, tl.full([BLOCK_N, BLOCK_K], 1.0, ACC)
        else:
            a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
            b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
            la, lb, one = shares((high - low) * x + a.to(ACC)[:, None] + b[None, :])
        la = tl.where(live, la, float("-inf"))
        lb = tl.where(live, lb, float("-inf"))
        la, moved = _balance_rows(la, one, r.to(ACC), ROW)
        lb, other = _balance_rows(lb, one, (m - r).to(ACC), ROW)
        moved = (moved - other).to(after.dtype.element_ty)
        tl.store(after + problem * rows + n, moved if FIRST else a + moved, mask=inside)
        if not FIRST:
            one = tl.log(one)
            la, lb = la - one, lb - one
        top_a, sum_a = merge_max(top_a, sum_a, la, 0)
        top_b, sum_b = merge_max(top_b, sum_b, lb, 0)
    to = part + tl.program_id(0).to(tl.int64) * 2 * K + k
    tl.store(to, top_a, mask=wide)
    tl.store(to + K, sum_a, mask=wide)
    to += batch.to(tl.int64) * programs * 2 * K
    tl.store(to, top_b, mask=wide)
    tl.store(to + K, sum_b, mask=wide)


@kernel
@no_type_check
def _column_step(
    part,
    column_potential,
    budget,
    size,
    after,
    sums,
    batch,
    programs,
    budget_problem,
    budget_column,
    size_problem,
    size_column,
    K: tl.constexpr,
    FIRST: tl.constexpr,
    KEEP: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    c = tl.load(budget + problem * budget_problem + k * budget_column, mask=wide, other=0.0)
    n = tl.load(size + problem * size_problem + k * size_column, mask=wide, other=0.0)
    source = part + problem * programs * 2 * K
    ours = _add_logs(source, programs, k, K, ACC, BLOCK_P, BLOCK_K)
    lines = batch.to(tl.int64) * K
    theirs = _add_logs(source + 2 * lines * programs, programs, k, K, ACC, BLOCK_P, BLOCK_K)
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
def _add_logs(
    part,
    programs,
    k,
    K: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Log column sums from (P, 2, K) pairs (largest, sum), in order; 0 without mass.

    Read past the first cache: in a resident launch other programs have just written them.
    """
    top, sums = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    for start in range(0, programs, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        cell = (p < programs)[:, None] & (k < K)[None, :]
        at = part + p[:, None] * 2 * K + k[None, :]
        value = tl.log(tl.load(at + K, mask=cell, other=0.0, cache_modifier=".cg"))
        value += tl.load(at, mask=cell, other=float("-inf"), cache_modifier=".cg")
        top, sums = merge_max(top, sums, value, 0)
    total = tl.where(top == float("-inf"), 0.0, top) + tl.log(sums)
    return or_alone(total, LOG=True)


PROGRAMS = 512  # partial sums over all problems of a batch


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
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    most = max(1, PROGRAMS // max(batch, 1))
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS, programs=most)
    rows, scale, tau = spread(rows, batch, count), spread(scale, batch), spread(yields, batch)
    after = torch.empty((batch, count), dtype=row_potential.dtype, device=scores.device)
    part = torch.empty((batch, tile.programs, 2, width), dtype=kind, device=scores.device)
    allowed = scores if free is None else free
    launch(
        _transport,
        (batch * tile.programs,),
        scores,
        allowed,
        scale,
        tau,
        row_potential,
        column_potential,
        rows,
        after,
        part,
        count,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        tau.stride(0),
        *rows.stride(),
        K=width,
        WIDE=starts_wide(scores, allowed),
        ROW=row_step,
        MASKED=free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return after, add_log_partials(part)


@kernel
@no_type_check
def _transport(
    scores,
    free,
    scale,
    yields,
    row_potential,
    column_potential,
    budget,
    after,
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
    scale_problem,
    yields_problem,
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
    wide = k < K
    scores = table_of(scores, problem, stride_problem, WIDE)
    free = table_of(free, problem, free_problem, WIDE)
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    top, sums = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        t = factor * cells(scores, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            live = live & (cells(free, n, k, live, free_row, free_column, 0) != 0)
        at = problem * rows + n
        if ROW:
            r = budget + problem * budget_problem + n * budget_row
            r = tl.load(r, mask=inside, other=0.0).to(ACC)
            a = row_shift(t + b[None, :], live, r, tau)
        else:
            a = tl.load(row_potential + at, mask=inside, other=0.0).to(ACC)
        tl.store(after + at, a.to(after.dtype.element_ty), mask=inside)
        top, sums = merge_max(top, sums, tl.where(live, t + a[:, None], float("-inf")), 0)
    to = part + tl.program_id(0).to(tl.int64) * 2 * K + k
    tl.store(to, top, mask=wide)
    tl.store(to + K, sums, mask=wide)

"""One sweep of a transport P = exp(scale X + a_i + b_j), in one reading of the scores.

    a_i = (log r_i - log sum_j exp(scale X_ij + b_j)) / (1 + tau)
    l_j = log sum_i exp(scale X_ij + a_i)

and b_j = (log c_j - l_j) / (1 + tau) of the columns is left to the caller: their sums may have to
cross machines first. tau = 0 is an exact margin.
"""

from typing import no_type_check

import torch
import triton.language as tl

from ._tile import (
    Tile,
    kernel,
    launch,
    launch_options,
    spread,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import add_log_partials, cells, merge_max, row_shift, table_of

ELEMENTS = 2048
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
        _sweep,
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
def _sweep(
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

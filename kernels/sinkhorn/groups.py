"""One sweep of Algorithm 1 for any number of channel groups, in one reading of the scores.

After a depth step a cell is shared by the groups as a softmax over c of s_c X + u_ci + v_cj; the
potentials u (C, N) and v (C, K) are the whole state. Row step: u_ci += log r_ci - lse_j log P_c.
"""

from typing import no_type_check

import torch
import triton
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
    wavefronts,
    working_dtype,
)
from ._walk import add_log_partials, cells, merge_max, row_log_sum, table_of

ELEMENTS = 2048


def group_sweep(
    scores: torch.Tensor,
    scales: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    first: bool = False,
    row_step: bool = True,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row potentials after the row step, and the groups' log column sums (B, C, K) after it.

    Args:
        scores: X, (B, N, K), any strides.
        scales: (B or 1, C): each group's scale over the temperature.
        row_potential: u, (B, C, N) contiguous; not read in the first sweep.
        column_potential: v, (B, C, K) contiguous; not read in the first sweep.
        rows: what each group's rows have to sum to, broadcast to (B, C, N).
        free: (B, N, K), nonzero where a cell takes part.
        first: start from the scores themselves, not yet shared.
        row_step: whether the first sweep has its row step; else groups start with `rows`.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    groups = scales.shape[-1]
    kind = working_dtype(scores)
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS)
    rows, scales = spread(rows, batch, groups, count), spread(scales, batch, groups)
    after = torch.empty((batch, groups, count), dtype=row_potential.dtype, device=scores.device)
    part = torch.empty((batch, groups, tile.programs, 2, width), dtype=kind, device=scores.device)
    allowed = scores if free is None else free
    launch(
        _sweep,
        (batch * tile.programs,),
        scores,
        allowed,
        scales,
        row_potential,
        column_potential,
        rows,
        after,
        part,
        count,
        groups,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scales.stride(0),
        *rows.stride(),
        K=width,
        WIDE=starts_wide(scores, allowed),
        FIRST=first,
        ROW=row_step,
        MASKED=free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(wavefronts(8)),
    )
    sums = add_log_partials(part.view(batch * groups, tile.programs, 2, width))
    return after, sums.view(batch, groups, width)


@kernel
@no_type_check
def _sweep(
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    budget,
    after,
    part,
    rows,
    groups,
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
    budget_group,
    budget_row,
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
    program = tl.program_id(0) % programs
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    for step in range(0, steps):
        n = (program.to(tl.int64) * steps + step) * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        shared = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if not FIRST:
            shared = _log_total(
                x,
                scales + problem * scale_problem,
                row_potential + problem * groups * rows + n,
                column_potential + problem * groups * K + k,
                inside,
                wide,
                rows.to(tl.int64),
                groups,
                K,
                ACC,
            )
        for c in range(0, groups):
            at = problem * groups + c
            t = tl.load(scales + problem * scale_problem + c).to(ACC) * x - shared
            old = tl.zeros([BLOCK_N], after.dtype.element_ty)
            if not FIRST:
                old = tl.load(row_potential + at * rows + n, mask=inside, other=0.0)
                v = tl.load(column_potential + at * K + k, mask=wide, other=0.0).to(ACC)
                t += old.to(ACC)[:, None] + v[None, :]
            t = tl.where(live, t, float("-inf"))
            r = budget + problem * budget_problem + c * budget_group + n * budget_row
            r = tl.load(r, mask=inside, other=0.0).to(ACC)
            moved = tl.log(tl.where(r > 0, r, 1.0))
            if ROW:
                moved -= row_log_sum(t, 1.0)
            moved = tl.where(r > 0, moved, 0.0)
            to = after + at * rows + n
            tl.store(to, old + moved.to(after.dtype.element_ty), mask=inside)
            _add_column_logs(part, at * programs + program, step, t + moved[:, None], k, K)


@triton.jit
@no_type_check
def _log_total(x, scales, u, v, inside, wide, rows, groups, K: tl.constexpr, ACC: tl.constexpr):
    """The depth step: log sum over groups of exp(s_c x + u_ci + v_cj), one group at a time."""
    top = tl.full(x.shape, float("-inf"), ACC)
    total = tl.zeros(x.shape, ACC)
    for c in range(0, groups):
        t = _exponent(x, c, scales, u, v, inside, wide, rows, K, ACC)
        best = tl.maximum(top, t)
        total = total * tl.exp(top - best) + tl.exp(t - best)
        top = best
    return top + tl.log(total)


@triton.jit
@no_type_check
def _exponent(x, c, scales, u, v, inside, wide, rows, K: tl.constexpr, ACC: tl.constexpr):
    """The tile s_c x + u_ci + v_cj of group c."""
    s = tl.load(scales + c).to(ACC)
    row = tl.load(u + c * rows, mask=inside, other=0.0).to(ACC)
    column = tl.load(v + c * K, mask=wide, other=0.0).to(ACC)
    return s * x + row[:, None] + column[None, :]


@triton.jit
@no_type_check
def _add_column_logs(part, line, step, t, k, K: tl.constexpr):
    """Merge a tile's column log-sums into the pair (largest, sum) that this program keeps."""
    to = part + line * 2 * K + k
    wide = k < K
    going = wide & (step > 0)
    top = tl.load(to, mask=going, other=float("-inf"))
    sums = tl.load(to + K, mask=going, other=0.0)
    top, sums = merge_max(top, sums, t, 0)
    tl.store(to, top, mask=wide)
    tl.store(to + K, sums, mask=wide)
    tl.debug_barrier()  # other warps hold copies of these columns and load them in the next step

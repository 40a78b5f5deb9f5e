"""The K x K part of a Newton step for more columns than one program holds, and in float64.

bend_jl = sum_i W_ij W_il / h_i is cut into blocks of columns; a program adds up one block over its
share of the rows, making W again from the scores. For solvers that use the system many times.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    cdiv,
    dot_precision,
    kernel,
    launch,
    launch_options,
    padded,
    spread,
    starts_wide,
    triton_dtype,
    working_dtype,
)
from ._walk import add_partials, cells, link, table_of
from .wide import At

ROWS = {torch.float32: 32, torch.float64: 8}  # of a step; float64 takes no matrix product
PROGRAMS = 512  # over problems, blocks and shares of the rows


def couple_columns(at: At, height: torch.Tensor, *, programs: int | None = None) -> torch.Tensor:
    """The bend, (B, K, K).

    Args:
        at: where the system is taken.
        height: h, (B, N) contiguous: the rows' sums of slopes, (1 + tau) times where they yield.
        programs: shares of the rows, instead of the chosen number.
    """
    scores = at.scores
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    block = 16 if kind == torch.float64 else min(64, padded(width))
    blocks = cdiv(width, block)
    rows = ROWS[kind] if width % 16 == 0 else min(16, ROWS[kind])  # as in `tile_for`
    steps = cdiv(count, rows)
    programs = programs or max(1, PROGRAMS // max(1, batch * blocks * blocks))
    steps = cdiv(steps, min(programs, steps))
    programs = cdiv(count, rows * steps)
    part = torch.empty((batch, programs, width, width), dtype=kind, device=scores.device)
    scale = spread(at.scale, batch)
    allowed = scores if at.free is None else at.free
    launch(
        _bend,
        (batch * programs, blocks, blocks),
        scores,
        allowed,
        scale,
        at.row_potential,
        at.column_potential,
        height,
        part,
        count,
        programs,
        steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        K=width,
        WIDE=starts_wide(scores, allowed),
        EXP=at.yields is not None,
        PRECISION=dot_precision(scores),
        MASKED=at.free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=rows,
        BLOCK_K=block,
        num_stages=1,
        **launch_options(1 if kind == torch.float64 else 4),
    )
    return add_partials(part)


@kernel
@no_type_check
def _bend(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
    height,
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
    K: tl.constexpr,
    WIDE: tl.constexpr,
    EXP: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    j = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    k = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    scores = table_of(scores, problem, stride_problem, WIDE)
    free = table_of(free, problem, free_problem, WIDE)
    column_potential += problem * K
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    jumps = (stride_row, stride_column, free_row, free_column)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        h = tl.load(height + problem * rows + n, mask=inside, other=0.0).to(ACC)
        at = (factor, a, inside)
        left = _slopes(scores, free, column_potential, at, n, j, jumps, K, EXP, MASKED, ACC)
        right = _slopes(scores, free, column_potential, at, n, k, jumps, K, EXP, MASKED, ACC)
        right *= tl.where(h > 0, 1.0 / tl.where(h > 0, h, 1.0), 0.0)[:, None]
        if tl.float64 == ACC:
            bend += tl.sum(left[:, :, None] * right[:, None, :], axis=0)
        else:
            bend += tl.dot(tl.trans(left), right, input_precision=PRECISION, out_dtype=ACC)
    to = part + (tl.program_id(0).to(tl.int64) * K + j[:, None]) * K + k[None, :]
    tl.store(to, bend, mask=(j < K)[:, None] & (k < K)[None, :])


@triton.jit
@no_type_check
def _slopes(
    scores,
    free,
    column_potential,
    at,
    n,
    k,
    jumps,
    K: tl.constexpr,
    EXP: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
):
    """W of a tile, zero outside it and at forbidden cells; at = (factor, a, inside)."""
    live = at[2][:, None] & (k < K)[None, :]
    x = cells(scores, n, k, live, jumps[0], jumps[1], 0.0).to(ACC)
    b = tl.load(column_potential + k, mask=k < K, other=0.0).to(ACC)
    if MASKED:
        live = live & (cells(free, n, k, live, jumps[2], jumps[3], 0) != 0)
    t = at[0] * x + at[1][:, None] + b[None, :]
    _, slope = link(tl.where(live, t, float("-inf")), EXP)
    return slope

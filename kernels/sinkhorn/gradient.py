"""Implicit derivative of the plan: one pass, the Schur solve, one pass that writes.

With W = P (1 - P), h_i = sum_j W_ij and the gradient G of the plan, the gradient of
Z = scale X is W (G - alpha_i - beta_j), where all its row and column sums vanish:

    t_i = sum_j W_ij G_ij / h_i      S beta = sum_i W_ij (G_ij - t_i)
    alpha_i = t_i - sum_j W_ij beta_j / h_i

alpha and beta are also the gradients of the row and column budgets.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._root import sigmoid
from ._tile import (
    Tile,
    cells,
    dot_precision,
    forms_square,
    launch_options,
    spread,
    tile_for,
    triton_dtype,
    working_dtype,
)
from .newton import PROGRAMS, add_partials
from .schur import solve_schur, solve_wide

ELEMENTS = 2048


def plan_backward(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    grad: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of Z = scale X (B, N, K), of the row budgets (B, N), of the column budgets (B, K).

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,).
        row_potential: a, (B, N) contiguous.
        column_potential: b, (B, K) contiguous.
        grad: the gradient of the plan, (B, N, K), any strides.
        free: (B, N, K), nonzero where a cell takes part.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    dense = forms_square(width, kind)
    tile = tile or tile_for(
        count,
        width,
        kind,
        elements=ELEMENTS,
        block_rows=16 if dense else 0,
        programs=max(8, PROGRAMS // max(batch, 1)),
    )
    lines = 2 + (width if dense else 0)
    part = torch.empty((batch, tile.programs, lines, width), dtype=kind, device=scores.device)
    tilt = torch.empty((batch, count), dtype=kind, device=scores.device)
    out = torch.empty((batch, count, width), dtype=kind, device=scores.device)
    scale = spread(scale, batch)
    allowed = scores if free is None else free
    common = (*scores.stride(), *allowed.stride(), *grad.stride(), scale.stride(0))
    options = {
        "K": width,
        "MASKED": free is not None,
        "ACC": triton_dtype(scores),
        "BLOCK_N": tile.rows,
        "BLOCK_K": tile.columns,
        "num_stages": 1,
        **launch_options(8 if dense and width > 64 else tile.warps),
    }
    grid = (batch * tile.programs,)
    state = (scores, allowed, scale, row_potential, column_potential, grad, tilt)
    sizes = (count, tile.programs, tile.steps)
    _gather[grid](
        *state, part, *sizes, *common, DENSE=dense, PRECISION=dot_precision(scores), **options
    )
    total = add_partials(part)
    if dense:
        beta = solve_schur(total.select(1, 0), total.narrow(1, 2, width), total.select(1, 1))
    else:
        weight, right = total.select(1, 0), total.select(1, 1)
        beta = solve_wide(scores, scale, row_potential, column_potential, weight, right, free=free)
    _spread[grid](*state, beta, out, *sizes, *common, **options)
    return out, tilt, beta


@triton.jit
@no_type_check
def _slopes(scores, free, factor, a, b, n, k, live, steps_x, steps_free, MASKED: tl.constexpr, ACC):
    """W of a tile, zero outside it and at forbidden cells."""
    x = cells(scores, n, k, live, steps_x[0], steps_x[1], 0.0).to(ACC)
    if MASKED:
        live = live & (cells(free, n, k, live, steps_free[0], steps_free[1], 0) != 0)
    t = factor * x + a.to(ACC)[:, None] + b[None, :]
    _, slope = sigmoid(tl.where(live, t, float("-inf")))
    return slope


@triton.jit(do_not_specialize=["rows", "programs", "steps"])
@no_type_check
def _gather(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
    grad,
    tilt,
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
    stride_scale,
    K: tl.constexpr,
    DENSE: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    factor = tl.load(scale + problem * stride_scale).to(ACC)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    weight, right = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        live = (n < rows)[:, None] & wide[None, :]
        a = tl.load(row_potential + problem * rows + n, mask=n < rows, other=0.0)
        slope = _slopes(
            scores + problem * stride_problem,
            free + problem * free_problem,
            factor,
            a,
            b,
            n,
            k,
            live,
            (stride_row, stride_column),
            (free_row, free_column),
            MASKED,
            ACC,
        )
        g = cells(grad + problem * grad_problem, n, k, live, grad_row, grad_column, 0.0).to(ACC)
        steep = tl.sum(slope, axis=1)
        steep = tl.where(steep > 0, steep, 1.0)
        t = tl.sum(slope * g, axis=1) / steep
        tl.store(tilt + problem * rows + n, t, mask=n < rows)
        weight += tl.sum(slope, axis=0)
        right += tl.sum(slope * (g - t[:, None]), axis=0)
        if DENSE:
            lean = slope / steep[:, None]
            bend += tl.dot(tl.trans(slope), lean, input_precision=PRECISION, out_dtype=ACC)
    to = part + tl.program_id(0).to(tl.int64) * (2 + (K if DENSE else 0)) * K
    tl.store(to + k, weight, mask=wide)
    tl.store(to + K + k, right, mask=wide)
    if DENSE:
        at = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(at, bend, mask=wide[:, None] & wide[None, :])


@triton.jit(do_not_specialize=["rows", "programs", "steps"])
@no_type_check
def _spread(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
    grad,
    tilt,
    beta,
    out,
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
    stride_scale,
    K: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    factor = tl.load(scale + problem * stride_scale).to(ACC)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    v = tl.load(beta + problem * K + k, mask=wide, other=0.0)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        cell = (n < rows)[:, None] & wide[None, :]
        a = tl.load(row_potential + problem * rows + n, mask=n < rows, other=0.0)
        slope = _slopes(
            scores + problem * stride_problem,
            free + problem * free_problem,
            factor,
            a,
            b,
            n,
            k,
            cell,
            (stride_row, stride_column),
            (free_row, free_column),
            MASKED,
            ACC,
        )
        g = cells(grad + problem * grad_problem, n, k, cell, grad_row, grad_column, 0.0).to(ACC)
        steep = tl.sum(slope, axis=1)
        t = tl.load(tilt + problem * rows + n, mask=n < rows, other=0.0)
        t -= tl.sum(slope * v[None, :], axis=1) / tl.where(steep > 0, steep, 1.0)
        tl.store(tilt + problem * rows + n, t, mask=n < rows)
        to = out + (problem * rows + n[:, None]) * K + k[None, :]
        tl.store(to, slope * (g - t[:, None] - v[None, :]), mask=cell)

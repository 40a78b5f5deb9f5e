"""Row normalisation: y[i, j] = t[i] x[i, j] / sum_l x[i, l], and its logarithm."""

from typing import no_type_check

import torch
import triton.language as tl

from ._tile import Tile, cdiv, kernel, launch, launch_options, tile_for, triton_dtype, working_dtype
from ._walk import cells, log_sum, or_alone, rescale, rescale_backward


def row_forward(
    x: torch.Tensor, target: torch.Tensor, *, log: bool, tile: Tile | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise the last axis; give the result and the sums (log-sums) it was divided by.

    Args:
        x: (..., N, K), any strides.
        target: the sums wanted, in the working dtype: one number or x.shape[:-1].
        log: x holds logarithms.
        tile: another cut than the chosen one, for tests and tuning.
    """
    columns = x.shape[-1]
    flat = x.reshape(-1, columns)
    rows = flat.shape[0]
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    total = torch.empty(x.shape[:-1], dtype=working_dtype(x), device=x.device)
    tile = tile or tile_for(rows, columns, total.dtype)
    launch(
        _forward,
        (cdiv(rows, tile.rows),),
        flat,
        y,
        total,
        target,
        rows,
        flat.stride(0),
        flat.stride(1),
        0 if target.numel() == 1 else 1,
        K=columns,
        LOG=log,
        ACC=triton_dtype(x),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return y, total


def row_backward(
    grad: torch.Tensor,
    y: torch.Tensor,
    total: torch.Tensor,
    target: torch.Tensor,
    *,
    log: bool,
    tile: Tile | None = None,
) -> torch.Tensor:
    """Gradient of the scores of `row_forward` from the gradient of its result."""
    columns = y.shape[-1]
    flat = grad.reshape(-1, columns)
    rows = flat.shape[0]
    out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    tile = tile or tile_for(rows, columns, total.dtype)
    launch(
        _backward,
        (cdiv(rows, tile.rows),),
        flat,
        y,
        total,
        target,
        out,
        rows,
        flat.stride(0),
        flat.stride(1),
        0 if target.numel() == 1 else 1,
        K=columns,
        LOG=log,
        ACC=triton_dtype(y),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return out


@kernel
@no_type_check
def _forward(
    x,
    y,
    total,
    target,
    rows,
    stride_row,
    stride_column,
    stride_target,
    K: tl.constexpr,
    LOG: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    inside = n < rows
    cell = inside[:, None] & (k < K)[None, :]
    empty = float("-inf") if LOG else 0.0
    value = cells(x, n, k, cell, stride_row, stride_column, empty).to(ACC)
    wanted = tl.load(target + n * stride_target, mask=inside, other=1.0)
    sums = log_sum(value, 1) if LOG else tl.sum(value, axis=1)
    sums = or_alone(sums, LOG)
    scaled = rescale(value, sums[:, None], wanted[:, None], LOG)
    tl.store(y + n[:, None] * K + k[None, :], scaled.to(y.dtype.element_ty), mask=cell)
    tl.store(total + n, sums, mask=inside)


@kernel
@no_type_check
def _backward(
    grad,
    y,
    total,
    target,
    out,
    rows,
    stride_row,
    stride_column,
    stride_target,
    K: tl.constexpr,
    LOG: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    inside = n < rows
    cell = inside[:, None] & (k < K)[None, :]
    at = n[:, None] * K + k[None, :]
    above = cells(grad, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
    value = tl.load(y + at, mask=cell, other=0.0).to(ACC)
    sums = tl.load(total + n, mask=inside, other=1.0)
    wanted = tl.load(target + n * stride_target, mask=inside, other=1.0)
    inner = tl.sum(above if LOG else above * value, axis=1)
    below = rescale_backward(above, value, sums[:, None], inner[:, None], wanted[:, None], LOG)
    tl.store(out + at, below.to(out.dtype.element_ty), mask=cell)

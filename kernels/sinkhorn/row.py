"""Row normalisation: y[i, j] = t[i] x[i, j] / sum_l x[i, l], and its logarithm."""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import Tile, cdiv, kernel, launch, launch_options, tile_for, triton_dtype, working_dtype
from ._walk import View, cells, log_sum, or_alone, rescale, rescale_backward


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
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    total = torch.empty(x.shape[:-1], dtype=working_dtype(x), device=x.device)
    grid, given, constants = _ready(x, target, total, tile)
    launch(_forward, grid, *given, y, total, total.numel(), LOG=log, **constants)
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
    out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    grid, given, constants = _ready(grad, target, total, tile)
    launch(_backward, grid, *given, y, total, out, total.numel(), LOG=log, **constants)
    return out


def _ready(
    x: torch.Tensor, target: torch.Tensor, total: torch.Tensor, tile: Tile | None
) -> tuple[tuple[int], tuple[Any, ...], dict[str, Any]]:
    """Grid, table and target with their strides, constants."""
    flat = x.reshape(-1, x.shape[-1])
    rows, columns = flat.shape
    tile = tile or tile_for(rows, columns, total.dtype)
    cut = {"BLOCK_N": tile.rows, "BLOCK_K": tile.columns, **launch_options(tile.warps)}
    given = (flat, *flat.stride(), target, 0 if target.numel() == 1 else 1)
    return (cdiv(rows, tile.rows),), given, {"K": columns, "ACC": triton_dtype(total), **cut}


@triton.jit
@no_type_check
def _block(rows, K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Rows and columns of this program's tile, which rows there are, and which cells."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    inside = n < rows
    return n, k, inside, inside[:, None] & (k < K)[None, :]


@kernel
@no_type_check
def _forward(
    x, stride_row, stride_column, target, stride_target, y, total, rows,
    K: tl.constexpr, LOG: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    n, k, inside, cell = _block(rows, K, BLOCK_N, BLOCK_K)
    empty = float("-inf") if LOG else 0.0
    value = cells(View(x, stride_row, stride_column), n, k, cell, empty).to(ACC)
    wanted = tl.load(target + n * stride_target, mask=inside, other=1.0)

    sums = log_sum(value, 1) if LOG else tl.sum(value, axis=1)
    sums = or_alone(sums, LOG)
    scaled = rescale(value, sums[:, None], wanted[:, None], LOG)
    tl.store(y + n[:, None] * K + k[None, :], scaled.to(y.dtype.element_ty), mask=cell)
    tl.store(total + n, sums, mask=inside)


@kernel
@no_type_check
def _backward(
    grad, stride_row, stride_column, target, stride_target, y, total, out, rows,
    K: tl.constexpr, LOG: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    n, k, inside, cell = _block(rows, K, BLOCK_N, BLOCK_K)
    at = n[:, None] * K + k[None, :]
    above = cells(View(grad, stride_row, stride_column), n, k, cell, 0.0).to(ACC)
    value = tl.load(y + at, mask=cell, other=0.0).to(ACC)
    sums = tl.load(total + n, mask=inside, other=1.0)
    wanted = tl.load(target + n * stride_target, mask=inside, other=1.0)

    inner = tl.sum(above if LOG else above * value, axis=1)
    below = rescale_backward(above, value, sums[:, None], inner[:, None], wanted[:, None], LOG)
    tl.store(out + at, below.to(out.dtype.element_ty), mask=cell)

"""Depth normalisation: y[c, m] = t[m] x[c, m] / sum_d x[d, m] over channels, and its logarithm."""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import cdiv, kernel, launch, launch_options, power_of_two, triton_dtype, working_dtype
from ._walk import merge_max, or_alone, rescale, rescale_backward

BLOCK_C = 4
ELEMENTS = 4096


def depth_forward(
    x: torch.Tensor, target: torch.Tensor, *, log: bool, block: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise the channel axis; give the result and the sums (log-sums) it was divided by.

    Args:
        x: (..., C, N, K); its last two axes are walked as one.
        target: the sums wanted, in the working dtype: one number or (..., N, K).
        log: x holds logarithms.
        block: cells of one program instead of the chosen number, for tests and tuning.
    """
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    shape = (*x.shape[:-3], *x.shape[-2:])
    total = torch.empty(shape, dtype=working_dtype(x), device=x.device)
    grid, given, sizes, constants = _ready(x, target, block)
    launch(_forward, grid, *given, y, total, *sizes, LOG=log, **constants)
    return y, total


def depth_backward(
    grad: torch.Tensor,
    y: torch.Tensor,
    total: torch.Tensor,
    target: torch.Tensor,
    *,
    log: bool,
    block: int = 0,
) -> torch.Tensor:
    """Gradient of the scores of `depth_forward` from the gradient of its result."""
    out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    grid, given, sizes, constants = _ready(grad, target, block)
    launch(_backward, grid, *given, y, total, out, *sizes, LOG=log, **constants)
    return out


def _ready(
    x: torch.Tensor, target: torch.Tensor, block: int
) -> tuple[tuple[int], tuple[Any, ...], tuple[int, ...], dict[str, Any]]:
    """Grid, table and target with their strides, sizes, constants."""
    channels, cells = x.shape[-3], x.shape[-2] * x.shape[-1]
    flat = x.reshape(-1, channels, cells)
    lanes = min(BLOCK_C, power_of_two(channels))
    block = block or min(1024, ELEMENTS // lanes)
    blocks = cdiv(cells, block)
    given = (flat, *flat.stride(), target, 0 if target.numel() == 1 else 1)
    cut = {"BLOCK_C": lanes, "BLOCK_M": block, **launch_options(4)}
    sizes = (channels, cells, blocks)
    return (flat.shape[0] * blocks,), given, sizes, {"ACC": triton_dtype(x), **cut}


@triton.jit
@no_type_check
def _block(cells, blocks, BLOCK_M: tl.constexpr):
    """The batch of this program, and its cells."""
    batch = (tl.program_id(0) // blocks).to(tl.int64)
    return batch, (tl.program_id(0) % blocks).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)


@triton.jit
@no_type_check
def _lanes(start, channels, inside, BLOCK_C: tl.constexpr):
    """A few channels as a column, and which of their cells there are."""
    c = (start + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
    return c, (c < channels) & inside[None, :]


@kernel
@no_type_check
def _forward(
    x, stride_batch, stride_channel, stride_cell, target, stride_target, y, total,
    channels, cells, blocks,
    LOG: tl.constexpr, ACC: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    batch, m = _block(cells, blocks, BLOCK_M)
    inside = m < cells
    empty = float("-inf") if LOG else 0.0
    source = x + batch * stride_batch + m[None, :] * stride_cell
    top = tl.full([BLOCK_M], float("-inf"), ACC)
    sums = tl.zeros([BLOCK_M], ACC)
    for start in range(0, channels, BLOCK_C):
        c, cell = _lanes(start, channels, inside, BLOCK_C)
        value = tl.load(source + c * stride_channel, mask=cell, other=empty).to(ACC)
        if LOG:
            top, sums = merge_max(top, sums, value, 0)
        else:
            sums += tl.sum(value, axis=0)
    if LOG:
        sums = tl.where(top == float("-inf"), 0.0, top) + tl.log(sums)
    sums = or_alone(sums, LOG)

    wanted = tl.load(target + (batch * cells + m) * stride_target, mask=inside, other=1.0)
    for start in range(0, channels, BLOCK_C):  # the second reading comes from the cache
        c, cell = _lanes(start, channels, inside, BLOCK_C)
        value = tl.load(source + c * stride_channel, mask=cell, other=empty).to(ACC)
        scaled = rescale(value, sums[None, :], wanted[None, :], LOG)
        to = y + (batch * channels + c) * cells + m[None, :]
        tl.store(to, scaled.to(y.dtype.element_ty), mask=cell)
    tl.store(total + batch * cells + m, sums, mask=inside)


@kernel
@no_type_check
def _backward(
    grad, stride_batch, stride_channel, stride_cell, target, stride_target, y, total, out,
    channels, cells, blocks,
    LOG: tl.constexpr, ACC: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    batch, m = _block(cells, blocks, BLOCK_M)
    inside = m < cells
    source = grad + batch * stride_batch + m[None, :] * stride_cell
    inner = tl.zeros([BLOCK_M], ACC)
    for start in range(0, channels, BLOCK_C):
        c, cell = _lanes(start, channels, inside, BLOCK_C)
        above = tl.load(source + c * stride_channel, mask=cell, other=0.0).to(ACC)
        at = (batch * channels + c) * cells + m[None, :]
        value = tl.load(y + at, mask=cell, other=0.0).to(ACC)
        inner += tl.sum(above if LOG else above * value, axis=0)

    sums = tl.load(total + batch * cells + m, mask=inside, other=1.0)
    wanted = tl.load(target + (batch * cells + m) * stride_target, mask=inside, other=1.0)
    for start in range(0, channels, BLOCK_C):
        c, cell = _lanes(start, channels, inside, BLOCK_C)
        above = tl.load(source + c * stride_channel, mask=cell, other=0.0).to(ACC)
        at = (batch * channels + c) * cells + m[None, :]
        value = tl.load(y + at, mask=cell, other=0.0).to(ACC)
        below = rescale_backward(above, value, sums[None, :], inner[None, :], wanted[None, :], LOG)
        tl.store(out + at, below.to(out.dtype.element_ty), mask=cell)

"""Column normalisation: y[i, j] = t[j] x[i, j] / sum_n x[n, j], and its logarithm.

A column's sum crosses programs, so it is taken in three launches with an order that depends on the
shape alone: partial sums of fixed row blocks, their sum in sequence, the scaling.
"""

from typing import no_type_check

import torch
import triton.language as tl

from ._tile import (
    Tile,
    cdiv,
    kernel,
    launch,
    launch_options,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import (
    add_log_partials,
    add_partials,
    cells,
    merge_max,
    rescale,
    rescale_backward,
    table_of,
)

WIDEST = 128  # columns of one program


def column_forward(
    x: torch.Tensor, target: torch.Tensor, *, log: bool, tile: Tile | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise the rows axis; give the result and the sums (log-sums) it was divided by.

    Args:
        x: (..., N, K), any strides.
        target: the sums wanted, in the working dtype: one number or (..., K).
        log: x holds logarithms.
        tile: another cut than the chosen one, for tests and tuning.
    """
    flat = x.reshape(-1, x.shape[-2], x.shape[-1])
    tile = tile or _narrow(flat.shape[1], flat.shape[2], working_dtype(x))
    part = _partial(flat, flat, "log" if log else "sum", tile)
    add = add_log_partials if log else add_partials
    total = add(part, alone=True).reshape(*x.shape[:-2], x.shape[-1])
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    launch(
        _apply,
        _grid(flat, tile),
        flat,
        y,
        total,
        total,
        target,
        y,
        *_layout(flat, tile, target),
        BACKWARD=False,
        LOG=log,
        **_options(x, flat, tile),
    )
    return y, total


def column_backward(
    grad: torch.Tensor,
    y: torch.Tensor,
    total: torch.Tensor,
    target: torch.Tensor,
    *,
    log: bool,
    tile: Tile | None = None,
) -> torch.Tensor:
    """Gradient of the scores of `column_forward` from the gradient of its result."""
    flat = grad.reshape(-1, y.shape[-2], y.shape[-1])
    tile = tile or _narrow(flat.shape[1], flat.shape[2], total.dtype)
    part = _partial(flat, y, "sum" if log else "product", tile)
    inner = add_partials(part)
    out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    launch(
        _apply,
        _grid(flat, tile),
        flat,
        y,
        total,
        inner,
        target,
        out,
        *_layout(flat, tile, target),
        BACKWARD=True,
        LOG=log,
        **_options(y, flat, tile),
    )
    return out


def _partial(x: torch.Tensor, z: torch.Tensor, what: str, tile: Tile) -> torch.Tensor:
    """Partial column sums of x, x*z or exp(x), as (groups, programs, 1 or 2, K)."""
    lines = 2 if what == "log" else 1
    part = torch.empty(
        (x.shape[0], tile.programs, lines, x.shape[2]), dtype=working_dtype(z), device=x.device
    )
    launch(
        _partials,
        _grid(x, tile),
        x,
        z,
        part,
        x.shape[1],
        tile.programs,
        tile.steps,
        x.stride(0),
        x.stride(1),
        x.stride(2),
        K=x.shape[2],
        WHAT=what,
        **_options(z, x, tile),
    )
    return part


def _narrow(rows: int, columns: int, dtype: torch.dtype) -> Tile:
    """A tile need not hold whole rows here."""
    return tile_for(rows, min(columns, WIDEST), dtype)


def _grid(x: torch.Tensor, tile: Tile) -> tuple[int, int]:
    return x.shape[0] * tile.programs, cdiv(x.shape[2], tile.columns)


def _layout(x: torch.Tensor, tile: Tile, target: torch.Tensor) -> tuple[int, ...]:
    single = 0 if target.numel() == 1 else 1
    return x.shape[1], tile.programs, tile.steps, *x.stride(), single, x.shape[2]


def _options(like: torch.Tensor, x: torch.Tensor, tile: Tile) -> dict:
    return {
        "WIDE": starts_wide(x),
        "ACC": triton_dtype(like),
        "BLOCK_N": tile.rows,
        "BLOCK_K": tile.columns,
        **launch_options(tile.warps),
    }


@kernel
@no_type_check
def _partials(
    x,
    z,
    part,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    WHAT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    group = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = (k < K)[None, :]
    empty = float("-inf") if WHAT == "log" else 0.0
    top = tl.full([BLOCK_K], float("-inf"), ACC)
    sums = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        cell = (n < rows)[:, None] & wide
        source = table_of(x, group, stride_problem, WIDE)
        value = cells(source, n, k, cell, stride_row, stride_column, empty).to(ACC)
        if WHAT == "product":
            other = (group * rows + n[:, None]) * K + k[None, :]
            value *= tl.load(z + other, mask=cell, other=0.0).to(ACC)
        if WHAT == "log":
            top, sums = merge_max(top, sums, value, 0)
        else:
            sums += tl.sum(value, axis=0)
    to = part + tl.program_id(0).to(tl.int64) * K + k
    if WHAT == "log":
        to += tl.program_id(0).to(tl.int64) * K
        tl.store(to, top, mask=k < K)
        tl.store(to + K, sums, mask=k < K)
    else:
        tl.store(to, sums, mask=k < K)


@kernel
@no_type_check
def _apply(
    x,
    y,
    total,
    inner,
    target,
    out,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    stride_target,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    BACKWARD: tl.constexpr,
    LOG: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    group = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    wide = k < K
    sums = tl.load(total + group * K + k, mask=wide, other=1.0)[None, :]
    wanted = tl.load(target + (group * K + k) * stride_target, mask=wide, other=1.0)[None, :]
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        cell = (n < rows)[:, None] & wide[None, :]
        source = table_of(x, group, stride_problem, WIDE)
        value = cells(source, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
        to = (group * rows + n[:, None]) * K + k[None, :]
        if BACKWARD:
            result = tl.load(y + to, mask=cell, other=0.0).to(ACC)
            dot = tl.load(inner + group * K + k, mask=wide, other=0.0)[None, :]
            value = rescale_backward(value, result, sums, dot, wanted, LOG)
        else:
            value = rescale(value, sums, wanted, LOG)
        tl.store(out + to, value.to(out.dtype.element_ty), mask=cell)

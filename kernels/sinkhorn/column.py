"""Column normalisation: y[i, j] = t[j] x[i, j] / sum_n x[n, j], and its logarithm.

A column's sum crosses programs, so it is taken in three launches with an order that depends on the
shape alone: partial sums of fixed row blocks, their sum in sequence, the scaling.
"""

from typing import Any, no_type_check

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
    add_partials,
    begin,
    block,
    cells,
    leave_logs,
    merge_max,
    rescale,
    rescale_backward,
    table,
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
    tile = tile or _narrow(flat, working_dtype(x))
    part = _partial(flat, flat, "log" if log else "sum", tile)
    total = add_partials(part, log=log, alone=True).reshape(*x.shape[:-2], x.shape[-1])
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    single = 0 if target.numel() == 1 else 1
    flags = {"BACKWARD": False, "LOG": log}
    _walk(_apply, flat, (y, total, total, target, single, y), flags, tile)
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
    tile = tile or _narrow(flat, total.dtype)
    inner = add_partials(_partial(flat, y, "sum" if log else "product", tile))
    out = torch.empty(y.shape, dtype=y.dtype, device=y.device)
    single = 0 if target.numel() == 1 else 1
    flags = {"BACKWARD": True, "LOG": log}
    _walk(_apply, flat, (y, total, inner, target, single, out), flags, tile)
    return out


def _partial(x: torch.Tensor, z: torch.Tensor, what: str, tile: Tile) -> torch.Tensor:
    """Partial column sums of x, x*z or exp(x), as (groups, programs, 1 or 2, K)."""
    lines = 2 if what == "log" else 1
    shape = (x.shape[0], tile.programs, lines, x.shape[2])
    part = torch.empty(shape, dtype=working_dtype(z), device=x.device)
    _walk(_partials, x, (z, part), {"WHAT": what}, tile)
    return part


def _narrow(x: torch.Tensor, kind: torch.dtype) -> Tile:
    """A tile need not hold whole rows here."""
    return tile_for(x.shape[1], min(x.shape[2], WIDEST), kind)


def _walk(
    kernel: Any, x: torch.Tensor, rest: tuple[Any, ...], flags: dict[str, Any], tile: Tile
) -> None:
    batch, rows, columns = x.shape
    launch(
        kernel,
        (batch * tile.programs, cdiv(columns, tile.columns)),
        x,
        *x.stride(),
        *rest,
        rows,
        tile.programs,
        tile.steps,
        K=columns,
        WIDE=starts_wide(x),
        ACC=triton_dtype(rest[1]),  # sums, in the working dtype
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **flags,
        **launch_options(tile.warps),
    )


@kernel
@no_type_check
def _partials(
    x, stride_problem, stride_row, stride_column, z, part, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, WHAT: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    group, start, k, _k = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    k += tl.program_id(1) * BLOCK_K
    source = table(x, group, stride_problem, stride_row, stride_column, WIDE)
    empty = float("-inf") if WHAT == "log" else 0.0
    top = tl.full([BLOCK_K], float("-inf"), ACC)
    sums = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n, _, cell = block(start, step, rows, k < K, BLOCK_N)
        value = cells(source, n, k, cell, empty).to(ACC)
        if WHAT == "product":
            other = (group * rows + n[:, None]) * K + k[None, :]
            value *= tl.load(z + other, mask=cell, other=0.0).to(ACC)
        if WHAT == "log":
            top, sums = merge_max(top, sums, value, 0)
        else:
            sums += tl.sum(value, axis=0)

    to = part + tl.program_id(0).to(tl.int64) * (2 * K if WHAT == "log" else K)
    if WHAT == "log":
        leave_logs(to, top, sums, k, K)
    else:
        tl.store(to + k, sums, mask=k < K)


@kernel
@no_type_check
def _apply(
    x, stride_problem, stride_row, stride_column, y, total, inner, target, stride_target, out,
    rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, BACKWARD: tl.constexpr, LOG: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    group, start, k, _k = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    k += tl.program_id(1) * BLOCK_K
    wide = k < K
    source = table(x, group, stride_problem, stride_row, stride_column, WIDE)
    sums = tl.load(total + group * K + k, mask=wide, other=1.0)[None, :]
    wanted = tl.load(target + (group * K + k) * stride_target, mask=wide, other=1.0)[None, :]
    for step in range(0, steps):
        n, _, cell = block(start, step, rows, wide, BLOCK_N)
        value = cells(source, n, k, cell, 0.0).to(ACC)
        to = (group * rows + n[:, None]) * K + k[None, :]
        if BACKWARD:
            result = tl.load(y + to, mask=cell, other=0.0).to(ACC)
            dot = tl.load(inner + group * K + k, mask=wide, other=0.0)[None, :]
            value = rescale_backward(value, result, sums, dot, wanted, LOG)
        else:
            value = rescale(value, sums, wanted, LOG)
        tl.store(out + to, value.to(out.dtype.element_ty), mask=cell)

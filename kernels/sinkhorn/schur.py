"""Solve S x = g on the device, S = diag(diagonal) - bend of a Newton pass, formed in registers.

S is positive semidefinite and close to a diagonal, so conjugate gradients preconditioned by that
diagonal need few steps, and stop by their residual. Where only sums of potentials matter, S has
the null vector 1, which `gauge` removes; `still` columns keep 0. `wide.py` does the same without S.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import kernel, launch, launch_options, padded, spread, square_warps, triton_dtype


def solve_schur(
    diagonal: torch.Tensor,
    bend: torch.Tensor,
    right: torch.Tensor,
    *,
    still: torch.Tensor | None = None,
    gauge: torch.Tensor | None = None,
) -> torch.Tensor:
    """The solution (B, K) for right-hand sides (B, K).

    Args:
        diagonal: (B, K), any batch stride.
        bend: (B, K, K), any batch stride; K as `forms_square` allows.
        right: (B, K), any batch stride.
        still: (B, K), nonzero for columns that keep 0; None has none.
        gauge: broadcast to (B,): 1 where 1 is a null vector, else 0; None is 1 everywhere.
    """
    batch, width = right.shape
    out = torch.empty((batch, width), dtype=right.dtype, device=right.device)
    block = padded(width)
    loose = diagonal if gauge is None else spread(gauge, batch)
    held = diagonal if still is None else still
    launch(
        _solve,
        (batch,),
        diagonal,
        bend,
        right,
        held,
        loose,
        out,
        diagonal.stride(0),
        bend.stride(0),
        right.stride(0),
        held.stride(0),
        loose.stride(0),
        K=width,
        STILL=still is not None,
        GAUGE=gauge is not None,
        ACC=triton_dtype(bend),
        BLOCK_K=block,
        **launch_options(square_warps(width)),
    )
    return out


@triton.jit
@no_type_check
def _conjugate(matrix, diagonal, right, live, gauge, K: tl.constexpr, ACC: tl.constexpr):
    """Conjugate gradients for diag(diagonal) - matrix, to a thousandth of the dtype's root.

    A hair of the mean is added to the diagonal: a column without curvature then takes a long but
    finite step.
    """
    CLOSE: tl.constexpr = 1e-24 if tl.float64 == ACC else 1e-10
    matrix = tl.where(live[:, None] & live[None, :], matrix, 0.0)
    diagonal = tl.where(live, diagonal, 0.0)
    diagonal += _hair(diagonal, live, ACC)
    pivot = diagonal - tl.sum(tl.where(_same(matrix), matrix, 0.0), axis=1)
    pivot = tl.where(live & (pivot > 0), pivot, 1.0)
    x = tl.zeros_like(right)
    rest = _centre(right, live, gauge, ACC)
    ahead = rest / pivot
    power = tl.sum(rest * ahead, axis=0)
    goal = power * CLOSE
    way = ahead
    rounds = 0
    while (power > goal) & (rounds < 3 * K):
        image = diagonal * way - tl.sum(matrix * way[None, :], axis=1)
        bow = tl.sum(way * image, axis=0)
        length = tl.where(bow > 0, power / bow, 0.0)
        x += length * way
        rest = tl.where(live, rest - length * image, 0.0)
        ahead = rest / pivot
        after = tl.where(bow > 0, tl.sum(rest * ahead, axis=0), 0.0)
        way = ahead + after / power * way
        power = after
        rounds += 1
    return _centre(x, live, gauge, ACC)


@triton.jit
@no_type_check
def _centre(x, live, gauge, ACC: tl.constexpr):
    """Keep x on the live columns, without its mean there where `gauge` is 1."""
    x = tl.where(live, x, 0.0)
    count = tl.maximum(tl.sum(live.to(ACC), axis=0), 1.0)
    return tl.where(live, x - gauge * (tl.sum(x, axis=0) / count), 0.0)


@triton.jit
@no_type_check
def _hair(diagonal, live, ACC: tl.constexpr):
    HAIR: tl.constexpr = 1e-13 if tl.float64 == ACC else 1e-6
    return HAIR * tl.sum(diagonal, axis=0) / tl.maximum(tl.sum(live.to(ACC), axis=0), 1.0)


@triton.jit
@no_type_check
def _same(matrix):
    """Where row and column are one."""
    size: tl.constexpr = matrix.shape[0]
    return tl.arange(0, size)[:, None] == tl.arange(0, size)[None, :]


@triton.jit
@no_type_check
def _live(still, problem, stride, k, K: tl.constexpr, STILL: tl.constexpr):
    """The columns that are solved for."""
    live = k < K
    if STILL:
        live = live & (tl.load(still + problem * stride + k, mask=live, other=1) == 0)
    return live


@kernel
@no_type_check
def _solve(
    diagonal,
    bend,
    right,
    still,
    gauge,
    out,
    stride_diagonal,
    stride_bend,
    stride_right,
    stride_still,
    stride_gauge,
    K: tl.constexpr,
    STILL: tl.constexpr,
    GAUGE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    square = wide[:, None] & wide[None, :]
    at = bend + problem * stride_bend + k[:, None] * K + k[None, :]
    matrix = tl.load(at, mask=square, other=0.0)
    line = tl.load(diagonal + problem * stride_diagonal + k, mask=wide, other=0.0)
    g = tl.load(right + problem * stride_right + k, mask=wide, other=0.0)
    live = _live(still, problem, stride_still, k, K, STILL)
    loose = tl.load(gauge + problem * stride_gauge).to(ACC) if GAUGE else 1.0
    x = _conjugate(matrix, line, g, live, loose, K, ACC)
    tl.store(out + problem * K + k, x, mask=wide)

"""Solve S x = g on the device, S = diag(weight) - bend of a Newton pass.

S is positive semidefinite with the null vector 1 and close to a diagonal, so conjugate gradients
preconditioned by that diagonal need few steps; a program holds S in registers. Where that
does not fit, `apply_schur` multiplies by S in one reading of the scores instead.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._root import sigmoid
from ._tile import Tile, cells, launch_options, spread, tile_for, triton_dtype, working_dtype
from .newton import PROGRAMS, add_partials

ELEMENTS = 2048


def solve_schur(weight: torch.Tensor, bend: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The solution (B, K) without a constant part, for right-hand sides (B, K).

    Args:
        weight: (B, K), any batch stride.
        bend: (B, K, K), any batch stride; K as `forms_square` allows.
        right: (B, K), any batch stride.
    """
    batch, width = right.shape
    out = torch.empty((batch, width), dtype=right.dtype, device=right.device)
    block = max(16, triton.next_power_of_2(width))
    _solve[(batch,)](
        weight,
        bend,
        right,
        out,
        weight.stride(0),
        bend.stride(0),
        right.stride(0),
        K=width,
        ACC=triton_dtype(bend),
        BLOCK_K=block,
        **launch_options(4 if block <= 64 else 8),
    )
    return out


def solve_wide(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    weight: torch.Tensor,
    right: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    rounds: int = 24,
) -> torch.Tensor:
    """`solve_schur` for any number of columns: `rounds` readings of the scores, no host sync."""
    rest = right - right.mean(-1, keepdim=True)
    pivot = torch.where(weight > 0, weight, 1.0)
    x, ahead = torch.zeros_like(rest), rest / pivot
    way, power = ahead, (rest * ahead).sum(-1, keepdim=True)
    for _ in range(rounds):
        image = apply_schur(scores, scale, row_potential, column_potential, way, free=free)
        bow = (way * image).sum(-1, keepdim=True)
        length = torch.where(bow > 0, power / torch.where(bow > 0, bow, 1.0), 0.0)
        x, rest = x + length * way, rest - length * image
        ahead = rest / pivot
        after = (rest * ahead).sum(-1, keepdim=True)
        way = ahead + torch.where(power > 0, after / torch.where(power > 0, power, 1.0), 0.0) * way
        power = after
    return x - x.mean(-1, keepdim=True)


def apply_schur(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    x: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    tile: Tile | None = None,
) -> torch.Tensor:
    """S x (B, K) in one reading of the scores, for any number of columns."""
    batch, count, width = scores.shape
    tile = tile or tile_for(
        count,
        width,
        working_dtype(scores),
        elements=ELEMENTS,
        programs=max(8, PROGRAMS // max(batch, 1)),
    )
    kind = working_dtype(scores)
    part = torch.empty((batch, tile.programs, 1, width), dtype=kind, device=scores.device)
    scale = spread(scale, batch)
    allowed = scores if free is None else free
    _apply[(batch * tile.programs,)](
        scores,
        allowed,
        scale,
        row_potential,
        column_potential,
        x,
        part,
        count,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        K=width,
        MASKED=free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return add_partials(part).select(1, 0)


@triton.jit
@no_type_check
def _conjugate(matrix, diagonal, right, wide, K: tl.constexpr, ACC: tl.constexpr):
    """Conjugate gradients for diag(diagonal) - matrix, to a thousandth of the dtype's root.

    A hair of the mean is added to the diagonal: a column without curvature then takes a long but
    finite step.
    """
    CLOSE: tl.constexpr = 1e-24 if tl.float64 == ACC else 1e-10
    HAIR: tl.constexpr = 1e-13 if tl.float64 == ACC else 1e-6
    diagonal += HAIR * tl.sum(diagonal, axis=0) / K
    pivot = diagonal - tl.sum(tl.where(_same(matrix), matrix, 0.0), axis=1)
    pivot = tl.where(wide & (pivot > 0), pivot, 1.0)
    x = tl.zeros_like(right)
    rest = tl.where(wide, right - tl.sum(right, axis=0) / K, 0.0)
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
        rest = tl.where(wide, rest - length * image, 0.0)
        ahead = rest / pivot
        after = tl.where(bow > 0, tl.sum(rest * ahead, axis=0), 0.0)
        way = ahead + after / power * way
        power = after
        rounds += 1
    return tl.where(wide, x - tl.sum(x, axis=0) / K, 0.0)


@triton.jit
@no_type_check
def _same(matrix):
    """Where row and column are one."""
    size: tl.constexpr = matrix.shape[0]
    return tl.arange(0, size)[:, None] == tl.arange(0, size)[None, :]


@triton.jit
@no_type_check
def _solve(
    weight,
    bend,
    right,
    out,
    stride_weight,
    stride_bend,
    stride_right,
    K: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    square = wide[:, None] & wide[None, :]
    at = bend + problem * stride_bend + k[:, None] * K + k[None, :]
    matrix = tl.load(at, mask=square, other=0.0)
    diagonal = tl.load(weight + problem * stride_weight + k, mask=wide, other=0.0)
    g = tl.load(right + problem * stride_right + k, mask=wide, other=0.0)
    tl.store(out + problem * K + k, _conjugate(matrix, diagonal, g, wide, K, ACC), mask=wide)


@triton.jit(do_not_specialize=["rows", "programs", "steps"])
@no_type_check
def _apply(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
    vector,
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
    v = tl.load(vector + problem * K + k, mask=wide, other=0.0).to(ACC)
    sums = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = scores + problem * stride_problem
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            source = free + problem * free_problem
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        _, slope = sigmoid(tl.where(live, factor * x + a[:, None] + b[None, :], float("-inf")))
        steep = tl.sum(slope, axis=1)
        mean = tl.sum(slope * v[None, :], axis=1) / tl.where(steep > 0, steep, 1.0)
        sums += tl.sum(slope * (v[None, :] - mean[:, None]), axis=0)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, sums, mask=wide)

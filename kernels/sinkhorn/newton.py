"""One Newton step of the semi-dual: a pass in one reading of the scores, and the system it leaves.

For P = sigmoid(scale X + a_i + b_j) and column potentials b: the row roots a, and with
W = P (1 - P), h_i = sum_j W_ij the sums over rows

    load_j = sum_i P_ij      weight_j = sum_i W_ij      bend_jl = sum_i W_ij W_il / h_i

so that the gradient of the dual is load - c and its Hessian S = diag(weight) - bend. Without a cap
P = exp(scale X + a_i + b_j), W = P, and a margin that yields by tau makes h_i (1 + tau) of h_i.

S is positive semidefinite and close to a diagonal, so conjugate gradients preconditioned by that
diagonal need few steps, and stop by their residual. Where only sums of potentials matter, S has
the null vector 1, which `gauge` removes; `still` columns keep 0. `wide.py` does the same without S.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    dot_precision,
    factors,
    kernel,
    launch_each,
    partials,
    spread,
    square_in_program,
    square_rows,
    square_warps,
    view,
    walk,
    walk_tile,
    working_dtype,
)
from ._walk import (
    add_partials,
    begin,
    block,
    here,
    line,
    link,
    one,
    row_answer,
    tile_of,
    views,
    whole,
)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one visit to the scores gives; `bend` is None where it does not fit registers.

    `row_sums` and `height` (sum_j W_ij) are None unless they were asked for.
    """

    row_potential: torch.Tensor  # (B, N)
    load: torch.Tensor  # (B, K)
    weight: torch.Tensor  # (B, K)
    bend: torch.Tensor | None  # (B, K, K)
    row_sums: torch.Tensor | None = None  # (B, N)
    height: torch.Tensor | None = None  # (B, N)


def newton_pass(
    scores: torch.Tensor,
    scale: torch.Tensor,
    column_potential: torch.Tensor,
    guess: torch.Tensor,
    rows: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    yields: torch.Tensor | None = None,
    idle: torch.Tensor | None = None,
    dense: bool | None = None,
    row_sums: bool = False,
    tile: Tile | None = None,
) -> Pass:
    """Row roots for given column potentials, and the sums of a Newton step.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,): difference of the two scales over the temperature.
        column_potential: b, (B, K).
        guess: first guesses of the roots, (B, N), overwritten by the roots; NaN means none.
        rows: budgets r, broadcast to (B, N).
        mask: (B, N, K), False where the plan must be zero.
        yields: None for capped cells; without a cap, tau of the rows, broadcast to (B,).
        idle: (B,), nonzero where a problem is solved and its programs should return at once;
            what they would have written keeps whatever it was.
        dense: whether to form `bend`; by default where it fits registers.
        row_sums: whether the rows' sums of P and of W are wanted too.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    dense = square_in_program(width, working_dtype(scores)) if dense is None else dense
    block = square_rows(width) if dense else 0
    tile = tile or walk_tile(scores, block_rows=block, sharing=batch)
    part = partials(scores, tile, 2 + (width if dense else 0))
    sums = torch.empty_like(guess) if row_sums else guess
    height = torch.empty_like(guess) if row_sums else guess
    walk(
        _pass,
        tile,
        scores,
        mask,
        *factors(scale, yields, batch),
        guess,
        column_potential,
        *view(rows, batch, count),
        part if idle is None else idle,
        part,
        sums,
        height,
        EXP=yields is not None,
        SUMS=row_sums,
        IDLE=idle is not None,
        DENSE=dense,
        PRECISION=dot_precision(scores),
        num_stages=1,
        warps=8 if dense and width > 64 else 0,
    )
    total = add_partials(part, idle)
    return Pass(
        row_potential=guess,
        load=total.select(1, 0),
        weight=total.select(1, 1),
        bend=total.narrow(1, 2, width) if dense else None,
        row_sums=sums if row_sums else None,
        height=height if row_sums else None,
    )


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
        bend: (B, K, K), any batch stride; K as `square_in_program` allows.
        right: (B, K), any batch stride.
        still: (B, K), nonzero for columns that keep 0; None has none.
        gauge: broadcast to (B,): 1 where 1 is a null vector, else 0; None is 1 everywhere.
    """
    batch, width = right.shape
    out = torch.empty((batch, width), dtype=right.dtype, device=right.device)
    loose = diagonal if gauge is None else spread(gauge, batch)
    held = diagonal if still is None else still
    taken = (diagonal, bend, right, held, loose)
    launch_each(
        _solve,
        right,
        *taken,
        out,
        *(x.stride(0) for x in taken),
        STILL=still is not None,
        GAUGE=gauge is not None,
        warps=square_warps(width),
    )
    return out


@kernel
@no_type_check
def _pass(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem, root,
    column_potential, budget, budget_problem, budget_row, idle, part, row_sums, height, rows,
    programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, EXP: tl.constexpr, SUMS: tl.constexpr,
    MASKED: tl.constexpr, IDLE: tl.constexpr, DENSE: tl.constexpr, PRECISION: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    if IDLE and tl.load(idle + problem) != 0:
        return
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    at = here(scale, scale_problem, tau, tau_problem, column_potential, problem, k, K, EXP, ACC)
    load, weight = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        y = at.factor * x + at.b[None, :]
        r = line(budget, problem, budget_problem, n, budget_row, inside).to(ACC)
        guess = tl.load(root + problem * rows + n, mask=inside, other=0.0)
        a = row_answer(y, live, guess, r, at.tau, EXP, ACC)
        tl.store(root + problem * rows + n, a, mask=inside)

        share, slope = link(tl.where(live, y + a[:, None], float("-inf")), EXP)
        steep = tl.sum(slope, axis=1) * (1.0 + at.tau)
        if SUMS:
            tl.store(row_sums + problem * rows + n, tl.sum(share, axis=1), mask=inside)
            tl.store(height + problem * rows + n, steep, mask=inside)
        load += tl.sum(share, axis=0)
        weight += tl.sum(slope, axis=0)
        if DENSE:
            lean = slope / tl.where(steep > 0, steep, 1.0)[:, None]
            bend += tl.dot(tl.trans(slope), lean, input_precision=PRECISION, out_dtype=ACC)

    to = part + tl.program_id(0).to(tl.int64) * (2 + (K if DENSE else 0)) * K
    tl.store(to + k, load, mask=wide)
    tl.store(to + K + k, weight, mask=wide)
    if DENSE:
        square = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(square, bend, mask=wide[:, None] & wide[None, :])


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
    diagonal, bend, right, still, gauge, out,
    stride_diagonal, stride_bend, stride_right, stride_still, stride_gauge,
    K: tl.constexpr, STILL: tl.constexpr, GAUGE: tl.constexpr,
    ACC: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, k, wide = whole(K, BLOCK_K)
    square = wide[:, None] & wide[None, :]
    at = bend + problem * stride_bend + k[:, None] * K + k[None, :]
    matrix = tl.load(at, mask=square, other=0.0)
    weight = line(diagonal, problem, stride_diagonal, k, 1, wide)
    g = line(right, problem, stride_right, k, 1, wide)
    live = _live(still, problem, stride_still, k, K, STILL)
    loose = one(gauge, problem, stride_gauge, ACC) if GAUGE else 1.0
    x = _conjugate(matrix, weight, g, live, loose, K, ACC)
    tl.store(out + problem * K + k, x, mask=wide)

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
    forms_square,
    kernel,
    launch,
    launch_options,
    padded,
    spread,
    square_rows,
    square_warps,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import add_partials, cells, link, row_answer, table_of

ELEMENTS = 2048
PROGRAMS = 512  # partial sums over all problems of a batch


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
    dense = forms_square(width, working_dtype(scores)) if dense is None else dense
    tile = tile or tile_for(
        count,
        width,
        working_dtype(scores),
        elements=ELEMENTS,
        block_rows=square_rows(width) if dense else 0,
        programs=max(1, PROGRAMS // max(batch, 1)),
    )
    lines = 2 + (width if dense else 0)
    part = torch.empty(
        (batch, tile.programs, lines, width), dtype=working_dtype(scores), device=scores.device
    )
    scale, rows = spread(scale, batch), spread(rows, batch, count)
    tau = scale if yields is None else spread(yields, batch)
    allowed = scores if mask is None else mask
    line = torch.empty_like(guess) if row_sums else guess
    height = torch.empty_like(guess) if row_sums else guess
    launch(
        _pass,
        (batch * tile.programs,),
        scores,
        allowed,
        scale,
        tau,
        column_potential,
        guess,
        rows,
        part if idle is None else idle,
        part,
        line,
        height,
        count,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        tau.stride(0),
        *rows.stride(),
        K=width,
        WIDE=starts_wide(scores, allowed),
        EXP=yields is not None,
        SUMS=row_sums,
        MASKED=mask is not None,
        IDLE=idle is not None,
        DENSE=dense,
        PRECISION=dot_precision(scores),
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        num_stages=1,
        **launch_options(8 if dense and width > 64 else tile.warps),
    )
    total = add_partials(part, idle)
    return Pass(
        row_potential=guess,
        load=total.select(1, 0),
        weight=total.select(1, 1),
        bend=total.narrow(1, 2, width) if dense else None,
        row_sums=line if row_sums else None,
        height=height if row_sums else None,
    )


@kernel
@no_type_check
def _pass(
    scores,
    allowed,
    scale,
    yields,
    column_potential,
    root,
    budget,
    idle,
    part,
    row_sums,
    height,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    allowed_problem,
    allowed_row,
    allowed_column,
    scale_problem,
    yields_problem,
    budget_problem,
    budget_row,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    EXP: tl.constexpr,
    SUMS: tl.constexpr,
    MASKED: tl.constexpr,
    IDLE: tl.constexpr,
    DENSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    if IDLE and tl.load(idle + problem) != 0:
        return
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scores = table_of(scores, problem, stride_problem, WIDE)
    allowed = table_of(allowed, problem, allowed_problem, WIDE)
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    load, weight = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        y = cells(scores, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
        y = factor * y + b[None, :]
        live = cell
        if MASKED:
            live = cell & (cells(allowed, n, k, cell, allowed_row, allowed_column, 0) != 0)
        at = budget + problem * budget_problem + n * budget_row
        r = tl.load(at, mask=inside, other=0.0).to(ACC)
        guess = tl.load(root + problem * rows + n, mask=inside, other=0.0)
        a = row_answer(y, live, guess, r, tau, EXP, ACC)
        tl.store(root + problem * rows + n, a, mask=inside)
        share, slope = link(tl.where(live, y + a[:, None], float("-inf")), EXP)
        steep = tl.sum(slope, axis=1) * (1.0 + tau)
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
        at = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(at, bend, mask=wide[:, None] & wide[None, :])


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

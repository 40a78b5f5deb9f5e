"""The device's side of every kernel here: a walk over rows, a row's answer, sums of all programs.

Where cells are capped, P = sigmoid(y_ij + a_i) and a_i is the root of sum_j P_ij = r_i. Without a
cap, P = exp(y_ij + a_i), and a_i = (log r_i - log sum_j exp(y_ij)) / (1 + tau): the whole margin
for tau = 0, and for tau > 0 one that yields, sum_j P_ij = r_i exp(-tau a_i).

The number of programs P follows from the shape alone and what they leave is added up in order, so
sums are the same bit for bit on every run. Sums that may under- or overflow are pairs of lines
(largest, sum of exp(value - largest)).
"""

from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import cdiv, kernel, launch, launch_options, triton_dtype

ROUNDS = tl.constexpr(80)  # of a root
BLOCK = 128  # sums that a program adds up, 32 partial sums of each at once


class View(NamedTuple):
    """A problem's table inside a kernel: where it starts, the steps to the next row and column."""

    at: Any
    row: Any
    column: Any


@triton.jit
@no_type_check
def begin(programs, steps, K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """The problem of this program and the first of its rows; columns, and which there are."""
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    return problem, start, k, k < K


@triton.jit
@no_type_check
def whole(K: tl.constexpr, BLOCK_K: tl.constexpr):
    """The problem of a program that has one to itself; columns, and which there are."""
    k = tl.arange(0, BLOCK_K)
    return tl.program_id(0).to(tl.int64), k, k < K


@triton.jit
@no_type_check
def block(start, step, rows, wide, BLOCK_N: tl.constexpr):
    """The rows of a step, which of them there are, and which cells of the tile."""
    n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = n < rows
    return n, inside, inside[:, None] & wide[None, :]


@triton.jit
@no_type_check
def table(tables, problem, step, row, column, WIDE: tl.constexpr):
    """The table of a problem; WIDE: it starts at a multiple of 16 values, as its rows do."""
    ahead = problem * step
    return View(tables + (tl.multiple_of(ahead, 16) if WIDE else ahead), row, column)


@triton.jit
@no_type_check
def views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE: tl.constexpr):
    """Scores and free cells of a problem, from the strides of (B, N, K)."""
    return table(scores, problem, x_b, x_n, x_k, WIDE), table(free, problem, f_b, f_n, f_k, WIDE)


@triton.jit
@no_type_check
def cells(table, n, k, cell, other):
    """Load one tile of a table whose rows and columns may lie anywhere, 2^31 values apart too."""
    at = n[:, None] * table.row + k.to(tl.int64)[None, :] * table.column
    return tl.load(table.at + at, mask=cell, other=other)


@triton.jit
@no_type_check
def tile_of(scores, free, n, k, cell, MASKED: tl.constexpr, ACC: tl.constexpr):
    """The scores of a tile, and which of its cells take part."""
    x = cells(scores, n, k, cell, 0.0).to(ACC)
    if MASKED:
        cell = cell & (cells(free, n, k, cell, 0) != 0)
    return x, cell


@triton.jit
@no_type_check
def line(lines, problem, step, n, stride, inside):
    """Numbers of a problem's rows or columns; one for all has stride zero."""
    return tl.load(lines + problem * step + n * stride, mask=inside, other=0.0)


@triton.jit
@no_type_check
def one(numbers, problem, step, ACC: tl.constexpr):
    """A problem's number."""
    return tl.load(numbers + problem * step).to(ACC)


class Here(NamedTuple):
    """Where a plan is taken: what multiplies the scores, tau of the rows, column potentials."""

    factor: Any
    tau: Any
    b: Any


@triton.jit
@no_type_check
def here(
    scale, scale_problem, tau, tau_problem, column_potential, problem, k,
    K: tl.constexpr, EXP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Where the plan of a problem is taken; with a cap no row yields."""
    factor = one(scale, problem, scale_problem, ACC)
    tau = one(tau, problem, tau_problem, ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=k < K, other=0.0).to(ACC)
    return Here(factor, tau, b)


@triton.jit
@no_type_check
def log_sum(x, axis: tl.constexpr):
    """Log of a sum of exponentials; an empty sum (all -inf) is -inf, not NaN."""
    top = tl.max(x, axis=axis)
    shift = tl.where(top == float("-inf"), 0.0, top)
    return shift + tl.log(tl.sum(tl.exp(x - tl.expand_dims(shift, axis)), axis=axis))


@triton.jit
@no_type_check
def row_log_sum(x, divisor):
    """Log of the row sums of exp(x) / divisor; 0 for a row without mass, which it stays."""
    top = tl.max(x, axis=1)
    shift = tl.where(top == float("-inf"), 0.0, top)
    total = shift + tl.log(tl.sum(tl.exp(x - shift[:, None]) / divisor, axis=1))
    return tl.where(total == float("-inf"), 0.0, total)


@triton.jit
@no_type_check
def merge_max(top, total, x, axis: tl.constexpr):
    """One step of a running log-sum kept as (largest, sum of exp(value - largest))."""
    best = tl.maximum(top, tl.max(x, axis=axis))
    shift = tl.where(best == float("-inf"), 0.0, best)
    kept = total * tl.exp(top - shift)
    return best, kept + tl.sum(tl.exp(x - tl.expand_dims(shift, axis)), axis=axis)


@triton.jit
@no_type_check
def leave_logs(to, top, sums, k, K: tl.constexpr):
    """Write a pair of lines of K columns."""
    tl.store(to + k, top, mask=k < K)
    tl.store(to + K + k, sums, mask=k < K)


@triton.jit
@no_type_check
def shares(t):
    """For P = sigmoid(t): min(t, 0), min(-t, 0) and 1 + exp(-|t|), so log P = first - log(last)."""
    return tl.minimum(t, 0.0), tl.minimum(-t, 0.0), 1.0 + tl.exp(-tl.abs(t))


@triton.jit
@no_type_check
def or_alone(total, LOG: tl.constexpr):
    """A sum without mass is replaced by one: what has no mass stays without."""
    return tl.where(total == float("-inf"), 0.0, total) if LOG else tl.where(total == 0, 1.0, total)


@triton.jit
@no_type_check
def rescale(x, total, target, LOG: tl.constexpr):
    """Bring x, whose sum (log-sum) is `total`, to the sum `target`."""
    return x - (total - tl.log(target)) if LOG else x * (target / total)


@triton.jit
@no_type_check
def rescale_backward(grad, y, total, inner, target, LOG: tl.constexpr):
    """Vector-Jacobian product of `rescale`; inner = sum of grad*y (log: of grad)."""
    return grad - tl.exp(y) * (inner / target) if LOG else (target * grad - inner) / total


@triton.jit
@no_type_check
def sigmoid(t):
    """The logistic function and its derivative, neither by a difference."""
    small = tl.exp(-tl.abs(t))
    share = 1.0 / (1.0 + small)
    return tl.where(t >= 0, share, small * share), small * share * share


@triton.jit
@no_type_check
def link(t, EXP: tl.constexpr):
    """P and its slope W at an exponent."""
    if EXP:
        share = tl.exp(t)
        slope = share
    else:
        share, slope = sigmoid(t)
    return share, slope


@triton.jit
@no_type_check
def row_answer(y, live, guess, budget, tau, EXP: tl.constexpr, ACC: tl.constexpr):
    """a_i for column potentials that y holds; `guess` is used by the root alone."""
    if EXP:
        return row_shift(y, live, budget, tau)
    else:  # noqa: RET505 - a branch of the compiler, not of the program
        return row_root(y, live, guess, budget, ACC)


@triton.jit
@no_type_check
def row_shift(y, live, budget, tau):
    """The closed form without a cap; 0 where there is nothing to scale."""
    y = tl.where(live, y, float("-inf"))
    top = tl.max(y, axis=1)
    has = (top > float("-inf")) & (budget > 0)
    top = tl.where(has, top, 0.0)
    total = tl.sum(tl.exp(tl.where(has[:, None], y, 0.0) - top[:, None]), axis=1)
    moved = tl.log(tl.where(has, budget, 1.0)) - top - tl.log(total)
    return tl.where(has, moved / (1.0 + tau), 0.0)


@triton.jit
@no_type_check
def row_root(y, live, guess, budget, ACC: tl.constexpr):
    """Newton's method inside a bracket that only shrinks; a slow or leaving step is a bisection.

    With m live entries in a row, log(r / (m - r)) minus the largest and minus the smallest of them
    enclose the root. A guess that is not a number is read as no guess.
    """
    DOUBLE: tl.constexpr = tl.float64 == ACC
    # exp overflows at 709 in float64, at 88 in float32.
    SPAN: tl.constexpr = 700.0 if DOUBLE else 80.0
    CLOSE: tl.constexpr = 1e-14 if DOUBLE else 1e-7
    size = tl.sum(live.to(ACC), axis=1)
    high = tl.max(tl.where(live, y, float("-inf")), axis=1)
    low = tl.min(tl.where(live, y, float("inf")), axis=1)
    odds = tl.log(budget) - tl.log(tl.maximum(size - budget, 0.0))
    odds = tl.minimum(tl.maximum(odds, -SPAN), SPAN)
    empty = size == 0
    left = tl.where(empty, 0.0, odds - high)
    right = tl.where(empty, 0.0, odds - low)
    a = tl.where(guess == guess, tl.minimum(tl.maximum(guess, left), right), 0.5 * (left + right))
    closed = budget <= 0  # no potential is low enough: the lowest one, at once
    a = tl.where(closed, left, a)
    stride = right - left
    unsettled = 1.0
    rounds = 0
    while (unsettled > 0.0) & (rounds < ROUNDS):
        share, slope = sigmoid(tl.where(live, y + a[:, None], float("-inf")))
        excess = tl.sum(share, axis=1) - budget
        steep = tl.sum(slope, axis=1)
        left = tl.where(excess < 0, a, left)
        right = tl.where(excess < 0, right, a)
        quick = (tl.abs(excess) * 2.0 <= tl.abs(stride) * steep) & (steep > 0)
        after = a - excess / tl.where(quick, steep, 1.0)
        quick = quick & (after >= left) & (after <= right)
        after = tl.where(quick, after, 0.5 * (left + right))
        stride = after - a
        met = closed | (tl.abs(excess) <= CLOSE * budget)
        settled = met | (tl.abs(stride) <= CLOSE * tl.abs(a))
        a = tl.where(met, a, after)
        unsettled = tl.max(tl.where(settled, 0.0, 1.0), axis=0)
        rounds += 1
    return a


def add_partials(
    part: torch.Tensor, idle: torch.Tensor | None = None, *, log: bool = False, alone: bool = False
) -> torch.Tensor:
    """Sum (B, P, L, K) over P, to (B, L, K); idle problems are left out.

    With `log`, part holds pairs (B, P, 2, K) and their log-sums (B, 1, K) are -inf without mass.
    With `alone`, a sum without mass becomes the one that changes nothing, 1, or its logarithm 0.
    """
    batch, programs, lines, width = part.shape
    if programs == 1 and not (log or alone):
        return part.select(1, 0)
    lines = 1 if log else lines
    total = torch.empty((batch, lines, width), dtype=part.dtype, device=part.device)
    blocks = cdiv(lines * width, BLOCK)
    launch(
        _reduce,
        (batch * blocks,),
        part,
        part if idle is None else idle,
        total,
        programs,
        lines * width,
        blocks,
        IDLE=idle is not None,
        LOG=log,
        ALONE=alone,
        ACC=triton_dtype(part),
        BLOCK_P=32,
        BLOCK=BLOCK,
        **launch_options(4),
    )
    return total


@kernel
@no_type_check
def _reduce(
    part, idle, total, programs, values, blocks,
    IDLE: tl.constexpr, LOG: tl.constexpr, ALONE: tl.constexpr,
    ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    problem = (tl.program_id(0) // blocks).to(tl.int64)
    if IDLE and tl.load(idle + problem) != 0:
        return
    v = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    part += problem * programs * (2 * values if LOG else values)
    sums = add_up(part, programs, v, values, LOG, False, ACC, BLOCK_P, BLOCK)  # noqa: FBT003
    if ALONE:
        sums = or_alone(sums, LOG)
    tl.store(total + problem * values + v, sums, mask=v < values)


@triton.jit
@no_type_check
def add_up(
    part, programs, v, values,
    LOG: tl.constexpr, COLD: tl.constexpr,
    ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What P programs left of the values v, added up in order; LOG: the log-sum of their pairs.

    COLD: read past the first cache, as other programs of the same launch have just written them.
    """
    CACHE: tl.constexpr = ".cg" if COLD else ""
    step = 2 * values if LOG else values  # from one program to the next
    top, sums = tl.full([BLOCK], float("-inf"), ACC), tl.zeros([BLOCK], ACC)
    for start in range(0, programs, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        cell = (p < programs)[:, None] & (v < values)[None, :]
        at = part + p[:, None] * step + v[None, :]
        if LOG:
            value = tl.load(at, mask=cell, other=float("-inf"), cache_modifier=CACHE)
            value += tl.log(tl.load(at + values, mask=cell, other=0.0, cache_modifier=CACHE))
            top, sums = merge_max(top, sums, value, 0)
        else:
            sums += tl.sum(tl.load(at, mask=cell, other=0.0, cache_modifier=CACHE), axis=0)
    if LOG:
        sums = tl.where(top == float("-inf"), 0.0, top) + tl.log(sums)
    return sums

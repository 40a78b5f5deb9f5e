"""The row's answer to given column potentials, for a tile of rows at once.

Where cells are capped, P = sigmoid(y_ij + a_i) and a_i is the root of sum_j P_ij = r_i. Without a
cap, P = exp(y_ij + a_i), and a_i = (log r_i - log sum_j exp(y_ij)) / (1 + tau): the whole margin
for tau = 0, and for tau > 0 one that yields, sum_j P_ij = r_i exp(-tau a_i).
"""

from typing import no_type_check

import triton
import triton.language as tl

ROUNDS = tl.constexpr(80)


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

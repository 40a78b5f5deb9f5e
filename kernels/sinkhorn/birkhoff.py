"""Small matrices P = exp(x_ij + a_i + b_j) with given margins, and their derivative.

A program holds as many matrices as fit its registers, from the first round to the last:

    p_ij = r_i exp(y_ij + b_j) / sum_j exp(y_ij + b_j),  y = x / 4^stage,  v_j = sum_i p_ij
    b   += log (c / v)                   three times, then
    b   += d log (1 + R) / R,            L d = c - v,  R = max d - min d  (d itself up to R = 1)
    L_ab = sum_i p_ia p_ib / r_i         the weights of a Laplacian

and 4 b at the next stage, once a stage is met roughly. `multisk._backends.numba.birkhoff` says why
this ends. L is eliminated by additions alone, so that weak couplings keep their digits.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import cdiv, kernel, launch, launch_options, power_of_two, triton_dtype

ELEMENTS = 512  # values of one tile: the system of a round takes several
SWEEPS = tl.constexpr(3)
FINE = 6e-7  # error of a column that float32 sums are sure to reach


def birkhoff_forward(
    x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, tolerance: float
) -> torch.Tensor:
    """Plans (t, n, m) in the dtype of x, float32 or float64; NaN where a logit is not finite.

    Args:
        x: (t, n, m) contiguous, n and m at most 16.
        rows: Row sums (t or 1, n).
        columns: Column sums (t or 1, m).
        tolerance: largest relative error of a column at which a matrix is done.
    """
    out = torch.empty_like(x)
    if x.dtype != torch.float64:
        tolerance = max(tolerance, FINE)
    goal = torch.full((1,), tolerance, dtype=x.dtype, device=x.device)
    rows, columns = (side.to(x.dtype).contiguous() for side in (rows, columns))
    strides = (side.shape[1] if side.shape[0] > 1 else 0 for side in (rows, columns))
    grid, sizes = cut_of(x)
    launch(_forward, grid, x, rows, columns, goal, out, x.shape[0], *strides, **sizes)
    return out


def birkhoff_backward(plan: torch.Tensor, grad: torch.Tensor, *, weigh: bool) -> torch.Tensor:
    """P (G - alpha_i - beta_j), or without P unless `weigh`; all (t, n, m) contiguous."""
    out = torch.empty_like(plan)
    grid, sizes = cut_of(plan)
    launch(_backward, grid, plan, grad, out, plan.shape[0], WEIGH=weigh, **sizes)
    return out


def cut_of(x: torch.Tensor) -> tuple[tuple[int], dict]:
    """Programs, and what every kernel here is compiled for."""
    count, n, m = x.shape
    cells = power_of_two(n) * power_of_two(m)
    block = max(1, ELEMENTS // cells // (2 if x.dtype == torch.float64 else 1))
    sizes = {"N": n, "M": m, "ACC": triton_dtype(x), "BLOCK_T": block}
    sizes |= {"BLOCK_R": power_of_two(n), "BLOCK_C": power_of_two(m)}
    return (cdiv(count, block),), sizes | launch_options(4)


@triton.jit
@no_type_check
def _inverse(x):
    """1 / x; 0 where x is 0 or too small for that."""
    TINY: tl.constexpr = 1e-290 if x.dtype == tl.float64 else 1e-36
    return tl.where(x > TINY, 1 / tl.where(x > TINY, x, 1.0), 0.0)


@triton.jit
@no_type_check
def _couple(p, share, i, ACC: tl.constexpr):
    """The columns' Laplacian weights, (t, m, m)."""
    w = tl.zeros([p.shape[0], p.shape[2], p.shape[2]], ACC)
    for row in range(0, p.shape[1]):
        here = tl.sum(tl.where(i == row, p, 0.0), axis=1)
        one = tl.sum(tl.where(tl.arange(0, p.shape[1])[None, :] == row, share, 0.0), axis=1)
        w += (here * one[:, None])[:, :, None] * here[:, None, :]
    return w


@triton.jit
@no_type_check
def _eliminate(w, g, floor, quiet, M: tl.constexpr):
    """Solve L x = g; a column that is hardly coupled and asks for little is left where it is."""
    size: tl.constexpr = g.shape[1]
    k = tl.arange(0, size)[None, :]
    first = tl.arange(0, size)[None, :, None]
    for a in range(0, M):
        ahead = tl.sum(tl.where((first == a) & (k[:, None, :] > a), w, 0.0), axis=1)
        sums = tl.sum(ahead, axis=1)
        asks = tl.sum(tl.where(k == a, g, 0.0), axis=1)
        weak = (sums <= floor) | ((tl.abs(asks) <= quiet) & (sums <= tl.abs(asks)))
        asks = tl.where(weak, 0.0, asks)
        g = tl.where(k == a, asks[:, None], g)
        share = ahead * _inverse(sums)[:, None]
        g += share * asks[:, None]
        w += share[:, :, None] * ahead[:, None, :]
    x = tl.zeros_like(g)
    for turn in range(0, M):
        a = M - 1 - turn
        ahead = tl.sum(tl.where((first == a) & (k[:, None, :] > a), w, 0.0), axis=1)
        found = tl.sum(ahead * x + tl.where(k == a, g, 0.0), axis=1)
        x = tl.where(k == a, (found * _inverse(tl.sum(ahead, axis=1)))[:, None], x)
    return x


@triton.jit
@no_type_check
def _rows(y, b, live, r):
    """The plan with exact rows."""
    t = tl.where(live, y + b[:, None, :], float("-inf"))
    top = tl.max(t, axis=2)
    top = tl.where(top > float("-inf"), top, 0.0)
    e = tl.exp(t - top[:, :, None])
    return e * (r * _inverse(tl.sum(e, axis=2)))[:, :, None]


@triton.jit
@no_type_check
def _advance(b, d, stage, v, c, tolerance):
    """Potentials and stage after a step d; which matrices were done before it."""
    error = tl.max(tl.abs(v - c) * _inverse(c), axis=1)
    cool = (stage > 0) & (error <= 0.1)
    done = (stage == 0) & (error <= tolerance)
    b = tl.where(cool[:, None], 4 * b, tl.where(done[:, None], b, b + d))
    b = tl.where(c > 0, b - tl.max(b, axis=1)[:, None], 0.0)
    return b, tl.where(cool, stage - 1, stage), done.to(tl.int32)


@kernel
@no_type_check
def _forward(
    x, rows, columns, goal, out, batch, rows_problem, columns_problem,
    N: tl.constexpr, M: tl.constexpr, ACC: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    i, j = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_C)
    there = t < batch
    r = rows + t[:, None] * rows_problem + i[None, :]
    r = tl.load(r, mask=there[:, None] & (i < N)[None, :], other=0.0)
    c = columns + t[:, None] * columns_problem + j[None, :]
    c = tl.load(c, mask=there[:, None] & (j < M)[None, :], other=0.0)
    inside = there[:, None, None] & (i < N)[None, :, None] & (j < M)[None, None, :]
    at = t[:, None, None] * (N * M) + i[None, :, None] * M + j[None, None, :]
    z = tl.load(x + at, mask=inside, other=0.0)
    live = (r > 0)[:, :, None] & (c > 0)[:, None, :]
    bad = tl.max(tl.max(tl.where((z - z) == 0, 0.0, 1.0), axis=2), axis=1) > 0
    z = tl.where(bad[:, None, None], 0.0, z)
    low = tl.min(tl.where(inside, z, float("inf")), axis=2)
    high = tl.max(tl.where(inside, z, float("-inf")), axis=2)
    z = tl.where(inside, z - tl.where(i < N, high, 0.0)[:, :, None], 0.0)
    widest = tl.max(tl.where(high >= low, 0.25 * high - 0.25 * low, 0.0), axis=1)
    stage = tl.ceil(tl.log2(tl.maximum(widest / 10.0, 1.0)) * 0.5)

    tolerance = tl.load(goal)
    row_share = _inverse(r)
    b = tl.zeros([BLOCK_T, BLOCK_C], ACC)
    for _ in range(0, SWEEPS):
        v = tl.sum(_rows(z * tl.exp2(-2.0 * stage)[:, None, None], b, live, r), axis=1)
        known = (v > 0) & (c > 0)
        d = tl.log(tl.where(known, c, 1.0) / tl.where(known, v, 1.0))
        b, stage, _ = _advance(b, d, stage, v, c, tolerance)

    left = tl.sum(there.to(tl.int32), axis=0)
    limit = 60 + 12 * tl.max(stage, axis=0).to(tl.int32)
    turn = 0
    while (left > 0) & (turn < limit):
        p = _rows(z * tl.exp2(-2.0 * stage)[:, None, None], b, live, r)
        v = tl.sum(p, axis=1)
        w = _couple(p, row_share, i[None, :, None], ACC)
        d = _eliminate(w, c - v, 0.0, 0.25 * tolerance, M)
        span = tl.max(d, axis=1) - tl.min(d, axis=1)
        wide = tl.maximum(span, 1.0)
        d = d * tl.where(span > 1, tl.log(1 + wide) / wide, 1.0)[:, None]
        b, stage, done = _advance(b, d, stage, v, c, tolerance)
        left = tl.sum((there & (done == 0)).to(tl.int32), axis=0)
        turn += 1
    p = _rows(z * tl.exp2(-2.0 * stage)[:, None, None], b, live, r)
    p = tl.where(bad[:, None, None], float("nan"), p)
    tl.store(out + at, p, mask=inside)


@kernel
@no_type_check
def _backward(
    plan, grad, out, batch,
    WEIGH: tl.constexpr, N: tl.constexpr, M: tl.constexpr, ACC: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # Coupling below which the sums' rounding, not the cotangent, would move a group of columns.
    FAINT: tl.constexpr = 1e-13 if tl.float64 == ACC else 3e-6
    t = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    i, j = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_C)
    inside = (t < batch)[:, None, None] & (i < N)[None, :, None] & (j < M)[None, None, :]
    at = t[:, None, None] * (N * M) + i[None, :, None] * M + j[None, None, :]
    p = tl.load(plan + at, mask=inside, other=0.0)
    g = tl.load(grad + at, mask=inside, other=0.0)
    share = _inverse(tl.sum(p, axis=2))
    tilt = tl.sum(p * g, axis=2) * share
    asks = tl.sum(p * (g - tilt[:, :, None]), axis=1)
    w = _couple(p, share, i[None, :, None], ACC)
    beta = _eliminate(w, asks, FAINT, 0.0, M)
    alpha = tilt - tl.sum(p * beta[:, None, :], axis=2) * share
    found = g - alpha[:, :, None] - beta[:, None, :]
    if WEIGH:
        found = p * found
    tl.store(out + at, found, mask=inside)

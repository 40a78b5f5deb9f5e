"""Newton's method on the semi-dual, all of it on the device: nothing is read by the host.

A step is two or three launches: the pass at the trial potentials, and one program a problem that
judges the trial, solves for a new direction and writes the next trial. A trial that overshot along
its direction (its slope there is upward and more than half as steep as downward before) is cut by
the secant rule. A problem whose exponents span too much starts warm and is cooled by three once
its error is below a hundredth. Solved problems stand still.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import forms_square, launch_options, spread, triton_dtype, working_dtype
from .newton import newton_pass
from .schur import _conjugate, solve_wide
from .sweep import Budgets

EASE = 250.0  # the span of exponents from which a problem starts warm
COOL = 3.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What a problem keeps between passes; `numbers` is (length, slope, error, steps, warmth)."""

    base: torch.Tensor
    move: torch.Tensor
    trial: torch.Tensor
    scale: torch.Tensor
    numbers: torch.Tensor
    solved: torch.Tensor
    guess: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Found:
    """Potentials and how good they are; everything stays on the device."""

    row_potential: torch.Tensor  # (B, N)
    column_potential: torch.Tensor  # (B, K)
    error: torch.Tensor  # (B,) worst relative violation of a column sum; rows are exact
    steps: torch.Tensor  # (B,) passes after the first
    solved: torch.Tensor  # (B,) int32, 1 where the error is within the tolerance
    state: State  # to go on from


def search(
    scores: torch.Tensor,
    scale: torch.Tensor,
    start: torch.Tensor | None,
    budgets: Budgets,
    *,
    tolerance: float = 1e-6,
    passes: int = 12,
    resume: Found | None = None,
) -> Found:
    """Column potentials b with sum_i P_ij = c_j, where each a_i is the root of its row.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,): difference of the two scales over the temperature.
        start: (B, K) first column potentials, or None for zeros.
        budgets: the margins; those of columns must be exact.
        tolerance: relative violation of a column sum that counts as solved.
        passes: visits to the scores, all of them launched.
        resume: what an earlier call found, to go on from there with more passes.
    """
    batch, count, width = scores.shape
    kind, device = working_dtype(scores), scores.device
    state = _begin(scores, scale, start) if resume is None else resume.state
    columns = spread(budgets.columns, batch, width)
    limit = torch.full((1,), tolerance, dtype=kind, device=device)
    dense = forms_square(width, kind)
    for _ in range(passes):
        found = newton_pass(
            scores,
            state.scale,
            state.trial,
            state.guess,
            budgets.rows,
            mask=budgets.free,
            idle=state.solved,
        )
        fresh = found.load
        if not dense:
            pull = found.load - columns.to(kind)
            fresh = solve_wide(
                scores, state.scale, state.guess, state.trial, found.weight, pull, free=budgets.free
            )
        _step[(batch,)](
            found.load,
            found.weight,
            found.bend if dense else fresh,
            columns,
            limit,
            state.base,
            state.move,
            state.trial,
            state.scale,
            state.numbers,
            state.solved,
            found.load.stride(0),
            columns.stride(0),
            columns.stride(1),
            K=width,
            DENSE=dense,
            COOL=COOL,
            ACC=triton_dtype(scores),
            BLOCK_K=max(16, triton.next_power_of_2(width)),
            **launch_options(4 if width <= 64 else 8),
        )
    return Found(
        row_potential=state.guess,
        column_potential=state.trial,
        error=state.numbers.select(1, 2),
        steps=state.numbers.select(1, 3),
        solved=state.solved,
        state=state,
    )


def _begin(scores: torch.Tensor, scale: torch.Tensor, start: torch.Tensor | None) -> State:
    """The first trial of every problem, warm enough for its span of exponents."""
    batch, count, width = scores.shape
    kind, device = working_dtype(scores), scores.device
    scale = spread(scale, batch)
    state = State(
        base=torch.empty((batch, width), dtype=kind, device=device),
        move=torch.empty((batch, width), dtype=kind, device=device),
        trial=torch.empty((batch, width), dtype=kind, device=device),
        scale=torch.empty((batch,), dtype=kind, device=device),
        numbers=torch.empty((batch, 8), dtype=kind, device=device),
        solved=torch.empty((batch,), dtype=torch.int32, device=device),
        guess=torch.full((batch, count), float("nan"), dtype=kind, device=device),
    )
    high = scores.amax((1, 2))
    _first[(batch,)](
        high,
        scores.amin((1, 2)),
        scale,
        high if start is None else start,
        state.base,
        state.move,
        state.trial,
        state.scale,
        state.numbers,
        state.solved,
        scale.stride(0),
        K=width,
        START=start is not None,
        EASE=EASE,
        COOL=COOL,
        ACC=triton_dtype(scores),
        BLOCK_K=max(16, triton.next_power_of_2(width)),
        **launch_options(4),
    )
    return state


@triton.jit
@no_type_check
def _first(
    high,
    low,
    wanted,
    start,
    base,
    move,
    trial,
    scale,
    numbers,
    solved,
    stride_scale,
    K: tl.constexpr,
    START: tl.constexpr,
    EASE: tl.constexpr,
    COOL: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    factor = tl.load(wanted + problem * stride_scale).to(ACC)
    span = tl.load(high + problem).to(ACC) - tl.load(low + problem).to(ACC)
    warmth = tl.full([], 1.0, ACC)
    while span * factor > EASE * warmth:
        warmth *= COOL
    b = tl.zeros([BLOCK_K], ACC)
    if START:
        b = tl.load(start + problem * K + k, mask=wide, other=0.0).to(ACC) / warmth
    at = problem * K + k
    tl.store(trial + at, b, mask=wide)
    tl.store(base + at, b, mask=wide)
    tl.store(move + at, tl.zeros([BLOCK_K], ACC), mask=wide)
    tl.store(scale + problem, factor / warmth)
    lane = tl.arange(0, 8)
    tl.store(numbers + problem * 8 + lane, tl.where(lane == 4, warmth, 0.0))
    tl.store(solved + problem, 0)


@triton.jit
@no_type_check
def _step(
    load,
    weight,
    bend,
    goal,
    limit,
    base,
    move,
    trial,
    scale,
    numbers,
    solved,
    stride_sums,
    goal_problem,
    goal_column,
    K: tl.constexpr,
    DENSE: tl.constexpr,
    COOL: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    if tl.load(solved + problem) != 0:
        return
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    at = problem * K + k
    numbers += problem * 8
    c = tl.load(goal + problem * goal_problem + k * goal_column, mask=wide, other=0.0).to(ACC)
    pull = tl.load(load + problem * stride_sums + k, mask=wide, other=0.0) - c
    error = tl.max(tl.where(wide, tl.abs(pull) / tl.where(c > 0, c, 1.0), 0.0), axis=0)
    warmth = tl.load(numbers + 4)
    tl.store(numbers + 2, error)
    here = tl.load(trial + at, mask=wide, other=0.0)
    if (error <= tl.load(limit)) & (warmth <= 1.0):
        tl.store(solved + problem, 1)
        return
    length, slope = tl.load(numbers), tl.load(numbers + 1)
    way = tl.load(move + at, mask=wide, other=0.0)
    ahead = tl.sum(pull * way, axis=0)
    tl.store(numbers + 3, tl.load(numbers + 3) + 1.0)
    if (warmth > 1.0) & (error <= 0.01):  # cool: the potentials grow as the temperature falls
        cooler = tl.maximum(warmth / COOL, 1.0)
        grown = warmth / cooler
        tl.store(numbers + 4, cooler)
        tl.store(scale + problem, tl.load(scale + problem) * grown)
        tl.store(trial + at, here * grown, mask=wide)
        tl.store(move + at, tl.zeros_like(way), mask=wide)
        tl.store(numbers + 1, 0.0)
        return
    if (slope == 0.0) | (ahead <= 0.5 * slope):
        if DENSE:
            row = bend + problem * stride_sums + k[:, None] * K + k[None, :]
            matrix = tl.load(row, mask=wide[:, None] & wide[None, :], other=0.0)
            heavy = tl.load(weight + problem * stride_sums + k, mask=wide, other=0.0)
            way = -_conjugate(matrix, heavy, pull, wide, K, ACC)
        else:
            way = -tl.load(bend + at, mask=wide, other=0.0)
        way *= tl.minimum(1.0, 64.0 / tl.maximum(tl.max(tl.abs(way), axis=0), 1e-30))
        slope = -tl.sum(pull * way, axis=0)
        length = tl.full([], 1.0, ACC)
        tl.store(base + at, here, mask=wide)
        tl.store(move + at, way, mask=wide)
        tl.store(numbers + 1, slope)
    else:
        here = tl.load(base + at, mask=wide, other=0.0)
        length *= tl.minimum(tl.maximum(slope / (slope + ahead), 0.1), 0.7)
    tl.store(numbers, length)
    tl.store(trial + at, here + length * way, mask=wide)

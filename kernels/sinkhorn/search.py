"""Newton's method on the semi-dual, all of it on the device: nothing is read by the host.

A step is two or three launches: the pass at the trial potentials, and one program a problem that
judges the trial, solves for a new direction and writes the next trial. A trial that overshot along
its direction (its slope there is upward and more than half as steep as downward before) is cut by
the secant rule. A problem whose exponents span too much starts warm and is cooled by three once
its error is below a hundredth. Solved problems stand still.

Without a cap (`yields`) the same finds the transport P = exp(scale X + a_i + b_j), also with
margins that yield: a column's goal is then c_j exp(-tau b_j), and tau grows with the temperature.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import kernel, launch_each, spread, square_in_program, square_warps, working_dtype
from ._walk import whole
from .newton import Pass, _centre, _conjugate, newton_pass
from .sweep import Budgets
from .wide import At, solve_wide

EASE = 250.0  # the span of exponents from which a problem starts warm
BARE = 40.0  # the same where cells have no cap: steps from afar go too far more often
COOL = 3.0
ROUNDS = 4  # of conjugate gradients a pass where S is not formed: the next pass picks up the rest


@dataclass(frozen=True, kw_only=True)
class State:
    """What a problem keeps between passes; `numbers` is (length, slope, error, steps, warmth)."""

    base: torch.Tensor
    move: torch.Tensor
    trial: torch.Tensor
    scale: torch.Tensor
    yields: torch.Tensor  # (B, 2): tau of rows and of columns at the present temperature
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
    solved: torch.Tensor  # (B,) int32, 1 where the error is within the tolerance, or NaN
    cold: torch.Tensor  # (B,) whether the problem has come down to its own temperature
    state: State  # to go on from


def search(
    scores: torch.Tensor,
    scale: torch.Tensor,
    start: torch.Tensor | None,
    budgets: Budgets,
    *,
    yields: torch.Tensor | None = None,
    tolerance: float = 1e-6,
    passes: int = 12,
    rounds: int | None = None,
    resume: Found | None = None,
) -> Found:
    """Column potentials b with sum_i P_ij = c_j, where each a_i is the root of its row.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,): difference of the two scales over the temperature.
        start: (B, K) first column potentials, or None for zeros.
        budgets: the margins, numbers and no intervals.
        yields: None for capped cells; without a cap (B, 2), tau of rows and columns (0: exact).
        tolerance: relative violation of a column sum that counts as solved.
        passes: visits to the scores, all of them launched.
        rounds: of conjugate gradients, where S is not formed.
        resume: what an earlier call found, to go on from there with more passes.
    """
    batch, _, width = scores.shape
    kind, device = working_dtype(scores), scores.device
    state = _begin(scores, scale, start, yields) if resume is None else resume.state
    columns = spread(budgets.columns, batch, width)
    limit = torch.full((1,), tolerance, dtype=kind, device=device)
    dense = square_in_program(width, kind)
    tau = state.yields.select(1, 0) if yields is not None else None
    for _ in range(passes):
        found = newton_pass(
            scores,
            state.scale,
            state.trial,
            state.guess,
            budgets.rows,
            mask=budgets.free,
            yields=tau,
            idle=state.solved,
        )
        fresh = found.load
        if not dense:
            fresh = _wide_direction(scores, state, found, columns, (budgets.free, tau), rounds)
        launch_each(
            _step,
            state.trial,
            found.load,
            found.weight,
            found.bend if dense else fresh,
            columns,
            limit,
            *_kept(state),
            found.load.stride(0),
            columns.stride(0),
            columns.stride(1),
            EXP=yields is not None,
            DENSE=dense,
            COOL=COOL,
            warps=square_warps(width),
        )
    return Found(
        row_potential=state.guess,
        column_potential=state.trial,
        error=state.numbers.select(1, 2),
        steps=state.numbers.select(1, 3),
        solved=state.solved,
        cold=state.numbers.select(1, 4) <= 1.0,
        state=state,
    )


def _wide_direction(
    scores: torch.Tensor,
    state: State,
    found: Pass,
    columns: torch.Tensor,
    cells: tuple[torch.Tensor | None, torch.Tensor | None],
    rounds: int | None,
) -> torch.Tensor:
    """S^-1 (load - c) as precisely as the error asks for: a step then about squares it."""
    goal = columns.to(found.load.dtype)
    diagonal, gauge = found.weight, None
    if cells[1] is not None:
        tau = state.yields.select(1, 1).unsqueeze(1)
        goal = goal * (-tau * state.trial).exp()
        diagonal = diagonal + goal * tau
        gauge = (state.yields.sum(1) == 0).to(goal.dtype)
    pull = found.load - goal
    error = (pull.abs() / torch.where(goal > 0, goal, 1.0)).amax(1)
    at = At(
        scores=scores,
        scale=state.scale,
        row_potential=state.guess,
        column_potential=state.trial,
        free=cells[0],
        yields=cells[1],
    )
    finest = 1e-9 if goal.dtype == torch.float64 else 1e-4
    solved = solve_wide(
        at,
        found.weight,
        diagonal,
        pull,
        gauge=gauge,
        idle=state.solved,
        close=error.clamp(finest, 0.05),
        rounds=ROUNDS if rounds is None else rounds,
    )
    return solved.x


def _begin(
    scores: torch.Tensor,
    scale: torch.Tensor,
    start: torch.Tensor | None,
    yields: torch.Tensor | None,
) -> State:
    """The first trial of every problem, warm enough for its span of exponents."""
    batch, count, width = scores.shape
    kind, device = working_dtype(scores), scores.device
    scale = spread(scale, batch)
    state = State(
        base=torch.empty((batch, width), dtype=kind, device=device),
        move=torch.empty((batch, width), dtype=kind, device=device),
        trial=torch.empty((batch, width), dtype=kind, device=device),
        scale=torch.empty((batch,), dtype=kind, device=device),
        yields=torch.zeros((batch, 2), dtype=kind, device=device),
        numbers=torch.empty((batch, 8), dtype=kind, device=device),
        solved=torch.empty((batch,), dtype=torch.int32, device=device),
        guess=torch.full((batch, count), float("nan"), dtype=kind, device=device),
    )
    high = scores.amax((1, 2))
    tau = state.yields if yields is None else spread(yields, batch, 2)
    launch_each(
        _first,
        state.trial,
        high,
        scores.amin((1, 2)),
        scale,
        tau,
        high if start is None else start,
        *_kept(state),
        scale.stride(0),
        *tau.stride(),
        START=start is not None,
        EASE=EASE if yields is None else BARE,
        COOL=COOL,
        warps=4,
    )
    return state


def _kept(state: State) -> tuple[torch.Tensor, ...]:
    vectors = (state.base, state.move, state.trial)
    return *vectors, state.scale, state.yields, state.numbers, state.solved


@kernel
@no_type_check
def _first(
    high, low, wanted, tau, start, base, move, trial, scale, yields, numbers, solved,
    scale_problem, tau_problem, tau_side,
    K: tl.constexpr, START: tl.constexpr, EASE: tl.constexpr, COOL: tl.constexpr,
    ACC: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, k, wide = whole(K, BLOCK_K)
    factor = tl.load(wanted + problem * scale_problem).to(ACC)
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
    side = tl.arange(0, 2)
    give = tl.load(tau + problem * tau_problem + side * tau_side).to(ACC)
    tl.store(yields + problem * 2 + side, give * warmth)
    lane = tl.arange(0, 8)
    tl.store(numbers + problem * 8 + lane, tl.where(lane == 4, warmth, 0.0))
    tl.store(solved + problem, 0)


@kernel
@no_type_check
def _step(
    load, weight, bend, goal, limit, base, move, trial, scale, yields, numbers, solved,
    stride_sums, goal_problem, goal_column,
    K: tl.constexpr, EXP: tl.constexpr, DENSE: tl.constexpr, COOL: tl.constexpr,
    ACC: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, k, wide = whole(K, BLOCK_K)
    if tl.load(solved + problem) != 0:
        return
    at = problem * K + k
    numbers += problem * 8
    c = tl.load(goal + problem * goal_problem + k * goal_column, mask=wide, other=0.0).to(ACC)
    here = tl.load(trial + at, mask=wide, other=0.0)
    c, bent, gauge = _yielding(c, here, yields + problem * 2, EXP, ACC)
    pull = tl.load(load + problem * stride_sums + k, mask=wide, other=0.0) - c
    error = tl.max(tl.where(wide, tl.abs(pull) / tl.where(c > 0, c, 1.0), 0.0), axis=0)
    lost = tl.sum(tl.where(wide & (pull != pull), 1.0, 0.0), axis=0) > 0.0
    error = tl.where(lost, float("nan"), error)  # on a GPU the largest of a NaN and 0 is 0
    warmth = tl.load(numbers + 4)
    tl.store(numbers + 2, error)
    if lost | ((error <= tl.load(limit)) & (warmth <= 1.0)):
        tl.store(solved + problem, 1)
        return
    length, slope = tl.load(numbers), tl.load(numbers + 1)
    way = tl.load(move + at, mask=wide, other=0.0)
    ahead = tl.sum(pull * way, axis=0)
    tl.store(numbers + 3, tl.load(numbers + 3) + 1.0)
    if (warmth > 1.0) & (error <= 0.01):
        grown = _cool(warmth, numbers, scale + problem, yields + problem * 2, COOL)
        tl.store(trial + at, here * grown, mask=wide)
        tl.store(move + at, tl.zeros_like(way), mask=wide)
        return
    if (slope == 0.0) | (ahead <= 0.5 * slope):
        if DENSE:
            row = bend + problem * stride_sums + k[:, None] * K + k[None, :]
            matrix = tl.load(row, mask=wide[:, None] & wide[None, :], other=0.0)
            heavy = tl.load(weight + problem * stride_sums + k, mask=wide, other=0.0)
            way = -_conjugate(matrix, heavy + bent, pull, wide, gauge, K, ACC)
        else:
            way = -_centre(tl.load(bend + at, mask=wide, other=0.0), wide, gauge, ACC)
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


@triton.jit
@no_type_check
def _yielding(c, b, yields, EXP: tl.constexpr, ACC: tl.constexpr):
    """What the columns shall sum to at b, how fast that falls, and whether b is free to shift."""
    if EXP:
        side = tl.arange(0, 2)
        both = tl.load(yields + side)
        tau = tl.sum(tl.where(side == 1, both, 0.0), axis=0)
        goal = c * tl.exp(-tau * b)
        return goal, tau * goal, tl.where(tl.sum(both, axis=0) == 0.0, 1.0, 0.0).to(ACC)
    else:  # noqa: RET505 - a branch of the compiler, not of the program
        return c, tl.zeros_like(c), 1.0


@triton.jit
@no_type_check
def _cool(warmth, numbers, scale, yields, COOL: tl.constexpr):
    """Lower the temperature; gives the factor by which the potentials grow as it falls.

    `warmth` was loaded before: a warp that comes late would read what an early one has stored.
    """
    cooler = tl.maximum(warmth / COOL, 1.0)
    grown = warmth / cooler
    tl.store(numbers + 1, 0.0)
    tl.store(numbers + 4, cooler)
    tl.store(scale, tl.load(scale) * grown)
    side = yields + tl.arange(0, 2)
    tl.store(side, tl.load(side) / grown)
    return grown

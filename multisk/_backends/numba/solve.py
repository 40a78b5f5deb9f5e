"""The fast path on the CPU: whole solves through compiled loops, or array passes without numba.

It takes problems without intervals whose exponents fit the number format, and keeps the table
exp(scale * scores), 0 at forbidden cells, in the memory of the plan. What does not settle goes to
the caller's own passes, problem by problem; a system that is not covered at all gives None.

What happens between two passes is written here for problems that threads share and for arrays, and
in `whole` for small ones in one compiled call: a change of one is a change of both.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import (
    Costs,
    loops_for,
    loops_for_newton,
    loops_from_start,
    loops_unroll,
)
from multisk._backends.numba import available
from multisk._backends.numba.available import compiled
from multisk._backends.numba.batch import PIECE, Batch, Otherwise, Problem
from multisk._problem.status import inner, stop_at
from multisk._problem.system import System

Solves = Callable[..., Any]
Limits = tuple[float, float, float, int, int, float]  # of `whole.newton_batch`
# Products with the system that cost as much as forming it: 4 + K / 16. A product takes the time
# of a sweep, a pass that forms the system that of 4 + K / 12 (docs/multisk/solvers.md).
PRODUCTS, COLUMNS_A_PRODUCT = 4, 16
Sweeping = tuple[bool, float, int, int, int, int]  # the limits of `whole.sweep_batch`


def or_on_arrays(solve: Solves) -> Solves:
    """Solve again on arrays where the compiled loops raise what the arrays do not."""

    @functools.wraps(solve)
    def solved(*given: Any, **named: Any) -> Any:
        try:
            return solve(*given, **named)
        except Exception as error:
            if available.UNUSABLE.is_set() or not compiled(available.kernels()):
                raise
            with available.arrays_only():
                found = solve(*given, **named)
            available.give_up(error)
            return found

    return solved


@or_on_arrays
def sweep(
    system: System,
    init: Tensor | None,
    otherwise: Otherwise,
    *,
    steps: int | None,
    tolerance: float,
    most: int,
    trial: int = 0,
) -> Raw | None:
    """`Sinkhorn.run` in the order row, column, depth; exactly `steps` sweeps, or to `tolerance`.

    From `trial` sweeps on, if that is not 0, a problem whose rate says that `most` sweeps are not
    enough is left where it is.
    """
    loops = loops_for(system)
    if loops is None:
        return None

    batch = Batch(system, init, loops)
    stop = stop_at(tolerance, system.scores.dtype)
    limits = steps is not None, stop, most if steps is None else steps, batch.height
    if system.groups is None:
        transport_sweeps(batch, (*limits, trial))
    else:
        assignment_sweeps(batch, (*limits, int(init is None), trial))

    return batch.gather(init, tolerance, most if steps is None else None, otherwise)


@or_on_arrays
def newton(
    system: System,
    init: Tensor | None,
    otherwise: Otherwise,
    *,
    tolerance: float,
    most: int,
    polish: bool,
    far: float = math.inf,
) -> Raw | None:
    """`Newton.run` for capped problems with few columns; a start above the error `far` fails."""
    loops = loops_for_newton(system) if init is None else loops_from_start(system)
    if loops is None:
        return None

    batch = Batch(system, init, loops, least=system.scores.shape[2])
    double = system.scores.dtype == torch.float64
    fine = 1e-13 if double else max(inner(tolerance), 4 * float(np.finfo(np.float32).eps))
    limits = fine, tolerance, 1e-12 if double and polish else 0.0, most, batch.height, far
    batch.fill()
    columns = system.scores.shape[2]
    if compiled(loops) and columns > (Costs.NARROW_COLUMNS if init is None else Costs.NEAR_COLUMNS):
        start = 0 if init is None else products(columns), loops_for_newton(system) is not None
        batch.run(
            lambda loops, *ends: loops.wide_batch(batch.arrays, (batch.fits, *ends), limits, start),
            lambda one: wide_one(one, limits, start),
        )
    else:
        batch.run(
            lambda loops, *ends: loops.newton_batch(batch.arrays, (batch.fits, *ends), limits),
            lambda one: newton_one(one, limits),
        )

    return batch.gather(init, tolerance, most, otherwise)


def newton_one(one: Problem, limits: Limits) -> int:
    """Count Newton steps, shortened where the dual's slope says that one went too far; -1: lost."""
    fine, tolerance, polish_to, most, _, far = limits
    k = one.v.shape[0]
    sums, weight, coupling = one.zeros(), one.zeros(), one.zeros(k, k)
    move, polish, last = np.zeros(k), polish_to > 0.0, np.inf
    length, cuts = 1.0, 0

    def work(first: int, end: int) -> float:
        rows, parts = (one.rows, one.row_unit), (sums, weight, coupling)
        ends = one.height, first, end
        return one.kernels.newton_pass(one.table, one.u, one.v, *rows, fine, *ends, *parts)

    one.kernels.shift(one.b, 0.0, move, one.v)
    for done in range(most + 1):
        by_row = max(one.each(work))
        goals, kept = (one.goal, one.unit), move.copy()
        by_column, slope, ahead = one.kernels.newton_step(sums, weight, coupling, *goals, move)
        # Eq. (15)
        if not ahead <= 0.5 * last:
            cuts += 1
            if cuts > one.kernels.CUTS or not math.isfinite(ahead):
                return -1
            move[:] = kept
            shorter = length * one.kernels.shortened(last, ahead)
            one.kernels.shift(one.b, shorter - length, move, one.v)
            length = shorter
            continue

        error = max(by_row, by_column)
        if done == 0 and error > far:
            return -1
        reached = error <= tolerance
        if done == most or (reached and (not polish or error <= polish_to)):
            return done
        polish = polish and not reached

        last, length = abs(slope), 1.0
        one.kernels.shift(one.b, 1.0, move, one.v)

    return -1


def products(columns: int) -> int:
    """Products with the columns' system that cost about as much as forming it once."""
    return PRODUCTS + columns // COLUMNS_A_PRODUCT


def wide_one(one: Problem, limits: Limits, start: tuple[int, bool]) -> int:
    """The turns of `wide_batch`, threads sharing the rows."""
    allowed, forms = start
    found, made = near_one(one, limits, allowed) if allowed else (one.kernels.LEAVE, 0)
    if found == one.kernels.LEAVE and forms:
        return formed_one(one, limits, made)
    return found


def near_one(one: Problem, limits: Limits, allowed: int) -> tuple[int, int]:
    """`near_newton`, threads sharing the rows."""
    kernels, goals, state = (
        one.kernels,
        (one.goal, one.unit),
        one.kernels.state_near(one.table, one.v),
    )
    along, base_u, base_v, numbers = state[3], *state[5:]
    sums = one.zeros(), one.zeros()

    def look(first: int, end: int) -> float:
        sides = one.table, one.u, one.v, one.rows, one.row_unit, limits[0]
        return kernels.look_pass(*sides, one.height, first, end, *sums)

    def multiply(first: int, end: int) -> None:
        ends = one.height, first, end
        kernels.product_pass(one.table, base_u, base_v, along, *ends, sums[0])

    kernels.shift(one.b, 0.0, one.b, one.v)
    task = kernels.VISIT
    while True:
        if task == kernels.VISIT:
            by_row = max(one.each(look))
            task = kernels.looked(by_row, *sums, goals, one.u, one.b, one.v, state, limits)
        elif task == kernels.MULTIPLY:
            one.each(multiply)
            task = kernels.multiplied(sums[0], goals[1], allowed, one.b, one.v, state)
        else:
            return int(task), int(numbers[kernels.STEPS])


def formed_one(one: Problem, limits: Limits, made: int) -> int:
    """`wide_newton`, threads sharing the rows."""
    kernels, goals, k = one.kernels, (one.goal, one.unit), one.v.shape[0]
    fine, most, state = limits[0], limits[3], kernels.state_of(k)
    sums = one.zeros(), one.zeros(), one.zeros(k, k)

    def work(first: int, end: int) -> float:
        return kernels.wide_pass(*sides, one.height, first, end, *sums)

    def look(first: int, end: int) -> float:
        return kernels.look_pass(*sides, one.height, first, end, *sums[:2])

    sides = one.table, one.u, one.v, one.rows, one.row_unit, fine
    kernels.shift(one.b, 0.0, one.b, one.v)
    for done in range(made, most + 1):
        if kernels.nearly_there(state, limits):
            by_row = max(one.each(look))
            sums[1][:] = 0.0
            if kernels.there(by_row, kernels.column_error(sums[0], *goals), state, limits):
                return done

        by_row = max(one.each(work))
        ended = kernels.wide_turn(done, by_row, sums, goals, one.b, one.v, state, limits)
        if ended != kernels.GO_ON:
            return int(ended)

    return -1


def assignment_sweeps(batch: Batch, limits: Sweeping) -> None:
    """Algorithm 1 from its first line, or from the batch's potentials."""
    groups = batch.system.groups
    assert groups is not None
    low = groups.scales[-1] / float(batch.system.eps)
    shape = batch.table.shape[0], batch.chunks, batch.table.shape[2]
    top, rest = np.zeros(shape), np.zeros(shape)
    if limits[4]:
        batch.fill_and_sweep(low, top, rest)
    else:
        batch.fill()

    cells = batch.cells
    batch.run(
        lambda loops, *ends: loops.sweep_batch(
            batch.arrays, cells, (top, rest), (batch.fits, *ends), limits
        ),
        lambda one: sweep_one(one, top[one.index], rest[one.index], limits),
    )


def sweep_one(one: Problem, top: np.ndarray, rest: np.ndarray, limits: Sweeping) -> int:
    """The sweeps after the first row line or a start, threads sharing the rows."""
    exactly, tolerance, most, _, begun, trial = limits
    plain = None if exactly else one.zeros()

    def work(first: int, last: int) -> float:
        rows, ends = (one.rows, one.row_unit, one.count), (one.height, first, last)
        return one.kernels.sweep(one.table, one.u, one.v, *rows, *ends, top, rest, plain)

    def answer(first: int, last: int) -> None:
        ends = one.height, first, last
        one.kernels.answer_rows(one.table, one.u, one.v, one.rows, one.kernels.START, *ends)

    columns = one.goal, one.cells, one.b, one.v
    if begun:
        one.kernels.column_step(top, rest, *columns)
    else:
        one.kernels.shift(one.b, 0.0, one.b, one.v)
        one.each(answer)

    check, since, last = trial, 0, math.inf
    for done in range(begun, most):
        before = one.u if exactly else one.u.copy()
        by_row = max(one.each(work))
        if not exactly:
            error = max(by_row, one.kernels.column_error(plain, one.goal, one.unit))
            lost = False
            if trial > 0 and done == check:  # its rate, and when to look next
                lost = one.kernels.hopeless(last, error, done - since, most - done, tolerance)
                check += max(trial, done // 2)
                since, last = done, error

            if lost or not error > tolerance:
                one.u[:] = before
                return done
            if not np.isfinite(error):
                return done

        one.kernels.column_step(top, rest, *columns)

    return most


def transport_sweeps(batch: Batch, limits: tuple[bool, float, int, int, int]) -> None:
    """Plain row and column scaling; a relaxed margin damps its own side."""
    batch.fill()
    yields = batch.yields
    batch.run(
        lambda loops, *ends: loops.transport_batch(
            batch.arrays, yields, (batch.fits, *ends), limits
        ),
        lambda one: transport_one(one, limits),
    )


def transport_one(one: Problem, limits: tuple[bool, float, int, int, int]) -> int:
    """The sweeps of one transport, threads sharing the rows."""
    exactly, tolerance, most, _, trial = limits
    sums = one.zeros()
    yields = one.yields
    # Eq. (23)'s 1 / (1 + tau).
    powers = 1.0 / (1.0 + yields[0]), 1.0 / (1.0 + yields[1])
    sides = one.rows, one.count, powers[0]
    one.kernels.shift(one.b, 0.0, one.b, one.v)

    def work(first: int, last: int) -> None:
        ends = one.height, first, last
        one.kernels.transport_sweep(one.table, one.u, one.v, *sides, *ends, sums)

    check, since, last = trial, 0, math.inf
    for done in range(most):
        one.each(work)
        kept = one.b.copy()
        columns = one.goal, powers[1], yields[1], one.b, one.v
        error = one.kernels.transport_columns(sums, *columns)
        lost = False
        if trial > 0 and done == check:
            lost = one.kernels.hopeless(last, error, done - since, most - done, tolerance)
            check += max(trial, done // 2)
            since, last = done, error
        if not exactly and (lost or not error > tolerance):
            one.b[:] = kept
            one.kernels.shift(one.b, 0.0, one.b, one.v)
            return done
        if not np.isfinite(error):
            return done

    return most


def unroll(system: System, steps: int, grad: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Cotangents of scores, rows (b, n) and columns (b, k) of `steps` sweeps from the scores.

    None where the loops do not cover the system, or leave the number format.
    """
    compiled_unroll = loops_unroll(system)
    if compiled_unroll is None:
        return None

    x = system.scores
    count, n, k = x.shape
    bars = torch.empty_like(x), torch.empty((count, n)).double(), torch.empty((count, k)).double()
    ends = (1.0, 0.0) if system.groups is None else system.groups.scales
    heat = torch.as_tensor(system.eps, dtype=torch.float64).view(-1, 1)
    scales = torch.tensor([ends[0], ends[-1]], dtype=torch.float64) / heat
    scales = scales.expand(count, 2).contiguous()
    margins = system.margins.rows, system.margins.columns
    given = [part.contiguous() for part in (grad.to(x), *margins, scales)]
    many = max(1, PIECE // (n * k))
    for first in range(0, count, many):
        piece = slice(first, min(first + many, count))
        g, rows, goal, scale = (part[piece].numpy() for part in given)
        out = tuple(bar[piece].numpy() for bar in bars)
        tables = tables_of(x[piece], scales[piece], capped=system.groups is not None)
        try:
            if system.groups is None:
                compiled_unroll.transport_batch(*tables, g, rows, goal, scale, steps, out)
            else:
                compiled_unroll.assignment_batch(*tables, g, rows, goal, scale, steps, out)
        except Exception as error:  # a numba that does not compile
            available.give_up(error)
            return None

    return bars if bool(bars[0].isfinite().all()) else None


def tables_of(x: Tensor, scales: Tensor, *, capped: bool) -> tuple[np.ndarray, ...]:
    """Exp((high - low) x) and, under a cap, exp(low x), of scores around 0."""
    middle = (x.amax((1, 2), keepdim=True) + x.amin((1, 2), keepdim=True)) / 2
    shifted, (high, low) = x - middle, scales.to(x)[..., None, None].unbind(1)
    if not capped:
        return (shifted.mul_(high).exp_().numpy(),)

    small = (shifted * low).exp_().numpy()
    return shifted.mul_(high - low).exp_().numpy(), small

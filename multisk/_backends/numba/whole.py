# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""Whole solves as compiled loops over the passes: one call for a whole batch of problems.

The same passes in the same order as the threaded loops of `solve`, hence the same bits; what is
saved is the interpreter between two passes, which is most of the time of a small problem.
"""

import math

import numpy as np

from multisk._backends.numba.loops import (
    column_error,
    column_step,
    error_of,
    finish,
    first_sweep,
    jit,
    part_of,
    potentials,
    shift,
    transport_columns,
    transport_sweep,
)
from multisk._backends.numba.near import (
    LEAVE,
    MULTIPLY,
    STEPS,
    VISIT,
    look_pass,
    looked,
    multiplied,
    product_pass,
    state_near,
)
from multisk._backends.numba.newton import (
    CUTS,
    START,
    answer_rows,
    newton_pass,
    newton_step,
    shortened,
)
from multisk._backends.numba.rows import room_of, sweep_rows
from multisk._backends.numba.wide import (
    GO_ON,
    nearly_there,
    state_of,
    there,
    wide_pass,
    wide_turn,
)


@jit
def forbid(cells, free):
    """Write 0 where a cell is not free, (count, n, k)."""
    for p in range(cells.shape[0]):
        for i in range(cells.shape[1]):
            line, allowed = cells[p, i], free[p, i]
            for j in range(line.shape[0]):
                line[j] = line[j] if allowed[j] else 0


@jit
def first_batch(table, low, rows, count, u, top, rest, piece):
    """`first_sweep` of the rows start..end of the problems first..last."""
    first, last, start, end, height = piece
    for p in range(first, last):
        for lo in range(start, end, height):
            sums = top[p, lo // height], rest[p, lo // height]
            small = low[p - first, lo - start :]
            ends = lo, min(lo + height, end)
            first_sweep(table[p], small, rows[p], part_of(count, p), *ends, u[p], *sums)


@jit
def newton_batch(arrays, plans, limits):
    """Solve the problems first..last of `plans`; steps of each, -1 where one failed, and errors.

    `arrays` are those of `Batch.arrays`, `plans` holds (fits, first, last), and `limits` (fine,
    tolerance, polish, most, height, far): a start whose error is above `far` counts as failed.
    """
    table, u, v, b, _, _, rows, unit, goal, column_unit, _ = arrays
    fine, tolerance, polish_to, most, height, far = limits
    fits, first, last = plans
    n, k = table.shape[1:]
    chunks = -(-n // height)
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    sums, weight = np.zeros((chunks, k)), np.zeros((chunks, k))
    coupling, move, kept = np.zeros((chunks, k, k)), np.zeros(k), np.zeros(k)
    for p in range(first, last):
        if not fits[p]:
            continue
        polish, before, length, cuts = polish_to > 0.0, math.inf, 1.0, 0
        shift(b[p], 0.0, move, v[p])
        move[:] = 0.0
        for done in range(most + 1):
            ends, parts = (height, 0, chunks), (sums, weight, coupling)
            kept[:] = move
            by_row = newton_pass(table[p], u[p], v[p], rows[p], unit[p], fine, *ends, *parts)
            by_column, slope, ahead = newton_step(*parts, goal[p], column_unit[p], move)
            if not ahead <= 0.5 * before:  # Eq. (15), too far: back to where the slope is about 0
                cuts += 1
                if cuts > CUTS or not math.isfinite(ahead):
                    break
                move[:] = kept
                shorter = length * shortened(before, ahead)
                shift(b[p], shorter - length, move, v[p])
                length = shorter
                continue

            error = max(by_row, by_column)  # Eq. (42)
            if done == 0 and error > far:
                break
            reached = error <= tolerance
            if done == most or (reached and (not polish or error <= polish_to)):
                steps[p - first] = done
                break

            polish = polish and not reached
            before, length = abs(slope), 1.0
            shift(b[p], 1.0, move, v[p])

        if steps[p - first] >= 0:
            errors[p - first] = close(arrays, p, (0.0, 0.0), height, capped=True)

    return steps, errors


@jit
def wide_batch(arrays, plans, limits, start):
    """`newton_batch` for many columns, or from a start.

    `start` holds (allowed, forms): products that a move from a start may take, 0 where there is
    none, and whether what that leaves goes on with the system formed.

    A call of its own: of a choice between the two in here the compiler would know how many columns
    either has, and make other vectors than those of the threaded passes, which sum differently.
    """
    table, u, v, b, _, _, rows, unit, goal, column_unit, _ = arrays
    fits, first, last = plans
    allowed, forms = start
    height = limits[4]
    n, k = table.shape[1:]
    chunks = -(-n // height)
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    sums, weight, coupling = np.zeros((chunks, k)), np.zeros((chunks, k)), np.zeros((0, 0, 0))
    for p in range(first, last):
        if not fits[p]:
            continue
        problem, goals = (table[p], u[p], rows[p], unit[p]), (goal[p], column_unit[p])
        found, made = LEAVE, 0
        if allowed > 0:
            found, made = near_newton(problem, v[p], b[p], (sums, weight), goals, limits, allowed)
        if found == LEAVE and forms:
            if coupling.shape[0] == 0:
                coupling = np.zeros((chunks, k, k))
            parts = sums, weight, coupling
            found = wide_newton(problem, v[p], b[p], parts, goals, limits, made)
        steps[p - first] = found
        if found >= 0:
            errors[p - first] = close(arrays, p, (0.0, 0.0), height, capped=True)

    return steps, errors


@jit
def near_newton(problem, v, b, sums, goals, limits, allowed):
    """`wide_newton` from a start, its system not formed; `LEAVE` where it had better be.

    Returns:
        The steps or `LEAVE`, and the steps that were made.
    """
    table, u, rows, unit = problem
    fine, height, chunks = limits[0], limits[4], sums[0].shape[0]
    state = state_near(table, v)
    along, base_u, base_v, numbers = state[3], state[5], state[6], state[7]
    shift(b, 0.0, b, v)
    task = VISIT
    while True:
        if task == VISIT:
            by_row = look_pass(table, u, v, rows, unit, fine, height, 0, chunks, *sums)
            task = looked(by_row, *sums, goals, u, b, v, state, limits)
        elif task == MULTIPLY:
            product_pass(table, base_u, base_v, along, height, 0, chunks, sums[0])
            task = multiplied(sums[0], goals[1], allowed, b, v, state)
        else:
            return task, int(numbers[STEPS])


@jit
def wide_newton(problem, v, b, sums, goals, limits, made):
    """Newton's steps for one problem of many columns; -1 where they fail, or begin above `far`.

    `problem` holds (table, u, rows, unit), `sums` what `wide_pass` adds to, `goals` the columns'
    and their unit; `limits` are those of `newton_batch`, and `made` the steps before.
    """
    table, u, rows, unit = problem
    fine, most, height = limits[0], limits[3], limits[4]
    state, chunks = state_of(v.shape[0]), sums[0].shape[0]
    shift(b, 0.0, b, v)
    for done in range(made, most + 1):
        if nearly_there(state, limits):
            by_row = look_pass(table, u, v, rows, unit, fine, height, 0, chunks, *sums[:2])
            sums[1][:] = 0.0
            if there(by_row, column_error(sums[0], *goals), state, limits):
                return done

        by_row = wide_pass(table, u, v, rows, unit, fine, height, 0, chunks, *sums)
        ended = wide_turn(done, by_row, sums, goals, b, v, state, limits)
        if ended != GO_ON:
            return ended

    return -1


@jit
def sweep_batch(arrays, cells, sums, plans, limits):
    """Algorithm 1 from its first column line on, or from given columns' potentials.

    `limits` holds (exactly, tolerance, most, height, done, trial): one sweep is done already where
    `sums` are the two groups' column sums (b, chunks, k) after the first row line; none after a
    start. From `trial` sweeps on, if that is not 0, a hopeless problem is left where it is.
    """
    table, u, v, b, _, _, rows, unit, goal, column_unit, count = arrays
    exactly, tolerance, most, height, begun, trial = limits
    fits, first, last = plans
    chunks = sums[0].shape[1]
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    plain, kept = np.zeros((chunks, table.shape[2])), np.empty(table.shape[1])
    room = room_of(table[first])
    for p in range(first, last):
        if not fits[p]:
            continue
        top, rest = sums[0][p], sums[1][p]
        if begun > 0:
            column_step(top, rest, goal[p], cells[p], b[p], v[p])
        else:
            shift(b[p], 0.0, b[p], v[p])
            answer_rows(table[p], u[p], v[p], rows[p], START, height, 0, chunks)

        steps[p - first] = most
        check, since, before = trial, 0, math.inf
        for done in range(begun, most):
            if not exactly:
                kept[:] = u[p]
            given = table[p], u[p], v[p], rows[p], unit[p], part_of(count, p), height, 0, chunks
            if exactly:
                sweep_rows(*given, top, rest, None, room)
            else:
                by_row = sweep_rows(*given, top, rest, plain, room)
                by_column = column_error(plain, goal[p], column_unit[p])
                error = max(by_row, by_column)
                lost = False
                if trial > 0 and done == check:
                    lost = hopeless(before, error, done - since, most - done, tolerance)
                    check += max(trial, done // 2)
                    since, before = done, error
                if lost or not error > tolerance:
                    u[p] = kept
                    steps[p - first] = done
                    break
                if not math.isfinite(error):
                    steps[p - first] = done
                    break

            column_step(top, rest, goal[p], cells[p], b[p], v[p])

        errors[p - first] = close(arrays, p, (0.0, 0.0), height, capped=True)

    return steps, errors


@jit
def sweep(table, u, v, rows, unit, count, height, first, last, top, rest, plain):
    """`sweep_rows` of one thread."""
    given = table, u, v, rows, unit, count, height, first, last
    return sweep_rows(*given, top, rest, plain, room_of(table))


@jit
def hopeless(before, now, made, left, tolerance):
    """Whether errors that fell from `before` to `now` in `made` sweeps are too large for `left`."""
    if not math.isfinite(before):
        return False
    rate = math.log(now / before) / made if now < before else 0.0
    return rate * left > math.log(tolerance / now)


@jit
def transport_batch(arrays, yields, plans, limits):
    """Plain scaling of rows and columns; `yields` is eps / strength of either side, 0 if exact."""
    table, u, v, b, _, _, rows, _, goal, _, count = arrays
    exactly, tolerance, most, height, trial = limits
    fits, first, last = plans
    n, k = table.shape[1:]
    chunks = -(-n // height)
    # Eq. (23)'s 1 / (1 + tau).
    powers = 1.0 / (1.0 + yields[0]), 1.0 / (1.0 + yields[1])
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    sums, kept = np.zeros((chunks, k)), np.zeros(k)
    for p in range(first, last):
        if not fits[p]:
            continue
        shift(b[p], 0.0, kept, v[p])
        steps[p - first] = most
        check, since, before = trial, 0, math.inf
        for done in range(most):
            sides = rows[p], part_of(count, p), powers[0]
            transport_sweep(table[p], u[p], v[p], *sides, height, 0, chunks, sums)
            # The error is that of the columns before their step: who ends goes back to them.
            kept[:] = b[p]
            error = transport_columns(sums, goal[p], powers[1], yields[1], b[p], v[p])
            lost = False
            if trial > 0 and done == check:
                lost = hopeless(before, error, done - since, most - done, tolerance)
                check += max(trial, done // 2)
                since, before = done, error
            if not exactly and (lost or not error > tolerance):
                b[p] = kept
                shift(b[p], 0.0, kept, v[p])
                steps[p - first] = done
                break

            if not math.isfinite(error):
                steps[p - first] = done
                break

        errors[p - first] = close(arrays, p, yields, height, capped=False)

    return steps, errors


@jit
def close(arrays, p, yields, height, capped):
    """Turn a problem's table into its plan, factors into potentials; infinite error if unusable."""
    table, u, v, b, a, middle, rows, unit, goal, column_unit, _ = arrays
    n, k = table.shape[1:]
    chunks = -(-n // height)
    row_sums, sums = np.empty(n), np.zeros((chunks, k))
    finish(table[p], u[p], v[p], capped, height, 0, chunks, row_sums, sums)
    if not potentials(u[p], middle[p], a[p]):
        return math.inf

    return error_of(row_sums, sums, u[p], b[p], rows[p], unit[p], goal[p], column_unit[p], yields)

# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0917
"""Newton for many columns, whose steps are damped where the dual's slope says one went too far.

A pass costs many sweeps there, and damping, as in `_semidual.search`, needs fewer than shortening:
21 at most where shortened steps took up to 45, at (512..2048, 256..512) and temperatures of .015 to
.02. What is kept between two passes is a `state`: the last point's potentials, pull (column sums
less goals) and system, the move from there, and numbers (`RADIUS` to `REACHED`).
"""

import math

import numpy as np

from multisk._backends.numba.coupling import couple_panels, keep, panels_of
from multisk._backends.numba.loops import BLOCK, apart, flush, jit
from multisk._backends.numba.newton import cholesky, row_root, shortened, solve_triangles

RADIUS, SLOPE, SIZE, LAST, BEST, IDLE, CUTS, REACHED = range(8)
GROWTH = 8.0  # of the radius after a step that was not too long
MOST_IDLE = 8  # passes in a row without a better point: rounding, or a table too cold
MOST_CUTS = 16  # steps that went too far; 8 were the most in the cases above
SQUARED = 0.1  # the error after a step is at most ten times the square of that before it
GO_ON = -2  # of `wide_turn`


@jit
def wide_pass(table, u, v, rows, unit, goal, height, first, last, sums, weight, coupling):
    """`newton_pass` for many columns."""
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        parts = sums[chunk], weight[chunk], coupling[chunk]
        worst = max(worst, wide_chunk(table, u, v, rows, unit, goal, lo, hi, *parts))

    return worst


@jit
def wide_chunk(table, u, v, rows, unit, goal, lo, hi, sums, weight, coupling):
    """`newton_chunk` with `BLOCK` rows coupled at once."""
    k = table.shape[1]
    kind = table.dtype.type
    one = kind(1)
    part_p, part_w = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    cells, line = np.empty(k, table.dtype), np.empty(k, table.dtype)
    w, z = panels_of(table), panels_of(table)
    worst = 0.0
    for i in range(lo, hi):
        e = table[i]
        for j in range(k):
            cells[j] = e[j] * v[j]
        u[i] = row_root(cells, rows[i], u[i], goal)
        found, h = weigh(cells, kind(u[i]), part_p, part_w, line)
        worst = max(worst, abs(found - rows[i]) / unit[i])
        slot = (i - lo) % BLOCK
        keep(line, one, slot, w)
        keep(line, one / h if h > 0 else kind(0), slot, z)
        last = i == hi - 1
        if slot == BLOCK - 1 or last:
            for rest in range(slot + 1, BLOCK):  # of the block before
                keep(line, kind(0), rest, w)
            flush(part_p, sums)
            flush(part_w, weight)
            couple_panels(w, z, coupling)

    return worst


@apart
def weigh(cells, scale, part_p, part_w, w):
    """Write a row's W, add it and P to the columns' sums; the row's sums of P and W."""
    kind = cells.dtype.type
    one = kind(1)
    found, h = kind(0), kind(0)
    for j in range(cells.shape[0]):
        t = cells[j] * scale
        q = one / (one + t)
        p = t * q
        found += p
        part_p[j] += p
        part_w[j] += p * q
        w[j] = p * q
        h += p * q

    return found, h


@jit
def answer_pass(table, u, v, rows, unit, goal, height, first, last, sums):
    """`wide_pass` without what only a next step needs: the rows' roots and the sums of P."""
    k = table.shape[1]
    kind = table.dtype.type
    cells, part = np.empty(k, table.dtype), np.zeros(k, table.dtype)
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        for i in range(lo, hi):
            e = table[i]
            for j in range(k):
                cells[j] = e[j] * v[j]
            u[i] = row_root(cells, rows[i], u[i], goal)
            found = add_row(cells, kind(u[i]), part)
            worst = max(worst, abs(found - rows[i]) / unit[i])
            if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
                flush(part, sums[chunk])

    return worst


@apart
def add_row(cells, scale, part):
    """Add a row's P to the columns' sums; the row's own."""
    kind = cells.dtype.type
    one, found = kind(1), kind(0)
    for j in range(cells.shape[0]):
        t = cells[j] * scale
        p = t / (one + t)
        found += p
        part[j] += p

    return found


@jit
def state_of(k):
    """What is kept between two passes, at the beginning."""
    numbers = np.array([math.inf, math.inf, 0.0, math.inf, math.inf, 0.0, 0.0, 0.0])
    return np.zeros(k), np.zeros(k), np.zeros(k), np.zeros((k, k)), numbers


@jit
def nearly_there(state, limits):
    """Whether the next point is likely to be the last: errors are squared from step to step.

    Then its error alone is looked at first, for a quarter of a pass.
    """
    numbers, tolerance = state[4], limits[1]
    return numbers[REACHED] > 0.0 or numbers[LAST] * numbers[LAST] <= SQUARED * tolerance


@jit
def there(by_row, by_column, state, limits):
    """Whether a point with these errors ends the solve, but for the limit of the steps."""
    tolerance, polish_to = limits[1], limits[2]
    error = max(by_row, by_column)
    polished = state[4][REACHED] > 0.0 or not polish_to > 0.0 or error <= polish_to
    return error <= tolerance and polished


@jit
def wide_turn(done, by_row, sums, goals, b, v, state, limits):
    """What follows the pass after `done` steps, whose worst row error is `by_row`.

    `sums` are what the pass has added to, and are used up; `goals` the columns' and their unit;
    `limits` those of `newton_batch`.

    Returns:
        The steps where this is the end, -1 where the problem is lost, or `GO_ON`: then `b` and `v`
        are where the next pass looks.
    """
    _, tolerance, _, most, _, far = limits
    numbers = state[4]
    accepted, by_column = wide_step(sums, goals, b, state)
    if not accepted:
        numbers[CUTS] += 1
        if numbers[CUTS] > MOST_CUTS:
            return -1
        numbers[LAST] = math.inf
        wide_move(b, v, state)
        return GO_ON

    error = max(by_row, by_column)
    if not math.isfinite(error) or (done == 0 and error > far):
        return -1

    if done == most or there(by_row, by_column, state, limits):
        return done

    numbers[LAST] = error
    numbers[REACHED] = 1.0 if error <= tolerance else numbers[REACHED]
    numbers[IDLE] = 0.0 if error < numbers[BEST] else numbers[IDLE] + 1
    numbers[BEST] = min(numbers[BEST], error)
    if numbers[IDLE] > MOST_IDLE:
        return -1

    wide_move(b, v, state)
    return GO_ON


@jit
def wide_step(sums, goals, b, state):
    """Take the point of these sums for the next base, or damp the step from the last one.

    Returns:
        Whether the step was not too long, and the worst relative violation of the columns there.
    """
    base, pull, move, system, numbers = state
    found, weight, coupling = sums
    k = base.shape[0]
    for j in range(k):
        for chunk in range(1, found.shape[0]):
            found[0, j] += found[chunk, j]
            weight[0, j] += weight[chunk, j]

    worst, ahead, longest, size = 0.0, 0.0, 0.0, 0.0
    for j in range(k):
        miss = found[0, j] - goals[0][j]
        worst = max(worst, abs(miss) / goals[1][j])
        ahead += miss * move[j]
        longest = max(longest, abs(move[j]))
        size += weight[0, j] / k
        if not math.isfinite(found[0, j]):
            worst, ahead = math.inf, math.inf

    accepted = ahead <= 0.5 * numbers[SLOPE]
    if accepted:
        numbers[RADIUS] *= GROWTH
        numbers[SIZE] = size
        for j in range(k):
            base[j] = b[j]
            pull[j] = found[0, j] - goals[0][j]
            for m in range(j + 1):
                total = coupling[0, j, m]
                for chunk in range(1, coupling.shape[0]):
                    total += coupling[chunk, j, m]
                system[j, m] = size / k - total  # ones is a null vector: fill it in
            system[j, j] += weight[0, j]

    found[:], weight[:], coupling[:] = 0.0, 0.0, 0.0
    if not accepted:
        part = shortened(numbers[SLOPE], ahead) if math.isfinite(ahead) else 0.05
        numbers[RADIUS] = min(numbers[RADIUS], longest) * part

    return accepted, worst


@jit
def wide_move(b, v, state):
    """Move from the base to the end of Newton's step, damped to about the radius."""
    base, pull, move, system, numbers = state
    k = base.shape[0]
    length = 0.0
    for j in range(k):
        length += pull[j] * pull[j]
    damping = math.sqrt(length) / numbers[RADIUS]

    factor = np.empty((k, k))
    for ridge in (1e-13, 1e-10, 1e-7, 1e-4, 1e-2, 1.0):
        for j in range(k):
            factor[j, : j + 1] = system[j, : j + 1]
            factor[j, j] += damping + numbers[SIZE] * ridge
        if cholesky(factor):
            break

    for j in range(k):
        move[j] = -pull[j]

    solve_triangles(factor, move)
    slope = 0.0
    for j in range(k):
        slope += pull[j] * move[j]

    for j in range(k):
        b[j] = base[j] + move[j]
        v[j] = math.exp(b[j])

    numbers[SLOPE] = abs(slope)

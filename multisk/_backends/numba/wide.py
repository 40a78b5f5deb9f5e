# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0917
"""Newton for many columns, whose steps are damped where the dual's slope says one went too far.

A pass costs many sweeps there, and damping, as in `_semidual.search`, needs fewer than shortening:
21 at most where shortened steps took up to 45, at (512..2048, 256..512) and temperatures of .015 to
.02. What is kept between two passes is a `state`: the last point's potentials, pull (column sums
less goals) and system, the move from there, and numbers (`RADIUS` to `REACHED`).

W and Z = diag(1 / h) W of a block of rows are panels of `PANEL` columns, `BLOCK` rows each. A tile
is `LINES` lines of the triangle of W^T Z against one panel: all lengths and offsets are constants
of the compiled code, so that its loops are vectors without a check, and its sums stay in the
nearest cache. On one core of an AMD EPYC that is 0.8 of what OpenBLAS and MKL reach with the same
numbers, for half of theirs: they have no such product of two tables, and threads not ours.
"""

import math

import numpy as np

from multisk._backends.numba.loops import BLOCK, apart, flush, jit
from multisk._backends.numba.newton import cholesky, row_root, shortened, solve_triangles

# The numbers of a state: the longest step, the dual's slope along the last one, the mean of w; the
# last error and the least; passes since that, steps that went too far, whether it was reached.
RADIUS, SLOPE, SIZE, LAST, BEST, IDLE, CUTS, REACHED = range(8)
GROWTH = 8.0  # of the radius (15) after a step that was not too long, as in `_semidual.search`
MOST_IDLE = 8  # passes in a row without a better point: rounding, or a table too cold
MOST_CUTS = 16  # steps that went too far; 8 were the most in the cases above
SQUARED = 0.1  # the error after a step is at most ten times the square of that before it
GO_ON = -2  # of `wide_turn`
PANEL = 64  # columns; 32 and 128 take 10 to 20 % longer at 256
LINES = 4


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
            # Eq. (12)'s second part, of a block of rows.
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
def panels_of(table):
    """Room for a block of a table's rows: (panels, BLOCK * PANEL), 0 in what pads the last one."""
    return np.zeros((-(-table.shape[1] // PANEL), BLOCK * PANEL), table.dtype)


@jit
def keep(line, factor, slot, panels):
    """Write factor * line into row `slot` of the panels."""
    k = line.shape[0]
    for p in range(panels.shape[0]):
        first, place = p * PANEL, slot * PANEL
        for m in range(min(PANEL, k - first)):
            panels[p, place + m] = factor * line[first + m]


@jit
def couple_panels(w, z, coupling):
    """Add W^T Z to the lower triangle of `coupling` (k, k), in float64."""
    k = coupling.shape[0]
    tile = np.empty(LINES * PANEL, w.dtype)
    for j in range(0, k, LINES):
        lines = z[j // PANEL]
        for p in range(j // PANEL + 1):
            tile[:] = 0
            multiply(w[p], lines, j % PANEL, tile)
            first = p * PANEL
            for line in range(min(LINES, k - j)):
                for m in range(min(PANEL, j + line + 1 - first)):
                    coupling[j + line, first + m] += tile[line * PANEL + m]


@apart
def multiply(w, z, first, tile):
    """Add the products of the columns first..first + LINES of a panel `z` with a panel `w`."""
    for row in range(0, BLOCK * PANEL, 4 * PANEL):  # four rows at once
        r0, r1, r2, r3 = row, row + PANEL, row + 2 * PANEL, row + 3 * PANEL
        at = first + row
        a0, a1, a2, a3 = z[at], z[at + PANEL], z[at + 2 * PANEL], z[at + 3 * PANEL]
        at = first + row + 1
        b0, b1, b2, b3 = z[at], z[at + PANEL], z[at + 2 * PANEL], z[at + 3 * PANEL]
        at = first + row + 2
        c0, c1, c2, c3 = z[at], z[at + PANEL], z[at + 2 * PANEL], z[at + 3 * PANEL]
        at = first + row + 3
        d0, d1, d2, d3 = z[at], z[at + PANEL], z[at + 2 * PANEL], z[at + 3 * PANEL]
        for m in range(PANEL):
            x0, x1, x2, x3 = w[r0 + m], w[r1 + m], w[r2 + m], w[r3 + m]
            tile[m] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
            tile[PANEL + m] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
            tile[2 * PANEL + m] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
            tile[3 * PANEL + m] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


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

    # Eq. (15)
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
                system[j, m] = size / k - total  # Eq. (13): ones is a null vector, fill it in
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
    # Eq. (15)'s delta = |pull| / radius.
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

    # To the end of the step; `SLOPE` is what it will be judged by.
    for j in range(k):
        b[j] = base[j] + move[j]
        v[j] = math.exp(b[j])

    numbers[SLOPE] = abs(slope)

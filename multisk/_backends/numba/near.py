# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""Newton from a start: the system is applied to vectors, Eq. (14), never formed, and used again.

Near the answer conjugate gradients with the system's diagonal need few products, each as dear as a
sweep, where forming the system costs as many as an eighth of the columns. Every system serves a
move and up to two corrections from where that ends, together a step of fourth order (Shamanskii,
Ukr. Mat. Zh. 19, 1967): three steps where Newton's alone take four. A point that does not halve
the error, or a system that takes too many products, is left to the passes that form it.

Whoever calls visits the rows: `looked` and `multiplied` say what they want next.
"""

import math

import numpy as np

from multisk._backends.numba.loops import BLOCK, apart, flush, jit
from multisk._backends.numba.newton import row_root, shortened

LEAVE, VISIT, MULTIPLY = -1, -2, -3  # what is next; or the steps, at the end
# The numbers of a state: error of the base and the least so far, steps that did not halve it,
# whether the tolerance was reached; steps, moves from this system, products for this move; the
# residual's norm, the dual's slope along the move, cuts of it, and the residual to stop at.
ERROR, BEST, IDLE, REACHED, STEPS, MOVES, PRODUCTS, SLOPE, AHEAD, CUTS, AIM = range(11)
FIRST, LAST = 1.0, 3.0  # of `MOVES` from one system; 0 at its base
HALF = 0.5  # of the error, and of the dual's slope, Eq. (15): a move that leaves more is no good
MOST_IDLE = 3  # steps that do not halve the least error
MOST_CUTS = 4  # of one move
INEXACT = 0.01  # of the error, or less of a small one: what a move may leave of it
SMALLEST = 0.1  # of the error that is wanted in the end


@jit
def state_near(table, v):
    """What is kept between two visits, at the beginning."""
    n, k = table.shape
    numbers = np.zeros(11)
    numbers[ERROR] = numbers[BEST] = math.inf
    vectors = np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k)
    return (*vectors, np.empty(n), v.copy(), numbers)


@jit
def look_pass(table, u, v, rows, unit, goal, height, first, last, sums, weight):
    """The rows' roots and the columns' sums of P and of W; the worst row error."""
    k = table.shape[1]
    kind = table.dtype.type
    cells = np.empty(k, table.dtype)
    part_p, part_w = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        for i in range(lo, hi):
            e = table[i]
            for j in range(k):
                cells[j] = e[j] * v[j]
            u[i] = row_root(cells, rows[i], u[i], goal)
            found = add_both(cells, kind(u[i]), part_p, part_w)
            worst = max(worst, abs(found - rows[i]) / unit[i])
            if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
                flush(part_p, sums[chunk])
                flush(part_w, weight[chunk])

    return worst


@apart
def add_both(cells, scale, part_p, part_w):
    """Add a row's P and W to the columns' sums; its sum of P."""
    kind = cells.dtype.type
    one, found = kind(1), kind(0)
    for j in range(cells.shape[0]):
        t = cells[j] * scale
        q = one / (one + t)
        p = t * q
        found += p
        part_p[j] += p
        part_w[j] += p * q

    return found


@jit
def product_pass(table, u, v, x, height, first, last, out):
    """Add Eq. (14)'s W^T diag(1 / h) W x to `out` (chunks, k), for the factors u and v."""
    k = table.shape[1]
    kind = table.dtype.type
    w, part, given = np.empty(k, table.dtype), np.zeros(k, table.dtype), np.empty(k, table.dtype)
    for j in range(k):
        given[j] = x[j]
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        for i in range(lo, hi):
            h, found = weigh_with(table[i], v, kind(u[i]), given, w)
            add_times(w, found / h if h > 0 else kind(0), part)
            if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
                flush(part, out[chunk])


@apart
def weigh_with(e, v, scale, x, w):
    """Write a row's W; its sum, and that of W x."""
    kind = e.dtype.type
    one, h, found = kind(1), kind(0), kind(0)
    for j in range(e.shape[0]):
        t = e[j] * v[j] * scale
        q = one / (one + t)
        w[j] = t * q * q
        h += w[j]
        found += w[j] * x[j]

    return h, found


@apart
def add_times(w, factor, part):
    """Add factor * w."""
    for j in range(w.shape[0]):
        part[j] += factor * w[j]


@jit
def looked(by_row, sums, weight, goals, u, b, v, state, limits):
    """What follows `look_pass` at `b`; the sums are used up.

    `goals` are the columns' and their unit, `limits` those of `newton_batch`.
    """
    task = judged(by_row, sums, weight, goals, u, b, v, state, limits)
    sums[:], weight[:] = 0.0, 0.0
    return task


@jit
def judged(by_row, sums, weight, goals, u, b, v, state, limits):
    """`looked`, the sums left as they are."""
    base, _, move, _, diagonal, base_u, base_v, numbers = state
    _, tolerance, polish_to, most, _, _ = limits

    # There, lost, too long a move, or a correction that made it worse.
    error, ahead = summed(by_row, sums, weight, goals, move)
    moves, before = numbers[MOVES], numbers[ERROR]
    polished = numbers[REACHED] > 0.0 or not polish_to > 0.0 or error <= polish_to
    if numbers[STEPS] >= most or (error <= tolerance and polished):
        return int(numbers[STEPS])
    if not math.isfinite(before) and not math.isfinite(error):
        return LEAVE
    if moves == FIRST and not ahead <= HALF * numbers[AHEAD]:
        return cut(ahead, b, v, state)
    if moves > FIRST and not error < before:
        return left(b, v, state)

    numbers[IDLE] = 0.0 if error < HALF * numbers[BEST] else numbers[IDLE] + 1.0
    if numbers[IDLE] > MOST_IDLE:
        return left(b, v, state)

    # A whole move that did well is worth its correction; from elsewhere a new system is.
    again = FIRST <= moves < LAST and numbers[CUTS] == 0.0 and error < HALF * before
    numbers[MOVES] = moves if again else 0.0
    numbers[REACHED] = 1.0 if error <= tolerance else 0.0
    numbers[BEST] = min(numbers[BEST], error)
    numbers[ERROR], numbers[CUTS] = error, 0.0
    base[:] = b
    if not again:
        base_u[:], base_v[:], diagonal[:] = u, v, weight[0]

    # The next move may leave a residual of this size (an inexact Newton method).
    wanted = polish_to if polish_to > 0.0 else tolerance
    numbers[AIM] = max(error * min(error, INEXACT), SMALLEST * wanted)
    begin(sums[0], goals[0], state)
    return MULTIPLY


@jit
def summed(by_row, sums, weight, goals, move):
    """Add the chunks up; the worst error (42), and the dual's slope (15) along the last move."""
    error, ahead = by_row, 0.0
    for j in range(move.shape[0]):
        for chunk in range(1, sums.shape[0]):
            sums[0, j] += sums[chunk, j]
            weight[0, j] += weight[chunk, j]
        miss = sums[0, j] - goals[0][j]
        ahead += miss * move[j]
        error = max(error, abs(miss) / goals[1][j])
        if not math.isfinite(miss + by_row):
            error, ahead = math.inf, math.inf

    return error, ahead


@jit
def cut(ahead, b, v, state):
    """A part of the last move, which went too far: Eq. (15)."""
    base, _, move, _, _, _, _, numbers = state
    numbers[CUTS] += 1.0
    if numbers[CUTS] > MOST_CUTS:
        return left(b, v, state)

    part = shortened(numbers[AHEAD], ahead) if math.isfinite(ahead) else 0.05
    numbers[AHEAD] *= part
    numbers[STEPS] += 1.0
    for j in range(b.shape[0]):
        move[j] *= part
        b[j] = base[j] + move[j]
        v[j] = math.exp(b[j])

    return VISIT


@jit
def begin(found, goal, state):
    """Conjugate gradients for the move (13) from these sums, preconditioned by the diagonal w."""
    _, rest, move, along, diagonal, _, _, numbers = state
    total, weights = 0.0, 0.0
    for j in range(goal.shape[0]):
        rest[j] = goal[j] - found[j]
        total += rest[j]
        weights += diagonal[j]

    # Rows are met only up to their rounding, and no move of the columns makes that up.
    slope = 0.0
    for j in range(goal.shape[0]):
        rest[j] -= diagonal[j] * (total / weights)
        along[j] = rest[j] / diagonal[j] if diagonal[j] > 0.0 else 0.0
        slope += rest[j] * along[j]
        move[j] = 0.0

    numbers[SLOPE], numbers[PRODUCTS], numbers[AHEAD] = slope, 0.0, 0.0


@jit
def multiplied(out, unit, allowed, b, v, state):
    """What follows `product_pass` for `along` at the base; `out` is used up.

    `allowed` is the number of products that a move may take.
    """
    base, rest, move, along, diagonal, _, _, numbers = state
    k = b.shape[0]
    curvature = 0.0
    for j in range(k):
        for chunk in range(1, out.shape[0]):
            out[0, j] += out[chunk, j]
        # Eq. (14) for `along`, and its curvature.
        out[0, j] = diagonal[j] * along[j] - out[0, j]
        curvature += along[j] * out[0, j]

    # To the minimum along it.
    worst, slope, length = 0.0, 0.0, numbers[SLOPE] / curvature
    for j in range(k):
        move[j] += length * along[j]
        rest[j] -= length * out[0, j]
        worst = max(worst, abs(rest[j]) / unit[j])
        slope += rest[j] * rest[j] / diagonal[j] if diagonal[j] > 0.0 else 0.0

    out[:] = 0.0
    numbers[PRODUCTS] += 1.0
    numbers[AHEAD] += length * numbers[SLOPE]  # of the dual at the base, along the whole move
    if not (curvature > 0.0 and math.isfinite(worst)) or numbers[PRODUCTS] > allowed:
        return left(b, v, state)

    # Small enough: take the move, and look at the rows there.
    if worst <= numbers[AIM]:
        for j in range(k):
            b[j] = base[j] + move[j]
            v[j] = math.exp(b[j])
        numbers[STEPS] += 1.0 if numbers[MOVES] == 0.0 else 0.0
        numbers[MOVES] += 1.0
        return VISIT

    for j in range(k):
        # A direction conjugate to the last one.
        fresh = rest[j] / diagonal[j] if diagonal[j] > 0.0 else 0.0
        along[j] = fresh + slope / numbers[SLOPE] * along[j]

    numbers[SLOPE] = slope
    return MULTIPLY


@jit
def left(b, v, state):
    """Back to the last good point, for those who form the system."""
    base = state[0]
    for j in range(b.shape[0]):
        b[j] = base[j]
        v[j] = math.exp(b[j])

    return LEAVE

# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0915, PLR0917
"""Newton's pass as compiled loops: the rows' roots, the columns' sums and their coupling.

Eq. (n) is that of docs/multisk/mathematics.md.
"""

import math

import numpy as np

from multisk._backends.numba.loops import BLOCK, apart, flush, jit

CUTS = 8  # steps that may be shortened before a problem goes to passes that damp the system itself
START = 1e-6  # relative error of the rows' first answer to given columns, before any sweep


@jit
def root_between(cells, low, high, target, guess, goal):
    """`row_root` with the least and the largest cell."""
    k = cells.shape[0]
    kind = cells.dtype.type
    one = kind(1)
    # The bracket of Eq. (16), by factors: e^logit(r / k) over the largest and the least cell.
    odds = target / (k - target)
    below, above = odds / high, odds / low

    if not guess > 0.0:
        total, inverse = kind(0), kind(0)
        for j in range(k):
            total += cells[j]
            inverse += one / cells[j]
        share = target / k  # right for small budgets by the first sum, for large ones by the other
        guess = odds * (total / k) ** (share - 1.0) * (inverse / k) ** share

    u = min(max(guess, below), above)
    for _ in range(60):
        scale = kind(u)
        found, slope = kind(0), kind(0)
        for j in range(k):
            t = cells[j] * scale
            q = one / (one + t)
            p = t * q
            found += p
            slope += p * q

        miss = found - target
        if abs(miss) <= goal * target:
            if slope > 0:
                u *= math.exp(-miss / slope)
            break
        if miss > 0:
            above = u
        else:
            below = u
        # Newton's step where it stays inside, the geometric middle where it does not.
        step = -miss / slope if slope > 0 else 100.0
        new = u * math.exp(step) if abs(step) < 60.0 else 0.0
        if not (new > below and new < above):
            new = math.sqrt(below) * math.sqrt(above)
        if abs(new - u) <= 1e-16 * u or not (new > 0.0):
            break
        u = new

    return u


@jit
def free_root(cells, target, guess, goal):
    """`row_root` of the cells that are not forbidden."""
    some, count = np.empty_like(cells), 0
    for j in range(cells.shape[0]):
        some[count] = cells[j]
        count += cells[j] > 0

    if count == 0:
        return 1.0

    some = some[:count]
    return root_between(some, some.min(), some.max(), target, guess, goal)


@jit
def row_root(cells, target, guess, goal):
    """Eq. (16), sum_j cells_j u / (1 + cells_j u) = target, for u: Newton in log u, bracketed.

    A `guess` of 0 stands for none. Forbidden cells are 0; where all are, u = 1.
    """
    high, low = cells[0], cells[0]
    for j in range(cells.shape[0]):
        high, low = max(high, cells[j]), min(low, cells[j])

    if low > 0:
        return root_between(cells, low, high, target, guess, goal)

    return free_root(cells, target, guess, goal)


@jit
def answer_rows(table, u, v, rows, goal, height, first, last):
    """The rows' roots for the columns' factors v, in the chunks first..last."""
    k = table.shape[1]
    cells = np.empty(k, table.dtype)
    for i in range(first * height, min(last * height, table.shape[0])):
        for j in range(k):
            cells[j] = table[i, j] * v[j]
        u[i] = row_root(cells, rows[i], u[i], goal)


@jit
def newton_chunk(table, u, v, rows, unit, goal, lo, hi, sums, weight, coupling):
    """Solve the rows lo..hi (16), then sum P, W = P (1 - P) and Eq. (12)'s W^T diag(1 / h) W.

    Only the lower triangle of `coupling` (k, k) is filled. Gives the worst row error.
    """
    k = table.shape[1]
    kind = table.dtype.type
    one = kind(1)
    part_p, part_w = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    part_c = np.zeros((k, k), table.dtype)
    cells = np.empty(k, table.dtype)
    w, z = np.zeros((4, k), table.dtype), np.zeros((4, k), table.dtype)
    worst = 0.0
    for i in range(lo, hi):
        e = table[i]
        for j in range(k):
            cells[j] = e[j] * v[j]
        u[i] = row_root(cells, rows[i], u[i], goal)
        scale = kind(u[i])
        slot = (i - lo) % 4
        found, h = kind(0), kind(0)
        for j in range(k):
            t = cells[j] * scale
            q = one / (one + t)
            p = t * q
            found += p
            part_p[j] += p
            part_w[j] += p * q
            w[slot, j] = p * q
            h += p * q

        worst = max(worst, abs(found - rows[i]) / unit[i])
        # W / h, beside W, for the outer products of four rows at a time.
        inverse = one / h if h > 0 else kind(0)
        for j in range(k):
            z[slot, j] = w[slot, j] * inverse
        last = i == hi - 1
        if slot == 3 or last:
            couple(w, z, part_c)
            w[:] = 0
            z[:] = 0
        if (i - lo) % BLOCK == BLOCK - 1 or last:
            flush(part_p, sums)
            flush(part_w, weight)
            for j in range(k):
                flush(part_c[j, : j + 1], coupling[j, : j + 1])

    return worst


@jit
def newton_pass(table, u, v, rows, unit, goal, height, first, last, sums, weight, coupling):
    """`newton_chunk` for the chunks first..last; the worst row error."""
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        parts = sums[chunk], weight[chunk], coupling[chunk]
        worst = max(worst, newton_chunk(table, u, v, rows, unit, goal, lo, hi, *parts))

    return worst


@jit
def shortened(before, behind):
    """Eq. (15)'s cut: the part of a step that the slopes at its ends leave, a secant, bounded."""
    return min(max(before / (before + behind), 0.05), 0.5)


@jit
def couple(w, z, part):
    """Add four rows' outer products to the lower triangle, four lines of it at a time.

    What lies above it in a block of four by four is written, too, and read by nobody.
    """
    k = part.shape[0]
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for j in range(0, k - 3, 4):
        to = j + 4
        lines = part[j][:to], part[j + 1][:to], part[j + 2][:to], part[j + 3][:to]
        four_lines(*lines, w0[:to], w1[:to], w2[:to], w3[:to], z, j)

    for j in range(k - k % 4, k):
        line, to = part[j], j + 1
        for m in range(to):
            line[m] += z[0, j] * w0[m] + z[1, j] * w1[m] + z[2, j] * w2[m] + z[3, j] * w3[m]


@apart
def four_lines(line0, line1, line2, line3, w0, w1, w2, w3, z, j):
    """The lines j..j + 3 of `couple`: four sums of products from one read of the four rows."""
    a0, a1, a2, a3 = z[0, j], z[1, j], z[2, j], z[3, j]
    b0, b1, b2, b3 = z[0, j + 1], z[1, j + 1], z[2, j + 1], z[3, j + 1]
    c0, c1, c2, c3 = z[0, j + 2], z[1, j + 2], z[2, j + 2], z[3, j + 2]
    d0, d1, d2, d3 = z[0, j + 3], z[1, j + 3], z[2, j + 3], z[3, j + 3]
    for m in range(line0.shape[0]):
        x0, x1, x2, x3 = w0[m], w1[m], w2[m], w3[m]
        line0[m] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        line1[m] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        line2[m] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        line3[m] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@jit
def newton_step(sums, weight, coupling, goal, unit, move):
    """Add the chunks up, and write the Newton direction of the columns into `move`.

    The sums are used up.

    Returns:
        The worst relative violation of the columns, the slope of the dual along the new `move`,
        and its slope here along the old one.
    """
    k = goal.shape[0]
    for chunk in range(1, sums.shape[0]):
        for j in range(k):
            sums[0, j] += sums[chunk, j]
            weight[0, j] += weight[chunk, j]
            for m in range(j + 1):
                coupling[0, j, m] += coupling[chunk, j, m]

    worst, size, ahead = 0.0, 0.0, 0.0
    for j in range(k):
        worst = max(worst, abs(sums[0, j] - goal[j]) / unit[j])
        size += weight[0, j] / k
        ahead += (sums[0, j] - goal[j]) * move[j]
        if not math.isfinite(sums[0, j]):
            worst = math.inf
            ahead = math.inf

    factor = np.empty((k, k))
    for damping in (1e-13, 1e-10, 1e-7, 1e-4, 1e-2, 1.0):
        for j in range(k):
            for m in range(j):
                factor[j, m] = size / k - coupling[0, j, m]  # Eq. (13): ones is a null vector
            factor[j, j] = weight[0, j] - coupling[0, j, j] + size / k + size * damping
        if cholesky(factor):
            break

    for j in range(k):
        # Eq. (13): minus the pull, and the slope along what solves it.
        move[j] = goal[j] - sums[0, j]

    solve_triangles(factor, move)
    slope = 0.0
    for j in range(k):
        slope += (sums[0, j] - goal[j]) * move[j]

    sums[:], weight[:], coupling[:] = 0.0, 0.0, 0.0
    return worst, slope, ahead


@jit
def cholesky(s):
    """Factor the lower triangle in place; False when it is not positive definite."""
    for j in range(s.shape[0]):
        for m in range(j + 1):
            found = s[j, m]
            for r in range(m):
                found -= s[j, r] * s[m, r]
            if m < j:
                s[j, m] = found / s[m, m]
            elif found > 0.0:
                s[j, j] = math.sqrt(found)
            else:
                return False

    return True


@jit
def solve_triangles(factor, x):
    """Solve factor factor^T y = x in place."""
    k = x.shape[0]
    for j in range(k):
        for m in range(j):
            x[j] -= factor[j, m] * x[m]
        x[j] /= factor[j, j]

    for j in range(k - 1, -1, -1):
        x[j] /= factor[j, j]
        for m in range(j):
            x[m] -= factor[j, m] * x[j]

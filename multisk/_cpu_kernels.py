# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0915, PLR0917
"""The passes over one problem as compiled loops: one visit to a row, nothing written but sums.

Every cell is t = table_ij * u_i * v_j, the odds P / (1 - P) of an assignment or the plan of a
transport. Columns are summed in the table's precision over `BLOCK` rows and in float64 beyond,
chunk by chunk of `height` rows, so that a result never depends on how many threads share the
chunks first..last.
"""

import inspect
import math
from typing import Any

import numpy as np
from numba import njit

BLOCK = 64
# No flag that assumes finite values: an overflow has to be seen.
EXACT = {"reassoc", "contract", "nsz", "arcp"}


def jit(function: Any) -> Any:
    """Compile, once per machine; a run-time type checker's wrapper is taken off first."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
    return njit(fastmath=EXACT, boundscheck=False, **options)(inspect.unwrap(function))


@jit
def first_sweep(table, low, rows, lo, hi, u, top, rest):
    """Alg. 1's first row and column lines on the raw kernels: table * low, and low.

    `low` holds the rows lo..hi only; `top` and `rest` (k,) receive the column sums.
    """
    k = table.shape[1]
    one = table.dtype.type(1)
    part_top, part_rest = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e, small = table[i], low[i - lo]
        sum_top, sum_rest = one * 0, one * 0
        for j in range(k):
            sum_top += e[j] * small[j]
            sum_rest += small[j]
        grow, shrink = rows[i] / sum_top, (k - rows[i]) / sum_rest
        u[i] = grow / shrink
        grow, shrink = table.dtype.type(grow), table.dtype.type(shrink)
        for j in range(k):
            part_top[j] += e[j] * small[j] * grow
            part_rest[j] += small[j] * shrink
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part_top, top)
            flush(part_rest, rest)


@jit
def flush(part, sums):
    """Move a block's sums to the float64 ones."""
    for j in range(part.shape[0]):
        sums[j] += part[j]
        part[j] = 0


@jit
def sweep_chunk(table, u, v, rows, unit, lo, hi, top, rest, plain):
    """Row step and the column sums after it; `plain` gets those before it. Gives the row error."""
    k = table.shape[1]
    kind = table.dtype.type
    one = kind(1)
    part_top, part_rest = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    part_plain = np.zeros(k, table.dtype)
    keep_p, keep_q = np.empty(k, table.dtype), np.empty(k, table.dtype)
    worst = 0.0
    for i in range(lo, hi):
        e, scale = table[i], kind(u[i])
        sum_p, sum_q = one * 0, one * 0
        for j in range(k):
            t = e[j] * v[j] * scale
            q = one / (one + t)
            p = t * q
            keep_p[j] = p
            keep_q[j] = q
            sum_p += p
            sum_q += q
        worst = max(worst, abs(sum_p - rows[i]) / unit[i])
        grow, shrink = kind(rows[i] / sum_p), kind((k - rows[i]) / sum_q)
        u[i] *= np.float64(grow) / shrink
        for j in range(k):
            part_top[j] += keep_p[j] * grow
            part_rest[j] += keep_q[j] * shrink
            part_plain[j] += keep_p[j]
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part_top, top)
            flush(part_rest, rest)
            flush(part_plain, plain)
    return worst


@jit
def sweep(table, u, v, rows, unit, height, first, last, top, rest, plain):
    """`sweep_chunk` for the chunks first..last; the worst row error."""
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        parts = top[chunk], rest[chunk], plain[chunk]
        worst = max(worst, sweep_chunk(table, u, v, rows, unit, lo, hi, *parts))
    return worst


@jit
def column_step(top, rest, goal, count, b, v):
    """Both groups' column steps as one change of b; `top`, `rest` (chunks, k) are used up."""
    for j in range(goal.shape[0]):
        above, below = 0.0, 0.0
        for chunk in range(top.shape[0]):
            above += top[chunk, j]
            below += rest[chunk, j]
            top[chunk, j] = 0.0
            rest[chunk, j] = 0.0
        b[j] += math.log(goal[j] / above) - math.log((count[j] - goal[j]) / below)
        v[j] = math.exp(b[j])


@jit
def column_error(plain, goal, unit):
    """The worst relative violation of the columns; `plain` (chunks, k) is used up."""
    worst = 0.0
    for j in range(goal.shape[0]):
        found = 0.0
        for chunk in range(plain.shape[0]):
            found += plain[chunk, j]
            plain[chunk, j] = 0.0
        worst = max(worst, abs(found - goal[j]) / unit[j])
        if not math.isfinite(found):
            worst = math.inf
    return worst


@jit
def transport_chunk(table, u, v, rows, power, lo, hi, sums):
    """Row step u = (rows / table v)^power and the column sums u table after it, in one read."""
    k = table.shape[1]
    part = np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e = table[i]
        found = table.dtype.type(0)
        for j in range(k):
            found += e[j] * v[j]
        ratio = rows[i] / found
        u[i] = ratio if power == 1.0 else ratio**power
        scale = table.dtype.type(u[i])
        for j in range(k):
            part[j] += e[j] * scale
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part, sums)


@jit
def transport_sweep(table, u, v, rows, power, height, first, last, sums):
    """`transport_chunk` for the chunks first..last."""
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        transport_chunk(table, u, v, rows, power, lo, hi, sums[chunk])


@jit
def transport_columns(sums, goal, power, yields, b, v):
    """Column step; gives the worst relative violation before it. `sums` (chunks, k) is used up."""
    worst = 0.0
    for j in range(goal.shape[0]):
        found = 0.0
        for chunk in range(sums.shape[0]):
            found += sums[chunk, j]
            sums[chunk, j] = 0.0
        want = goal[j] * math.exp(-b[j] * yields)
        worst = max(worst, abs(found * math.exp(b[j]) - want) / want)
        if not math.isfinite(found):
            worst = math.inf
        b[j] = power * math.log(goal[j] / found)
        v[j] = math.exp(b[j])
    return worst


@jit
def finish_chunk(table, u, v, capped, lo, hi, row_sums, column_sums):
    """Turn the table into the plan, in place, and sum it."""
    k = table.shape[1]
    one = table.dtype.type(1)
    part = np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e, scale = table[i], table.dtype.type(u[i])
        found = one * 0
        for j in range(k):
            t = e[j] * v[j] * scale
            p = t / (one + t) if capped else t
            e[j] = p
            part[j] += p
            found += p
        row_sums[i] = found
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part, column_sums)


@jit
def finish(table, u, v, capped, height, first, last, row_sums, column_sums):
    """`finish_chunk` for the chunks first..last."""
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        finish_chunk(table, u, v, capped, lo, hi, row_sums, column_sums[chunk])


@jit
def row_root(cells, target, guess, goal):
    """The u with sum_j cells_j u / (1 + cells_j u) = target: Newton in log u, bracketed."""
    k = cells.shape[0]
    one = cells.dtype.type(1)
    high, low = cells[0], cells[0]
    for j in range(k):
        high, low = max(high, cells[j]), min(low, cells[j])
    odds = target / (k - target)
    below, above = odds / high, odds / low
    u = min(max(guess, below), above)
    for _ in range(60):
        scale = cells.dtype.type(u)
        found, slope = one * 0, one * 0
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
        step = -miss / slope if slope > 0 else 100.0
        new = u * math.exp(step) if abs(step) < 60.0 else 0.0
        if not (new > below and new < above):
            new = math.sqrt(below) * math.sqrt(above)
        if abs(new - u) <= 1e-16 * u or not (new > 0.0):
            break
        u = new
    return u


@jit
def newton_chunk(table, u, v, rows, unit, goal, lo, hi, sums, weight, coupling):
    """Solve the rows lo..hi, then sum P, W = P (1 - P) and W^T diag(1 / h) W over them.

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
        found, h = one * 0, one * 0
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
        inverse = one / h if h > 0 else one * 0
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
def couple(w, z, part):
    """Add four rows' outer products to the lower triangle."""
    for j in range(part.shape[0]):
        line = part[j]
        z0, z1, z2, z3 = z[0, j], z[1, j], z[2, j], z[3, j]
        for m in range(j + 1):
            line[m] += z0 * w[0, m] + z1 * w[1, m] + z2 * w[2, m] + z3 * w[3, m]


@jit
def newton_step(sums, weight, coupling, goal, unit, move):
    """Add the chunks up, and write the Newton direction of the columns into `move`.

    Returns:
        The worst relative violation of the columns, and the slope of the dual along `move`.
    """
    k = goal.shape[0]
    for chunk in range(1, sums.shape[0]):
        for j in range(k):
            sums[0, j] += sums[chunk, j]
            weight[0, j] += weight[chunk, j]
            for m in range(j + 1):
                coupling[0, j, m] += coupling[chunk, j, m]
    worst, size = 0.0, 0.0
    for j in range(k):
        worst = max(worst, abs(sums[0, j] - goal[j]) / unit[j])
        size += weight[0, j] / k
        if not math.isfinite(sums[0, j]):
            worst = math.inf
    factor = np.empty((k, k))
    for damping in (1e-13, 1e-10, 1e-7, 1e-4, 1e-2, 1.0):
        for j in range(k):
            for m in range(j):
                factor[j, m] = size / k - coupling[0, j, m]  # ones is a null vector: fill it in
            factor[j, j] = weight[0, j] - coupling[0, j, j] + size / k + size * damping
        if cholesky(factor):
            break
    for j in range(k):
        move[j] = goal[j] - sums[0, j]
    solve_triangles(factor, move)
    slope = 0.0
    for j in range(k):
        slope += (sums[0, j] - goal[j]) * move[j]
    return worst, slope


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

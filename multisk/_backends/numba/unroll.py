# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0917
"""The derivative of a fixed number of sweeps as compiled loops: Eq. (34), sweep by sweep backwards.

Of every sweep the rows' and columns' factors and the column sums are kept, and no cell: a visit to
a row makes its cells again. No loop both stores and sums: which code runs where arrays might
overlap depends on their addresses, and sums would then differ in their last bit.

Names follow the sweep: a row's mass r over its sums A, B gives grow g and shrink s; the columns'
sums are C = sum p g and D = sum q s; a bar is a cotangent.
"""

import numpy as np

from multisk._backends.numba.loops import (
    BLOCK,
    column_step,
    first_sweep,
    flush,
    jit,
    shift,
    transport_chunk,
    transport_columns,
)


@jit
def assignment_gradient(table, small, grad, rows, goal, scales, steps, bars):
    """Cotangents of scores, rows and columns of `steps` sweeps of Algorithm 1 on one problem.

    `table` holds exp((high - low) x), `small` exp(low x), `scales` (high, low); `bars` are written:
    (n, k) in the table's precision, (n,) and (k,) in float64.
    """
    n, k = table.shape
    us, vs, tops, rests = assignment_sweeps(table, small, rows, goal, steps)
    x_bar, row_bar, column_bar = bars
    row_bar[:], column_bar[:] = 0.0, 0.0
    a_bar, b_bar = np.zeros(n), np.zeros(k)
    plan_bar(table, us[steps - 1], vs[steps - 1], grad, x_bar, a_bar, b_bar)
    gamma, delta = np.empty(k, table.dtype), np.empty(k, table.dtype)
    for step in range(steps - 1, -1, -1):
        for j in range(k):
            # Eq. (34)'s first line, the cotangents of C and D; and that of the loads in b's step
            # (8).
            gamma[j] = -b_bar[j] / tops[step, j]
            delta[j] = b_bar[j] / rests[step, j]
            column_bar[j] += b_bar[j] * (1.0 / goal[j] + 1.0 / (n - goal[j]))
        if step > 0:
            factors = us[step - 1], vs[step - 1]
            sweep_bar(table, *factors, rows, gamma, delta, x_bar, a_bar, b_bar, row_bar)
        else:
            first_bar(table, small, rows, gamma, delta, scales, x_bar, a_bar, row_bar)


@jit
def assignment_sweeps(table, small, rows, goal, steps):
    """The factors u, v after every sweep, and the column sums C, D in it."""
    n, k = table.shape
    us, vs = np.empty((steps, n)), np.empty((steps, k), table.dtype)
    tops, rests = np.empty((steps, k)), np.empty((steps, k))
    top, rest = np.zeros((1, k)), np.zeros((1, k))
    cells, b, v = np.full(k, float(n)), np.zeros(k), np.ones(k, table.dtype)
    u = np.empty(n)
    for step in range(steps):
        if step == 0:
            first_sweep(table, small, rows, None, 0, n, u, top[0], rest[0])
        else:
            sweep_rows(table, u, v, rows, top[0], rest[0])
        us[step], tops[step], rests[step] = u, top[0], rest[0]
        column_step(top, rest, goal, cells, b, v)
        vs[step] = v

    return us, vs, tops, rests


@jit
def cells_at(e, v, scale, p, q):
    """A row's p = t / (1 + t) and q = 1 / (1 + t), Eq. (5)."""
    one = e.dtype.type(1)
    for j in range(e.shape[0]):
        t = e[j] * v[j] * scale
        rest = one / (one + t)
        p[j] = t * rest
        q[j] = rest


@jit
def total(x):
    """The sum."""
    found = x.dtype.type(0)
    for j in range(x.shape[0]):
        found += x[j]
    return found


@jit
def dot(x, y):
    """The sum of products."""
    found = x.dtype.type(0)
    for j in range(x.shape[0]):
        found += x[j] * y[j]
    return found


@jit
def add(x, to):
    """Add in place."""
    for j in range(x.shape[0]):
        to[j] += x[j]


@jit
def sweep_rows(table, u, v, rows, top, rest):
    """Row step, and the column sums after it."""
    n, k = table.shape
    kind = table.dtype.type
    p, q = np.empty(k, table.dtype), np.empty(k, table.dtype)
    part_top, part_rest = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    for i in range(n):
        cells_at(table[i], v, kind(u[i]), p, q)
        grow, shrink = kind(rows[i] / total(p)), kind((k - rows[i]) / total(q))
        u[i] *= np.float64(grow) / shrink
        for j in range(k):
            part_top[j] += p[j] * grow
            part_rest[j] += q[j] * shrink
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(part_top, top)
            flush(part_rest, rest)


@jit
def plan_bar(table, u, v, grad, x_bar, a_bar, b_bar):
    """Back through the plan p = t / (1 + t)."""
    n, k = table.shape
    one = table.dtype.type(1)
    part = np.zeros(k, table.dtype)
    for i in range(n):
        e, g, scale, line = table[i], grad[i], table.dtype.type(u[i]), x_bar[i]
        for j in range(k):
            t = e[j] * v[j] * scale
            q = one / (one + t)
            # W = dP / dT = p q.
            line[j] = g[j] * (t * q * q)

        add(line, part)
        a_bar[i] = total(line)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(part, b_bar)


@jit
def sweep_bar(table, u, v, rows, gamma, delta, x_bar, a_bar, b_bar, row_bar):
    """Back through one sweep; `gamma`, `delta` are the cotangents of C and D."""
    n, k = table.shape
    kind = table.dtype.type
    part, p, q = np.zeros(k, table.dtype), np.empty(k, table.dtype), np.empty(k, table.dtype)
    for i in range(n):
        cells_at(table[i], v, kind(u[i]), p, q)
        sum_p, sum_q, bar_p, bar_q = total(p), total(q), dot(p, gamma), dot(q, delta)
        g, s = rows[i] / sum_p, (k - rows[i]) / sum_q
        g_bar, s_bar = bar_p + a_bar[i] / g, bar_q - a_bar[i] / s
        row_bar[i] += g_bar / sum_p - s_bar / sum_q
        # Through g and s to the sums of p and q, which every cell of the row is part of.
        level = kind(-g_bar * g / sum_p + s_bar * s / sum_q)
        grow, shrink = kind(g), kind(s)
        for j in range(k):
            # Eq. (34)'s second line: the cotangent of T.
            p[j] = p[j] * q[j] * (grow * gamma[j] - shrink * delta[j] + level)

        add(p, part)
        add(p, x_bar[i])
        a_bar[i] += total(p)
        if i % BLOCK == BLOCK - 1 or i == n - 1:
            flush(part, b_bar)


@jit
def first_bar(table, small, rows, gamma, delta, scales, x_bar, a_bar, row_bar):
    """Back through the first sweep, on the raw kernels; cotangents of t become those of x."""
    n, k = table.shape
    kind = table.dtype.type
    one = kind(1)
    high, low = kind(scales[0]), kind(scales[1])
    for i in range(n):
        e, f = table[i], small[i]
        sum_p, sum_q, bar_p, bar_q = one * 0, one * 0, one * 0, one * 0
        for j in range(k):
            top = e[j] * f[j]
            sum_p += top
            sum_q += f[j]
            bar_p += top * gamma[j]
            bar_q += f[j] * delta[j]

        g, s = rows[i] / sum_p, (k - rows[i]) / sum_q
        g_bar, s_bar = bar_p + a_bar[i] / g, bar_q - a_bar[i] / s
        row_bar[i] += g_bar / sum_p - s_bar / sum_q
        # No depth line yet: both kernels on their own, with their own scales.
        at_p, at_q = kind(-g_bar * g / sum_p), kind(-s_bar * s / sum_q)
        grow, shrink = kind(g), kind(s)
        for j in range(k):
            top = e[j] * f[j] * (grow * gamma[j] + at_p)
            rest = f[j] * (shrink * delta[j] + at_q)
            x_bar[i, j] = (high - low) * x_bar[i, j] + high * top + low * rest


@jit
def transport_gradient(table, grad, rows, goal, scale, steps, bars):
    """The same of a transport with exact margins; `table` holds exp(scale x)."""
    n, k = table.shape
    kind = table.dtype.type
    us, vs, sums = np.empty((steps, n)), np.empty((steps + 1, k), table.dtype), np.empty((steps, k))
    b, found = np.zeros(k), np.zeros((1, k))
    shift(b, 0.0, b, vs[0])
    for step in range(steps):
        transport_chunk(table, us[step], vs[step], rows, None, 1.0, 0, n, found[0])
        sums[step] = found[0]
        transport_columns(found, goal, 1.0, 0.0, b, vs[step + 1])

    x_bar, row_bar, column_bar = bars
    row_bar[:], column_bar[:] = 0.0, 0.0
    a_bar, b_bar = np.zeros(n), np.zeros(k)

    # Back through the plan u e v.
    u, v = us[steps - 1], vs[steps]
    for i in range(n):
        line, own = x_bar[i], kind(u[i])
        for j in range(k):
            line[j] = grad[i, j] * table[i, j] * v[j] * own
        a_bar[i] = total(line)
        for j in range(k):
            b_bar[j] += line[j]

    gamma, part = np.empty(k, table.dtype), np.zeros(k, table.dtype)
    for step in range(steps - 1, -1, -1):
        u, v = us[step], vs[step]
        for j in range(k):
            gamma[j] = -b_bar[j] / sums[step, j]
            column_bar[j] += b_bar[j] / goal[j]
            b_bar[j] = 0.0
        for i in range(n):
            e, own = table[i], kind(u[i])
            # b = log c - log sum_i u_i e_ij, and a = log r - log sum_j v_j e_ij, Eq. (9),
            # backwards.
            bar_a = a_bar[i] + u[i] * dot(e, gamma)
            row_bar[i] += bar_a / rows[i]
            sigma = kind(-bar_a * u[i] / rows[i])
            for j in range(k):
                back = e[j] * v[j] * sigma
                x_bar[i, j] += e[j] * own * gamma[j] + back
                part[j] += back
            a_bar[i] = 0.0
            if i % BLOCK == BLOCK - 1 or i == n - 1:
                flush(part, b_bar)

    # The exponents are scale * x.
    factor = kind(scale)
    for i in range(n):
        for j in range(k):
            x_bar[i, j] *= factor


@jit
def assignment_batch(tables, smalls, grads, rows, goals, scales, steps, bars):
    """`assignment_gradient` of every problem; `scales` (b, 2)."""
    for p in range(tables.shape[0]):
        given = tables[p], smalls[p], grads[p], rows[p], goals[p]
        ends = scales[p, 0], scales[p, 1]
        assignment_gradient(*given, ends, steps, (bars[0][p], bars[1][p], bars[2][p]))


@jit
def transport_batch(tables, grads, rows, goals, scales, steps, bars):
    """`transport_gradient` of every problem; `scales` (b, 2)."""
    for p in range(tables.shape[0]):
        parts = bars[0][p], bars[1][p], bars[2][p]
        transport_gradient(tables[p], grads[p], rows[p], goals[p], scales[p, 0], steps, parts)

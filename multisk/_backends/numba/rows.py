# ruff: noqa: ANN001, ANN202, PLR0913, PLR0914, PLR0917
"""A sweep's visit to the rows, four at a time, of the cells t = table_ij * u_i * v_j.

With p = t / (1 + t) and q = 1 / (1 + t), Eq. (5), a visit gives the rows' sums of p and of q, the
row step (7) from them, and the column sums A, B of Eq. (8) after it. Of a cell only q is kept until
the row step is known; then p = table_ij * q * u_i * v_j. Four rows share one read of the columns'
factors and one update of the column sums. Sums along a row are in the table's precision over
`PIECE` columns, in float64 beyond.
"""

import numpy as np

from multisk._backends.numba.loops import BLOCK, apart, flush, free_cells, jit, part_of

PIECE = 512  # columns


@jit
def sweep_rows(table, u, v, rows, unit, count, height, first, last, top, rest, plain, room):
    """The row step and the column sums after it for the chunks first..last; the worst row error.

    `top` and `rest` (chunks, k) receive the sums of p and q, `plain` those of p before the step;
    where that is None, nobody asks for an error. `room` is that of `room_of`.
    """
    worst = 0.0
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        sides = rows[lo:hi], unit[lo:hi], None if count is None else count[lo:hi]
        sums = top[chunk], rest[chunk], part_of(plain, chunk)
        worst = max(worst, sweep_chunk(table[lo:hi], u[lo:hi], v, *sides, *sums, room))

    return worst


@jit
def room_of(table):
    """Memory for four rows of q and three column sums, by cache lines, and for four row steps."""
    line = 64 // table.itemsize
    width = (-(-table.shape[1] // line) | 1) * line  # an odd number: no two evict each other
    raw = np.empty(7 * width + line, table.dtype)
    start = (-raw.ctypes.data % 64) // table.itemsize
    return raw[start : start + 7 * width].reshape(7, width), np.empty((5, 4))


@jit
def sweep_chunk(table, u, v, rows, unit, count, top, rest, plain, room):
    """`sweep_rows` of one chunk."""
    n, k = table.shape
    end = n - 1  # the last row stands for those beyond it, and counts once
    lines, steps = room
    q0, q1, q2, q3 = lines[0][:k], lines[1][:k], lines[2][:k], lines[3][:k]
    part_top, part_rest = lines[4][:k], lines[5][:k]
    part_plain = None if plain is None else lines[6][:k]
    lines[4:] = 0
    worst = 0.0
    for i in range(0, n, 4):
        e0, e1 = table[i], table[min(i + 1, end)]
        e2, e3 = table[min(i + 2, end)], table[min(i + 3, end)]
        for r in range(4):
            steps[0, r], steps[1, r], steps[2, r] = u[min(i + r, end)], 0.0, 0.0
        for at in range(0, k, PIECE):
            to = min(at + PIECE, k)
            left = e0[at:to], e1[at:to], e2[at:to], e3[at:to], v[at:to]
            row_sums(*left, count, steps, q0[at:to], q1[at:to], q2[at:to], q3[at:to])

        for r in range(4):
            at = i + r
            if at > end or (count is not None and count[at] == 0):
                steps[0, r], steps[3, r], steps[4, r] = 0.0, 0.0, 0.0
                continue
            found_p, found_q, want = steps[1, r], steps[2, r], rows[at]
            others = free_cells(part_of(count, at), k) - want
            if plain is not None:
                worst = max(worst, abs(found_p * table.dtype.type(u[at]) - want) / unit[at])
            # g_i and s_i of Eq. (7). The sum of p here lacks the factor u_i, so that u_i g_i / s_i
            # has it not.
            steps[3, r], steps[4, r] = want / found_p, others / found_q
            u[at] = (want * found_q) / (others * found_p)

        column_sums(e0, e1, e2, e3, q0, q1, q2, q3, steps, part_top, part_rest, part_plain)
        if i % BLOCK == BLOCK - 4 or i + 4 >= n:
            flush(part_rest, rest)
            flush_times(part_top, v, top)
            if plain is not None:
                flush_times(part_plain, v, plain)

    return worst


@apart
def row_sums(e0, e1, e2, e3, v, count, steps, q0, q1, q2, q3):
    """Keep the q of four rows, and write their sums of p / u and of q into `steps`."""
    kind = v.dtype.type
    one = kind(1)
    u0, u1, u2, u3 = kind(steps[0, 0]), kind(steps[0, 1]), kind(steps[0, 2]), kind(steps[0, 3])
    p0, p1, p2, p3 = kind(0), kind(0), kind(0), kind(0)
    s0, s1, s2, s3 = kind(0), kind(0), kind(0), kind(0)
    for j in range(v.shape[0]):
        t0, t1, t2, t3 = e0[j] * v[j], e1[j] * v[j], e2[j] * v[j], e3[j] * v[j]
        c0, c1 = one / (one + t0 * u0), one / (one + t1 * u1)
        c2, c3 = one / (one + t2 * u2), one / (one + t3 * u3)
        if count is not None:  # a forbidden cell has q = 1, and counts for nothing
            c0, c1 = c0 * kind(t0 > 0), c1 * kind(t1 > 0)
            c2, c3 = c2 * kind(t2 > 0), c3 * kind(t3 > 0)
        q0[j], q1[j], q2[j], q3[j] = c0, c1, c2, c3
        p0, p1, p2, p3 = p0 + t0 * c0, p1 + t1 * c1, p2 + t2 * c2, p3 + t3 * c3
        s0, s1, s2, s3 = s0 + c0, s1 + c1, s2 + c2, s3 + c3

    steps[1, 0] += p0
    steps[1, 1] += p1
    steps[1, 2] += p2
    steps[1, 3] += p3
    steps[2, 0] += s0
    steps[2, 1] += s1
    steps[2, 2] += s2
    steps[2, 3] += s3


@apart
def column_sums(e0, e1, e2, e3, q0, q1, q2, q3, steps, top, rest, plain):
    """Add four rows to the column sums of p / v and q after the row step, and of p / v before."""
    kind = e0.dtype.type
    u0, u1, u2, u3 = kind(steps[0, 0]), kind(steps[0, 1]), kind(steps[0, 2]), kind(steps[0, 3])
    g0, g1, g2, g3 = kind(steps[3, 0]), kind(steps[3, 1]), kind(steps[3, 2]), kind(steps[3, 3])
    s0, s1, s2, s3 = kind(steps[4, 0]), kind(steps[4, 1]), kind(steps[4, 2]), kind(steps[4, 3])
    for j in range(e0.shape[0]):
        p0, p1, p2, p3 = e0[j] * q0[j], e1[j] * q1[j], e2[j] * q2[j], e3[j] * q3[j]
        # Eq. (8): A_j / v_j and B_j.
        top[j] += p0 * g0 + p1 * g1 + p2 * g2 + p3 * g3
        rest[j] += q0[j] * s0 + q1[j] * s1 + q2[j] * s2 + q3[j] * s3
        if plain is not None:
            plain[j] += p0 * u0 + p1 * u1 + p2 * u2 + p3 * u3


@jit
def flush_times(part, factors, sums):
    """Move a block's sums, times the columns' factors, to the float64 ones."""
    for j in range(part.shape[0]):
        sums[j] += np.float64(part[j]) * factors[j]
        part[j] = 0

# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""The passes of `loops` and `newton` on whole arrays, where numba is not installed.

The same formulas on blocks of rows that stay in the cache; sums are matrix products. Arguments
and answers are those of the compiled passes, which explain them; forbidden cells are not known
here. An overflow is seen in the sums: callers turn NumPy's warnings off, once for a whole solve.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

CUTS = 8  # as in `newton`
START = 1e-6  # relative error of the rows' first answer to given columns, before any sweep
CELLS = 1 << 16  # cells a block; more calls cost more than a cache saves
FEW = 1 << 12  # cells below which calls take longer than arithmetic


def blocks(lo: int, hi: int, k: int) -> Iterator[slice]:
    """Rows lo..hi in blocks of about `CELLS` cells."""
    rows = max(1, CELLS // k)
    for start in range(lo, hi, rows):
        yield slice(start, min(start + rows, hi))


def chunks(table, height, first, last) -> Iterator[tuple[int, slice]]:
    """The blocks of the chunks first..last, with the chunk that each belongs to."""
    for chunk in range(first, last):
        lo = chunk * height
        for part in blocks(lo, min(lo + height, table.shape[0]), table.shape[1]):
            yield chunk, part


@np.errstate(all="ignore")
def first_batch(table, low, rows, _, u, top, rest, piece):
    """Eq. (7)'s row line on the raw kernels, and A_j, B_j of Eq. (8) after it."""
    first, last, start, end, height = piece
    k = table.shape[2]
    for p in range(first, last):
        for lo in range(start, end, height):
            for part in blocks(lo, min(lo + height, end), k):
                small = low[p - first, part.start - start : part.stop - start]
                both = table[p, part] * small
                grow = rows[p, part] / both.sum(1)
                shrink = (k - rows[p, part]) / small.sum(1)
                u[p, part] = grow / shrink
                top[p, lo // height] += grow.astype(both.dtype) @ both
                rest[p, lo // height] += shrink.astype(both.dtype) @ small


def sweep(table, u, v, rows, unit, _, height, first, last, top, rest, plain):
    """Row step (7) and the column sums (8) after it, and those before it; the worst row error.

    Without `plain` nobody asks for an error.
    """
    k = table.shape[1]
    kind = table.dtype
    ones, worst, rooms = np.ones(k, kind), 0.0, room(table)
    for chunk, part in chunks(table, height, first, last):
        q, p = odds(table, u, v, part, rooms)
        # Eq. (7)
        sum_p, sum_q = p @ ones, q @ ones
        goal = rows[part]
        grow, shrink = (goal / sum_p).astype(kind), ((k - goal) / sum_q).astype(kind)
        u[part] *= grow.astype(np.float64) / shrink
        top[chunk] += grow @ p
        rest[chunk] += shrink @ q

        if plain is not None:
            worst = max(worst, float(np.maximum.reduce(np.abs(sum_p - goal) / unit[part])))
            plain[chunk] += np.ones_like(grow) @ p

    return worst


def room(table) -> tuple[Any, Any]:
    """Memory for two blocks: fresh pages at every step would cost more than the arithmetic."""
    rows = min(table.shape[0], max(1, CELLS // table.shape[1]))
    return np.empty((rows, table.shape[1]), table.dtype), np.empty(
        (rows, table.shape[1]), table.dtype
    )


def odds(table, u, v, part, rooms) -> tuple[Any, Any]:
    """Of a block: 1 - P and P of Eq. (5), from t = table * u * v = P / (1 - P)."""
    e = table[part]
    t, q = rooms[0][: e.shape[0]], rooms[1][: e.shape[0]]
    np.dot(u[part].astype(e.dtype)[:, None], v[None], out=t)
    t *= e

    return shares(t, q)


def shares(t, q) -> tuple[Any, Any]:
    """1 / (1 + t), written into `q`, and t / (1 + t), in place."""
    np.add(t, 1, out=q)
    np.divide(1, q, out=q)
    t *= q
    return q, t


def column_step(top, rest, goal, count, b, v):
    """Both groups' column steps (8) as one change of b; the sums are used up."""
    above, below = np.add.reduce(top), np.add.reduce(rest)
    b += np.log(goal / above) - np.log((count - goal) / below)
    v[:] = np.exp(b)
    top.fill(0.0)
    rest.fill(0.0)


def column_error(plain, goal, unit):
    """The worst relative violation of the columns; the sums are used up."""
    found = np.add.reduce(plain)
    plain.fill(0.0)
    return worst_of(found, goal, unit)


def worst_of(found, goal, unit) -> float:
    """The largest violation; infinite where a sum is not finite."""
    worst = float(np.maximum.reduce(np.abs(found - goal) / unit))
    return worst if math.isfinite(worst) else math.inf


def hopeless(before, now, made, left, tolerance) -> bool:
    """Whether errors that fell from `before` to `now` in `made` sweeps are too large for `left`."""
    if not math.isfinite(before):
        return False
    rate = math.log(now / before) / made if now < before else 0.0
    return rate * left > math.log(tolerance / now)


def transport_sweep(table, u, v, rows, _, power, height, first, last, sums):
    """Row step (9), (23) as u = (rows / table v)^power, and the column sums u table after it."""
    kind = table.dtype
    for chunk, part in chunks(table, height, first, last):
        e = table[part]
        ratio = rows[part] / (e @ v)
        u[part] = ratio if power == 1.0 else ratio.astype(np.float64) ** power
        sums[chunk] += u[part].astype(kind) @ e


def transport_columns(sums, goal, power, yields, b, v):
    """Column step; the worst relative violation before it. The sums are used up."""
    found = np.add.reduce(sums)
    sums.fill(0.0)
    want = goal * np.exp(-b * yields)  # Eq. (23)
    worst = worst_of(found * np.exp(b), want, want)
    b[:] = power * np.log(goal / found)
    v[:] = np.exp(b)

    return worst


def finish(table, u, v, capped, height, first, last, row_sums, column_sums):
    """Turn the table into the plan, in place, and sum it."""
    ones, rooms = np.ones(table.shape[1], table.dtype), room(table)
    for chunk, part in chunks(table, height, first, last):
        if capped:
            p = odds(table, u, v, part, rooms)[1]
            table[part] = p
        else:
            p = table[part]
            p *= v
            p *= u[part].astype(table.dtype)[:, None]

        row_sums[part] = p @ ones
        column_sums[chunk] += np.ones(p.shape[0], p.dtype) @ p


def shift(b, length, move, v):
    """Move b by length * move, and set the factors v = exp(b)."""
    if length:
        b += length * move
    v[:] = np.exp(b)


def potentials(u, middle, a):
    """Write log u - middle into `a`; whether all of them are finite."""
    found = np.log(u) - middle
    a[:] = found
    return bool(np.isfinite(found).all())


def error_of(row_sums, sums, u, b, rows, unit, goal, column_unit, yields):
    """Eq. (42): the worst relative violation of any margin; one that yields moves, Eq. (23)."""
    want = rows * u ** -yields[0] if yields[0] > 0 else rows
    by_row = worst_of(row_sums, want, want if yields[0] > 0 else unit)
    want = goal * np.exp(-b * yields[1]) if yields[1] > 0 else goal
    return max(by_row, worst_of(np.add.reduce(sums), want, want if yields[1] > 0 else column_unit))


def newton_pass(table, u, v, rows, unit, goal, height, first, last, sums, weight, coupling):
    """Solve the rows, then sum P, W = P (1 - P) and W^T diag(1 / h) W; the worst row error."""
    worst, ones = 0.0, np.ones(table.shape[1], table.dtype)
    for chunk, part in chunks(table, height, first, last):
        cells = table[part] * v
        u[part] = row_roots(cells, rows[part], u[part], goal)
        cells *= u[part].astype(cells.dtype)[:, None]
        q, t = shares(cells, np.empty_like(cells))
        q *= t  # t is P, and q becomes W
        found, h = t @ ones, q @ ones
        worst = max(worst, float(np.maximum.reduce(np.abs(found - rows[part]) / unit[part])))
        every = np.ones(t.shape[0], t.dtype)
        sums[chunk] += every @ t
        weight[chunk] += every @ q
        # The rows' part of Eq. (12).
        inverse = np.where(h > 0, 1 / h, 0)
        coupling[chunk] += q.T @ (q * inverse[:, None])

    return worst


def answer_rows(table, u, v, rows, goal, height, first, last):
    """The rows' roots for the columns' factors v, in the chunks first..last."""
    for _, part in chunks(table, height, first, last):
        u[part] = row_roots(table[part] * v, rows[part], u[part], goal)


def row_roots(cells, target, guess, goal) -> Any:
    """Eq. (16) in every row: sum_j cells_j u / (1 + cells_j u) = target, by bracketed Newton."""
    k = cells.shape[1]
    ones, target = np.ones(k, cells.dtype), target.astype(np.float64)
    share = target / (k - target)
    # The bracket of Eq. (16), by factors.
    below, above = share / np.maximum.reduce(cells, 1), share / np.minimum.reduce(cells, 1)

    if not guess[0] > 0.0:
        part = target / k
        means = (cells @ ones) / k, ((1 / cells) @ ones) / k
        guess = share * means[0] ** (part - 1.0) * means[1] ** part

    answer = u = np.minimum(np.maximum(guess, below), above)
    near = goal * target
    if cells.size <= FEW:
        found = plain_roots(cells, target, u, near, below, above)
        if found is not None:
            return found

    rows = None  # all of them, until some are settled and others are not
    for _ in range(60):
        t = cells * u.astype(cells.dtype)[:, None]
        q, t = shares(t, np.empty_like(t))
        q *= t
        miss, slope = t @ ones - target, q @ ones
        settled = np.abs(miss) <= near
        # Newton in log u; where it leaves the bracket, the geometric middle.
        step = np.where(slope > 0, -miss / slope, np.where(miss > 0, -100.0, 100.0))
        above, below = np.where(miss > 0, u, above), np.where(miss > 0, below, u)
        new = np.where(np.abs(step) < 60.0, u * np.exp(step), 0.0)
        inside = (new > below) & (new < above) | settled & (slope > 0)
        new = np.where(inside, new, np.sqrt(below) * np.sqrt(above))
        settled |= (np.abs(new - u) <= 1e-16 * u) | ~(new > 0.0)
        u = np.where(new > 0.0, new, u)
        if rows is None:
            answer = u
        else:
            answer[rows] = u
        if settled.all():
            break
        keep = ~settled
        rows = np.flatnonzero(keep) if rows is None else rows[keep]
        cells, target, near = cells[keep], target[keep], near[keep]
        u, below, above = u[keep], below[keep], above[keep]

    return answer


def plain_roots(cells, target, u, near, below, above) -> Any:
    """The same by few calls: all rows step until the last one settles, and nothing is repaired.

    None where a row leaves its bracket, or does not settle soon.
    """
    ones, t, q = np.ones(cells.shape[1], cells.dtype), np.empty_like(cells), np.empty_like(cells)
    for _ in range(12):
        np.multiply(cells, u.astype(cells.dtype)[:, None], out=t)
        shares(t, q)
        q *= t
        miss = t @ ones - target
        new = u * np.exp(-miss / (q @ ones))
        if not np.logical_and.reduce((new >= below) & (new <= above)):
            return None
        u = new
        if np.logical_and.reduce(np.abs(miss) <= near):
            return u

    return None


def shortened(before, behind) -> float:
    """Eq. (15): the part of a step that the dual's slopes at its ends leave: a secant, bounded."""
    return min(max(before / (before + behind), 0.05), 0.5)


def newton_step(sums, weight, coupling, goal, unit, move):
    """Write the Newton direction (13) into `move`; the column error, slopes along both moves."""
    found, diagonal, matrix = (np.add.reduce(part) for part in (sums, weight, coupling))
    for part in (sums, weight, coupling):
        part.fill(0.0)

    pull = found - goal
    worst = worst_of(found, goal, unit)
    if not math.isfinite(worst):
        return math.inf, 0.0, math.inf

    ahead = float(pull @ move)
    size = float(np.add.reduce(diagonal)) / goal.shape[0]
    matrix *= -1.0
    matrix += size / goal.shape[0]  # Eq. (13): ones is a null vector, fill it in
    line = np.einsum("jj->j", matrix)
    line += diagonal
    slope = math.inf
    for damping in (1e-13, 1e-10, 1e-7, 1e-4, 1e-2, 1.0):
        line += size * damping
        try:
            move[:] = np.linalg.solve(matrix, -pull)
        except np.linalg.LinAlgError:
            continue
        slope = float(pull @ move)
        if slope <= 0.0:  # as along the solution of any positive definite system
            break

    return worst, slope, ahead

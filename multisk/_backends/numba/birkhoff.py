# ruff: noqa: ANN001, ANN202, C901, PLR0912, PLR0913, PLR0915, PLR0917
"""Small doubly stochastic matrices and their derivative, one matrix after the other, in float64.

P_ij = exp(x_ij + a_i + b_j) with row sums r_i and column sums c_j. The rows are answered exactly at
any b, so that b alone is searched: a convex problem whose gradient is v - c for the column sums v,
and whose Hessian is the Laplacian of the columns with the weights of Eq. (41),

    L_ab = sum_i p_ia p_ib / r_i.

Three sweeps, then Newton's method, damped by log(1 + R) / R where R is the range of the step: no
third derivative of the objective exceeds R times its second, and so every such step descends
(Sun and Tran-Dinh, Mathematical Programming 178, 2019, the case nu = 2).
"""

import math

import numpy as np

from multisk._backends.numba.loops import inlined, jit
from multisk._backends.torch.birkhoff import (
    FAINT,
    LOOSE,
    ROUNDS,
    ROUNDS_A_STAGE,
    SPREAD,
    SWEEPS,
    TINY,
)

FAR = 1e60  # ratio of factors from which the table is written anew


@inlined
def eliminate(w, g, x, n, floor, quiet):
    """Solve the Laplacian system L x = g with the weights `w`; both are used up.

    A column is taken out by sharing its weights among the others: only positive numbers are added,
    so that weights keep all their digits however small they are (Grassmann, Taksar and Heyman
    1985). Where a column is hardly coupled to those left and what it asks for is small, the
    groups of columns are left where they are: the last of each is grounded.
    """
    for a in range(n):
        total = 0.0
        for c in range(a + 1, n):
            total += w[a, c]
        if total <= floor or (abs(g[a]) <= quiet and total <= abs(g[a])):
            g[a] = 0.0
        one = 1.0 / total if total > TINY else 0.0
        w[a, a] = one
        for b in range(a + 1, n):
            share = w[a, b] * one
            g[b] += share * g[a]
            for c in range(b + 1, n):
                w[b, c] += share * w[a, c]

    for a in range(n - 1, -1, -1):
        found = g[a]
        for c in range(a + 1, n):
            found += w[a, c] * x[c]
        x[a] = found * w[a, a]


@inlined
def couple(p, row_share, w, n, m):
    """Write Eq. (41)'s weights above the diagonal of `w`; `row_share` is 1 / r, 0 without mass."""
    for a in range(m):
        for b in range(a + 1, m):
            w[a, b] = 0.0

    for i in range(n):
        for a in range(m):
            part = p[i, a] * row_share[i]
            for b in range(a + 1, m):
                w[a, b] += part * p[i, b]


@inlined
def stages_of(x, n, m):
    """How often the logits are divided by 4 for the first stage; -1 where one is not finite."""
    widest, sound = 0.0, 0.0
    for i in range(n):
        low = high = 0.25 * x[i, 0]
        for j in range(m):
            here = 0.25 * x[i, j]
            sound += 0.0 * here
            low, high = min(low, here), max(high, here)
        widest = max(widest, high - low)

    if sound != 0.0:
        return -1

    stages = 0
    while widest > 0.25 * SPREAD:
        widest *= 0.25
        stages += 1

    return stages


@inlined
def table_of(x, b, scale, rows, columns, e, n, m):
    """Write exp(scale x + b), each row divided by its largest; no cell without both masses."""
    for i in range(n):
        top = -math.inf
        for j in range(m):
            e[i, j] = scale * x[i, j] + b[j] if columns[j] > 0.0 else -math.inf
            top = max(top, e[i, j])
        if rows[i] <= 0.0:
            top = math.inf
        for j in range(m):
            e[i, j] = math.exp(e[i, j] - top)


@inlined
def row_step(e, factor, rows, p, v, n, m):
    """Plan with exact rows at these column factors, and its column sums."""
    for j in range(m):
        v[j] = 0.0

    for i in range(n):
        found = 0.0
        for j in range(m):
            p[i, j] = e[i, j] * factor[j]
            found += p[i, j]
        one = rows[i] / found if found > 0.0 else 0.0
        for j in range(m):
            p[i, j] *= one
            v[j] += p[i, j]


@inlined
def newton_step(p, v, row_share, columns, quiet, w, g, d, factor, n, m):
    """Move the column factors by a damped Newton step; `w`, `g` and `d` are room to work in."""
    couple(p, row_share, w, n, m)
    for j in range(m):
        g[j] = columns[j] - v[j]

    eliminate(w, g, d, m, 0.0, quiet)
    low = high = d[0]
    for j in range(m):
        low, high = min(low, d[j]), max(high, d[j])

    # Eq. (41): a step of the range R is damped to log(1 + R).
    reach = high - low
    length = 1.0 if reach <= 1.0 else math.log1p(reach) / reach
    for j in range(m):
        factor[j] *= math.exp(length * (d[j] - low))


@inlined
def absorb(x, scale, times, rows, columns, factor, b, e, n, m):
    """Turn the factors into potentials, `times` as cold, and write the table anew."""
    for j in range(m):
        b[j] = times * (b[j] + math.log(factor[j])) if columns[j] > 0.0 else 0.0
        factor[j] = 1.0
    table_of(x, b, scale, rows, columns, e, n, m)


@inlined
def one_plan(x, margins, tolerance, p, e, w, b, factor, v, g, d, n, m):
    """Write the plan `p`; gives its error, -1 where a logit is not finite. The rest is room."""
    rows, row_share, columns, share = margins
    stage = stages_of(x, n, m)
    if stage < 0:
        return -1.0

    limit = ROUNDS + ROUNDS_A_STAGE * stage
    scale = 0.25**stage
    for j in range(m):
        b[j], factor[j] = 0.0, 1.0

    table_of(x, b, scale, rows, columns, e, n, m)
    for turn in range(limit):
        row_step(e, factor, rows, p, v, n, m)
        worst = 0.0
        for j in range(m):
            worst = max(worst, abs(v[j] - columns[j]) * share[j])
        if stage > 0 and worst <= LOOSE:
            stage -= 1
            scale *= 4.0
            absorb(x, scale, 4.0, rows, columns, factor, b, e, n, m)
            continue

        if stage == 0 and worst <= tolerance:
            return worst

        # Far from the answer sweeps; then Newton, which converges fast from there.
        if turn < SWEEPS:
            for j in range(m):
                factor[j] *= columns[j] / v[j] if v[j] > 0.0 else 1.0
        else:
            newton_step(p, v, row_share, columns, 0.25 * tolerance, w, g, d, factor, n, m)

        # Factors that leave the range go into the table.
        low = high = 1.0
        for j in range(m):
            if columns[j] > 0.0:
                low, high = min(low, factor[j]), max(high, factor[j])
        if high > FAR * low:
            absorb(x, scale, 1.0, rows, columns, factor, b, e, n, m)

    row_step(e, factor, rows, p, v, n, m)
    worst = 0.0
    for j in range(m):
        worst = max(worst, abs(v[j] - columns[j]) * share[j])

    return worst


@inlined
def invert(margin, share):
    """1 / margin; 0 where there is no mass."""
    for i in range(margin.shape[0]):
        share[i] = 1.0 / margin[i] if margin[i] > 0.0 else 0.0


@jit
def forward(x, rows, columns, tolerance, first, last, plan):
    """Plans of the matrices first..last; (largest error, how many miss, first with a bad logit)."""
    n, m = x.shape[1:]
    p, e, w = np.empty((n, m)), np.empty((n, m)), np.empty((m, m))
    b, factor, v, g, d = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    row_share, share, largest, missed, bad = np.empty(n), np.empty(m), 0.0, 0, -1
    for t in range(first, last):
        # A margin with one line is the same for all.
        r, c = rows[t % rows.shape[0]], columns[t % columns.shape[0]]
        if t == first or rows.shape[0] > 1:
            invert(r, row_share)
        if t == first or columns.shape[0] > 1:
            invert(c, share)
        margins = r, row_share, c, share
        if n == 4 and m == 4:  # the usual size: loops of a fixed length, a third faster
            error = one_plan(x[t], margins, tolerance, p, e, w, b, factor, v, g, d, 4, 4)
        else:
            error = one_plan(x[t], margins, tolerance, p, e, w, b, factor, v, g, d, n, m)
        if error < 0.0:
            bad = t
            break
        largest = max(largest, error)
        missed += error > tolerance
        for i in range(n):
            for j in range(m):
                plan[t, i, j] = p[i, j]

    return largest, missed, bad


@jit
def backward(plan, grad, first, last, weigh, out):
    """The cotangent of the logits, P (G - alpha_i - beta_j); without P unless `weigh`."""
    n, m = plan.shape[1:]
    p, w, share, tilt = np.empty((n, m)), np.empty((m, m)), np.empty(n), np.empty(n)
    g, beta = np.empty(m), np.empty(m)
    for t in range(first, last):
        g[:] = 0.0
        for i in range(n):
            mass, found = 0.0, 0.0
            for j in range(m):
                p[i, j] = plan[t, i, j]
                mass += p[i, j]
                found += p[i, j] * grad[t, i, j]
            # Eq. (31), rows eliminated: tilt is a row's own answer.
            share[i] = 1.0 / mass if mass > 0.0 else 0.0
            tilt[i] = found * share[i]
            for j in range(m):
                g[j] += p[i, j] * (grad[t, i, j] - tilt[i])

        couple(p, share, w, n, m)
        eliminate(w, g, beta, m, FAINT, 0.0)
        for i in range(n):
            found = 0.0
            for j in range(m):
                found += p[i, j] * beta[j]
            # alpha_i = (row sum of W G - W beta) / h_i, and then W (G - alpha_i - beta_j).
            found = tilt[i] - found * share[i]
            for j in range(m):
                here = grad[t, i, j] - found - beta[j]
                out[t, i, j] = p[i, j] * here if weigh else here

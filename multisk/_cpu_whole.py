# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""Whole solves as compiled loops over the passes: one call for a whole batch of problems.

The same passes in the same order as the threaded loops of `_cpu`, hence the same bits; what is
saved is the interpreter between two passes, which is most of the time of a small problem.
"""

import math

import numpy as np

from multisk._cpu_kernels import (
    column_error,
    column_step,
    finish,
    first_sweep,
    jit,
    potentials,
    shift,
    sweep,
    transport_columns,
    transport_sweep,
    verdict,
)
from multisk._cpu_newton import newton_pass, newton_step


@jit
def first_batch(table, low, rows, u, top, rest, piece):
    """`first_sweep` of the rows start..end of the problems first..last."""
    first, last, start, end, height = piece
    for p in range(first, last):
        for lo in range(start, end, height):
            sums = top[p, lo // height], rest[p, lo // height]
            small = low[p - first, lo - start :]
            first_sweep(table[p], small, rows[p], lo, min(lo + height, end), u[p], *sums)


@jit
def newton_batch(table, u, v, b, a, middle, rows, unit, goal, column_unit, plans, limits):
    """Solve the problems first..last of `plans`; steps of each, -1 where one failed, and errors.

    `limits` holds (fine, tolerance, polish, most, height), `plans` (fits, first, last), and
    `middle` the common shift of every problem's row potentials `a`.
    """
    fine, tolerance, polish_to, most, height = limits
    fits, first, last = plans
    n, k = table.shape[1:]
    chunks = -(-n // height)
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    sums, weight = np.zeros((chunks, k)), np.zeros((chunks, k))
    coupling, move = np.zeros((chunks, k, k)), np.zeros(k)
    for p in range(first, last):
        if not fits[p]:
            continue
        polish, before = polish_to > 0.0, math.inf
        shift(b[p], 0.0, move, v[p])
        move[:] = 0.0
        for done in range(most + 1):
            ends, parts = (height, 0, chunks), (sums, weight, coupling)
            by_row = newton_pass(table[p], u[p], v[p], rows[p], unit[p], fine, *ends, *parts)
            by_column, slope, ahead = newton_step(*parts, goal[p], column_unit[p], move)
            if not ahead <= 0.5 * before:
                break
            error = max(by_row, by_column)
            reached = error <= tolerance
            if done == most or (reached and (not polish or error <= polish_to)):
                steps[p - first] = done
                break
            polish = polish and not reached
            before = abs(slope)
            shift(b[p], 1.0, move, v[p])
        if steps[p - first] >= 0:
            factors, goals = (
                (table[p], u[p], v[p], b[p]),
                (rows[p], unit[p], goal[p], column_unit[p]),
            )
            errors[p - first] = close(
                factors, a[p], middle[p], goals, (0.0, 0.0), height, capped=True
            )
    return steps, errors


@jit
def sweep_batch(
    table, u, v, b, a, middle, rows, unit, goal, column_unit, cells, sums, plans, limits
):
    """Algorithm 1 from its first column line on; `limits` holds (steps, tolerance, most, height).

    `sums` are the two groups' column sums (b, chunks, k) after the first row line.
    """
    exactly, tolerance, most, height = limits
    fits, first, last = plans
    chunks = sums[0].shape[1]
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    plain, kept = np.zeros((chunks, table.shape[2])), np.empty(table.shape[1])
    for p in range(first, last):
        if not fits[p]:
            continue
        top, rest = sums[0][p], sums[1][p]
        column_step(top, rest, goal[p], cells[p], b[p], v[p])
        steps[p - first] = most
        for done in range(1, most):
            if not exactly:
                kept[:] = u[p]
            ends, parts = (height, 0, chunks), (top, rest, plain)
            by_row = sweep(table[p], u[p], v[p], rows[p], unit[p], *ends, *parts)
            by_column = column_error(plain, goal[p], column_unit[p])
            if not exactly:
                error = max(by_row, by_column)
                if not error > tolerance:
                    u[p] = kept
                    steps[p - first] = done
                    break
                if not math.isfinite(error):
                    steps[p - first] = done
                    break
            column_step(top, rest, goal[p], cells[p], b[p], v[p])
        factors, goals = (table[p], u[p], v[p], b[p]), (rows[p], unit[p], goal[p], column_unit[p])
        errors[p - first] = close(factors, a[p], middle[p], goals, (0.0, 0.0), height, capped=True)
    return steps, errors


@jit
def transport_batch(
    table, u, v, b, a, middle, rows, unit, goal, column_unit, yields, plans, limits
):
    """Plain scaling of rows and columns; `yields` is eps / strength of either side, 0 if exact."""
    exactly, tolerance, most, height = limits
    fits, first, last = plans
    n, k = table.shape[1:]
    chunks = -(-n // height)
    powers = 1.0 / (1.0 + yields[0]), 1.0 / (1.0 + yields[1])
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    sums, kept = np.zeros((chunks, k)), np.zeros(k)
    for p in range(first, last):
        if not fits[p]:
            continue
        shift(b[p], 0.0, kept, v[p])
        steps[p - first] = most
        for done in range(most):
            transport_sweep(table[p], u[p], v[p], rows[p], powers[0], height, 0, chunks, sums)
            kept[:] = b[p]
            error = transport_columns(sums, goal[p], powers[1], yields[1], b[p], v[p])
            if not exactly and not error > tolerance:
                b[p] = kept
                shift(b[p], 0.0, kept, v[p])
                steps[p - first] = done
                break
            if not math.isfinite(error):
                steps[p - first] = done
                break
        factors, goals = (table[p], u[p], v[p], b[p]), (rows[p], unit[p], goal[p], column_unit[p])
        errors[p - first] = close(factors, a[p], middle[p], goals, yields, height, capped=False)
    return steps, errors


@jit
def close(factors, a, middle, goals, yields, height, capped):
    """Turn the table into the plan and factors into potentials; the error, infinite if unusable."""
    table, u, v, b = factors
    chunks = -(-table.shape[0] // height)
    row_sums, sums = np.empty(table.shape[0]), np.zeros((chunks, table.shape[1]))
    finish(table, u, v, capped, height, 0, chunks, row_sums, sums)
    if not potentials(u, middle, a):
        return math.inf
    return verdict(row_sums, sums, u, b, *goals, yields)

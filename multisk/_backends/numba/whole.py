# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""Whole solves as compiled loops over the passes: one call for a whole batch of problems.

The same passes in the same order as the threaded loops of `solve`, hence the same bits; what is
saved is the interpreter between two passes, which is most of the time of a small problem.
"""

import math

import numpy as np

from multisk._backends.numba.loops import (
    column_error,
    column_step,
    finish,
    first_sweep,
    jit,
    part_of,
    potentials,
    shift,
    sweep,
    transport_columns,
    transport_sweep,
    verdict,
)
from multisk._backends.numba.newton import START, answer_rows, newton_pass, newton_step


@jit
def forbid(cells, free):
    """Write 0 where a cell is not free, (count, n, k)."""
    for p in range(cells.shape[0]):
        for i in range(cells.shape[1]):
            line, allowed = cells[p, i], free[p, i]
            for j in range(line.shape[0]):
                line[j] = line[j] if allowed[j] else 0


@jit
def first_batch(table, low, rows, count, u, top, rest, piece):
    """`first_sweep` of the rows start..end of the problems first..last."""
    first, last, start, end, height = piece
    for p in range(first, last):
        for lo in range(start, end, height):
            sums = top[p, lo // height], rest[p, lo // height]
            small = low[p - first, lo - start :]
            ends = lo, min(lo + height, end)
            first_sweep(table[p], small, rows[p], part_of(count, p), *ends, u[p], *sums)


@jit
def newton_batch(arrays, plans, limits):
    """Solve the problems first..last of `plans`; steps of each, -1 where one failed, and errors.

    `arrays` are those of `Batch.arrays`, `plans` holds (fits, first, last), and `limits` (fine,
    tolerance, polish, most, height).
    """
    table, u, v, b, _, _, rows, unit, goal, column_unit, _ = arrays
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
            errors[p - first] = close(arrays, p, (0.0, 0.0), height, capped=True)
    return steps, errors


@jit
def sweep_batch(arrays, cells, sums, plans, limits):
    """Algorithm 1 from its first column line on, or from given columns' potentials.

    `limits` holds (exactly, tolerance, most, height, done): one sweep is done already where `sums`
    are the two groups' column sums (b, chunks, k) after the first row line; none after a start.
    """
    table, u, v, b, _, _, rows, unit, goal, column_unit, count = arrays
    exactly, tolerance, most, height, begun = limits
    fits, first, last = plans
    chunks = sums[0].shape[1]
    steps, errors = np.full(last - first, -1, np.int64), np.full(last - first, math.inf)
    plain, kept = np.zeros((chunks, table.shape[2])), np.empty(table.shape[1])
    for p in range(first, last):
        if not fits[p]:
            continue
        top, rest = sums[0][p], sums[1][p]
        if begun > 0:
            column_step(top, rest, goal[p], cells[p], b[p], v[p])
        else:
            shift(b[p], 0.0, b[p], v[p])
            answer_rows(table[p], u[p], v[p], rows[p], START, height, 0, chunks)
        steps[p - first] = most
        for done in range(begun, most):
            if not exactly:
                kept[:] = u[p]
            ends, parts = (height, 0, chunks), (top, rest, plain)
            by_row = sweep(table[p], u[p], v[p], rows[p], unit[p], part_of(count, p), *ends, *parts)
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
        errors[p - first] = close(arrays, p, (0.0, 0.0), height, capped=True)
    return steps, errors


@jit
def transport_batch(arrays, yields, plans, limits):
    """Plain scaling of rows and columns; `yields` is eps / strength of either side, 0 if exact."""
    table, u, v, b, _, _, rows, _, goal, _, count = arrays
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
            sides = rows[p], part_of(count, p), powers[0]
            transport_sweep(table[p], u[p], v[p], *sides, height, 0, chunks, sums)
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
        errors[p - first] = close(arrays, p, yields, height, capped=False)
    return steps, errors


@jit
def close(arrays, p, yields, height, capped):
    """Turn a problem's table into its plan, factors into potentials; infinite error if unusable."""
    table, u, v, b, a, middle, rows, unit, goal, column_unit, _ = arrays
    n, k = table.shape[1:]
    chunks = -(-n // height)
    row_sums, sums = np.empty(n), np.zeros((chunks, k))
    finish(table[p], u[p], v[p], capped, height, 0, chunks, row_sums, sums)
    if not potentials(u[p], middle[p], a[p]):
        return math.inf
    return verdict(row_sums, sums, u[p], b[p], rows[p], unit[p], goal[p], column_unit[p], yields)

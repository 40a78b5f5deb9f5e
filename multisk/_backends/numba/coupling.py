# ruff: noqa: ANN001, ANN202
"""W^T Z of a block of rows for many columns, added to a lower triangle.

W and Z = diag(1 / h) W are kept as panels of `PANEL` columns, `BLOCK` rows each. A tile is `LINES`
lines of the triangle against one panel: all lengths and offsets are constants of the compiled code,
so that its loops are vectors without a check, and its sums stay in the nearest cache. On one core
of an AMD EPYC that is 0.8 of what OpenBLAS and MKL reach with the same numbers, for half of theirs:
they have no such product of two tables, and threads that are not ours.
"""

import numpy as np

from multisk._backends.numba.loops import BLOCK, apart, jit

PANEL = 64  # 32 and 128 take 10 to 20 % longer at 256 columns
LINES = 4


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

"""All sweeps of small problems in one launch: the scores stay in registers from first to last.

A problem is spread over P programs, each holding one tile of rows. After its row step a program
writes the partial column sums of its tile, waits for the other P - 1, and adds all partials up in
order: every program finds the same column potentials. With P = 1 nothing is waited for and any
number of problems runs side by side; with P > 1 all programs have to be on the GPU at once, so
the launch is cooperative and `fits` says when it may be used; otherwise use `sweep`, which rounds
in another order.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    INTERPRETED,
    Tile,
    kernel,
    padded,
    tile_for,
    view,
    walk,
    wavefronts,
    working_dtype,
)
from ._walk import leave_logs, line, merge_max, shares, tile_of, views
from .sweep import Budgets, Kept, _balance_rows, _log_step, _log_sums, _two_scales

ELEMENTS = 2048
LARGEST = 4096  # values that one program keeps in registers


class Refused(RuntimeError):
    """A shared or partitioned GPU has fewer free places than `fits` counts; `sweep` needs none."""


def resident_tile(count: int, width: int, dtype: torch.dtype) -> Tile:
    """One tile of rows a program; a small problem is one tile."""
    columns = padded(width)
    rows = padded(count)
    largest = LARGEST // 2 if dtype == torch.float64 else LARGEST
    many = largest // 4 if dtype == torch.float64 else ELEMENTS  # values of four warps
    if rows * columns <= largest:
        warps = 4 if rows * columns <= many else 8
        return Tile(rows=rows, columns=columns, warps=warps, programs=1, steps=1)
    tile = tile_for(count, width, dtype, elements=ELEMENTS, programs=1 << 30)
    warps = 4 if tile.rows * columns <= many else 8
    return Tile(rows=tile.rows, columns=tile.columns, warps=warps, programs=tile.programs, steps=1)


def fits(batch: int, tile: Tile, multiprocessors: int) -> bool:
    """Whether every program runs at once: two of four warps or one of eight a multiprocessor."""
    together = multiprocessors * (2 if tile.warps == 4 else 1)
    return tile.programs == 1 or batch * tile.programs <= together


def resident_sweeps(
    scores: torch.Tensor,
    scales: torch.Tensor,
    budgets: Budgets,
    steps: int,
    *,
    rows_first: bool = True,
    kept: Kept | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Potentials (B, N), (B, K) after `steps` sweeps from the scores.

    Args:
        scores: X, (B, N, K), any strides.
        scales: (B or 1, 2): scale over temperature of the plan's group and of the other.
        budgets: the margins; the potentials have the dtypes of its rows and columns.
        steps: sweeps, at least 1.
        rows_first: whether a sweep is row, column, depth; else column, depth, row.
        kept: where to write what every sweep leaves.
        tile: another cut than the chosen one.

    Raises:
        Refused: the launch of several programs a problem was.
    """
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    tile = tile or resident_tile(count, width, kind)
    device = scores.device
    a = torch.empty((batch, count), dtype=budgets.rows.dtype, device=device)
    b = torch.empty((batch, width), dtype=budgets.columns.dtype, device=device)
    # Two halves take turns, so that nobody writes where somebody may still read.
    part = torch.empty((2, 2, batch, tile.programs, 2, width), dtype=kind, device=device)
    arrived = torch.zeros((batch,), dtype=torch.int32, device=device)
    # Programs that wait for each other have to be on the GPU at once, or the launch be refused.
    together = {"launch_cooperative_grid": True} if tile.programs > 1 and not INTERPRETED else {}
    try:
        walk(
            _resident,
            tile,
            scores,
            budgets.free,
            *view(scales, batch, 2)[:2],
            *budgets.row_sides(batch, count),
            *budgets.column_sides(batch, width),
            a,
            b,
            part,
            arrived,
            *(Kept(a, b, part) if kept is None else kept),
            batch,
            steps,
            ROWS_FIRST=rows_first,
            KEEP=kept is not None,
            ALONE=tile.programs == 1,
            BLOCK_P=max(1, min(16, 1024 // tile.columns)),  # a block of partial sums in registers
            warps=wavefronts(tile.warps),
            **together,
        )
    except (RuntimeError, AssertionError) as error:  # so say the drivers of NVIDIA and of AMD
        if tile.programs == 1:
            raise
        raise Refused("the GPU does not run the programs of a problem at once") from error
    return a, b


@triton.jit
@no_type_check
def _wait(arrived, target):
    """A barrier among the programs of one problem: arrive, then wait for `target` arrivals."""
    tl.debug_barrier()
    tl.atomic_add(arrived, 1, sem="acq_rel", scope="gpu")
    while tl.atomic_add(arrived, 0, sem="acquire", scope="gpu") < target:
        pass
    tl.debug_barrier()


@triton.jit
@no_type_check
def _leave(to, x, k, K: tl.constexpr, ACC: tl.constexpr, BLOCK_K: tl.constexpr):
    """Write the tile's column log-sums as pairs (largest, sum)."""
    top, sums = tl.full([BLOCK_K], float("-inf"), ACC), tl.zeros([BLOCK_K], ACC)
    top, sums = merge_max(top, sums, x, 0)
    leave_logs(to, top, sums, k, K)


@kernel
@no_type_check
def _resident(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, budget, budget_problem,
    budget_row, size, size_problem, size_row, goal, goal_problem, goal_column, depth, depth_problem,
    depth_column, row_potential, column_potential, part, arrived, kept_rows, kept_columns,
    kept_sums, batch, sweeps, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, ROWS_FIRST: tl.constexpr, MASKED: tl.constexpr,
    KEEP: tl.constexpr, ALONE: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    problem = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    n, k = program * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    inside, wide = n < rows, k < K
    once = wide & (program + 0 * k == 0)  # every program knows the columns, the first one tells
    live = inside[:, None] & wide[None, :]
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    x, live = tile_of(scores, free, n.to(tl.int64), k, live, MASKED, ACC)
    r = line(budget, problem, budget_problem, n, budget_row, inside).to(ACC)
    m = line(size, problem, size_problem, n, size_row, inside).to(ACC)
    c = line(goal, problem, goal_problem, k, goal_column, wide).to(ACC)
    h = line(depth, problem, depth_problem, k, depth_column, wide).to(ACC)
    high, low = _two_scales(scales + problem * scale_problem, ACC)
    lines = batch.to(tl.int64) * programs * 2 * K
    first = part + problem * programs * 2 * K

    # The first sweep acts on the raw groups.
    one = tl.full([BLOCK_N, BLOCK_K], 1.0, ACC)
    la, a = _balance_rows(tl.where(live, high * x, float("-inf")), one, r, ROWS_FIRST)
    lb, other = _balance_rows(tl.where(live, low * x, float("-inf")), one, m - r, ROWS_FIRST)
    a -= other
    b = tl.zeros([BLOCK_K], ACC)
    for sweep in range(0, sweeps):
        if sweep > 0:
            la, lb, one = shares((high - low) * x + a[:, None] + b[None, :])
            la, up = _balance_rows(tl.where(live, la, float("-inf")), one, r, True)  # noqa: FBT003
            lb, down = _balance_rows(tl.where(live, lb, float("-inf")), one, m - r, True)  # noqa: FBT003
            a += up - down
            one = tl.log(one)
            la, lb = la - one, lb - one
        half = first + (sweep % 2) * 2 * lines
        _leave(half + program * 2 * K, la, k, K, ACC, BLOCK_K)
        _leave(half + lines + program * 2 * K, lb, k, K, ACC, BLOCK_K)
        if ALONE:
            tl.debug_barrier()
        else:
            _wait(arrived + problem, (sweep + 1) * programs)

        ours = _log_sums(half, programs, k, K, ACC, BLOCK_P, BLOCK_K)
        theirs = _log_sums(half + lines, programs, k, K, ACC, BLOCK_P, BLOCK_K)
        b = b + _log_step(c, ours) - _log_step(h - c, theirs)
        if KEEP:
            kept, found = (kept_rows, kept_columns, kept_sums), (b, ours, theirs)
            _keep(kept, sweep, batch, problem, rows, n, a, inside, k, found, once, K)
    _write(row_potential, problem, rows, n, a, inside)
    _write(column_potential, problem, K, k, b, once)


@triton.jit
@no_type_check
def _keep(to, sweep, batch, problem, rows, n, a, inside, k, columns, once, K: tl.constexpr):
    """Store what a sweep leaves; to = (rows, columns, sums), columns = (b, both log sums)."""
    line = batch.to(tl.int64) * sweep
    _write(to[0], line + problem, rows, n, a, inside)
    _write(to[1], line + problem, K, k, columns[0], once)
    _write(to[2], 2 * line + problem, K, k, columns[1], once)
    _write(to[2], 2 * line + batch + problem, K, k, columns[2], once)


@triton.jit
@no_type_check
def _write(to, line, length, at, value, mask):
    """Store one line of a table of lines of that length."""
    tl.store(to + line * length + at, value.to(to.dtype.element_ty), mask=mask)

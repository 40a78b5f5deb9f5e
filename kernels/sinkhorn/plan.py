"""The plan of given potentials with its sums, and the assignment of rows not seen before.

P = sigmoid(scale X + a_i + b_j), or exp of the same without a cap. A new row needs the column
potentials alone: its own potential is the root of its row sum.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import Tile, factors, kernel, view, walk, walk_tile, working_dtype
from ._walk import (
    add_partials,
    begin,
    block,
    here,
    line,
    link,
    row_answer,
    row_log_sum,
    shares,
    tile_of,
    views,
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A plan and what it sums to."""

    plan: torch.Tensor  # (B, N, K) in the scores' dtype
    row_sums: torch.Tensor  # (B, N)
    column_sums: torch.Tensor  # (B, K) float64
    moves: torch.Tensor | None = None  # (B, 2, N), logs of a row step's factors of P and of 1 - P


def assign(
    scores: torch.Tensor,
    scale: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    yields: torch.Tensor | None = None,
    guess: torch.Tensor | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, Table]:
    """Row potentials (B, N) for given column potentials, and their plan.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,).
        column_potential: b, (B, K) contiguous.
        rows: budgets r, broadcast to (B, N).
        free: (B, N, K), nonzero where a cell takes part.
        yields: None for capped cells; without a cap, tau of the rows, broadcast to (B,).
        guess: first guesses of the roots (B, N), overwritten by the roots; None has none.
        tile: another cut than the chosen one.
    """
    kind = working_dtype(scores)
    if guess is None:
        guess = torch.full(scores.shape[:2], float("nan"), dtype=kind, device=scores.device)
    found = _write(scores, scale, guess, column_potential, rows, free, yields, "root", tile)
    return guess, found


def write_plan(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    row_cells: torch.Tensor | None = None,
    free: torch.Tensor | None = None,
    capped: bool = True,
    tile: Tile | None = None,
) -> Table:
    """The plan of given potentials; with `row_cells`, after one more row step (capped cells).

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,).
        row_potential: a, (B, N) contiguous.
        column_potential: b, (B, K) contiguous.
        rows: budgets r, broadcast to (B, N).
        row_cells: free cells of the rows, broadcast to (B, N).
        free: (B, N, K), nonzero where a cell takes part.
        capped: whether P is the sigmoid; else exp.
        tile: another cut than the chosen one.
    """
    a, b = row_potential, column_potential
    yields = None if capped else scale
    if row_cells is None:
        return _write(scores, scale, a, b, rows, free, yields, "plain", tile)
    return _write(scores, scale, a, b, rows, free, yields, "row", tile, row_cells)


def _write(
    scores: torch.Tensor,
    scale: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    rows: torch.Tensor,
    free: torch.Tensor | None,
    yields: torch.Tensor | None,
    mode: str,
    tile: Tile | None,
    size: torch.Tensor | None = None,
) -> Table:
    batch, count, width = scores.shape
    kind, device = working_dtype(scores), scores.device
    tile = tile or walk_tile(scores, sharing=batch)
    plan = torch.empty((batch, count, width), dtype=scores.dtype, device=device)
    row_sums = torch.empty((batch, count), dtype=kind, device=device)
    moves = row_sums
    if mode == "row":
        moves = torch.empty((batch, 2, count), dtype=kind, device=device)
    part = torch.empty((batch, tile.programs, 1, width), dtype=torch.float64, device=device)
    walk(
        _plan,
        tile,
        scores,
        free,
        *factors(scale, yields, batch),
        a,
        b,
        plan,
        row_sums,
        moves,
        part,
        *view(rows, batch, count),
        *view(rows if size is None else size, batch, count),
        MODE=mode,
        EXP=yields is not None,
    )
    return Table(
        plan=plan,
        row_sums=row_sums,
        column_sums=add_partials(part).select(1, 0),
        moves=moves if mode == "row" else None,
    )


@kernel
@no_type_check
def _plan(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem,
    row_potential, column_potential, plan, row_sums, moves, part, budget, budget_problem,
    budget_row, size, size_problem, size_row, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, MODE: tl.constexpr, EXP: tl.constexpr,
    MASKED: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    at = here(scale, scale_problem, tau, tau_problem, column_potential, problem, k, K, EXP, ACC)
    sums = tl.zeros([BLOCK_K], tl.float64)  # a tolerance is held against them
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        t = at.factor * x + at.b[None, :]
        r = line(budget, problem, budget_problem, n, budget_row, inside)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        if MODE == "root":
            a = row_answer(t, live, a, r.to(ACC), at.tau, EXP, ACC)
            tl.store(row_potential + problem * rows + n, a, mask=inside)

        t = tl.where(live, t + a[:, None], float("-inf"))
        share, _ = link(t, EXP)
        if MODE == "row":
            low, high, mass = shares(t)
            m = line(size, problem, size_problem, n, size_row, inside)
            grow = _log_factor(low, mass, r.to(ACC))
            shrink = _log_factor(tl.where(live, high, float("-inf")), mass, (m - r).to(ACC))
            share *= tl.exp(grow)[:, None]
            tl.store(moves + problem * 2 * rows + n, grow, mask=inside)
            tl.store(moves + (problem * 2 + 1) * rows + n, shrink, mask=inside)

        share = tl.where(live, share, 0.0)
        to = plan + (problem * rows + n[:, None]) * K + k[None, :]
        tl.store(to, share.to(plan.dtype.element_ty), mask=cell)
        tl.store(row_sums + problem * rows + n, tl.sum(share, axis=1), mask=inside)
        sums += tl.sum(share, axis=0).to(tl.float64)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, sums, mask=wide)


@triton.jit
@no_type_check
def _log_factor(x, divisor, budget):
    """What brings the row sums of exp(x) / divisor to the budgets; 0 without a budget."""
    has = budget > 0
    moved = tl.log(tl.where(has, budget, 1.0)) - row_log_sum(x, divisor)
    return tl.where(has, moved, 0.0)

"""The plan P = sigmoid(scale X + a_i + b_j), and the assignment of rows not seen before.

A new row needs the column potentials alone: its own potential is the root of its row sum.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._root import row_root, sigmoid
from ._tile import (
    Tile,
    cells,
    launch_options,
    row_log_sum,
    shares,
    spread,
    tile_for,
    triton_dtype,
    working_dtype,
)

ELEMENTS = 2048


def assign(
    scores: torch.Tensor,
    scale: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    guess: torch.Tensor | None = None,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row roots (B, N) for given column potentials, and their plan in the scores' dtype.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,).
        column_potential: b, (B, K) contiguous.
        rows: budgets r, broadcast to (B, N).
        free: (B, N, K), nonzero where a cell takes part.
        guess: first guesses of the roots (B, N), overwritten by the roots; None has none.
        tile: another cut than the chosen one.
    """
    kind = working_dtype(scores)
    if guess is None:
        guess = torch.full(scores.shape[:2], float("nan"), dtype=kind, device=scores.device)
    return guess, _write(scores, scale, guess, column_potential, rows, free, "root", tile)


def write_plan(
    scores: torch.Tensor,
    scale: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    row_step: bool = False,
    tile: Tile | None = None,
) -> torch.Tensor:
    """The plan of given potentials; with `row_step`, after one more row step."""
    mode = "row" if row_step else "plain"
    return _write(scores, scale, row_potential, column_potential, rows, free, mode, tile)


def _write(
    scores: torch.Tensor,
    scale: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    rows: torch.Tensor,
    free: torch.Tensor | None,
    mode: str,
    tile: Tile | None,
) -> torch.Tensor:
    batch, count, width = scores.shape
    tile = tile or tile_for(count, width, working_dtype(scores), elements=ELEMENTS)
    scale, rows = spread(scale, batch), spread(rows, batch, count)
    allowed = scores if free is None else free
    plan = torch.empty((batch, count, width), dtype=scores.dtype, device=scores.device)
    blocks = triton.cdiv(count, tile.rows)
    _plan[(batch * blocks,)](
        scores,
        allowed,
        scale,
        a,
        b,
        rows,
        plan,
        count,
        blocks,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        *rows.stride(),
        K=width,
        MODE=mode,
        MASKED=free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return plan


@triton.jit(do_not_specialize=["rows", "blocks"])
@no_type_check
def _plan(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
    budget,
    plan,
    rows,
    blocks,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    stride_scale,
    budget_problem,
    budget_row,
    K: tl.constexpr,
    MODE: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // blocks).to(tl.int64)
    n = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    inside, wide = n < rows, k < K
    cell = inside[:, None] & wide[None, :]
    x = cells(scores + problem * stride_problem, n, k, cell, stride_row, stride_column, 0.0)
    live = cell
    if MASKED:
        source = free + problem * free_problem
        live = cell & (cells(source, n, k, cell, free_row, free_column, 0) != 0)
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    t = tl.load(scale + problem * stride_scale).to(ACC) * x.to(ACC) + b[None, :]
    at = row_potential + problem * rows + n
    r = tl.load(budget + problem * budget_problem + n * budget_row, mask=inside, other=0.0)
    a = tl.load(at, mask=inside, other=0.0).to(ACC)
    if MODE == "root":
        a = row_root(t, live, a, r.to(ACC), ACC)
        tl.store(at, a, mask=inside)
    t = tl.where(live, t + a[:, None], float("-inf"))
    share, _ = sigmoid(t)
    if MODE == "row":
        low, _, one = shares(t)
        share *= (r.to(ACC) / tl.exp(row_log_sum(low, one)))[:, None]
    to = plan + (problem * rows + n[:, None]) * K + k[None, :]
    tl.store(to, share.to(plan.dtype.element_ty), mask=cell)

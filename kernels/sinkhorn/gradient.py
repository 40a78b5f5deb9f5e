"""Implicit derivative of the plan: one pass, the Schur solve, one pass that writes.

With W the slope of a cell (P (1 - P), or P without a cap), h_i = sum_j W_ij and the gradient G of
the plan, the gradient of Z = scale X is W (G - alpha_i - beta_j), whose row and column sums vanish:

    t_i = sum_j W_ij G_ij / h_i      S beta = sum_i W_ij (G_ij - t_i)
    alpha_i = t_i - sum_j W_ij beta_j / h_i

alpha and beta are also the gradients of the row and column budgets. A margin that yields by tau
has (1 + tau) h_i, and (1 + tau) weight_j on the diagonal of S.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    dot_precision,
    forms_square,
    kernel,
    launch,
    launch_options,
    spread,
    square_rows,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import add_partials, cells, link, table_of
from .newton import PROGRAMS, solve_schur
from .wide import At, Solving, solve_wide

ELEMENTS = 2048


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the first pass adds up; `bend` is None where it does not fit registers."""

    tilt: torch.Tensor  # (B, N), t
    height: torch.Tensor  # (B, N), h
    weight: torch.Tensor  # (B, K)
    right: torch.Tensor  # (B, K)
    bend: torch.Tensor | None  # (B, K, K)


def plan_backward(
    at: At,
    grad: torch.Tensor,
    *,
    column_yields: torch.Tensor | None = None,
    still: torch.Tensor | None = None,
    gauge: torch.Tensor | None = None,
    rounds: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of Z = scale X (B, N, K), of the row budgets (B, N), of the column budgets (B, K).

    Args:
        at: scores, scale and potentials of the plan.
        grad: the gradient of the plan, (B, N, K), any strides.
        column_yields: tau of the columns, (B,); None is 0.
        still: (B, K), nonzero for columns whose potential does not answer; None has none.
        gauge: (B,), 1 where only sums of potentials matter; None is 1 everywhere.
        rounds: of conjugate gradients, where S is not formed.
    """
    found = gather(at, grad)
    start = answer(found, at, column_yields, still, gauge, rounds=rounds)
    beta = start.x if isinstance(start, Solving) else start
    return *spread_back(at, grad, found.tilt, beta), beta


def answer(
    found: Gathered,
    at: At,
    column_yields: torch.Tensor | None,
    still: torch.Tensor | None,
    gauge: torch.Tensor | None,
    *,
    rounds: int | None = None,
    resume: Solving | None = None,
) -> torch.Tensor | Solving:
    """The solution beta (B, K), or the search for it where S is applied round by round."""
    diagonal = found.weight
    if column_yields is not None:
        diagonal = diagonal * (1.0 + column_yields.to(diagonal.dtype).unsqueeze(1))
    if found.bend is not None:
        return solve_schur(diagonal, found.bend, found.right, still=still, gauge=gauge)
    return solve_wide(
        at,
        found.weight,
        diagonal,
        found.right,
        still=still,
        gauge=gauge,
        rounds=rounds,
        resume=resume,
    )


def gather(at: At, grad: torch.Tensor, *, tile: Tile | None = None) -> Gathered:
    """The first pass: t and the sums of the columns' system."""
    scores = at.scores
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    dense = forms_square(width, kind)
    tile = tile or _cut(at)
    lines = 2 + (width if dense else 0)
    part = torch.empty((batch, tile.programs, lines, width), dtype=kind, device=scores.device)
    tilt = torch.empty((batch, count), dtype=kind, device=scores.device)
    height = torch.empty((batch, count), dtype=kind, device=scores.device)
    launch(
        _gather,
        (batch * tile.programs,),
        *_state(at, grad),
        tilt,
        height,
        part,
        *_shape(at, grad, tile),
        DENSE=dense,
        PRECISION=dot_precision(scores),
        **_options(at, grad, tile),
    )
    total = add_partials(part)
    bend = total.narrow(1, 2, width) if dense else None
    return Gathered(
        tilt=tilt,
        height=height,
        weight=total.select(1, 0),
        right=total.select(1, 1),
        bend=bend,
    )


def spread_back(
    at: At,
    grad: torch.Tensor,
    tilt: torch.Tensor,
    beta: torch.Tensor,
    *,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The second pass: the gradient of Z, and alpha, which takes the place of `tilt`."""
    scores = at.scores
    tile = tile or _cut(at)
    out = torch.empty(scores.shape, dtype=working_dtype(scores), device=scores.device)
    launch(
        _spread,
        (scores.shape[0] * tile.programs,),
        *_state(at, grad),
        tilt,
        beta,
        out,
        *_shape(at, grad, tile),
        ALONE=False,
        **_options(at, grad, tile),
    )
    return out, tilt


def assign_backward(at: At, grad: torch.Tensor, *, tile: Tile | None = None) -> torch.Tensor:
    """The gradient of Z when column potentials stay as they are: W (G - t_i), in one pass."""
    scores = at.scores
    tile = tile or _cut(at)
    out = torch.empty(scores.shape, dtype=working_dtype(scores), device=scores.device)
    tilt = torch.empty(scores.shape[:2], dtype=out.dtype, device=scores.device)
    launch(
        _spread,
        (scores.shape[0] * tile.programs,),
        *_state(at, grad),
        tilt,
        tilt,
        out,
        *_shape(at, grad, tile),
        ALONE=True,
        **_options(at, grad, tile),
    )
    return out


def _cut(at: At) -> Tile:
    batch, count, width = at.scores.shape
    kind = working_dtype(at.scores)
    return tile_for(
        count,
        width,
        kind,
        elements=ELEMENTS,
        block_rows=square_rows(width) if forms_square(width, kind) else 0,
        programs=max(1, PROGRAMS // max(batch, 1)),
    )


def _state(at: At, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    allowed = at.scores if at.free is None else at.free
    batch = at.scores.shape[0]
    scale = spread(at.scale, batch)
    tau = scale if at.yields is None else spread(at.yields, batch)
    return at.scores, allowed, scale, tau, at.row_potential, at.column_potential, grad


def _shape(at: At, grad: torch.Tensor, tile: Tile) -> tuple[int, ...]:
    scores, allowed, scale, tau, *_ = _state(at, grad)
    steps = (*scores.stride(), *allowed.stride(), *grad.stride(), scale.stride(0), tau.stride(0))
    return scores.shape[1], tile.programs, tile.steps, *steps


def _options(at: At, grad: torch.Tensor, tile: Tile) -> dict:
    width, dense = at.scores.shape[2], forms_square(at.scores.shape[2], working_dtype(at.scores))
    return {
        "K": width,
        "WIDE": starts_wide(at.scores, at.scores if at.free is None else at.free, grad),
        "EXP": at.yields is not None,
        "MASKED": at.free is not None,
        "ACC": triton_dtype(at.scores),
        "BLOCK_N": tile.rows,
        "BLOCK_K": tile.columns,
        "num_stages": 1,
        **launch_options(8 if dense and width > 64 else tile.warps),
    }


@triton.jit
@no_type_check
def _tile(
    scores,
    free,
    grad,
    at,
    n,
    k,
    live,
    steps,
    EXP: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
):
    """W and G of a tile, both zero outside it and W at forbidden cells; at = (factor, a, b)."""
    x = cells(scores, n, k, live, steps[0], steps[1], 0.0).to(ACC)
    g = cells(grad, n, k, live, steps[4], steps[5], 0.0).to(ACC)
    if MASKED:
        live = live & (cells(free, n, k, live, steps[2], steps[3], 0) != 0)
    t = at[0] * x + at[1].to(ACC)[:, None] + at[2][None, :]
    _, slope = link(tl.where(live, t, float("-inf")), EXP)
    return slope, g


@kernel
@no_type_check
def _gather(
    scores,
    free,
    scale,
    yields,
    row_potential,
    column_potential,
    grad,
    tilt,
    height,
    part,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    grad_problem,
    grad_row,
    grad_column,
    scale_problem,
    yields_problem,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    DENSE: tl.constexpr,
    PRECISION: tl.constexpr,
    EXP: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scores = table_of(scores, problem, stride_problem, WIDE)
    free = table_of(free, problem, free_problem, WIDE)
    grad = table_of(grad, problem, grad_problem, WIDE)
    jumps = (stride_row, stride_column, free_row, free_column, grad_row, grad_column)
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    weight, right = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
        slope, g = _tile(scores, free, grad, (factor, a, b), n, k, cell, jumps, EXP, MASKED, ACC)
        steep = tl.sum(slope, axis=1) * (1.0 + tau)
        steep = tl.where(steep > 0, steep, 1.0)
        t = tl.sum(slope * g, axis=1) / steep
        tl.store(tilt + problem * rows + n, t, mask=inside)
        tl.store(height + problem * rows + n, steep, mask=inside)
        weight += tl.sum(slope, axis=0)
        right += tl.sum(slope * (g - t[:, None]), axis=0)
        if DENSE:
            lean = slope / steep[:, None]
            bend += tl.dot(tl.trans(slope), lean, input_precision=PRECISION, out_dtype=ACC)
    to = part + tl.program_id(0).to(tl.int64) * (2 + (K if DENSE else 0)) * K
    tl.store(to + k, weight, mask=wide)
    tl.store(to + K + k, right, mask=wide)
    if DENSE:
        at = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(at, bend, mask=wide[:, None] & wide[None, :])


@kernel
@no_type_check
def _spread(
    scores,
    free,
    scale,
    yields,
    row_potential,
    column_potential,
    grad,
    tilt,
    beta,
    out,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    grad_problem,
    grad_row,
    grad_column,
    scale_problem,
    yields_problem,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    ALONE: tl.constexpr,
    EXP: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scores = table_of(scores, problem, stride_problem, WIDE)
    free = table_of(free, problem, free_problem, WIDE)
    grad = table_of(grad, problem, grad_problem, WIDE)
    jumps = (stride_row, stride_column, free_row, free_column, grad_row, grad_column)
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    v = tl.zeros([BLOCK_K], ACC)
    if not ALONE:
        v = tl.load(beta + problem * K + k, mask=wide, other=0.0).to(ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
        slope, g = _tile(scores, free, grad, (factor, a, b), n, k, cell, jumps, EXP, MASKED, ACC)
        steep = tl.sum(slope, axis=1) * (1.0 + tau)
        steep = tl.where(steep > 0, steep, 1.0)
        if ALONE:
            t = tl.sum(slope * g, axis=1) / steep
        else:
            t = tl.load(tilt + problem * rows + n, mask=inside, other=0.0)
            t -= tl.sum(slope * v[None, :], axis=1) / steep
        tl.store(tilt + problem * rows + n, t, mask=inside)
        to = out + (problem * rows + n[:, None]) * K + k[None, :]
        tl.store(to, slope * (g - t[:, None] - v[None, :]), mask=cell)

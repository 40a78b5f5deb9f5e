"""Implicit derivative of the plan: one pass, the Schur solve, one pass that writes.

With W the slope of a cell (P (1 - P), or P without a cap), h_i = sum_j W_ij and the gradient G of
the plan, the gradient of Z = scale X is W (G - alpha_i - beta_j), whose row and column sums vanish:

    t_i = sum_j W_ij G_ij / h_i      S beta = sum_i W_ij (G_ij - t_i)
    alpha_i = t_i - sum_j W_ij beta_j / h_i

alpha and beta are also the gradients of the row and column budgets. A margin that yields by tau
has (1 + tau) h_i, and (1 + tau) weight_j on the diagonal of S.
"""

from dataclasses import dataclass
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    dot_precision,
    kernel,
    partials,
    square_in_program,
    square_rows,
    walk,
    walk_tile,
    working_dtype,
)
from ._walk import add_partials, begin, block, cells, here, link, table, tile_of, views
from .newton import solve_schur
from .wide import At, Solving, solve_wide, state


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
    batch, count, width = at.scores.shape
    dense, tile = _forms(at), tile or _cut(at)
    part = partials(at.scores, tile, 2 + (width if dense else 0))
    tilt = torch.empty((batch, count), dtype=part.dtype, device=part.device)
    height = torch.empty((batch, count), dtype=part.dtype, device=part.device)
    flags = {"DENSE": dense, "PRECISION": dot_precision(at.scores)}
    _launch(_gather, at, grad, (tilt, height, part), tile, flags)
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
    out = torch.empty(at.scores.shape, dtype=working_dtype(at.scores), device=at.scores.device)
    _launch(_spread, at, grad, (tilt, beta, out), tile or _cut(at), {"ALONE": False})
    return out, tilt


def assign_backward(at: At, grad: torch.Tensor, *, tile: Tile | None = None) -> torch.Tensor:
    """The gradient of Z when column potentials stay as they are: W (G - t_i), in one pass."""
    scores = at.scores
    out = torch.empty(scores.shape, dtype=working_dtype(scores), device=scores.device)
    tilt = torch.empty(scores.shape[:2], dtype=out.dtype, device=scores.device)
    _launch(_spread, at, grad, (tilt, tilt, out), tile or _cut(at), {"ALONE": True})
    return out


def _cut(at: At) -> Tile:
    batch, _, width = at.scores.shape
    block = square_rows(width) if _forms(at) else 0
    return walk_tile(at.scores, block_rows=block, sharing=batch)


def _forms(at: At) -> bool:
    return square_in_program(at.scores.shape[2], working_dtype(at.scores))


def _launch(
    kernel: Any,
    at: At,
    grad: torch.Tensor,
    rest: tuple[torch.Tensor, ...],
    tile: Tile,
    flags: dict[str, Any],
) -> None:
    walk(
        kernel,
        tile,
        at.scores,
        at.free,
        *state(at),
        grad,
        *grad.stride(),
        *rest,
        EXP=at.yields is not None,
        num_stages=1,
        more=(grad,),
        warps=8 if _forms(at) and at.scores.shape[2] > 64 else 0,
        **flags,
    )


@triton.jit
@no_type_check
def _slopes(
    scores, free, grad, at, a, n, k, cell,
    EXP: tl.constexpr, MASKED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """W and G of a tile, zero outside it, W at forbidden cells too; (1 + tau) h, 1 for 0."""
    x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
    g = cells(grad, n, k, cell, 0.0).to(ACC)
    t = at.factor * x + a.to(ACC)[:, None] + at.b[None, :]
    _, slope = link(tl.where(live, t, float("-inf")), EXP)
    steep = tl.sum(slope, axis=1) * (1.0 + at.tau)
    return slope, g, tl.where(steep > 0, steep, 1.0)


@kernel
@no_type_check
def _gather(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem,
    row_potential, column_potential, grad, grad_problem, grad_row, grad_column, tilt, height, part,
    rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, DENSE: tl.constexpr, PRECISION: tl.constexpr,
    EXP: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    grad = table(grad, problem, grad_problem, grad_row, grad_column, WIDE)
    at = here(scale, scale_problem, tau, tau_problem, column_potential, problem, k, K, EXP, ACC)
    weight, right = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
        slope, g, steep = _slopes(scores, free, grad, at, a, n, k, cell, EXP, MASKED, ACC)
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
        square = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(square, bend, mask=wide[:, None] & wide[None, :])


@kernel
@no_type_check
def _spread(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem,
    row_potential, column_potential, grad, grad_problem, grad_row, grad_column, tilt, beta, out,
    rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, ALONE: tl.constexpr,
    EXP: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    grad = table(grad, problem, grad_problem, grad_row, grad_column, WIDE)
    at = here(scale, scale_problem, tau, tau_problem, column_potential, problem, k, K, EXP, ACC)
    v = tl.zeros([BLOCK_K], ACC)
    if not ALONE:
        v = tl.load(beta + problem * K + k, mask=wide, other=0.0).to(ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0)
        slope, g, steep = _slopes(scores, free, grad, at, a, n, k, cell, EXP, MASKED, ACC)
        if ALONE:
            t = tl.sum(slope * g, axis=1) / steep
        else:
            t = tl.load(tilt + problem * rows + n, mask=inside, other=0.0)
            t -= tl.sum(slope * v[None, :], axis=1) / steep
        tl.store(tilt + problem * rows + n, t, mask=inside)
        to = out + (problem * rows + n[:, None]) * K + k[None, :]
        tl.store(to, slope * (g - t[:, None] - v[None, :]), mask=cell)

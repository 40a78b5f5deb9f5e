"""One Newton pass of the semi-dual, in one reading of the scores.

For P = sigmoid(scale X + a_i + b_j) and column potentials b: the row roots a, and with
W = P (1 - P), h_i = sum_j W_ij the sums over rows

    load_j = sum_i P_ij      weight_j = sum_i W_ij      bend_jl = sum_i W_ij W_il / h_i

so that the gradient of the dual is load - c and its Hessian S = diag(weight) - bend. Without a cap
P = exp(scale X + a_i + b_j), W = P, and a margin that yields by tau makes h_i (1 + tau) of h_i.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
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
from ._walk import add_partials, cells, link, row_answer, table_of

ELEMENTS = 2048
PROGRAMS = 512  # partial sums over all problems of a batch


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one visit to the scores gives; `bend` is None where it does not fit registers.

    `row_sums` and `height` (sum_j W_ij) are None unless they were asked for.
    """

    row_potential: torch.Tensor  # (B, N)
    load: torch.Tensor  # (B, K)
    weight: torch.Tensor  # (B, K)
    bend: torch.Tensor | None  # (B, K, K)
    row_sums: torch.Tensor | None = None  # (B, N)
    height: torch.Tensor | None = None  # (B, N)


def newton_pass(
    scores: torch.Tensor,
    scale: torch.Tensor,
    column_potential: torch.Tensor,
    guess: torch.Tensor,
    rows: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    yields: torch.Tensor | None = None,
    idle: torch.Tensor | None = None,
    dense: bool | None = None,
    row_sums: bool = False,
    tile: Tile | None = None,
) -> Pass:
    """Row roots for given column potentials, and the sums of a Newton step.

    Args:
        scores: X, (B, N, K), any strides.
        scale: broadcast to (B,): difference of the two scales over the temperature.
        column_potential: b, (B, K).
        guess: first guesses of the roots, (B, N), overwritten by the roots; NaN means none.
        rows: budgets r, broadcast to (B, N).
        mask: (B, N, K), False where the plan must be zero.
        yields: None for capped cells; without a cap, tau of the rows, broadcast to (B,).
        idle: (B,), nonzero where a problem is solved and its programs should return at once;
            what they would have written keeps whatever it was.
        dense: whether to form `bend`; by default where it fits registers.
        row_sums: whether the rows' sums of P and of W are wanted too.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    dense = forms_square(width, working_dtype(scores)) if dense is None else dense
    tile = tile or tile_for(
        count,
        width,
        working_dtype(scores),
        elements=ELEMENTS,
        block_rows=square_rows(width) if dense else 0,
        programs=max(1, PROGRAMS // max(batch, 1)),
    )
    lines = 2 + (width if dense else 0)
    part = torch.empty(
        (batch, tile.programs, lines, width), dtype=working_dtype(scores), device=scores.device
    )
    scale, rows = spread(scale, batch), spread(rows, batch, count)
    tau = scale if yields is None else spread(yields, batch)
    allowed = scores if mask is None else mask
    line = torch.empty_like(guess) if row_sums else guess
    height = torch.empty_like(guess) if row_sums else guess
    launch(
        _pass,
        (batch * tile.programs,),
        scores,
        allowed,
        scale,
        tau,
        column_potential,
        guess,
        rows,
        part if idle is None else idle,
        part,
        line,
        height,
        count,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        tau.stride(0),
        *rows.stride(),
        K=width,
        WIDE=starts_wide(scores, allowed),
        EXP=yields is not None,
        SUMS=row_sums,
        MASKED=mask is not None,
        IDLE=idle is not None,
        DENSE=dense,
        PRECISION=dot_precision(scores),
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        num_stages=1,
        **launch_options(8 if dense and width > 64 else tile.warps),
    )
    total = add_partials(part, idle)
    return Pass(
        row_potential=guess,
        load=total.select(1, 0),
        weight=total.select(1, 1),
        bend=total.narrow(1, 2, width) if dense else None,
        row_sums=line if row_sums else None,
        height=height if row_sums else None,
    )


@kernel
@no_type_check
def _pass(
    scores,
    allowed,
    scale,
    yields,
    column_potential,
    root,
    budget,
    idle,
    part,
    row_sums,
    height,
    rows,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    allowed_problem,
    allowed_row,
    allowed_column,
    scale_problem,
    yields_problem,
    budget_problem,
    budget_row,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    EXP: tl.constexpr,
    SUMS: tl.constexpr,
    MASKED: tl.constexpr,
    IDLE: tl.constexpr,
    DENSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    if IDLE and tl.load(idle + problem) != 0:
        return
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scores = table_of(scores, problem, stride_problem, WIDE)
    allowed = table_of(allowed, problem, allowed_problem, WIDE)
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    load, weight = tl.zeros([BLOCK_K], ACC), tl.zeros([BLOCK_K], ACC)
    if DENSE:
        bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        y = cells(scores, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
        y = factor * y + b[None, :]
        live = cell
        if MASKED:
            live = cell & (cells(allowed, n, k, cell, allowed_row, allowed_column, 0) != 0)
        at = budget + problem * budget_problem + n * budget_row
        r = tl.load(at, mask=inside, other=0.0).to(ACC)
        guess = tl.load(root + problem * rows + n, mask=inside, other=0.0)
        a = row_answer(y, live, guess, r, tau, EXP, ACC)
        tl.store(root + problem * rows + n, a, mask=inside)
        share, slope = link(tl.where(live, y + a[:, None], float("-inf")), EXP)
        steep = tl.sum(slope, axis=1) * (1.0 + tau)
        if SUMS:
            tl.store(row_sums + problem * rows + n, tl.sum(share, axis=1), mask=inside)
            tl.store(height + problem * rows + n, steep, mask=inside)
        load += tl.sum(share, axis=0)
        weight += tl.sum(slope, axis=0)
        if DENSE:
            lean = slope / tl.where(steep > 0, steep, 1.0)[:, None]
            bend += tl.dot(tl.trans(slope), lean, input_precision=PRECISION, out_dtype=ACC)
    to = part + tl.program_id(0).to(tl.int64) * (2 + (K if DENSE else 0)) * K
    tl.store(to + k, load, mask=wide)
    tl.store(to + K + k, weight, mask=wide)
    if DENSE:
        at = to + (2 + k[:, None]) * K + k[None, :]
        tl.store(at, bend, mask=wide[:, None] & wide[None, :])

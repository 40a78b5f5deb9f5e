"""Any number of channel groups: a sweep of Algorithm 1, their plan, and how it answers to a change.

After a depth step a cell is shared by the groups as q = softmax over c of s_c X + u_ci + v_cj; the
potentials u (C, N) and v (C, K) are the whole state, q itself is never stored. The row step is
u_ci += log r_ci - lse_j log q_c. The plan is the sum of the first `top` groups. The answer to
directions D_c is R_c = q_c (D_c - sum_c q_c D_c) with

    D_c = G [c < top] - alpha_ci - beta_cj

where the implicit derivative seeks alpha and beta for which all row and column sums of R vanish;
the gradient of the scores is then sum_c s_c R_c.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    kernel,
    launch,
    launch_options,
    spread,
    starts_wide,
    tile_for,
    triton_dtype,
    wavefronts,
    working_dtype,
)
from ._walk import add_log_partials, add_partials, cells, merge_max, row_log_sum, table_of

ELEMENTS = 2048


def group_sweep(
    scores: torch.Tensor,
    scales: torch.Tensor,
    row_potential: torch.Tensor,
    column_potential: torch.Tensor,
    rows: torch.Tensor,
    *,
    free: torch.Tensor | None = None,
    first: bool = False,
    row_step: bool = True,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row potentials after the row step, and the groups' log column sums (B, C, K) after it.

    Args:
        scores: X, (B, N, K), any strides.
        scales: (B or 1, C): each group's scale over the temperature.
        row_potential: u, (B, C, N) contiguous; not read in the first sweep.
        column_potential: v, (B, C, K) contiguous; not read in the first sweep.
        rows: what each group's rows have to sum to, broadcast to (B, C, N).
        free: (B, N, K), nonzero where a cell takes part.
        first: start from the scores themselves, not yet shared.
        row_step: whether the first sweep has its row step; else groups start with `rows`.
        tile: another cut than the chosen one.
    """
    batch, count, width = scores.shape
    groups = scales.shape[-1]
    kind = working_dtype(scores)
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS)
    rows, scales = spread(rows, batch, groups, count), spread(scales, batch, groups)
    after = torch.empty((batch, groups, count), dtype=row_potential.dtype, device=scores.device)
    part = torch.empty((batch, groups, tile.programs, 2, width), dtype=kind, device=scores.device)
    allowed = scores if free is None else free
    launch(
        _sweep,
        (batch * tile.programs,),
        scores,
        allowed,
        scales,
        row_potential,
        column_potential,
        rows,
        after,
        part,
        count,
        groups,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scales.stride(0),
        *rows.stride(),
        K=width,
        WIDE=starts_wide(scores, allowed),
        FIRST=first,
        ROW=row_step,
        MASKED=free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(wavefronts(8)),
    )
    sums = add_log_partials(part.view(batch * groups, tile.programs, 2, width))
    return after, sums.view(batch, groups, width)


@kernel
@no_type_check
def _sweep(
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    budget,
    after,
    part,
    rows,
    groups,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    scale_problem,
    budget_problem,
    budget_group,
    budget_row,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    FIRST: tl.constexpr,
    ROW: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    for step in range(0, steps):
        n = (program.to(tl.int64) * steps + step) * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        shared = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if not FIRST:
            shared = _log_total(
                x,
                scales + problem * scale_problem,
                row_potential + problem * groups * rows + n,
                column_potential + problem * groups * K + k,
                inside,
                wide,
                rows.to(tl.int64),
                groups,
                K,
                ACC,
            )
        for c in range(0, groups):
            at = problem * groups + c
            t = tl.load(scales + problem * scale_problem + c).to(ACC) * x - shared
            old = tl.zeros([BLOCK_N], after.dtype.element_ty)
            if not FIRST:
                old = tl.load(row_potential + at * rows + n, mask=inside, other=0.0)
                v = tl.load(column_potential + at * K + k, mask=wide, other=0.0).to(ACC)
                t += old.to(ACC)[:, None] + v[None, :]
            t = tl.where(live, t, float("-inf"))
            r = budget + problem * budget_problem + c * budget_group + n * budget_row
            r = tl.load(r, mask=inside, other=0.0).to(ACC)
            moved = tl.log(tl.where(r > 0, r, 1.0))
            if ROW:
                moved -= row_log_sum(t, 1.0)
            moved = tl.where(r > 0, moved, 0.0)
            to = after + at * rows + n
            tl.store(to, old + moved.to(after.dtype.element_ty), mask=inside)
            _add_column_logs(part, at * programs + program, step, t + moved[:, None], k, K)


@triton.jit
@no_type_check
def _log_total(x, scales, u, v, inside, wide, rows, groups, K: tl.constexpr, ACC: tl.constexpr):
    """The depth step: log sum over groups of exp(s_c x + u_ci + v_cj), one group at a time."""
    top = tl.full(x.shape, float("-inf"), ACC)
    total = tl.zeros(x.shape, ACC)
    for c in range(0, groups):
        t = _exponent(x, c, scales, u, v, inside, wide, rows, K, ACC)
        best = tl.maximum(top, t)
        total = total * tl.exp(top - best) + tl.exp(t - best)
        top = best
    return top + tl.log(total)


@triton.jit
@no_type_check
def _exponent(x, c, scales, u, v, inside, wide, rows, K: tl.constexpr, ACC: tl.constexpr):
    """The tile s_c x + u_ci + v_cj of group c."""
    s = tl.load(scales + c).to(ACC)
    row = tl.load(u + c * rows, mask=inside, other=0.0).to(ACC)
    column = tl.load(v + c * K, mask=wide, other=0.0).to(ACC)
    return s * x + row[:, None] + column[None, :]


@triton.jit
@no_type_check
def _add_column_logs(part, line, step, t, k, K: tl.constexpr):
    """Merge a tile's column log-sums into the pair (largest, sum) that this program keeps."""
    to = part + line * 2 * K + k
    wide = k < K
    going = wide & (step > 0)
    top = tl.load(to, mask=going, other=float("-inf"))
    sums = tl.load(to + K, mask=going, other=0.0)
    top, sums = merge_max(top, sums, t, 0)
    tl.store(to, top, mask=wide)
    tl.store(to + K, sums, mask=wide)
    tl.debug_barrier()  # other warps hold copies of these columns and load them in the next step


PROGRAMS = 512  # partial sums over all problems and groups


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Where the groups stand: what makes q."""

    scores: torch.Tensor  # X, (B, N, K), any strides
    scales: torch.Tensor  # s, broadcast to (B, C)
    row_potential: torch.Tensor  # u, (B, C, N) contiguous
    column_potential: torch.Tensor  # v, (B, C, K) contiguous
    top: int  # groups that make the plan
    free: torch.Tensor | None = None  # (B, N, K), nonzero where a cell takes part


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """The plan of the groups and what it sums to; `moves` of u in the last row step, or None."""

    plan: torch.Tensor  # (B, N, K)
    row_sums: torch.Tensor  # (B, N)
    column_sums: torch.Tensor  # (B, K) float64
    moves: torch.Tensor | None  # (B, C, N)


def group_plan(
    at: Shares, rows: torch.Tensor | None = None, *, tile: Tile | None = None
) -> GroupTable:
    """The plan; with `rows`, broadcast to (B, C, N), after one more row step."""
    batch, groups, count, width = _sizes(at)
    kind, device = working_dtype(at.scores), at.scores.device
    tile = tile or _cut(at)
    step = rows is not None
    budget = spread(at.row_potential if rows is None else rows, batch, groups, count)
    plan = torch.empty((batch, count, width), dtype=kind, device=device)
    row_sums = torch.empty((batch, count), dtype=kind, device=device)
    moves = torch.empty((batch, groups, count), dtype=kind, device=device) if step else row_sums
    part = torch.empty((batch, tile.programs, 1, width), dtype=torch.float64, device=device)
    launch(
        _plan,
        (batch * tile.programs,),
        *_state(at),
        budget,
        plan,
        row_sums,
        moves,
        part,
        at.top,
        *_shape(at, tile),
        *budget.stride(),
        ROW=step,
        **_options(at, at.scores, tile),
    )
    sums = add_partials(part).select(1, 0)
    return GroupTable(plan=plan, row_sums=row_sums, column_sums=sums, moves=moves if step else None)


def respond(
    at: Shares,
    grad: torch.Tensor | None,
    alpha: torch.Tensor | None,
    beta: torch.Tensor | None,
    *,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row sums (B, C, N) and column sums (B, C, K) of R.

    Args:
        at: where the groups stand.
        grad: G, (B, N, K), any strides; None is zero.
        alpha: (B, C, N) contiguous; None, together with beta, is zero.
        beta: (B, C, K) contiguous.
        tile: another cut than the chosen one.
    """
    rows, columns, _ = _answer(at, "sums", grad, alpha, beta, tile)
    return rows, columns


def masses(at: Shares, *, tile: Tile | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column sums of q, (B, C, N) and (B, C, K)."""
    rows, columns, _ = _answer(at, "masses", None, None, None, tile)
    return rows, columns


def curvature(at: Shares, *, tile: Tile | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column sums of q (1 - q), the diagonal of the answer, (B, C, N) and (B, C, K)."""
    rows, columns, _ = _answer(at, "diagonal", None, None, None, tile)
    return rows, columns


def scores_gradient(
    at: Shares,
    grad: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    *,
    tile: Tile | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of the scores (B, N, K), sum_c s_c R_c, and of s (B, C), sums of X R_c."""
    _, scales, out = _answer(at, "scores", grad, alpha, beta, tile)
    return out, scales


def _answer(
    at: Shares,
    what: str,
    grad: torch.Tensor | None,
    alpha: torch.Tensor | None,
    beta: torch.Tensor | None,
    tile: Tile | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, groups, count, width = _sizes(at)
    kind, device = working_dtype(at.scores), at.scores.device
    tile = tile or _cut(at)
    pulled = at.scores if grad is None else grad
    rows = torch.empty((batch, groups, count), dtype=kind, device=device)
    ours, lines = what == "scores", 1 if what == "scores" else width
    part = torch.empty((batch * groups, tile.programs, 1, lines), dtype=kind, device=device)
    out = torch.empty(at.scores.shape, dtype=kind, device=device) if ours else rows
    launch(
        _respond,
        (batch * tile.programs,),
        *_state(at),
        pulled,
        at.row_potential if alpha is None else alpha,
        at.column_potential if beta is None else beta,
        rows,
        part,
        out,
        at.top,
        *_shape(at, tile),
        *pulled.stride(),
        WHAT=what,
        PULLED=grad is not None,
        MOVED=alpha is not None,
        **_options(at, pulled, tile),
    )
    columns = add_partials(part).view(batch, groups, lines)
    return rows, columns.select(2, 0) if ours else columns, out


def _sizes(at: Shares) -> tuple[int, int, int, int]:
    batch, count, width = at.scores.shape
    return batch, at.scales.shape[-1], count, width


def _cut(at: Shares) -> Tile:
    batch, groups, count, width = _sizes(at)
    most = max(1, PROGRAMS // max(batch * groups, 1))
    kind = working_dtype(at.scores)
    return tile_for(count, width, kind, elements=ELEMENTS, programs=most)


def _state(at: Shares) -> tuple[torch.Tensor, ...]:
    batch, groups, _, _ = _sizes(at)
    allowed = at.scores if at.free is None else at.free
    scales = spread(at.scales, batch, groups)
    return at.scores, allowed, scales, at.row_potential, at.column_potential


def _shape(at: Shares, tile: Tile) -> tuple[int, ...]:
    scores, allowed, scales, _, _ = _state(at)
    _, groups, count, _ = _sizes(at)
    sizes = (count, groups, tile.programs, tile.steps)
    return *sizes, *scores.stride(), *allowed.stride(), scales.stride(0)


def _options(at: Shares, grad: torch.Tensor, tile: Tile) -> dict:
    return {
        "K": at.scores.shape[2],
        "WIDE": starts_wide(at.scores, at.scores if at.free is None else at.free, grad),
        "MASKED": at.free is not None,
        "ACC": triton_dtype(at.scores),
        "BLOCK_N": tile.rows,
        "BLOCK_K": tile.columns,
        **launch_options(wavefronts(8)),
    }


@kernel
@no_type_check
def _plan(
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    budget,
    plan,
    row_sums,
    moves,
    part,
    top,
    rows,
    groups,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    scale_problem,
    budget_problem,
    budget_group,
    budget_row,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    ROW: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scales += problem * scale_problem
    long = rows.to(tl.int64)
    sums = tl.zeros([BLOCK_K], tl.float64)  # a tolerance is held against them
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
        live = cell
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = cell & (cells(source, n, k, cell, free_row, free_column, 0) != 0)
        u = row_potential + problem * groups * rows + n
        v = column_potential + problem * groups * K + k
        shared = _log_total(x, scales, u, v, inside, wide, long, groups, K, ACC)
        share = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        for c in range(0, groups):
            t = _exponent(x, c, scales, u, v, inside, wide, long, K, ACC) - shared
            t = tl.where(live, t, float("-inf"))
            if ROW:
                r = budget + problem * budget_problem + c * budget_group + n * budget_row
                r = tl.load(r, mask=inside, other=0.0).to(ACC)
                moved = tl.log(tl.where(r > 0, r, 1.0)) - row_log_sum(t, 1.0)
                moved = tl.where(r > 0, moved, 0.0)
                tl.store(moves + (problem * groups + c) * rows + n, moved, mask=inside)
                t += moved[:, None]
            share += tl.where(c < top, tl.exp(t), 0.0)
        tl.store(plan + (problem * rows + n[:, None]) * K + k[None, :], share, mask=cell)
        tl.store(row_sums + problem * rows + n, tl.sum(share, axis=1), mask=inside)
        sums += tl.sum(tl.where(cell, share, 0.0), axis=0).to(tl.float64)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, sums, mask=wide)


@kernel
@no_type_check
def _respond(
    scores,
    free,
    scales,
    row_potential,
    column_potential,
    grad,
    alpha,
    beta,
    row_sums,
    part,
    out,
    top,
    rows,
    groups,
    programs,
    steps,
    stride_problem,
    stride_row,
    stride_column,
    free_problem,
    free_row,
    free_column,
    scale_problem,
    grad_problem,
    grad_row,
    grad_column,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    WHAT: tl.constexpr,
    PULLED: tl.constexpr,
    MOVED: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    scales += problem * scale_problem
    long = rows.to(tl.int64)
    for step in range(0, steps):
        n = (program.to(tl.int64) * steps + step) * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        cell = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, cell, stride_row, stride_column, 0.0).to(ACC)
        live = cell
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = cell & (cells(source, n, k, cell, free_row, free_column, 0) != 0)
        g = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if PULLED:
            source = table_of(grad, problem, grad_problem, WIDE)
            g = cells(source, n, k, cell, grad_row, grad_column, 0.0).to(ACC)
        row, column = problem * groups * rows + n, problem * groups * K + k
        u, v, a, b = row_potential + row, column_potential + column, alpha + row, beta + column
        shared = _log_total(x, scales, u, v, inside, wide, long, groups, K, ACC)
        mean = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if WHAT == "sums" or WHAT == "scores":  # noqa: PLR1714
            for c in range(0, groups):
                q = tl.exp(_exponent(x, c, scales, u, v, inside, wide, long, K, ACC) - shared)
                mean += q * _direction(g, c, a, b, inside, wide, long, top, K, MOVED, ACC)
        total = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        for c in range(0, groups):
            q = tl.exp(_exponent(x, c, scales, u, v, inside, wide, long, K, ACC) - shared)
            answer = q * (1.0 - q) if WHAT == "diagonal" else q
            if WHAT == "sums" or WHAT == "scores":  # noqa: PLR1714 - no tuples of strings there
                d = _direction(g, c, a, b, inside, wide, long, top, K, MOVED, ACC)
                answer = q * (d - mean)
            answer = tl.where(live, answer, 0.0)
            at = problem * groups + c
            if WHAT == "scores":
                total += tl.load(scales + c).to(ACC) * answer
                found = tl.sum(tl.sum(answer * x, axis=1), axis=0)
                _add_to(part + at * programs + program, found, step >= 0, step)
            else:
                tl.store(row_sums + at * rows + n, tl.sum(answer, axis=1), mask=inside)
                to = part + (at * programs + program) * K + k
                _add_to(to, tl.sum(answer, axis=0), wide, step)
        if WHAT == "scores":
            to = out + (problem * rows + n[:, None]) * K + k[None, :]
            tl.store(to, total, mask=cell)


@triton.jit
@no_type_check
def _direction(
    g, c, a, b, inside, wide, rows, top, K: tl.constexpr, MOVED: tl.constexpr, ACC: tl.constexpr
):
    """D_c of a tile."""
    d = tl.where(c < top, g, 0.0)
    if MOVED:
        d -= tl.load(a + c * rows, mask=inside, other=0.0).to(ACC)[:, None]
        d -= tl.load(b + c * K, mask=wide, other=0.0).to(ACC)[None, :]
    return d


@triton.jit
@no_type_check
def _add_to(to, value, mask, step):
    """Add to what this program has kept in memory since its first step."""
    tl.store(to, tl.load(to, mask=mask & (step > 0), other=0.0) + value, mask=mask)
    tl.debug_barrier()  # other warps hold copies of these sums and load them in the next step

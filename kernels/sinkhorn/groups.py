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
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import Tile, kernel, view, walk, walk_tile, wavefronts, working_dtype
from ._walk import (
    add_partials,
    begin,
    block,
    cells,
    leave_logs,
    line,
    merge_max,
    row_log_sum,
    table,
    tile_of,
    views,
)


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
    groups, kind = scales.shape[-1], working_dtype(scores)
    tile = tile or walk_tile(scores)
    after = torch.empty((batch, groups, count), dtype=row_potential.dtype, device=scores.device)
    part = torch.empty((batch, groups, tile.programs, 2, width), dtype=kind, device=scores.device)
    walk(
        _sweep,
        tile,
        scores,
        free,
        *view(scales, batch, groups)[:2],
        row_potential,
        column_potential,
        *view(rows, batch, groups, count),
        after,
        part,
        groups,
        FIRST=first,
        ROW=row_step,
        warps=wavefronts(8),
    )
    sums = add_partials(part.view(batch * groups, tile.programs, 2, width), log=True)
    return after, sums.view(batch, groups, width)


def group_plan(
    at: Shares, rows: torch.Tensor | None = None, *, tile: Tile | None = None
) -> GroupTable:
    """The plan; with `rows`, broadcast to (B, C, N), after one more row step."""
    batch, groups, count, width = _sizes(at)
    kind, device = working_dtype(at.scores), at.scores.device
    tile = tile or _cut(at)
    step = rows is not None
    plan = torch.empty((batch, count, width), dtype=kind, device=device)
    row_sums = torch.empty((batch, count), dtype=kind, device=device)
    moves = torch.empty((batch, groups, count), dtype=kind, device=device) if step else row_sums
    part = torch.empty((batch, tile.programs, 1, width), dtype=torch.float64, device=device)
    walk(
        _plan,
        tile,
        at.scores,
        at.free,
        *_state(at),
        *view(at.row_potential if rows is None else rows, batch, groups, count),
        plan,
        row_sums,
        moves,
        part,
        ROW=step,
        warps=wavefronts(8),
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
    walk(
        _respond,
        tile,
        at.scores,
        at.free,
        *_state(at),
        pulled,
        *pulled.stride(),
        at.row_potential if alpha is None else alpha,
        at.column_potential if beta is None else beta,
        rows,
        part,
        out,
        WHAT=what,
        PULLED=grad is not None,
        MOVED=alpha is not None,
        more=(pulled,),
        warps=wavefronts(8),
    )
    columns = add_partials(part).view(batch, groups, lines)
    return rows, columns.select(2, 0) if ours else columns, out


def _sizes(at: Shares) -> tuple[int, int, int, int]:
    batch, count, width = at.scores.shape
    return batch, at.scales.shape[-1], count, width


def _cut(at: Shares) -> Tile:
    batch, groups, _, _ = _sizes(at)
    return walk_tile(at.scores, sharing=batch * groups)


def _state(at: Shares) -> tuple[Any, ...]:
    batch, groups, _, _ = _sizes(at)
    scales = view(at.scales, batch, groups)[:2]
    return *scales, at.row_potential, at.column_potential, at.top, groups


class Stand(NamedTuple):
    """Where the groups stand at a tile: scales, both potentials there, and what of it there is."""

    scales: Any
    u: Any
    v: Any
    inside: Any
    wide: Any
    rows: Any  # N in 64 bits, from one group's u to the next


@triton.jit
@no_type_check
def _rows(step, steps, programs, rows, wide, BLOCK_N: tl.constexpr):
    """The block of a step, found anew: its start, kept across the groups, costs ten registers."""
    before = (tl.program_id(0) % programs).to(tl.int64) * steps + step
    return block(before * BLOCK_N, 0, rows, wide, BLOCK_N)


@kernel
@no_type_check
def _sweep(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, row_potential,
    column_potential, budget, budget_problem, budget_group, budget_row, after, part, groups, rows,
    programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, FIRST: tl.constexpr, ROW: tl.constexpr,
    MASKED: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, _start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    scales += problem * scale_problem
    for step in range(0, steps):
        n, inside, cell = _rows(step, steps, programs, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        shared = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if not FIRST:
            u = row_potential + problem * groups * rows + n
            v = column_potential + problem * groups * K + k
            at = Stand(scales, u, v, inside, wide, rows.to(tl.int64))
            shared = _log_total(x, at, groups, K, ACC)

        for c in range(0, groups):
            group = problem * groups + c
            t = tl.load(scales + c).to(ACC) * x - shared
            old = tl.zeros([BLOCK_N], after.dtype.element_ty)
            if not FIRST:
                old = tl.load(row_potential + group * rows + n, mask=inside, other=0.0)
                shift = tl.load(column_potential + group * K + k, mask=wide, other=0.0).to(ACC)
                t += old.to(ACC)[:, None] + shift[None, :]
            t = tl.where(live, t, float("-inf"))
            r = line(budget + c * budget_group, problem, budget_problem, n, budget_row, inside)
            moved = _row_move(t, r.to(ACC), ROW)
            to = after + group * rows + n
            tl.store(to, old + moved.to(after.dtype.element_ty), mask=inside)
            to = part + (group * programs + tl.program_id(0) % programs) * 2 * K
            _add_column_logs(to, step, t + moved[:, None], k, K)


@triton.jit
@no_type_check
def _row_move(t, budget, ROW: tl.constexpr):
    """What a row step adds to u: log r less the rows' log-sums; 0 without a budget."""
    moved = tl.log(tl.where(budget > 0, budget, 1.0))
    if ROW:
        moved -= row_log_sum(t, 1.0)
    return tl.where(budget > 0, moved, 0.0)


@triton.jit
@no_type_check
def _log_total(x, at, groups, K: tl.constexpr, ACC: tl.constexpr):
    """The depth step: log sum over groups of exp(s_c x + u_ci + v_cj), one group at a time."""
    top = tl.full(x.shape, float("-inf"), ACC)
    total = tl.zeros(x.shape, ACC)
    for c in range(0, groups):
        t = _exponent(x, c, at, K, ACC)
        best = tl.maximum(top, t)
        total = total * tl.exp(top - best) + tl.exp(t - best)
        top = best
    return top + tl.log(total)


@triton.jit
@no_type_check
def _exponent(x, c, at, K: tl.constexpr, ACC: tl.constexpr):
    """The tile s_c x + u_ci + v_cj of group c."""
    s = tl.load(at.scales + c).to(ACC)
    row = tl.load(at.u + c * at.rows, mask=at.inside, other=0.0).to(ACC)
    column = tl.load(at.v + c * K, mask=at.wide, other=0.0).to(ACC)
    return s * x + row[:, None] + column[None, :]


@triton.jit
@no_type_check
def _add_column_logs(to, step, t, k, K: tl.constexpr):
    """Merge a tile's column log-sums into the pair (largest, sum) that this program keeps."""
    going = (k < K) & (step > 0)
    top = tl.load(to + k, mask=going, other=float("-inf"))
    sums = tl.load(to + K + k, mask=going, other=0.0)
    top, sums = merge_max(top, sums, t, 0)
    leave_logs(to, top, sums, k, K)
    tl.debug_barrier()  # other warps hold copies of these columns and load them in the next step


@kernel
@no_type_check
def _plan(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, row_potential,
    column_potential, top, groups, budget, budget_problem, budget_group, budget_row, plan, row_sums,
    moves, part, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, ROW: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, _start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    scales += problem * scale_problem
    v = column_potential + problem * groups * K + k
    sums = tl.zeros([BLOCK_K], tl.float64)  # a tolerance is held against them
    for step in range(0, steps):
        n, inside, cell = _rows(step, steps, programs, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        u = row_potential + problem * groups * rows + n
        at = Stand(scales, u, v, inside, wide, rows.to(tl.int64))
        shared = _log_total(x, at, groups, K, ACC)
        share = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        for c in range(0, groups):
            t = _exponent(x, c, at, K, ACC) - shared
            t = tl.where(live, t, float("-inf"))
            if ROW:
                r = line(budget + c * budget_group, problem, budget_problem, n, budget_row, inside)
                moved = _row_move(t, r.to(ACC), True)  # noqa: FBT003
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
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scales, scale_problem, row_potential,
    column_potential, top, groups, grad, grad_problem, grad_row, grad_column, alpha, beta, row_sums,
    part, out, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, WHAT: tl.constexpr, PULLED: tl.constexpr,
    MOVED: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, _start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    program = tl.program_id(0) % programs
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    grad = table(grad, problem, grad_problem, grad_row, grad_column, WIDE)
    scales += problem * scale_problem
    column = problem * groups * K + k
    for step in range(0, steps):
        n, inside, cell = _rows(step, steps, programs, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        g = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if PULLED:
            g = cells(grad, n, k, cell, 0.0).to(ACC)
        row, long = problem * groups * rows + n, rows.to(tl.int64)
        u, v = row_potential + row, column_potential + column
        at = Stand(scales, u, v, inside, wide, long)
        way = Stand(scales, alpha + row, beta + column, inside, wide, long)
        shared = _log_total(x, at, groups, K, ACC)
        mean = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        if WHAT == "sums" or WHAT == "scores":  # noqa: PLR1714
            for c in range(0, groups):
                q = tl.exp(_exponent(x, c, at, K, ACC) - shared)
                mean += q * _direction(g, c, way, top, K, MOVED, ACC)

        total = tl.zeros([BLOCK_N, BLOCK_K], ACC)
        for c in range(0, groups):
            q = tl.exp(_exponent(x, c, at, K, ACC) - shared)
            answer = q * (1.0 - q) if WHAT == "diagonal" else q
            if WHAT == "sums" or WHAT == "scores":  # noqa: PLR1714 - no tuples of strings there
                answer = q * (_direction(g, c, way, top, K, MOVED, ACC) - mean)
            answer = tl.where(live, answer, 0.0)
            group = problem * groups + c
            if WHAT == "scores":
                total += tl.load(scales + c).to(ACC) * answer
                found = tl.sum(tl.sum(answer * x, axis=1), axis=0)
                _add_to(part + group * programs + program, found, step >= 0, step)
            else:
                tl.store(row_sums + group * rows + n, tl.sum(answer, axis=1), mask=inside)
                to = part + (group * programs + program) * K + k
                _add_to(to, tl.sum(answer, axis=0), wide, step)

        if WHAT == "scores":
            to = out + (problem * rows + n[:, None]) * K + k[None, :]
            tl.store(to, total, mask=cell)


@triton.jit
@no_type_check
def _direction(g, c, way, top, K: tl.constexpr, MOVED: tl.constexpr, ACC: tl.constexpr):
    """D_c of a tile; `way` stands at alpha and beta."""
    d = tl.where(c < top, g, 0.0)
    if MOVED:
        d -= tl.load(way.u + c * way.rows, mask=way.inside, other=0.0).to(ACC)[:, None]
        d -= tl.load(way.v + c * K, mask=way.wide, other=0.0).to(ACC)[None, :]
    return d


@triton.jit
@no_type_check
def _add_to(to, value, mask, step):
    """Add to what this program has kept in memory since its first step."""
    tl.store(to, tl.load(to, mask=mask & (step > 0), other=0.0) + value, mask=mask)
    tl.debug_barrier()  # other warps hold copies of these sums and load them in the next step

"""S x = g of a Newton step where S was not formed in registers: many columns, or float64.

`apply_schur` multiplies by S = diag(weight) - bend in one reading of the scores; conjugate
gradients preconditioned by the diagonal stop by their own residual, problem by problem, and rounds
launched after that return at once: nothing is read by the host.

`couple_columns` forms bend_jl = sum_i W_ij W_il / h_i for solvers that use the system many times:
it is cut into blocks of columns, and a program adds up one block over its share of the rows, making
W again from the scores.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    Tile,
    cdiv,
    dot_precision,
    kernel,
    launch,
    launch_options,
    padded,
    spread,
    starts_wide,
    tile_for,
    triton_dtype,
    working_dtype,
)
from ._walk import add_partials, cells, link, table_of
from .newton import PROGRAMS, _centre, _hair, _live

ELEMENTS = 2048
ROUNDS = 48
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}  # residual over the first one


@dataclass(frozen=True, kw_only=True)
class At:
    """Where the system is taken: scores, scale, potentials, and how cells and rows answer."""

    scores: torch.Tensor  # (B, N, K), any strides
    scale: torch.Tensor  # broadcast to (B,)
    row_potential: torch.Tensor  # (B, N) contiguous
    column_potential: torch.Tensor  # (B, K) contiguous
    free: torch.Tensor | None = None  # (B, N, K)
    yields: torch.Tensor | None = None  # tau of the rows, (B,), where cells have no cap


@dataclass(frozen=True, kw_only=True)
class Solving:
    """Conjugate gradients under way: `x` so far, and 1 in `done` where the residual is small."""

    x: torch.Tensor  # (B, K)
    rest: torch.Tensor
    way: torch.Tensor
    power: torch.Tensor  # (B, 2): now, and where to stop
    done: torch.Tensor  # (B,) int32


def solve_wide(
    at: At,
    weight: torch.Tensor,
    diagonal: torch.Tensor,
    right: torch.Tensor,
    *,
    still: torch.Tensor | None = None,
    gauge: torch.Tensor | None = None,
    idle: torch.Tensor | None = None,
    close: torch.Tensor | None = None,
    rounds: int | None = None,
    resume: Solving | None = None,
) -> Solving:
    """`solve_schur` for any number of columns and float64: a reading of the scores a round.

    Args:
        at: where the system is taken; its bend is applied, never formed.
        weight: (B, K), the sums of the slopes there.
        diagonal: (B, K); what it has above `weight` is added to S.
        right: (B, K).
        still: (B, K), nonzero for columns that keep 0.
        gauge: broadcast to (B,), as for `solve_schur`.
        idle: (B,), nonzero for problems to leave out; their x is 0.
        close: broadcast to (B,): residual, over the first one, at which to stop.
        rounds: rounds that are launched; by default enough for all but the hardest systems.
        resume: what an earlier call left, to go on with more rounds.
    """
    if resume is None:
        resume = _begin(weight, diagonal, right, (still, gauge, idle, close))
    batch, width = right.shape
    block = padded(width)
    held = weight if still is None else still
    for _ in range(min(width + 4, ROUNDS) if rounds is None else rounds):
        image = apply_schur(at, resume.way, idle=resume.done)
        launch(
            _round,
            (batch,),
            image,
            weight,
            diagonal,
            held,
            resume.x,
            resume.rest,
            resume.way,
            resume.power,
            resume.done,
            image.stride(0),
            weight.stride(0),
            diagonal.stride(0),
            held.stride(0),
            K=width,
            STILL=still is not None,
            ACC=triton_dtype(weight),
            BLOCK_K=block,
            **launch_options(4 if block <= 1024 else 8),
        )
    return resume


def _begin(
    weight: torch.Tensor,
    diagonal: torch.Tensor,
    right: torch.Tensor,
    rest: tuple[torch.Tensor | None, ...],
) -> Solving:
    still, gauge, idle, close = rest
    batch, width = right.shape
    kind, device = weight.dtype, weight.device
    fine = torch.full((1,), CLOSE[kind], dtype=kind, device=device) if close is None else close
    loose = fine if gauge is None else gauge
    loose, fine = spread(loose, batch), spread(fine, batch)
    state = Solving(
        x=torch.empty((batch, width), dtype=kind, device=device),
        rest=torch.empty((batch, width), dtype=kind, device=device),
        way=torch.empty((batch, width), dtype=kind, device=device),
        power=torch.empty((batch, 2), dtype=kind, device=device),
        done=torch.empty((batch,), dtype=torch.int32, device=device),
    )
    block = padded(width)
    held = weight if still is None else still
    solved = state.done if idle is None else idle
    launch(
        _first,
        (batch,),
        weight,
        diagonal,
        right,
        held,
        loose,
        fine,
        solved,
        state.x,
        state.rest,
        state.way,
        state.power,
        state.done,
        weight.stride(0),
        diagonal.stride(0),
        right.stride(0),
        held.stride(0),
        loose.stride(0),
        fine.stride(0),
        K=width,
        STILL=still is not None,
        GAUGE=gauge is not None,
        IDLE=idle is not None,
        ACC=triton_dtype(weight),
        BLOCK_K=block,
        **launch_options(4 if block <= 1024 else 8),
    )
    return state


def apply_schur(
    at: At,
    x: torch.Tensor,
    *,
    idle: torch.Tensor | None = None,
    answer: bool = False,
    tile: Tile | None = None,
) -> torch.Tensor:
    """(diag(weight) - bend) x (B, K) in one reading of the scores; with `answer`, bend x.

    Args:
        at: where the system is taken.
        x: (B, K) contiguous.
        idle: (B,), nonzero for problems to leave out.
        answer: the rows' answer alone, without the diagonal.
        tile: another cut than the chosen one.
    """
    scores = at.scores
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    most = max(1, PROGRAMS // max(batch, 1))
    tile = tile or tile_for(count, width, kind, elements=ELEMENTS, programs=most)
    part = torch.empty((batch, tile.programs, 1, width), dtype=kind, device=scores.device)
    scale = spread(at.scale, batch)
    tau = scale if at.yields is None else spread(at.yields, batch)
    allowed = scores if at.free is None else at.free
    launch(
        _apply,
        (batch * tile.programs,),
        scores,
        allowed,
        scale,
        tau,
        at.row_potential,
        at.column_potential,
        x,
        part if idle is None else idle,
        part,
        count,
        tile.programs,
        tile.steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        tau.stride(0),
        K=width,
        WIDE=starts_wide(scores, allowed),
        EXP=at.yields is not None,
        ANSWER=answer,
        IDLE=idle is not None,
        MASKED=at.free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=tile.rows,
        BLOCK_K=tile.columns,
        **launch_options(tile.warps),
    )
    return add_partials(part, idle).select(1, 0)


@kernel
@no_type_check
def _first(
    weight,
    diagonal,
    right,
    still,
    gauge,
    close,
    idle,
    x,
    rest,
    way,
    power,
    done,
    stride_weight,
    stride_diagonal,
    stride_right,
    stride_still,
    stride_gauge,
    stride_close,
    K: tl.constexpr,
    STILL: tl.constexpr,
    GAUGE: tl.constexpr,
    IDLE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    at = problem * K + k
    g = tl.load(right + problem * stride_right + k, mask=wide, other=0.0).to(ACC)
    line = tl.load(diagonal + problem * stride_diagonal + k, mask=wide, other=0.0).to(ACC)
    live = _live(still, problem, stride_still, k, K, STILL)
    loose = tl.load(gauge + problem * stride_gauge).to(ACC) if GAUGE else 1.0
    g = _centre(g, live, loose, ACC)
    line = tl.where(live, line, 0.0)
    line += _hair(line, live, ACC)
    ahead = g / tl.where(live & (line > 0), line, 1.0)
    size = tl.sum(g * ahead, axis=0)
    fine = tl.load(close + problem * stride_close).to(ACC)
    tl.store(x + at, tl.zeros_like(g), mask=wide)
    tl.store(rest + at, g, mask=wide)
    tl.store(way + at, ahead, mask=wide)
    tl.store(power + problem * 2, size)
    tl.store(power + problem * 2 + 1, size * fine * fine)
    over = size <= 0.0
    if IDLE:
        over = over | (tl.load(idle + problem) != 0)
    tl.store(done + problem, over.to(tl.int32))


@kernel
@no_type_check
def _round(
    image,
    weight,
    diagonal,
    still,
    x,
    rest,
    way,
    power,
    done,
    stride_image,
    stride_weight,
    stride_diagonal,
    stride_still,
    K: tl.constexpr,
    STILL: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = tl.program_id(0).to(tl.int64)
    if tl.load(done + problem) != 0:
        return
    k = tl.arange(0, BLOCK_K)
    wide = k < K
    at = problem * K + k
    live = _live(still, problem, stride_still, k, K, STILL)
    line = tl.load(diagonal + problem * stride_diagonal + k, mask=live, other=0.0).to(ACC)
    hair = _hair(line, live, ACC)
    extra = line - tl.load(weight + problem * stride_weight + k, mask=live, other=0.0).to(ACC)
    pivot = tl.where(live & (line + hair > 0), line + hair, 1.0)
    step = tl.load(way + at, mask=wide, other=0.0)
    answer = tl.load(image + problem * stride_image + k, mask=live, other=0.0).to(ACC)
    answer += (extra + hair) * step
    before, goal = tl.load(power + problem * 2), tl.load(power + problem * 2 + 1)
    bow = tl.sum(tl.where(live, step * answer, 0.0), axis=0)
    length = tl.where(bow > 0, before / tl.where(bow > 0, bow, 1.0), 0.0)
    left = tl.load(rest + at, mask=wide, other=0.0)
    left = tl.where(live, left - length * answer, 0.0)
    ahead = left / pivot
    after = tl.sum(left * ahead, axis=0)
    here = tl.load(x + at, mask=wide, other=0.0)
    tl.store(x + at, here + length * step, mask=wide)
    tl.store(rest + at, left, mask=wide)
    tl.store(way + at, ahead + after / before * step, mask=wide)
    tl.store(power + problem * 2, after)
    tl.store(done + problem, ((after <= goal) | (bow <= 0)).to(tl.int32))


@kernel
@no_type_check
def _apply(
    scores,
    free,
    scale,
    yields,
    row_potential,
    column_potential,
    vector,
    idle,
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
    scale_problem,
    yields_problem,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    EXP: tl.constexpr,
    ANSWER: tl.constexpr,
    IDLE: tl.constexpr,
    MASKED: tl.constexpr,
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
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    tau = tl.load(yields + problem * yields_problem).to(ACC) if EXP else 0.0
    b = tl.load(column_potential + problem * K + k, mask=wide, other=0.0).to(ACC)
    v = tl.load(vector + problem * K + k, mask=wide, other=0.0).to(ACC)
    sums = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        live = inside[:, None] & wide[None, :]
        source = table_of(scores, problem, stride_problem, WIDE)
        x = cells(source, n, k, live, stride_row, stride_column, 0.0).to(ACC)
        if MASKED:
            source = table_of(free, problem, free_problem, WIDE)
            live = live & (cells(source, n, k, live, free_row, free_column, 0) != 0)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        t = tl.where(live, factor * x + a[:, None] + b[None, :], float("-inf"))
        _, slope = link(t, EXP)
        steep = tl.sum(slope, axis=1) * (1.0 + tau)
        mean = tl.sum(slope * v[None, :], axis=1) / tl.where(steep > 0, steep, 1.0)
        if ANSWER:
            sums += tl.sum(slope * mean[:, None], axis=0)
        else:
            sums += tl.sum(slope * (v[None, :] - mean[:, None]), axis=0)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, sums, mask=wide)


ROWS = {torch.float32: 32, torch.float64: 8}  # of a step; float64 takes no matrix product


def couple_columns(at: At, height: torch.Tensor, *, programs: int | None = None) -> torch.Tensor:
    """The bend, (B, K, K).

    Args:
        at: where the system is taken.
        height: h, (B, N) contiguous: the rows' sums of slopes, (1 + tau) times where they yield.
        programs: shares of the rows, instead of the chosen number.
    """
    scores = at.scores
    batch, count, width = scores.shape
    kind = working_dtype(scores)
    block = 16 if kind == torch.float64 else min(64, padded(width))
    blocks = cdiv(width, block)
    rows = ROWS[kind] if width % 16 == 0 else min(16, ROWS[kind])  # as in `tile_for`
    steps = cdiv(count, rows)
    programs = programs or max(1, PROGRAMS // max(1, batch * blocks * blocks))
    steps = cdiv(steps, min(programs, steps))
    programs = cdiv(count, rows * steps)
    part = torch.empty((batch, programs, width, width), dtype=kind, device=scores.device)
    scale = spread(at.scale, batch)
    allowed = scores if at.free is None else at.free
    launch(
        _bend,
        (batch * programs, blocks, blocks),
        scores,
        allowed,
        scale,
        at.row_potential,
        at.column_potential,
        height,
        part,
        count,
        programs,
        steps,
        *scores.stride(),
        *allowed.stride(),
        scale.stride(0),
        K=width,
        WIDE=starts_wide(scores, allowed),
        EXP=at.yields is not None,
        PRECISION=dot_precision(scores),
        MASKED=at.free is not None,
        ACC=triton_dtype(scores),
        BLOCK_N=rows,
        BLOCK_K=block,
        num_stages=1,
        **launch_options(1 if kind == torch.float64 else 4),
    )
    return add_partials(part)


@kernel
@no_type_check
def _bend(
    scores,
    free,
    scale,
    row_potential,
    column_potential,
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
    scale_problem,
    K: tl.constexpr,
    WIDE: tl.constexpr,
    EXP: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    problem = (tl.program_id(0) // programs).to(tl.int64)
    start = (tl.program_id(0) % programs).to(tl.int64) * steps * BLOCK_N
    j = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    k = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    scores = table_of(scores, problem, stride_problem, WIDE)
    free = table_of(free, problem, free_problem, WIDE)
    column_potential += problem * K
    factor = tl.load(scale + problem * scale_problem).to(ACC)
    bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    jumps = (stride_row, stride_column, free_row, free_column)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        h = tl.load(height + problem * rows + n, mask=inside, other=0.0).to(ACC)
        at = (factor, a, inside)
        left = _slopes(scores, free, column_potential, at, n, j, jumps, K, EXP, MASKED, ACC)
        right = _slopes(scores, free, column_potential, at, n, k, jumps, K, EXP, MASKED, ACC)
        right *= tl.where(h > 0, 1.0 / tl.where(h > 0, h, 1.0), 0.0)[:, None]
        if tl.float64 == ACC:
            bend += tl.sum(left[:, :, None] * right[:, None, :], axis=0)
        else:
            bend += tl.dot(tl.trans(left), right, input_precision=PRECISION, out_dtype=ACC)
    to = part + (tl.program_id(0).to(tl.int64) * K + j[:, None]) * K + k[None, :]
    tl.store(to, bend, mask=(j < K)[:, None] & (k < K)[None, :])


@triton.jit
@no_type_check
def _slopes(
    scores,
    free,
    column_potential,
    at,
    n,
    k,
    jumps,
    K: tl.constexpr,
    EXP: tl.constexpr,
    MASKED: tl.constexpr,
    ACC: tl.constexpr,
):
    """W of a tile, zero outside it and at forbidden cells; at = (factor, a, inside)."""
    live = at[2][:, None] & (k < K)[None, :]
    x = cells(scores, n, k, live, jumps[0], jumps[1], 0.0).to(ACC)
    b = tl.load(column_potential + k, mask=k < K, other=0.0).to(ACC)
    if MASKED:
        live = live & (cells(free, n, k, live, jumps[2], jumps[3], 0) != 0)
    t = at[0] * x + at[1][:, None] + b[None, :]
    _, slope = link(tl.where(live, t, float("-inf")), EXP)
    return slope

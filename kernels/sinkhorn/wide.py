"""S x = g of a Newton step where S was not formed in registers: many columns, or float64.

`apply_schur` multiplies by S = diag(weight) - bend in one reading of the scores; conjugate
gradients preconditioned by the diagonal stop by their own residual, problem by problem, and rounds
launched after that return at once: nothing is read by the host.

`couple_columns` forms bend_jl = sum_i W_ij W_il / h_i for solvers that use the system many times:
it is cut into blocks of columns, and a program adds up one block over its share of the rows, making
W again from the scores.
"""

from dataclasses import dataclass
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl

from ._tile import (
    PARTIALS,
    Tile,
    cdiv,
    dot_precision,
    factors,
    kernel,
    launch_each,
    padded,
    partials,
    spread,
    walk,
    walk_tile,
    working_dtype,
)
from ._walk import add_partials, begin, block, here, line, link, one, tile_of, views, whole
from .newton import _centre, _hair, _live

ROUNDS = 48
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}  # residual over the first one
ROWS = {torch.float32: 32, torch.float64: 8}  # of a step; float64 takes no matrix product


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
    width = right.shape[1]
    held = weight if still is None else still
    for _ in range(min(width + 4, ROUNDS) if rounds is None else rounds):
        taken = (apply_schur(at, resume.way, idle=resume.done), weight, diagonal, held)
        strides = (x.stride(0) for x in taken)
        launch_each(_round, weight, *taken, *strides, *_kept(resume), STILL=still is not None)
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
    held = weight if still is None else still
    taken = (weight, diagonal, right, held, loose, fine)
    launch_each(
        _first,
        weight,
        *taken,
        *(x.stride(0) for x in taken),
        state.done if idle is None else idle,
        *_kept(state),
        STILL=still is not None,
        GAUGE=gauge is not None,
        IDLE=idle is not None,
    )
    return state


def _kept(state: Solving) -> tuple[torch.Tensor, ...]:
    return state.x, state.rest, state.way, state.power, state.done


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
    tile = tile or walk_tile(at.scores, sharing=at.scores.shape[0])
    part = partials(at.scores, tile, 1)
    walk(
        _apply,
        tile,
        at.scores,
        at.free,
        *state(at),
        x,
        part if idle is None else idle,
        part,
        EXP=at.yields is not None,
        ANSWER=answer,
        IDLE=idle is not None,
    )
    return add_partials(part, idle).select(1, 0)


def state(at: At) -> tuple[Any, ...]:
    """Scale, tau and potentials, as a launch takes them."""
    scale = factors(at.scale, at.yields, at.scores.shape[0])
    return *scale, at.row_potential, at.column_potential


def couple_columns(at: At, height: torch.Tensor, *, programs: int | None = None) -> torch.Tensor:
    """The bend, (B, K, K).

    Args:
        at: where the system is taken.
        height: h, (B, N) contiguous: the rows' sums of slopes, (1 + tau) times where they yield.
        programs: shares of the rows, instead of the chosen number.
    """
    batch, count, width = at.scores.shape
    kind = working_dtype(at.scores)
    columns = 16 if kind == torch.float64 else min(64, padded(width))
    blocks = cdiv(width, columns)
    rows = ROWS[kind] if width % 16 == 0 else min(16, ROWS[kind])  # as in `tile_for`
    steps = cdiv(count, rows)
    programs = programs or max(1, PARTIALS // max(1, batch * blocks * blocks))
    steps = cdiv(steps, min(programs, steps))
    programs = cdiv(count, rows * steps)
    warps = 1 if kind == torch.float64 else 4
    tile = Tile(rows=rows, columns=columns, warps=warps, programs=programs, steps=steps)
    part = partials(at.scores, tile, width)
    walk(
        _bend,
        tile,
        at.scores,
        at.free,
        *state(at),
        height,
        part,
        blocks=(blocks, blocks),
        EXP=at.yields is not None,
        PRECISION=dot_precision(at.scores),
        num_stages=1,
    )
    return add_partials(part)


@kernel
@no_type_check
def _first(
    weight, diagonal, right, still, gauge, close,
    stride_weight, stride_diagonal, stride_right, stride_still, stride_gauge, stride_close,
    idle, x, rest, way, power, done,
    K: tl.constexpr, STILL: tl.constexpr, GAUGE: tl.constexpr, IDLE: tl.constexpr,
    ACC: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, k, wide = whole(K, BLOCK_K)
    at = problem * K + k
    g = line(right, problem, stride_right, k, 1, wide).to(ACC)
    pivot = line(diagonal, problem, stride_diagonal, k, 1, wide).to(ACC)
    live = _live(still, problem, stride_still, k, K, STILL)
    loose = one(gauge, problem, stride_gauge, ACC) if GAUGE else 1.0
    g = _centre(g, live, loose, ACC)
    pivot = tl.where(live, pivot, 0.0)
    pivot += _hair(pivot, live, ACC)
    ahead = g / tl.where(live & (pivot > 0), pivot, 1.0)
    size = tl.sum(g * ahead, axis=0)
    fine = one(close, problem, stride_close, ACC)

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
    image, weight, diagonal, still, stride_image, stride_weight, stride_diagonal, stride_still,
    x, rest, way, power, done,
    K: tl.constexpr, STILL: tl.constexpr, ACC: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, k, wide = whole(K, BLOCK_K)
    if tl.load(done + problem) != 0:
        return
    at = problem * K + k
    live = _live(still, problem, stride_still, k, K, STILL)
    own = line(diagonal, problem, stride_diagonal, k, 1, live).to(ACC)
    hair = _hair(own, live, ACC)
    extra = own - line(weight, problem, stride_weight, k, 1, live).to(ACC)
    pivot = tl.where(live & (own + hair > 0), own + hair, 1.0)
    step = tl.load(way + at, mask=wide, other=0.0)
    answer = line(image, problem, stride_image, k, 1, live).to(ACC)
    answer += (extra + hair) * step

    before, goal = tl.load(power + problem * 2), tl.load(power + problem * 2 + 1)
    bow = tl.sum(tl.where(live, step * answer, 0.0), axis=0)
    length = tl.where(bow > 0, before / tl.where(bow > 0, bow, 1.0), 0.0)
    left = tl.load(rest + at, mask=wide, other=0.0)
    left = tl.where(live, left - length * answer, 0.0)
    ahead = left / pivot
    after = tl.sum(left * ahead, axis=0)
    found = tl.load(x + at, mask=wide, other=0.0)
    tl.store(x + at, found + length * step, mask=wide)
    tl.store(rest + at, left, mask=wide)
    tl.store(way + at, ahead + after / before * step, mask=wide)
    tl.store(power + problem * 2, after)
    tl.store(done + problem, ((after <= goal) | (bow <= 0)).to(tl.int32))


@kernel
@no_type_check
def _apply(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem,
    row_potential, column_potential, vector, idle, part, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, EXP: tl.constexpr, ANSWER: tl.constexpr,
    IDLE: tl.constexpr, MASKED: tl.constexpr,
    ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, k, wide = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    if IDLE and tl.load(idle + problem) != 0:
        return
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    at = here(scale, scale_problem, tau, tau_problem, column_potential, problem, k, K, EXP, ACC)
    v = tl.load(vector + problem * K + k, mask=wide, other=0.0).to(ACC)
    sums = tl.zeros([BLOCK_K], ACC)
    for step in range(0, steps):
        n, inside, cell = block(start, step, rows, wide, BLOCK_N)
        x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        t = tl.where(live, at.factor * x + a[:, None] + at.b[None, :], float("-inf"))
        _, slope = link(t, EXP)
        steep = tl.sum(slope, axis=1) * (1.0 + at.tau)
        mean = tl.sum(slope * v[None, :], axis=1) / tl.where(steep > 0, steep, 1.0)
        if ANSWER:
            sums += tl.sum(slope * mean[:, None], axis=0)
        else:
            sums += tl.sum(slope * (v[None, :] - mean[:, None]), axis=0)
    tl.store(part + tl.program_id(0).to(tl.int64) * K + k, sums, mask=wide)


@kernel
@no_type_check
def _bend(
    scores, x_b, x_n, x_k, free, f_b, f_n, f_k, scale, scale_problem, tau, tau_problem,
    row_potential, column_potential, height, part, rows, programs, steps,
    K: tl.constexpr, WIDE: tl.constexpr, EXP: tl.constexpr, PRECISION: tl.constexpr,
    MASKED: tl.constexpr, ACC: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    problem, start, lane, _ = begin(programs, steps, K, BLOCK_N, BLOCK_K)
    j = tl.program_id(1) * BLOCK_K + lane
    k = tl.program_id(2) * BLOCK_K + lane
    scores, free = views(scores, x_b, x_n, x_k, free, f_b, f_n, f_k, problem, WIDE)
    factor = one(scale, problem, scale_problem, ACC)
    b = column_potential + problem * K
    bend = tl.zeros([BLOCK_K, BLOCK_K], ACC)
    for step in range(0, steps):
        n = start + step * BLOCK_N + tl.arange(0, BLOCK_N)
        inside = n < rows
        a = tl.load(row_potential + problem * rows + n, mask=inside, other=0.0).to(ACC)
        h = tl.load(height + problem * rows + n, mask=inside, other=0.0).to(ACC)
        at = (factor, a, inside)
        left = _slopes(scores, free, b, at, n, j, K, EXP, MASKED, ACC)
        right = _slopes(scores, free, b, at, n, k, K, EXP, MASKED, ACC)
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
    scores, free, b, at, n, k,
    K: tl.constexpr, EXP: tl.constexpr, MASKED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """W of a tile, zero outside it and at forbidden cells; at = (factor, a, inside)."""
    cell = at[2][:, None] & (k < K)[None, :]
    x, live = tile_of(scores, free, n, k, cell, MASKED, ACC)
    b = tl.load(b + k, mask=k < K, other=0.0).to(ACC)
    t = at[0] * x + at[1][:, None] + b[None, :]
    _, slope = link(tl.where(live, t, float("-inf")), EXP)
    return slope

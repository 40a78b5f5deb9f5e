"""Add up, in order, what programs have found in their shares of the rows.

The number of programs P follows from the shape alone, so sums are the same bit for bit on every
run. Sums that may under- or overflow are pairs of lines (largest, sum of exp(value - largest)).
"""

from typing import no_type_check

import torch
import triton.language as tl

from ._tile import cdiv, kernel, launch, launch_options, merge_max, or_alone, triton_dtype

BLOCK = 128  # sums that a program takes, 32 partial sums of each at once


def add_partials(
    part: torch.Tensor, idle: torch.Tensor | None = None, *, alone: bool = False
) -> torch.Tensor:
    """Sum (B, P, L, K) over P, to (B, L, K); idle problems are left out.

    With `alone`, a sum of 0 becomes the one that changes nothing, 1.
    """
    if part.shape[1] == 1 and not alone:
        return part.select(1, 0)
    return _add(part, idle, part.shape[2], log=False, alone=alone)


def add_log_partials(part: torch.Tensor, *, alone: bool = False) -> torch.Tensor:
    """Log-sums (B, K) of pairs (B, P, 2, K); with `alone`, that of nothing is 0, else -inf."""
    return _add(part, None, 1, log=True, alone=alone).select(1, 0)


def _add(
    part: torch.Tensor, idle: torch.Tensor | None, lines: int, *, log: bool, alone: bool
) -> torch.Tensor:
    batch, programs, _, width = part.shape
    total = torch.empty((batch, lines, width), dtype=part.dtype, device=part.device)
    blocks = cdiv(lines * width, BLOCK)
    launch(
        _reduce,
        (batch * blocks,),
        part,
        part if idle is None else idle,
        total,
        programs,
        lines * width,
        blocks,
        IDLE=idle is not None,
        LOG=log,
        ALONE=alone,
        ACC=triton_dtype(part),
        BLOCK_P=32,
        BLOCK=BLOCK,
        **launch_options(4),
    )
    return total


@kernel
@no_type_check
def _reduce(
    part,
    idle,
    total,
    programs,
    values,
    blocks,
    IDLE: tl.constexpr,
    LOG: tl.constexpr,
    ALONE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK: tl.constexpr,
):
    problem = (tl.program_id(0) // blocks).to(tl.int64)
    if IDLE and tl.load(idle + problem) != 0:
        return
    v = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    step = 2 * values if LOG else values  # from one program to the next
    part += problem * programs * step
    top, sums = tl.full([BLOCK], float("-inf"), ACC), tl.zeros([BLOCK], ACC)
    for start in range(0, programs, BLOCK_P):
        p = (start + tl.arange(0, BLOCK_P)).to(tl.int64)
        cell = (p < programs)[:, None] & (v < values)[None, :]
        at = part + p[:, None] * step + v[None, :]
        if LOG:
            value = tl.load(at, mask=cell, other=float("-inf"))
            value += tl.log(tl.load(at + values, mask=cell, other=0.0))
            top, sums = merge_max(top, sums, value, 0)
        else:
            sums += tl.sum(tl.load(at, mask=cell, other=0.0), axis=0)
    if LOG:
        sums = tl.where(top == float("-inf"), 0.0, top) + tl.log(sums)
    if ALONE:
        sums = or_alone(sums, LOG)
    tl.store(total + problem * values + v, sums, mask=v < values)

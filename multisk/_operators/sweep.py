"""A number of sweeps as one operator."""

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn.functional import logsigmoid

from multisk._backends.choose import kernels_run
from multisk._backends.torch import passes
from multisk._backends.triton import kernels
from multisk._operators.asked import Asked


@custom_op("multisk::sweeps", mutates_args=())
def sweeps(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor]:
    """Potentials (B, N), (B, K) after `steps` sweeps of two channel groups.

    Args:
        scores: (B, N, K).
        scales: (B, 2): scale over temperature of the plan's group and of the other.
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        start: Nothing, or the potentials (a, b) after earlier sweeps.
        steps: How many sweeps.
        rows_first: Whether a sweep is row, column, depth; else column, depth, row.
    """
    asked = Asked(scores, scales, margins, free)
    run = in_kernels if kernels_run(scores) else in_torch
    return run(asked, start, steps, rows_first=rows_first)


@sweeps.register_fake
def _(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor]:
    return margins[0].new_empty(margins[0].shape), margins[2].new_empty(margins[2].shape)


def in_kernels(
    asked: Asked, start: list[Tensor], steps: int, *, rows_first: bool, kept: Any = None
) -> tuple[Tensor, Tensor]:
    """All sweeps in one launch where they fit, else two launches a sweep."""
    scores, scales, budgets = asked.scores, asked.scale, asked.budgets
    if not start and steps > 0 and stays_resident(scores):
        with contextlib.suppress(kernels.resident.Refused):
            return kernels.resident.resident_sweeps(
                scores, scales, budgets, steps, rows_first=rows_first, kept=kept
            )

    a, b = first_potentials(asked, start)
    for step in range(steps):
        first = not start and step == 0
        plain = rows_first or not first
        here = None
        if kept is not None:
            here = kernels.sweep.Kept(*(part.select(0, step) for part in kept))
        a, b = kernels.sweep.sweep(
            scores, scales, a, b, budgets, first=first, row_step=plain, kept=here
        )

    return a, b


def stays_resident(scores: Tensor) -> bool:
    """Whether all sweeps go into one launch, the scores staying in registers."""
    tile = kernels.resident.resident_tile(scores.shape[1], scores.shape[2], scores.dtype)
    count = 0
    if scores.is_cuda:
        count = torch.cuda.get_device_properties(scores.device).multi_processor_count

    return kernels.resident.fits(scores.shape[0], tile, count)


def first_potentials(asked: Asked, start: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Copies of `start` that the kernels may write into, or room for the first sweep's."""
    if start:
        return start[0].contiguous().clone(), start[1].contiguous().clone()
    rows, _, columns, _ = asked.margins
    return torch.empty_like(rows).contiguous(), torch.empty_like(columns).contiguous()


def in_torch(
    asked: Asked, start: list[Tensor], steps: int, *, rows_first: bool
) -> tuple[Tensor, Tensor]:
    """The operator's meaning: sweeps over the softmax of two groups."""
    scores, free = asked.scores, asked.free
    high, low = (asked.scale[:, end, None, None].to(scores.dtype) for end in (0, 1))
    rows, row_cells, columns, column_cells = asked.margins
    a, b = start if start else (torch.zeros_like(rows), torch.zeros_like(columns))
    for step in range(steps):
        # Eq. (5) after a depth line, the raw kernels before the first one.
        if start or step > 0:
            t = passes.exponent(scores, high - low, a, b, None)
            top, rest = logsigmoid(t), logsigmoid(-t)
        else:
            top, rest = scores * high, scores * low

        if free is not None:
            top, rest = top.masked_fill(~free, -torch.inf), rest.masked_fill(~free, -torch.inf)

        if rows_first or start or step > 0:
            grow, top_sum = passes.log_row_scale(top, rows)
            shrink, rest_sum = passes.log_row_scale(rest, row_cells - rows)
        else:
            grow = passes.log_ratio(rows, torch.zeros_like(rows))
            shrink = passes.log_ratio(row_cells - rows, torch.zeros_like(rows))
            top_sum = (top + grow[..., None]).logsumexp(-2)
            rest_sum = (rest + shrink[..., None]).logsumexp(-2)

        # Eq. (7), (8) in logarithms.
        a = a + grow - shrink
        b = b + passes.log_ratio(columns, top_sum.to(columns))
        b = b - passes.log_ratio(column_cells - columns, rest_sum.to(columns))

    return a.clone(), b.clone()

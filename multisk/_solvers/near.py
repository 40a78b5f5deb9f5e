"""Compiled Newton passes from a start, on the smaller side, cold problems around the start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import loops_from_start
from multisk._backends.numba import solve as cpu
from multisk._problem.status import Status, inner
from multisk._problem.system import System, transpose
from multisk._solvers.around import around
from multisk._solvers.precise import put

LOOSE = 1e-3  # relative error on the way from one temperature to another
SHORT = 16  # most passes at each of them
TURNS = 3  # around a start, and around what was found where that was far


@dataclass(frozen=True)
class Limits:
    """When passes end."""

    tolerance: float
    most: int
    polish: bool  # whether float64 goes on beyond the tolerance


def near(system: System, start: Tensor, limits: Limits) -> Raw:
    """The answer from columns' potentials that are near; an infinite error where passes fail."""
    raw, steps = lost(system, start), torch.zeros_like(start[:, 0], dtype=torch.int64)
    for _ in range(TURNS):
        cut = around(system, start)
        if cut is None:
            return smaller(system, start, limits)

        found = smaller(cut.system, torch.zeros_like(start), limits)
        steps = steps + found.steps
        raw = replace(cut.back(found), steps=steps)
        if cut.holds(found):
            return raw
        start = raw.column_potential

    return replace(raw, error=torch.full_like(raw.error, torch.inf))


def along(system: System, prices: Tensor, limits: Limits, heats: Sequence[float]) -> Raw:
    """`near` by way of warmer temperatures, the multiples `heats` of the system's, down to 1.

    `prices` are potentials times heat, which hardly depend on it. At the warmer ones a problem that
    has failed goes on from its last prices.
    """
    # Eq. (27), with one point of the line: prices stay as they are.
    raw, steps = lost(system, prices), torch.zeros_like(prices[:, 0], dtype=torch.int64)
    few = replace(limits, most=min(limits.most, SHORT))
    for heat in heats:
        level = replace(system, eps=system.eps * heat)
        ends = few if heat == heats[-1] else replace(few, tolerance=LOOSE, polish=False)
        raw = near(level, prices / heat, ends)
        prices, steps = raw.column_potential * heat, steps + raw.steps
        if not bool(raw.error.isfinite().any()) and heat != heats[-1]:
            return replace(raw, steps=steps)

    return replace(raw, steps=steps)


def smaller(system: System, start: Tensor, limits: Limits) -> Raw:
    """Passes on the smaller side, which the other one's answer to the start begins."""
    n, k = system.scores.shape[1:]
    if n >= k:
        return passes(system, start, limits)

    look = passes(system, start, replace(limits, most=0))
    enough = inner(limits.tolerance) if limits.polish else limits.tolerance
    if bool((look.error <= enough).all()):
        return passes(system, start, limits)
    return transposed(passes(transpose(system), look.row_potential.double(), limits))


def passes(system: System, start: Tensor, limits: Limits) -> Raw:
    """Compiled passes that search the columns; to the tolerance where no polish can be reached."""
    if loops_from_start(system) is None:
        return lost(system, start)

    named = {"tolerance": limits.tolerance, "most": limits.most, "polish": limits.polish}
    found = cpu.newton(system, start, lost, **named)
    if found is None:
        return lost(system, start)

    left = (~found.error.isfinite()).nonzero().squeeze(-1)
    if limits.polish and left.numel():
        put(found, left, passes(system.take(left), start[left], replace(limits, polish=False)))
    return found


def lost(system: System, start: Tensor | None) -> Raw:
    """No answer: an infinite error, at the start."""
    x = system.scores
    none = torch.zeros_like(x[:, 0, 0], dtype=torch.int64)
    b = x.new_zeros((x.shape[0], x.shape[2])).double() if start is None else start.clone()
    error = torch.full_like(b[:, 0], torch.inf)
    code = torch.full_like(none, Status.STALLED.code, dtype=torch.int8)
    rows = x.new_zeros(x.shape[:2])
    return Raw(torch.zeros_like(x), rows, b, error, none, none > 0, code, finite=False)


def transposed(raw: Raw) -> Raw:
    """Exchange the sides of an answer back."""
    rows = raw.column_potential.to(raw.plan.dtype)
    return replace(
        raw,
        plan=raw.plan.transpose(1, 2).contiguous(),
        row_potential=rows,
        column_potential=raw.row_potential.double(),
    )

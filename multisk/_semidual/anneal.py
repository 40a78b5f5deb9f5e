"""Optimal prices followed from a warm temperature to a cold one, problem by problem."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.sweeps import coldest
from multisk._backends.torch.tiles import violation
from multisk._problem.status import inner
from multisk._problem.system import System, widen
from multisk._semidual import ascent, bounded
from multisk._semidual.search import Search
from multisk._semidual.semidual import Point

STEP = 2.5  # between two temperatures of a transport: the least time at (2048, 1024), eps .04
LOOSE = 0.03  # relative error at which a transport is cooled further, found there as well
WARM = 40.0  # a temperature is easy when the exponents span less than this


def anneal(system: System, tolerance: float, budget: Tensor) -> tuple[Point, Tensor]:
    """Cool every problem of a batch on its own; the points and the passes they took."""
    goal, polish = finest(system, tolerance)
    return one_by_one(system, lambda one, p: descend(one, goal, int(budget[p]), polish=polish))


def ascend_each(
    system: System, b: Tensor, tolerance: float, budget: Tensor
) -> tuple[Point, Tensor]:
    """Ascend from prices that are near already."""
    goal, polish = finest(system, tolerance)

    def solve(one: System, p: int) -> tuple[Point, int]:
        return ascent.ascend(one, b[p : p + 1], goal, int(budget[p]), polish=polish)

    return one_by_one(system, solve)


def finest(system: System, tolerance: float) -> tuple[float, bool]:
    """The goal of a transport's last passes, and whether to go on: a float32 plan shows no more."""
    if system.scores.dtype == torch.float64 or not ascent.covers(system):
        return tolerance, True
    return max(inner(tolerance), ascent.FINEST), False


def one_by_one(
    system: System, solve: Callable[[System, int], tuple[Point, int]]
) -> tuple[Point, Tensor]:
    """Solve every problem of a batch on its own, in float64."""
    points, steps = [], []
    for problem in range(system.scores.shape[0]):
        one = system.take(torch.tensor([problem], device=system.scores.device))
        point, used = solve(widen(one), problem)
        points.append(narrow(point, one))
        steps.append(used)

    whole = points[0]
    if len(points) > 1:
        parts = {name: [getattr(p, name) for p in points] for name in vars(whole)}
        joined: dict[str, Any] = {
            k: None if v[0] is None else torch.cat(v) for k, v in parts.items()
        }
        whole = Point(**joined)

    return whole, torch.tensor(steps, device=system.scores.device)


def descend(system: System, tolerance: float, budget: int, *, polish: bool) -> tuple[Point, int]:
    """Cool one problem; the ratio of two temperatures adapts to how hard the last one was.

    In units of score the prices move almost linearly with the temperature, so the next ones are
    extrapolated from the last two, Eq. (27); near zero temperature that is exact.
    """
    # Kinks of intervals make even moderate temperatures hard for a handful of rows.
    warm = WARM if system.margins.upper is None else 5.0
    heat = max(1.0, reach(system) / warm)
    steady = ascent.covers(system)  # sweeps are cheap, and every pass begins with some
    loose = LOOSE if steady else 1e-2 / max(1.0, largest_load(system))
    if heat == 1.0:
        return at(system, 1.0, None, tolerance, budget, polish=polish)

    point, used = at(system, heat, None, loose, min(12, budget))
    past: tuple[float, Point] | None = None
    ratio = STEP if steady else 4.0
    while heat > 1.0 and used < budget:
        cooler = max(1.0, heat / ratio)
        start = extrapolate(past, heat, point, cooler)
        last = cooler == 1.0
        # The last temperature is solved to the tolerance, the others as far as the next one needs.
        goal = tolerance if last else loose
        most = budget - used if last and ratio < 1.5 else min(budget - used, 8)
        found, more = at(system, cooler, start, goal, most, polish=polish and last)
        used += more
        if float(found.error) <= goal:
            past, heat, point = (heat, point), cooler, found
            ratio = min(ratio * (2.0 if more <= 2 and not steady else 1.0), 64.0)
        # Out of passes, or stuck: what there is, at the temperature that was asked.
        elif used >= budget or ratio < 1.1:
            return (found if last else at(system, 1.0, start, tolerance, 0)[0]), used
        else:
            # Too large a step: half of it, from where the last good one ended.
            ratio = ratio**0.5

    if heat > 1.0:
        point, _ = at(system, 1.0, extrapolate(past, heat, point, 1.0), tolerance, 0)

    return point, used


def reach(system: System) -> float:
    """Range of the exponents that no potential can take away; of all of them for a cap."""
    if not ascent.covers(system) or isinstance(system.scale, Tensor):
        return coldest(system) or 1e4

    # Offsets of rows, then of columns, are potentials: they cost nothing at any temperature.
    y = passes.exponent(system.scores, system.scale, None, None, system.margins.free)
    for side in (-1, -2):
        top = y.amax(side, keepdim=True)
        y = y - torch.where(top.isfinite(), top, 0.0)

    return -float(y.masked_fill(y == -torch.inf, 0.0).amin())


def largest_load(system: System) -> float:
    """A part of one row must not hide in it: the slope that would move it is gone later."""
    columns = system.margins.columns
    return float(columns.max()) if columns.numel() else 1.0


def at(
    system: System,
    heat: float,
    start: tuple[Tensor, Tensor] | None,
    goal: float,
    most: int,
    *,
    polish: bool = False,
) -> tuple[Point, int]:
    """Solve at `heat` times the temperature from prices (b, a), in at most `most` passes."""
    level = replace(system, eps=system.eps * heat)
    b, a = (torch.zeros_like(system.margins.columns), None) if start is None else start
    for way in (ascent, bounded):
        if way.covers(level):
            return way.ascend(level, b, goal, most, polish=polish)

    limit = torch.full_like(b[:, 0], most, dtype=torch.int64)
    point, steps = Search(level, goal, polish=polish).run(b, a, limit)
    return point, int(steps.max())


def extrapolate(
    past: tuple[float, Point] | None, heat: float, point: Point, cooler: float
) -> tuple[Tensor, Tensor]:
    """Eq. (27): potentials to start from at a cooler temperature; potential * heat is the price."""
    b, a = point.b * heat, point.a * heat
    if past is not None:
        before, old = past
        part = (heat - cooler) / (before - heat)
        b, a = b + (b - old.b * before) * part, a + (a - old.a * before) * part

    return b / cooler, a / cooler


def narrow(point: Point, system: System) -> Point:
    """Back to the solver's precision, with the error of what is handed out."""
    if point.plan.dtype == system.scores.dtype:
        return point

    plan, a = point.plan.to(system.scores.dtype), point.a.to(system.scores.dtype)
    if system.ranks is None and system.margins.upper is None and system.relax == (None, None):
        error = violation(system, plan.double().sum(-1), plan.double().sum(-2), a, point.b)
        return replace(point, plan=plan, a=a, error=torch.maximum(error, point.error))

    error = point.error.masked_fill(~plan.flatten(1).isfinite().all(1), torch.inf)
    return replace(point, plan=plan, a=a, error=error)

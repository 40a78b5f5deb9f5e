"""Bounds that Newton alone is lost in: block ascent on the dual between Newton's directions.

Given the columns' potentials every row has its best one in closed form (21) (or as a root (16)),
and the other way round: where its sum would leave its interval it is brought to that bound, and at
the kink it rests. Alternating the two never goes down (Chizat, Peyre, Schmitzer and Vialard 2018,
"Scaling algorithms for unbalanced transport problems"), and finds out which bounds are felt; a
Newton step then solves for those that are.
"""

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._problem.system import System
from multisk._semidual.ascent import FARTHEST, FINEST, along
from multisk._semidual.interval import best_shift
from multisk._semidual.row_interval import Band, band_of, capped_rows, potentials_in
from multisk._semidual.semidual import Point, direction, mass_of, recentred, slope, visit

SWEEPS, ROOTS = 24, 4  # between two Newton steps: products with the plan, or roots of all lines


def covers(system: System) -> bool:
    """Whether rows are intervals, or columns of a transport are."""
    columns = system.groups is None and system.margins.upper is not None
    return system.ranks is None and (system.bounded_rows or columns)


def ascend(system: System, b: Tensor, goal: float, most: int, *, polish: bool) -> tuple[Point, int]:
    """From `b` to the relative error `goal` in at most `most` rounds; one problem in float64.

    A round is a few sweeps and a Newton step. With `polish` one more follows the goal, which
    squares the error.
    """
    best = here = arrive(system, b)
    used, last = 0, not polish
    while used < most:
        done = float(best.error) <= goal
        if done and (last or float(best.error) <= FINEST):
            break
        last = last or done
        used += 1
        swept = arrive(system, sweeps(system, here))
        here = step(system, swept)
        best = min((best, swept, here), key=lambda point: float(point.error))
        if float(here.error) > 4 * float(swept.error):
            here = swept  # the slope went up, the margins did not: sweeps are the safer way

    return best, used


def arrive(system: System, b: Tensor) -> Point:
    """The point at `b`, with a plan of its own."""
    plan = torch.empty_like(system.scores, memory_format=torch.contiguous_format)
    everyone = torch.ones_like(b[:, 0], dtype=torch.bool)
    point = recentred(system, visit(system, b, None, 1e-13, plan, everyone))
    point.error = torch.where(point.sums.isfinite().all(-1), point.error, torch.inf)
    return point


def sweeps(system: System, point: Point) -> Tensor:
    """Rows and columns in turn from `point`; the columns' potentials."""
    if system.groups is not None:
        return roots(system, point)

    b, start = point.b, point.a.double()
    for _ in range(SWEEPS):
        # Log sums at potential 0, rows and columns in turn.
        found = torch.matmul(point.plan, (b - point.b).exp()[..., None])[..., 0]
        a = row_answer(system, logs_of(found) - start)
        sums = torch.matmul((a - start).exp()[:, None], point.plan)[:, 0]
        new = column_answer(system, logs_of(sums) - point.b)
        far = torch.maximum((new - point.b).abs().max(), (a - start).abs().max())
        if not float(far) <= FARTHEST:
            break
        b = new

    return b


def roots(system: System, point: Point) -> Tensor:
    """The same under a cap, where every line's answer is a root."""
    margins, b = system.margins, point.b
    assert margins.row_upper is not None
    for _ in range(ROOTS):
        y = passes.exponent(system.scores, system.scale, None, b, margins.free)
        a = capped_rows(y, (margins.rows, margins.row_upper), margins.row_cells, 1e-13)
        y = passes.exponent(system.scores, system.scale, a, None, margins.free).mT
        if margins.upper is None:
            # Eq. (16) by columns; a column with nothing, or everything, rests.
            live = (margins.columns > 0) & (margins.columns < margins.column_cells)
            goal = torch.where(live, margins.columns, 0.5 * margins.column_cells)
            b = passes.row_answer(y, goal, margins.column_cells, tolerance=1e-13)
            b = torch.where(live, b, 0.0)
        else:
            bounds = margins.columns, margins.upper
            b = capped_rows(y, bounds, margins.column_cells, 1e-13)

    return b


def logs_of(sums: Tensor) -> Tensor:
    """The logarithm; of nothing the least number."""
    return sums.clamp_min(torch.finfo(sums.dtype).tiny).log()


def row_answer(system: System, logs: Tensor) -> Tensor:
    """The rows' best potentials from their log sums at 0."""
    if system.bounded_rows:
        return potentials_in(band_of(system, logs))
    return passes.log_ratio(system.margins.rows, logs)


def column_answer(system: System, logs: Tensor) -> Tensor:
    """The columns' best potentials; with a known mass their common shift is put right, too."""
    lower, upper = system.margins.columns, system.margins.upper
    if upper is None:
        return passes.log_ratio(lower, logs)

    # Eq. (21) with the level 0.
    closed = upper <= 0
    low, high = (torch.where(closed, 0.0, bound.log() - logs) for bound in (lower, upper))
    b = potentials_in(Band(low, high, torch.zeros_like(logs[:, :1])))
    mass = mass_of(system)
    return b if mass is None else b + best_shift(b, lower, upper, mass)


def step(system: System, point: Point) -> Point:
    """A Newton step, cut until the slope along it has not turned."""
    move = direction(system, point, torch.full_like(point.b[:, :1], torch.inf))
    ahead = float(slope(system, point, move, ahead=True))
    return along(
        point,
        move,
        ahead,
        visit=lambda b: arrive(system, b),
        slope=lambda new: float(slope(system, new, move, ahead=False)),
    )

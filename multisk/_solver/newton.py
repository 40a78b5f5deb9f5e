"""Newton on the columns' dual: rows are eliminated exactly, one pass over the scores a step."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk._margins import Margins
from multisk._solver import fused
from multisk._solver.base import Raw
from multisk._solver.checks import check_gradient, check_number, check_steps
from multisk._solver.semidual import Point, direction, slope, visit
from multisk._solver.sweeps import coldest
from multisk._status import Status
from multisk._system import System

ANNEAL_BELOW = 40.0  # a temperature is easy when the exponents span less than this


@dataclass(frozen=True, kw_only=True)
class Newton:
    """Newton's method on the semi-dual: 3 to 5 steps where sweeps need hundreds.

    Every step finds each row's potential exactly (a bracketed scalar root) and solves one K x K
    system for the columns'. Steps that overshoot along the dual are cut back; temperatures on
    which that happens too often are approached from warmer ones.

    Args:
        tolerance: Largest relative violation of a row or column sum that counts as converged.
        max_steps: Limit on passes over the scores after the first.
        gradient: "implicit" differentiates the limit, "none" detaches.

    Example:
        >>> import torch, multisk
        >>> multisk.solve(torch.zeros(4, 2), multisk.MultiAssignment(k=1), Newton()).plan[0]
        tensor([0.5000, 0.5000])
    """

    tolerance: float | int = 1e-6
    max_steps: int = 50
    gradient: str | None = "implicit"

    def __post_init__(self) -> None:
        check_steps("max_steps", self.max_steps)
        check_number("tolerance", self.tolerance)
        check_gradient(self.gradient, ("implicit", "none"))

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve every problem of the batch."""
        if not system.two_groups:
            raise ValueError("damping must have at most two levels for Newton (use Sinkhorn)")
        if fused.takes(system):
            return fused.newton(system, init, float(self.tolerance), self.max_steps)
        return self.run_in_torch(system, init)

    def run_in_torch(self, system: System, init: Tensor | None) -> Raw:
        """The same in plain torch, on any device."""
        n, k = system.scores.shape[1:]
        if n < k and init is None and system.group is None and system.margins.upper is None:
            return transposed(self.solve(transpose(system), None))
        return self.solve(system, init)

    def solve(self, system: System, init: Tensor | None) -> Raw:
        """Directly first; problems that resist are annealed from a warmer temperature."""
        search = Search(system, float(self.tolerance))
        b = torch.zeros_like(system.margins.columns) if init is None else init.double()
        widest = coldest(system)
        hard = widest is None or widest > ANNEAL_BELOW
        direct = min(self.max_steps, 10) if hard else self.max_steps
        point, steps = search.run(b, None, direct)
        left = point.error > self.tolerance
        if hard and direct < self.max_steps and bool(left.any()):
            index = left.nonzero().squeeze(-1)
            better, more = self.anneal(system.take(index), self.max_steps - direct)
            point.put(index, better)
            steps[index] += more
        return self.wrap(point, steps)

    def anneal(self, system: System, budget: int) -> tuple[Point, Tensor]:
        """Follow the solution from a warm temperature down to the one asked for."""
        widest = coldest(system) or 1e4
        factor = 1.0
        while widest / factor > ANNEAL_BELOW:
            factor *= 3.0
        b, a = torch.zeros_like(system.margins.columns), None
        used = torch.zeros(b.shape[0], dtype=torch.int64, device=b.device)
        while True:
            level = replace(system, eps=system.eps * factor)
            last = factor == 1.0
            search = Search(level, float(self.tolerance) if last else 1e-2)
            most = max(int(budget - used.max()), 1)
            point, steps = search.run(b, a, most if last else min(most, 8))
            used += steps
            if last:
                return point, used
            cooler = max(factor / 3.0, 1.0)
            b, a = point.b * (factor / cooler), point.a * (factor / cooler)
            factor = cooler

    def wrap(self, point: Point, steps: Tensor) -> Raw:
        """Judge the last point."""
        good = point.error <= self.tolerance
        missed = torch.where(steps >= self.max_steps, Status.MAX_STEPS.code, Status.STALLED.code)
        code = torch.where(good, Status.CONVERGED.code, missed).to(torch.int8)
        return Raw(point.plan, point.a, point.b, point.error, steps, good, code)


class Search:
    """Newton directions with steps cut where the dual's slope says they went too far."""

    def __init__(self, system: System, tolerance: float) -> None:
        self.system, self.tolerance = system, tolerance
        # In float64 one more step after the tolerance is reached squares the error: gradients and
        # comparisons then see the limit itself.
        double = system.scores.dtype == torch.float64
        self.finest = 1e-10 if double else tolerance
        self.row_tolerance = 1e-3 * self.finest if double else 0.1 * tolerance

    def run(self, b: Tensor, a: Tensor | None, most: int) -> tuple[Point, Tensor]:
        """From `b`, at most `most` passes after the first; the best point and passes used."""
        point = visit(self.system, b, a, self.row_tolerance)
        best = point.copy()
        steps = torch.zeros(b.shape[0], dtype=torch.int64, device=b.device)
        base, move, length, idle = b, None, torch.ones_like(b[:, :1]), torch.zeros_like(steps)
        slopes = torch.zeros_like(b[:, 0])
        polished = best.error <= self.finest
        for _ in range(most):
            reached = best.error <= self.tolerance
            live = torch.where(reached, ~polished, idle < 8)
            if not bool(live.any()):
                break
            polished = reached
            fresh = direction(self.system, point)
            if move is None:
                move, slopes = fresh, slope(self.system, point, fresh, ahead=True)
            else:
                behind = slope(self.system, point, move, ahead=False)
                accept = behind <= 0.5 * slopes.abs()
                cut = (slopes.abs() / (slopes.abs() + behind)).clamp(0.1, 0.7)[:, None]
                length = torch.where(accept[:, None], 1.0, length * cut)
                base = torch.where(accept[:, None], point.b, base)
                slopes = torch.where(accept, slope(self.system, point, fresh, ahead=True), slopes)
                move = torch.where(accept[:, None], fresh, move)
            target = torch.where(live[:, None], base + length * move, best.b)
            point = visit(self.system, target, point.a, self.row_tolerance)
            steps += live
            better = point.error < best.error
            idle = torch.where(better, 0, idle + 1)
            best.put(better.nonzero().squeeze(-1), point.pick(better))
        return best, steps


def transpose(system: System) -> System:
    """The same equations with rows and columns exchanged."""
    margins = system.margins
    rows = margins.columns.to(system.scores.dtype)
    free = None if margins.free is None else margins.free.transpose(1, 2)
    turned = Margins(
        rows,
        margins.rows.double(),
        None,
        margins.column_unit.to(rows),
        margins.row_unit.double(),
        margins.column_cells.to(rows),
        margins.row_cells.double(),
        free,
    )
    relax = (system.relax[1], system.relax[0])
    return replace(
        system, scores=system.scores.transpose(1, 2), margins=turned, relax=relax, code=None
    )


def transposed(raw: Raw) -> Raw:
    """Exchange the sides of an answer back."""
    rows = raw.column_potential.to(raw.plan.dtype)
    return replace(
        raw,
        plan=raw.plan.transpose(1, 2).contiguous(),
        row_potential=rows,
        column_potential=raw.row_potential.double(),
    )

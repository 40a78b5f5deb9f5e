"""Newton on the columns' dual: rows are eliminated exactly, one pass over the scores a step."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk import _cpu
from multisk._margins import Margins
from multisk._solver import fused, interior
from multisk._solver.anneal import WARM, anneal, narrow, widen
from multisk._solver.base import Raw
from multisk._solver.checks import check_gradient, check_number, check_steps
from multisk._solver.search import Search
from multisk._solver.semidual import Point
from multisk._solver.sweeps import coldest
from multisk._status import Status
from multisk._system import System


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
        limits = {"tolerance": float(self.tolerance), "most": self.max_steps}
        fast = _cpu.newton(system, init, self.run_in_torch, **limits)
        return self.run_in_torch(system, init) if fast is None else fast

    def run_in_torch(self, system: System, init: Tensor | None) -> Raw:
        """The same in plain torch, on any device."""
        n, k = system.scores.shape[1:]
        if n < k and init is None and system.group is None and system.margins.upper is None:
            return transposed(self.solve(transpose(system), None))
        return self.solve(system, init)

    def solve(self, system: System, init: Tensor | None) -> Raw:
        """Directly first, unless that is hopeless; what resists is approached from afar."""
        search = Search(system, float(self.tolerance))
        b = torch.zeros_like(system.margins.columns) if init is None else init.double()
        direct = patience(system, warm=init is not None)
        point, steps = search.run(b, None, direct.clamp_max(self.max_steps))
        left = (point.error > self.tolerance) & (steps < self.max_steps)
        if bool(left.any()):
            index = left.nonzero().squeeze(-1)
            budget = self.max_steps - steps[index]
            better, more = resist(system.take(index), float(self.tolerance), budget)
            point.put(index, better)
            point.plan[index] = better.plan.to(point.plan.dtype)
            steps[index] += more
        return self.wrap(point, steps)

    def wrap(self, point: Point, steps: Tensor) -> Raw:
        """Judge the last point."""
        good = point.error <= self.tolerance
        missed = torch.where(steps >= self.max_steps, Status.MAX_STEPS.code, Status.STALLED.code)
        code = torch.where(good, Status.CONVERGED.code, missed).to(torch.int8)
        return Raw(point.plan, point.a, point.b, point.error, steps, good, code)


def patience(system: System, *, warm: bool) -> Tensor:
    """Passes of the direct search: none where a column has hardly a cell between 0 and 1."""
    x = system.scores
    passes = torch.full(x.shape[:1], 1 << 30, dtype=torch.int64, device=x.device)
    widest = coldest(system)
    if widest is not None and widest <= WARM:
        return passes
    passes.fill_(8)
    if widest is not None and interior.covers(system) and x.numel():
        low, high = torch.aminmax(x.flatten(1), dim=1)
        scale = system.scale
        spread = (high - low) * (scale.flatten() if isinstance(scale, Tensor) else scale)
        passes[spread <= WARM] = 1 << 30
        if not warm:
            passes[spread > 4 * x.shape[1]] = 0
    return passes


def resist(system: System, tolerance: float, budget: Tensor) -> tuple[Point, Tensor]:
    """Cold problems: by way of the linear programme, or cooled down where that is not offered."""
    if not interior.covers(system):
        return anneal(system, tolerance, budget)
    wide = widen(system)
    b, a, used = interior.prices(wide, budget)
    point, steps = Search(wide, tolerance).run(b, a, budget - used)
    return narrow(point, system), used + steps


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

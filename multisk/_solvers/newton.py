"""Newton on the columns' dual: rows are eliminated exactly, one pass over the scores a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from multisk._backends import operators
from multisk._backends.base import Raw
from multisk._backends.choose import (
    RANGE,
    doubles,
    loops_for,
    loops_for_newton,
    loops_from_start,
    one_operator,
    retriable,
    span,
)
from multisk._backends.numba import solve as cpu
from multisk._backends.numba.available import compiled
from multisk._backends.torch.sweeps import coldest
from multisk._backends.torch.tiles import violation
from multisk._backends.triton.sweeps import kernel_sweeps
from multisk._problem.problem import to_python_numbers
from multisk._problem.sharding import total
from multisk._problem.start import settled
from multisk._problem.status import inner, stop_at, verdict
from multisk._problem.system import System, transpose, widen
from multisk._problem.types import Number, Whole
from multisk._semidual import ascent, bounded, interior
from multisk._semidual.anneal import WARM, anneal, ascend_each, narrow
from multisk._semidual.multinomial import solve_groups
from multisk._semidual.search import HELD, Search
from multisk._semidual.semidual import Point
from multisk._solvers.near import LOOSE, Limits, along, near, transposed
from multisk._solvers.options import check_gradient, check_number, check_steps
from multisk._solvers.precise import Run, precisely, put, retried, with_verdict
from multisk._solvers.sinkhorn import Sinkhorn

FEW = 14  # passes of one way for a transport before the next one is tried
CLOSE = 0.3  # relative error from which an assignment's passes go on, whatever they have cost
NEAR = 10.0  # relative error from which ascent is worth more than a new start
ASTRAY = 0.6  # error at b = 0 from which full Newton steps overshoot: uneven columns, none even
EASY = 50.0  # range of the exponents from which an assignment is cooled
RATIOS = 4.0, 2.0  # between two of its temperatures, and between two where that fails
WARMER = 4.0, 2.0, 1.0  # temperatures from a start that is too far off
MANY, TINY = 8, 1 << 10  # problems, and cells of one, from which cooling is not the faster way
ROWS = 64  # rows a column at most
COLDEST = 1e4  # range of the exponents up to which an assignment is cooled,
STEEP = 64 * EASY  # and above which it is cooled once: what that leaves has whole loads at best
SWEEPS = 24  # most sweeps at the first of them
SHORTER = 8  # passes in torch, before the first of another way
DECADES = 1e3  # largest mass over the least one from which the programme misses the least


@dataclass(frozen=True, kw_only=True)
class Newton:
    """Newton's method on the semi-dual, Eq. (11) to (13): 3 to 5 steps where sweeps need hundreds.

    Every step finds each row's potential exactly (a bracketed scalar root) and solves one K x K
    system for the columns'; after a step that overshot along the dual the next ones are damped.
    The smaller side of the scores is the one that is searched. What runs when:

    - directly, where the exponents span at most 40, and for up to 8 passes elsewhere;
    - an assignment that this leaves, where the compiled loops serve: cooled down, from at most 24
      sweeps at an easy temperature by a few passes at every next one;
    - what that leaves, and problems so cold that a column has hardly a cell between 0 and 1: an
      interior-point path to the prices of the linear programme (6 to 12 passes at any
      temperature), and the direct search from there;
    - relaxed margins, more than 768 columns or 2^22 cells: cooled down from a warm temperature;
    - more than 768 columns: the system by conjugate gradients, no K x K matrix;
    - more than two channel scales: sweeps, then truncated Newton on all potentials.

    Args:
        tolerance: Largest relative violation of a row or column sum that counts as converged.
        max_steps: Limit on passes over the scores after the first, of any of these kinds; those at
            the temperatures of a cooling have limits of their own.
        gradient: "implicit" differentiates the limit, "none" detaches.

    Example:
        >>> import torch, multisk
        >>> multisk.solve(torch.zeros(4, 2), multisk.MultiAssignment(k=1), Newton()).plan[0]
        tensor([0.5000, 0.5000])
    """

    tolerance: Number = 1e-6
    max_steps: Whole = 50
    gradient: str | None = "implicit"

    def __post_init__(self) -> None:
        to_python_numbers(self, "tolerance", "max_steps")
        check_steps("max_steps", self.max_steps)
        check_number("tolerance", self.tolerance)
        check_gradient(self.gradient, ("implicit", "none"))

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve every problem of the batch."""
        return self.follow(system, init, polish=True)

    def follow(
        self, system: System, init: Tensor | None, *, polish: bool, instead: Run | None = None
    ) -> Raw:
        """`run`; without `polish` float64 ends at the tolerance, as float32 does.

        `instead` takes what the compiled passes leave in place of torch, and what is so far from
        the solution that they had better not begin.
        """
        init = settled(system, init)
        if not system.two_groups:
            return self.run_groups(system, init)

        again = partial(self.once, instead=instead)
        loops = (loops_for_newton if init is None else loops_from_start)(system)
        if doubles(system) and (system.groups is None or loops is not None):
            wide = precisely(system, init, again)
            return with_verdict(wide, self.tolerance, self.max_steps)
        if init is not None and compiled(loops):
            return self.from_start(system, init, again, polish=polish)

        slow = self.run_in_torch
        if init is not None and (retriable(system) or loops is not None):
            slow = self.afresh
        elif cools(system):
            slow = self.cooled
        limits = {"tolerance": float(self.tolerance), "most": self.max_steps, "polish": polish}
        far = math.inf if instead is None else ASTRAY
        raw = cpu.newton(system, init, instead or slow, **limits, far=far)
        if raw is not None:
            raw = retried(raw, system, init, again, self.max_steps) if retriable(system) else raw
            return with_verdict(raw, self.tolerance, self.max_steps)
        if one_operator(system):
            return operators.newton(system, init, float(self.tolerance), self.max_steps)

        return slow(system, init)

    def from_start(self, system: System, start: Tensor, again: Run, *, polish: bool) -> Raw:
        """Compiled passes from a start; what they leave is solved afresh."""
        if system.scores.dtype == torch.float32 and span(system) < RANGE[torch.float32]:
            raw = near(system, start, self.limits(polish=polish))
            raw = with_verdict(raw, self.tolerance, self.max_steps)
            raw = retried(raw, system, start, again, self.max_steps)
            return with_verdict(raw, self.tolerance, self.max_steps)

        if system.scores.dtype == torch.float64:
            raw = self.reheated(system, start, polish=polish)
        else:
            raw = self.in_double(system, start, Newton.reheated)
        raw = with_verdict(raw, self.tolerance, self.max_steps)
        left = (~raw.converged & (raw.steps < self.max_steps)).nonzero().squeeze(-1)
        if left.numel():
            put(raw, left, self.afresh(system.take(left), start[left]))
        return raw

    def limits(self, *, polish: bool) -> Limits:
        """When compiled passes end."""
        return Limits(float(self.tolerance), self.max_steps, polish)

    def reheated(self, system: System, init: Tensor | None, *, polish: bool) -> Raw:
        """Compiled passes from a start; where they fail, by way of temperatures a little warmer.

        Scores that have moved by four temperatures have moved by one of a temperature four times
        as high.
        """
        assert init is not None
        raw = near(system, init, self.limits(polish=polish))
        left = (~(raw.error <= self.tolerance)).nonzero().squeeze(-1)
        if left.numel():
            more = self.limits(polish=polish)
            put(raw, left, along(system.take(left), init[left], more, WARMER))
        return raw

    def afresh(self, system: System, init: Tensor | None) -> Raw:
        """`run_in_torch` in float64 for a float32 plan: float32 circles just above 1e-6.

        An assignment that is not there soon is cooled down, and at once where compiled passes from
        the start have failed.
        """
        if span(system) < RANGE[torch.float64]:
            if cools(system):
                return self.cooled(system, None)
            if system.scores.shape[1] < system.scores.shape[2] and loops_from_start(system):
                return self.run_in_torch(system, None)  # where the smaller side is searched

        few = replace(self, max_steps=min(self.max_steps, SHORTER)) if cools(system) else self
        raw = few.in_double(system, init, Newton.run_in_torch)
        raw = with_verdict(raw, self.tolerance, self.max_steps)
        left = (~raw.converged & (raw.steps < self.max_steps)).nonzero().squeeze(-1)
        if cools(system) and left.numel():
            put(raw, left, self.cooled(system.take(left), None))
        return raw

    def cooled(self, system: System, init: Tensor | None) -> Raw:
        """Cool an assignment down by compiled passes; by the linear programme what that leaves."""
        del init
        if system.scores.shape[1] < system.scores.shape[2]:  # the smaller side is searched
            return transposed(self.cooled(transpose(system), None))

        fast, careful = [partial(Newton.cool, ratio=ratio) for ratio in RATIOS]
        raw = self.in_double(system, None, fast)
        again = partial(self.in_double, way=careful)
        for way in (again, self.run_in_torch)[span(system) > STEEP :]:
            raw = with_verdict(raw, self.tolerance, self.max_steps)
            left = (~raw.converged).nonzero().squeeze(-1)
            if left.numel():
                put(raw, left, way(system.take(left), None))

        return raw

    def in_double(self, system: System, init: Tensor | None, way: Callable[..., Raw]) -> Raw:
        """`way(solver, system, init, polish=)`; for a float32 plan in float64, where it shows."""
        dtype = system.scores.dtype
        if dtype != torch.float32:
            return way(self, system, init, polish=True)

        near = replace(self, tolerance=stop_at(float(self.tolerance), dtype))
        return precisely(system, init, partial(way, near, polish=False))

    def cool(self, system: System, init: Tensor | None, *, ratio: float, polish: bool) -> Raw:
        """From sweeps at a temperature that is easy to the one that was asked, in float64.

        Columns' prices move almost linearly with the temperature, so that a level takes few passes
        from the last one.
        """
        del init
        heat = max(1.0, span(system) / EASY)
        level = replace(system, eps=system.eps * heat)
        swept = Sinkhorn(tolerance=LOOSE, max_steps=SWEEPS).run(level, None)
        # Eq. (27)
        prices = swept.column_potential * heat
        raw = along(system, prices, self.limits(polish=polish), cooler(heat, ratio))
        return replace(raw, steps=swept.steps + raw.steps, solver="Sinkhorn, then Newton")

    def once(self, system: System, init: Tensor | None, instead: Run | None = None) -> Raw:
        """In float64 for a float32 plan, which shows no more than a tenth of the tolerance."""
        finer = replace(self, tolerance=inner(float(self.tolerance)))
        return finer.follow(system, init, polish=False, instead=instead)

    def run_in_torch(self, system: System, init: Tensor | None, *, polish: bool = True) -> Raw:
        """The same in plain torch, on any device."""
        n, k = system.scores.shape[1:]
        bounds = system.bounded_rows or system.margins.upper is not None
        if n < k and init is None and system.ranks is None and not bounds:
            return transposed(self.solve(transpose(system), None, polish=polish))
        return self.solve(system, init, polish=polish)

    def run_groups(self, system: System, init: Tensor | None) -> Raw:
        """More than two channel scales: the multinomial dual, whatever the device."""
        wide = widen(system)
        place, steps = solve_groups(wide, init, float(self.tolerance), self.max_steps)
        found = kernel_sweeps(wide, "row-column-depth").finish(place.a, place.b)
        plan = found[0].to(system.scores.dtype)
        none = torch.zeros_like(system.margins.rows), torch.zeros_like(system.margins.columns)
        sums = total(plan.sum(-2, dtype=torch.float64), system.ranks)
        error = violation(system, plan.sum(-1, dtype=torch.float64), sums, *none)
        # The groups' own margins (2) count like the plan's.
        error = torch.maximum(error, place.error)
        point = place.a.to(plan.dtype), place.b

        return self.judge(plan, *point, error, steps)

    def solve(self, system: System, init: Tensor | None, *, polish: bool) -> Raw:
        """Directly first, unless that is hopeless; what resists is approached from afar."""
        search = Search(system, float(self.tolerance), polish=polish)
        b = torch.zeros_like(system.margins.columns) if init is None else init.double()
        direct = direct_passes(system, warm=init is not None)
        point, steps = search.run(b, None, direct.clamp_max(self.max_steps))
        left = (point.error > self.tolerance) & (steps < self.max_steps)
        if bool(left.any()):
            index = left.nonzero().squeeze(-1)
            budget = self.max_steps - steps[index]
            held = HELD if system.groups is None else CLOSE
            near = point.b[index] if bool((point.error[index] <= held).all()) else None
            better, more = resist(system.take(index), float(self.tolerance), budget, near)
            steps[index] += more
            place(point, index, better)

        return self.judge(point.plan, point.a, point.b, point.error, steps)

    def judge(self, plan: Tensor, a: Tensor, b: Tensor, error: Tensor, steps: Tensor) -> Raw:
        """Say how the last point ended."""
        return Raw(plan, a, b, error, steps, *verdict(error, steps, self.tolerance, self.max_steps))


def cooler(heat: float, ratio: float) -> list[float]:
    """The temperatures below `heat` times the system's, down to 1."""
    heats = []
    while heat > 1.0 or not heats:
        heat = max(1.0, heat / ratio)
        heats.append(heat)

    return heats


def cools(system: System) -> bool:
    """Whether an assignment that passes from b = 0 leave is cooled down by compiled ones.

    Many tiny ones go through the linear programme side by side, and columns of many rows, whose
    loads are nearly even from the first pass, are solved as fast without.
    """
    if system.groups is None or not compiled(loops_for(system)):
        return False

    count, n, k = system.scores.shape
    worth = count <= MANY or n * k >= TINY
    few = n <= ROWS * k or span(system) < RANGE[torch.float64]
    return worth and few and span(system) <= COLDEST


def direct_passes(system: System, *, warm: bool) -> Tensor:
    """Passes of the direct search: none where a column has hardly a cell between 0 and 1."""
    x = system.scores
    passes = torch.full(x.shape[:1], 8, dtype=torch.int64, device=x.device)
    widest = coldest(system)
    if warm or widest is None or bounded.covers(system):  # more is worth less than a new start
        return passes
    if widest <= WARM:
        return passes.fill_(1 << 30)
    if ascent.covers(system) and not interior.covers(system) and system.relax == (None, None):
        return passes.fill_(0)  # eight passes by conjugate gradients cost more than cooling

    if interior.covers(system) and x.numel():
        low, high = torch.aminmax(x.flatten(1), dim=1)
        scale = system.scale
        spread = (high - low) * (scale.flatten() if isinstance(scale, Tensor) else scale)
        # Cells four units of the exponent apart: a column has hardly one between 0 and 1.
        passes[spread > 4 * x.shape[1]] = 0
        passes[spread <= WARM] = 1 << 30

    return passes


def resist(
    system: System, tolerance: float, budget: Tensor, near: Tensor | None = None
) -> tuple[Point, Tensor]:
    """What the direct search leaves: by way of the linear programme, or cooled down.

    What is `near` goes on from there in float64: float32's rounding may be all that held it up.
    """
    if near is not None:
        point, used = Search(widen(system), tolerance).run(near, None, budget.clamp_max(FEW))
        if bool((point.error <= tolerance).all()):
            return narrow(point, system), used
        point, more = resist(system, tolerance, budget - used)
        return point, used + more

    if not interior.covers(system) or bounded.covers(system) or smooth(system):
        return anneal(system, tolerance, budget)

    wide = widen(system)
    most = budget.clamp_max(FEW) if ascent.covers(system) else budget
    b, a, used = interior.prices(wide, most)
    most = (budget - used).clamp_max(FEW) if ascent.covers(system) else budget - used
    point, steps = Search(wide, tolerance).run(b, a, most)

    # What is still open: near enough for ascent, or to be cooled down from a warm temperature.
    point, used = narrow(point, system), used + steps
    left = (point.error > tolerance) & (used < budget)
    close = left & (point.error <= NEAR) if ascent.covers(system) else torch.zeros_like(left)
    for which in (close, left & ~close):
        if bool(which.any()) and system.margins.upper is None:
            index = which.nonzero().squeeze(-1)
            part, rest = system.take(index), (budget - used)[index]
            if which is close:
                better, more = ascend_each(part, point.b[index], tolerance, rest)
            else:
                better, more = anneal(part, tolerance, rest)
            used[index] += more
            place(point, index, better)

    return point, used


def smooth(system: System) -> bool:
    """Whether this is a transport that cooling suits better than the linear programme.

    Warm ones, a single column, and masses over decades, the least of which the programme's goal
    does not see.
    """
    if not ascent.covers(system):
        return False

    widest = coldest(system)
    if system.scores.shape[2] == 1 or (widest is not None and widest <= WARM):
        return True

    for mass in (system.margins.rows, system.margins.columns):
        least = mass.masked_fill(mass <= 0, torch.inf).amin(-1)
        if bool((mass.amax(-1) > DECADES * least).any()):
            return True

    return False


def place(point: Point, index: Tensor, found: Point) -> None:
    """Put the problems of `found` at `index`, where they are better than what stands there."""
    better = ~(found.error >= point.error[index])
    index = index[better]
    for name in ("plan", "a", "b", "error"):
        old = getattr(point, name)
        old[index] = getattr(found, name)[better].to(old.dtype)

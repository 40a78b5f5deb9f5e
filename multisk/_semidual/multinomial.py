"""Newton's method for three and more channel scales, on the smooth convex dual of all potentials.

The limit of the sweeps minimises Eq. (29) of docs/multisk/mathematics.md,
    sum_ij log sum_c exp(s_c X_ij / eps + u_ci + v_cj) - <u, row targets> - <v, column targets>.
Its gradient is the margins' violation, its Hessian their response (30), applied and never
formed: directions come from conjugate gradients, stopped early while the violation is large, so
that the last steps converge superlinearly. A few sweeps come first; cold problems are approached
from warmer temperatures.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.response import Pair, balance
from multisk._backends.torch.sweeps import coldest
from multisk._backends.torch.tiles import violation
from multisk._backends.triton.response import response_at
from multisk._backends.triton.sweeps import kernel_sweeps
from multisk._problem.sharding import largest, total
from multisk._problem.system import System

WARM = 30.0  # exponents that span less than this need no cooling
SWEEPS = 3


@dataclass(eq=False)
class Place:
    """Potentials, the violation of every group's margins there, and its worst relative size."""

    a: Tensor  # (b, c, n)
    b: Tensor  # (b, c, k)
    pull: Pair
    error: Tensor


def solve_groups(
    system: System, init: Tensor | None, tolerance: float, most: int
) -> tuple[Place, Tensor]:
    """The limit in float64, and the passes each problem took (sweeps, and Newton steps)."""
    heat = 1.0 if init is not None else max(1.0, (coldest(system) or WARM) / WARM)
    search = Search(system, heat, tolerance)
    place, steps = search.start(init)
    while True:
        place, steps = search.run(place, steps, most)
        if search.heat == 1.0:
            return place, steps
        cooler = max(1.0, search.heat / 4.0)
        ratio = search.heat / cooler
        search = Search(system, cooler, tolerance)
        place = search.at(place.a * ratio, place.b * ratio)


class Search:
    """The dual at `heat` times the temperature."""

    def __init__(self, system: System, heat: float, tolerance: float) -> None:
        self.heat = heat
        self.system = replace(system, eps=system.eps * heat)
        self.sweeps = kernel_sweeps(self.system, "row-column-depth")
        self.goals = GroupSweeps(self.system, "row-column-depth")
        self.tolerance = tolerance if heat == 1.0 else 1e-2
        double = system.dtype == torch.float64 and heat == 1.0
        self.finest = 1e-12 if double else self.tolerance  # one more step squares the error
        self.ranks = system.ranks

    def start(self, init: Tensor | None) -> tuple[Place, Tensor]:
        """A few sweeps, of the rows alone when the columns' potentials are given."""
        sweeps = self.sweeps
        a, b = sweeps.first() if init is None else sweeps.warm(init)
        for _ in range(SWEEPS - 1):
            a, new = sweeps.next(a, b, measure=False)[:2]
            b = new if init is None else b

        place = self.at(a.double(), b.double())
        return place, torch.full_like(place.error, SWEEPS, dtype=torch.int64)

    def at(self, a: Tensor, b: Tensor) -> Place:
        """Visit a point."""
        rows, columns = response_at(self.system, a, b).sums()
        columns = total(columns, self.ranks)
        goals = self.goals.row_targets, self.goals.column_targets
        pull = rows - goals[0], columns - goals[1]
        parts = [relative(*pair).flatten(1) for pair in zip(pull, goals, strict=True)]
        worst = [part.amax(1) for part in parts if part.shape[1]] or [b.new_zeros(b.shape[:1])]
        top = self.system.groups.top if self.system.groups is not None else 1
        none = torch.zeros_like(a[:, 0]), torch.zeros_like(b[:, 0])
        whole = violation(self.system, rows[:, :top].sum(1), columns[:, :top].sum(1), *none)

        return Place(a, b, pull, largest(torch.stack([*worst, whole]).amax(0), self.ranks))

    def run(self, place: Place, steps: Tensor, most: int) -> tuple[Place, Tensor]:
        """Truncated Newton; after a step that went too far the next ones are damped, Eq. (15)."""
        best, base, move = place, place, None
        idle, slopes = torch.zeros_like(steps), torch.zeros_like(place.error)
        radius = torch.full_like(place.error, torch.inf)
        polished = best.error <= self.finest
        while True:
            reached = best.error <= self.tolerance
            live = torch.where(reached, ~polished, idle < 8) & (steps < most)
            if not bool(live.any()):
                return best, steps
            polished = reached
            if move is not None:  # Eq. (15)
                behind = self.dot(place.pull, move)
                accept = ~(behind > 0.5 * slopes.abs())
                cut = (slopes.abs() / (slopes.abs() + behind)).clamp(0.05, 0.5)
                shorter = torch.minimum(radius, self.reach(move)) * cut
                radius = torch.where(accept, 8 * radius, shorter)
                base = chosen(base, place, accept)

            move = self.direction(base, live, radius)
            slopes = self.dot(base.pull, move)
            place = self.at(base.a + move[0], base.b + move[1])
            steps = steps + live
            better = live & (place.error < best.error)
            idle = torch.where(better, 0, idle + 1)
            best = chosen(best, place, better)

    def direction(self, place: Place, live: Tensor, radius: Tensor) -> Pair:
        """-H^-1 g, as exactly as the violation deserves; 0 for problems that are not `live`."""
        still = ~live[:, None, None]
        rows, columns = (-part.masked_fill(still, 0.0) for part in place.pull)
        worst = float(place.error.masked_fill(~live, 0.0).max())
        # Eq. (15)'s delta, and the residual that the violation deserves (Dembo et al. 1982).
        damping = (self.dot(place.pull, place.pull).sqrt() / radius)[:, None, None]
        table = response_at(self.system, place.a, place.b)
        loose = min(0.1, max(1e-6, 0.3 * worst))
        limits = {"tolerance": loose, "most": 200}

        return balance(table, (rows, columns), self.ranks, damping=damping, **limits)

    def reach(self, move: Pair) -> Tensor:
        """The largest change of a potential."""
        parts = [part.abs().flatten(1).amax(1) for part in move if part[0].numel()]
        return largest(torch.stack(parts).amax(0), self.ranks)

    def dot(self, x: Pair, y: Pair) -> Tensor:
        """The inner product per problem, over all ranks' rows."""
        rows = total((x[0] * y[0]).sum((1, 2)), self.ranks)
        return rows + (x[1] * y[1]).sum((1, 2))


def relative(miss: Tensor, goal: Tensor) -> Tensor:
    """A violation in units of its goal, absolute where that is 0."""
    return miss.abs() / torch.where(goal > 0, goal, 1.0)


def pick(old: Pair, new: Pair, accept: Tensor) -> Pair:
    """The new pair for the accepted problems."""
    here = accept[:, None, None]
    return torch.where(here, new[0], old[0]), torch.where(here, new[1], old[1])


def chosen(old: Place, new: Place, accept: Tensor) -> Place:
    """The new place for the accepted problems."""
    a, b = pick((old.a, old.b), (new.a, new.b), accept)
    error = torch.where(accept, new.error, old.error)
    return Place(a, b, pick(old.pull, new.pull, accept), error)

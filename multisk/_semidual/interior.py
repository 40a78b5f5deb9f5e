"""Near zero temperature: prices of the linear programme, by a primal-dual interior-point method.

In units of the temperature the problem is to maximise <T, P> over the margins and 0 <= P <= 1, plus
an entropy of order 1. The programme's central path (28) alone, followed to a complementarity of
order 1 (Mehrotra's predictor and corrector), ends within a few units of the entropic prices, from
where Newton needs a handful of steps. The number of iterations hardly depends on the temperature.

S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim. 2 (1992).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.choose import forms_square
from multisk._problem.sharding import largest, total
from multisk._problem.system import System
from multisk._semidual.schur import solve_dense

GOAL = 0.02  # complementarity to stop at, in units of the temperature
MOST = 40  # iterations; a feasible programme takes about a dozen
CELLS = 1 << 22  # cells at once: a dozen tables in float64 are kept


def covers(system: System) -> bool:
    """Whether the programme exists (no relaxed margin) and its tables are affordable."""
    _, n, k = system.scores.shape
    small = n * k <= CELLS and forms_square(system)
    return small and system.relax == (None, None) and not system.bounded_rows


def prices(system: System, most: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials (b, k), (b, n) near the solution, and the iterations they took, `most` (b,)."""
    mass = torch.ones_like(system.margins.columns[:, :1])
    if system.groups is None:  # the goal is a number: the masses have to be of order 1
        rows = system.margins.rows.double()
        count = total(torch.full_like(rows[:, :1], rows.shape[1]), system.ranks)
        mean = total(rows.sum(-1, keepdim=True), system.ranks) / count.clamp_min(1.0)
        mass = torch.where(mean > 0, mean, 1.0).log2().round().exp2()
        system = scaled(system, 1 / mass)

    path = Path(system)
    steps = torch.zeros_like(most)
    while True:
        going = (path.gaps() | path.misses()) & (steps < most.clamp_max(MOST))
        if not bool(going.any()):
            break
        path.advance(going)
        steps += going

    return path.b, path.a + mass.log().to(path.a), steps


def scaled(system: System, factor: Tensor) -> System:
    """The same transport with other masses: the plan and the rows' factors scale with them."""
    margins = system.margins
    parts = {
        name: getattr(margins, name) * factor.to(getattr(margins, name))
        for name in ("rows", "row_unit", "columns", "column_unit")
    }
    return replace(system, budgets=replace(margins, **parts))


@dataclass(eq=False)
class Move:
    """A change of every unknown of the path."""

    a: Tensor
    b: Tensor
    plan: Tensor
    low: Tensor
    high: Tensor
    load: Tensor
    load_low: Tensor
    load_high: Tensor


class Path:
    """A point inside all bounds; `low` and `high` are the prices of 0 <= P and of P <= 1.

    Loads with intervals (`loose` is 1 there) are unknowns of their own, `load_low` and `load_high`
    are the prices of their bounds; exact loads do not move.
    """

    def __init__(self, system: System) -> None:
        margins, x = system.margins, system.scores
        self.ranks, self.capped = system.ranks, system.groups is not None
        self.gain = x * system.scale
        self.free = torch.ones_like(x) if margins.free is None else margins.free.to(x.dtype)
        self.rows, self.columns = margins.rows, margins.columns
        count = margins.row_cells.clamp_min(1.0)[..., None]
        self.plan = (self.rows[..., None] / count).expand_as(x).clamp_min(1e-12)
        self.units = margins.row_unit, margins.column_unit
        live = self.gain.masked_fill(self.free == 0, 0.0)
        spread = 0.1 * (largest(top(live.abs()), self.ranks) + 1.0)[:, None, None]
        self.a, self.b = torch.zeros_like(self.rows), torch.zeros_like(self.columns)
        self.high = torch.zeros_like(x)

        # Stationary, Eq. (28): high - low = gain + a + b, each price at least `spread`.
        if self.capped:
            self.plan = self.plan.clamp(0.02, 0.98)
            self.low = (-live).clamp_min(0.0) + spread
            self.high = live.clamp_min(0.0) + spread
        else:
            self.a = -(live.amax(-1) + spread[..., 0])
            self.low = torch.where(self.free > 0, -(live + self.a[..., None]), 1.0)

        self.start_loads(margins.upper, spread[..., 0])
        sides = 2.0 if self.capped else 1.0
        pairs = total(self.free.sum((-2, -1)), self.ranks) * sides + 2 * self.loose.sum(-1)
        self.pairs = pairs.clamp_min(1.0)

    def start_loads(self, upper: Tensor | None, spread: Tensor) -> None:
        """Loads in the middle of their intervals."""
        lower = self.columns
        upper = lower if upper is None else upper
        self.loose = ((upper - lower) > 1e-9 * upper.clamp_min(1.0)).to(lower.dtype)
        self.lower, self.upper = lower, torch.where(self.loose > 0, upper, lower + 1.0)
        self.load = torch.where(self.loose > 0, (lower + upper) / 2, lower)
        self.load_low = self.load_high = self.loose * spread

    def gaps(self) -> Tensor:
        """Problems whose complementarity is above the goal."""
        return self.mean(self.products()) > GOAL

    def misses(self) -> Tensor:
        """Problems whose margins are not met yet."""
        by_row, by_column = self.residuals()
        row = largest(top(by_row.abs() / self.units[0]), self.ranks)
        return torch.maximum(row, top(by_column.abs() / self.units[1])) > 1e-6

    def residuals(self) -> tuple[Tensor, Tensor]:
        """What is missing in rows and in columns."""
        plan = self.plan * self.free
        return self.rows - plan.sum(-1), self.load - total(plan.sum(-2), self.ranks)

    def products(self, move: Move | None = None, one: Any = 0.0, two: Any = 0.0) -> Tensor:
        """Sum of all unknowns times their prices; after `one` and `two` (b, 1) parts of a move."""
        plan, low, high, load = self.plan, self.low, self.high, self.load
        load_low, load_high = self.load_low, self.load_high
        if move is not None:
            load = load + one * move.load
            load_low, load_high = load_low + two * move.load_low, load_high + two * move.load_high
            plan = plan + one[..., None] * move.plan
            low, high = low + two[..., None] * move.low, high + two[..., None] * move.high

        inner = (self.free * (plan * low + (1 - plan) * high)).sum((-2, -1))
        outer = (load - self.lower) * load_low + (self.upper - load) * load_high
        return total(inner, self.ranks) + (self.loose * outer).sum(-1)

    def mean(self, products: Tensor) -> Tensor:
        """Complementarity per pair."""
        return products / self.pairs

    def advance(self, going: Tensor) -> None:
        """Predict, correct, and go 99 % of the way to the nearest bound."""
        self.factor()
        before = self.products()
        zero = torch.zeros_like(before)
        guess = self.solve(zero, None)
        # The affine step's complementarity: how well the linear model predicts.
        after = self.products(guess, *self.lengths(guess, 1.0))
        # Mehrotra's centring: the better the prediction, the nearer to the boundary one may aim.
        target = (after / before).clamp(0.0, 1.0) ** 3 * self.mean(before)
        move = self.solve(target, guess)

        one, two = self.lengths(move, 0.99)
        broken = ~(move.b.sum(-1) + move.plan.sum((1, 2))).isfinite()
        live = going & (largest(broken.double(), self.ranks) == 0)
        for name, length in (("plan", one), ("load", one), ("a", two), ("b", two)):
            self.shift(name, getattr(move, name), length, live)

        for name in ("low", "high", "load_low", "load_high"):
            self.shift(name, getattr(move, name), two, live)

    def shift(self, name: str, move: Tensor, length: Tensor, live: Tensor) -> None:
        """Move one unknown of the problems that are still on their way."""
        old = getattr(self, name)
        shape = (-1, *[1] * (old.ndim - 1))
        moved = old + length.view(shape) * move
        setattr(self, name, torch.where(live.view(shape), moved, old))

    def factor(self) -> None:
        """The diagonal weights of cells and loads, and the columns' system."""
        self.other = 1 - self.plan if self.capped else torch.ones_like(self.plan)
        # Eq. (28)'s W: how far a cell moves for a unit of its exponent.
        self.weight = self.free / (self.low / self.plan + self.high / self.other)
        inside = self.load_low / (self.load - self.lower)
        inside = inside + self.load_high / (self.upper - self.load)
        # How far a load moves for a unit of its price; an exact one does not.
        self.give = torch.where(self.loose > 0, 1 / inside.masked_fill(self.loose == 0, 1.0), 0.0)
        h = self.weight.sum(-1)
        self.inverse = torch.where(h > 0, 1 / h.masked_fill(h <= 0, 1.0), 0.0)
        coupling = torch.matmul((self.weight * self.inverse[..., None]).mT, self.weight)
        coupling = total(coupling, self.ranks)
        # The diagonal is minus the sum of the others in a line: nothing cancels.
        self.coupling = coupling - torch.diag_embed(coupling.diagonal(dim1=-2, dim2=-1))
        self.still = total(self.weight.sum(-2), self.ranks) <= 0

    def solve(self, target: Tensor, guess: Move | None) -> Move:
        """The step to complementarity `target` (b,), with the second-order terms of `guess`."""
        deep, wide = target[:, None, None], target[:, None]
        other = self.other
        to_low, to_high = deep - self.low * self.plan, deep - self.high * other

        # What each product of a price and its distance misses of the target.
        above, below = self.load - self.lower, self.upper - self.load
        to_bottom, to_top = wide - self.load_low * above, wide - self.load_high * below
        if guess is not None:  # the products of changes that the linear system leaves out
            to_low, to_high = to_low - guess.low * guess.plan, to_high + guess.high * guess.plan
            to_bottom = to_bottom - guess.load_low * guess.load
            to_top = to_top + guess.load_high * guess.load

        if not self.capped:
            to_high = torch.zeros_like(to_high)

        # Stationarity (28) holds from the start: gain + a + b = high - low, of loads b likewise.
        slack = self.high - self.low - self.gain - self.a[..., None] - self.b[:, None]

        # Prices eliminated from their products: what is left of them pushes the cell.
        push = to_low / self.plan - to_high / other - slack
        load_slack = self.loose * (self.load_low - self.load_high - self.b)
        above = torch.where(self.loose > 0, above, 1.0)
        load_push = load_slack + to_bottom / above - to_top / below
        # Eq. (12): (diag(w) - W^T diag(1/h) W) b = columns - W^T diag(1/h) rows.
        by_row, by_column = self.residuals()
        rows = by_row - (self.weight * push).sum(-1)
        columns = by_column - total((self.weight * push).sum(-2), self.ranks)
        columns = columns + self.give * load_push
        answered = total(
            torch.matmul((rows * self.inverse)[:, None], self.weight)[:, 0], self.ranks
        )
        # Without a load that moves only sums of potentials matter: the shift needs a pivot (13).
        gauge = 1.0 - (self.give > 0).any(-1, keepdim=True).to(self.give.dtype)
        diagonal = self.coupling.sum(-1) + self.give
        b = solve_dense(diagonal, self.coupling, columns - answered, self.still, gauge=gauge)
        a = (rows - torch.matmul(self.weight, b[..., None])[..., 0]) * self.inverse
        # Back from potentials to the plan, and from the plan to the prices of its bounds.
        plan = self.weight * (a[..., None] + b[:, None] + push)
        load = self.give * (load_push - b)
        low = self.free * (to_low - self.low * plan) / self.plan
        high = self.free * (to_high + self.high * plan) / other
        bottom = self.loose * (to_bottom - self.load_low * load)
        ceiling = self.loose * (to_top + self.load_high * load)

        return Move(a, b, plan, low, high, load, bottom / above, ceiling / below)

    def lengths(self, move: Move, share: float) -> tuple[Tensor, Tensor]:
        """How far plan and prices can go, (b, 1) each."""
        cells, loose = self.free > 0, self.loose > 0
        primal = [reach(self.plan, move.plan, cells)]
        dual = [reach(self.low, move.low, cells)]
        if self.capped:
            primal.append(reach(1 - self.plan, -move.plan, cells))
            dual.append(reach(self.high, move.high, cells))

        primal.append(reach(self.load - self.lower, move.load, loose))
        primal.append(reach(self.upper - self.load, -move.load, loose))
        dual.append(reach(self.load_low, move.load_low, loose))
        dual.append(reach(self.load_high, move.load_high, loose))
        ends = [-largest(-torch.stack(part).amin(0), self.ranks) for part in (primal, dual)]
        one, two = ((share * end).clamp_max(1.0)[:, None] for end in ends)

        return one, two


def top(x: Tensor) -> Tensor:
    """The largest entry per problem, at least 0; an empty shard has none."""
    x = x.flatten(1)
    return x.amax(1).clamp_min(0.0) if x.shape[1] else x.new_zeros(x.shape[0])


def reach(value: Tensor, move: Tensor, counts: Tensor) -> Tensor:
    """The largest multiple of a move that keeps positive values positive, (b,)."""
    falling = counts & (move < 0)
    most = torch.where(falling, -value / torch.where(falling, move, -1.0), torch.inf)
    return most.flatten(1).amin(1) if most[0].numel() else most.new_full(most.shape[:1], torch.inf)

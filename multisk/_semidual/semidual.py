"""One visit to the semi-dual: rows solved, columns summed, and the system of the next step.

For column potentials b every row has its own a_i, and what is left is a convex function of b. With
T = scale X + a_i + b_j, P = sigmoid(T) (an assignment) or exp(T) (a transport), W = dP/dT, it has

    gradient  pull_j = sum_i P_ij - c_j                                                  (11)
    Hessian   S = diag(w) - W^T diag(1/h) W    w_j = sum_i W_ij, h_i = sum_j W_ij        (12)

where the second part is how the rows answer; one inside its interval (`loose`) does not: h = inf.
Eq. (n) is that of docs/multisk/mathematics.md.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from multisk._backends.base import Local
from multisk._backends.choose import forms_square, kernels_visit
from multisk._backends.torch import passes
from multisk._backends.torch.tiles import cells, column_goal, tiles, violation
from multisk._backends.triton import visits
from multisk._problem.sharding import total
from multisk._problem.system import System, power, yielding
from multisk._semidual.interval import best_shift, kinked_step, pull_along, pull_at
from multisk._semidual.row_interval import (
    Band,
    band_of,
    capped_rows,
    potentials_in,
)
from multisk._semidual.schur import solve_dense, solve_iteratively


@dataclass(eq=False)
class Point:
    """The columns' potentials, everything one pass says about them, and the plan there."""

    plan: Tensor  # (b, n, k), one buffer for all points of a search: the last visit's
    b: Float[Tensor, "b k"]
    a: Float[Tensor, "b n"]
    row_sums: Float[Tensor, "b n"]
    sums: Float[Tensor, "b k"]
    pull: Float[Tensor, "b k"]  # gradient of the dual: column sums minus goals
    weight: Float[Tensor, "b k"]  # diagonal of the Hessian before the rows' answer
    coupling: Float[Tensor, "b l l"]  # W^T diag(1/h) W, the rows' answer; empty for large K
    held: Tensor | None  # (b, k) columns that stay at b = 0 inside their interval
    error: Float[Tensor, " b"]
    loose: Tensor | None = None  # (b, n) rows inside their intervals

    def copy(self) -> "Point":
        """A copy that later visits do not touch."""
        return Point(**vars(self))

    def pick(self, chosen: Tensor) -> "Point":
        """The chosen problems."""
        if bool(chosen.all()):
            return self.copy()
        parts: dict[str, Any] = {
            name: value if name == "plan" or value is None else value[chosen]
            for name, value in vars(self).items()
        }
        return Point(**parts)

    def put(self, index: Tensor, other: "Point") -> None:
        """Take the problems at `index` from `other`, which holds only those; plans stay."""
        if index.numel() == self.b.shape[0]:
            self.__dict__.update({**vars(other), "plan": self.plan})
        elif index.numel():
            for name, value in vars(self).items():
                if value is not None and name != "plan":
                    new = getattr(other, name).to(value.dtype)  # annealing is in float64
                    setattr(self, name, value.index_copy(0, index, new))


def visit(
    system: System, b: Tensor, a: Tensor | None, tolerance: float, plan: Tensor, live: Tensor
) -> Point:
    """Solve every row for `b`, and collect the columns' sums and couplings, in one pass.

    Writes the plans of the `live` problems into `plan`, others keep theirs; kernels write none.
    """
    margins, k = system.margins, system.scores.shape[2]
    loose = torch.zeros_like(margins.rows, dtype=torch.bool) if system.bounded_rows else None
    if kernels_visit(system):
        here = visits.newton(system, b, a)
    else:
        here = in_tiles(system, b, a, tolerance, plan, live, loose)

    rows, row_sums, sums, weight, coupling = here
    if loose is not None and margins.mass is not None and coupling.numel():
        coupling = coupling + together(system, plan, loose)

    # One message for all ranks: sums, diagonal and coupling behind each other.
    packed = total(torch.cat([sums, weight, coupling.flatten(1)], 1), system.ranks)
    sums, weight, coupling = (
        packed[:, :k],
        packed[:, k : 2 * k],
        packed[:, 2 * k :].view_as(coupling),
    )
    error = violation(system, row_sums, sums, rows, b)

    if margins.upper is None:
        pull, held = sums - column_goal(system, b), None
    else:
        pull, held = pull_at(b, sums, margins.columns, margins.upper)

    if system.relax[1] is not None:  # Eq. (24): c_j moves with b_j, its derivative joins w_j
        weight = weight + column_goal(system, b) * yielding(system, 1)

    error = error if margins.upper is None else interval_error(system, row_sums, pull, rows, b)
    found = rows, row_sums, sums, pull, weight, coupling, held, error
    return Point(plan, b, *found, loose)


def together(system: System, plan: Tensor, loose: Tensor) -> Tensor:
    """The part of the coupling through loose rows that one multiplier moves together."""
    w = plan.new_zeros((plan.shape[0], plan.shape[2]), dtype=torch.float64)
    for part in tiles(system):
        w += torch.matmul(loose[:, None, part].to(plan), plan[:, part]).squeeze(1)

    share = w / w.sum(-1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
    return w[..., None] * share[..., None, :]


def in_tiles(
    system: System,
    b: Tensor,
    a: Tensor | None,
    tolerance: float,
    plan: Tensor,
    live: Tensor,
    loose: Tensor | None,
) -> Local:
    """The rows of this rank, tile by tile in torch; marks the `loose` rows of intervals."""
    x, margins = system.scores, system.margins
    count, n, k = x.shape
    everyone = count == 1 or bool(live.all())
    row_sums, rows = x.new_empty((count, n)), x.new_empty((count, n))
    sums, weight = b.new_zeros((count, k)), b.new_zeros((count, k))
    dense = forms_square(system)
    coupling = b.new_zeros((count, k, k) if dense else (count, 0, 0))
    band = band_for(system, b) if system.bounded_rows and system.groups is None else None
    for part in tiles(system):
        tile, free = cells(system, part)
        y = passes.exponent(tile, system.scale, None, b, free)
        if band is not None:
            potential = potentials_in(band)[:, part].to(y)
        elif margins.row_upper is not None:
            bounds = margins.rows[:, part], margins.row_upper[:, part]
            potential = capped_rows(y, bounds, margins.row_cells[:, part], tolerance)
        else:
            potential = passes.row_answer(
                y,
                margins.rows[:, part],
                margins.row_cells[:, part],
                strength=power(system, 0) if system.groups is None else None,
                tolerance=tolerance,
                guess=None if a is None else a[:, part],
                plain=free is None,
            )

        p = passes.row_plan(y, potential, capped=system.groups is not None)
        sums_here = p.sum(-1)
        if system.groups is None:  # exp' = exp; a relaxed row answers less, by its power, Eq. (24)
            w, h = p, sums_here / power(system, 0)
        else:  # sigmoid' = P (1 - P)
            w = p - p * p
            h = w.sum(-1)

        plan[:, part] = p if everyone else torch.where(live[:, None, None], p, plan[:, part])
        rows[:, part], row_sums[:, part] = potential, sums_here
        sums += p.sum(-2)
        weight += w.sum(-2)
        if loose is not None:  # these rows do not answer
            loose[:, part] = (potential == 0) if band is None else band.loose[:, part]
            h = torch.where(loose[:, part], torch.inf, h)
        if dense:
            coupling += passes.schur_part(w, h)  # Eq. (12): W^T diag(1/h) W

    return Local(rows, row_sums, sums, weight, coupling)


def band_for(system: System, b: Tensor) -> Band:
    """The rows' band for column potentials: their log sums in one walk."""
    logs = []
    for part in tiles(system):
        tile, free = cells(system, part)
        logs.append(passes.safe_logsumexp(passes.exponent(tile, system.scale, None, b, free), -1))

    return band_of(system, torch.cat(logs, 1))


def interval_error(system: System, row_sums: Tensor, pull: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Eq. (42) with intervals: a column has to be at the bound of Eq. (18), or anywhere."""
    exact = replace(system, budgets=replace(system.margins, upper=None))
    return violation(exact, row_sums, system.margins.columns + pull, a, b)


def direction(system: System, point: Point, radius: Tensor) -> Tensor:
    """The Newton direction (13): -S^-1 pull, or the step to the minimum of the kinked model (19).

    A finite `radius` (b, 1) damps the system such that the step stays within about that.
    """
    still = point.weight <= 0
    exact = gauge_of(system, None, point.pull, point.loose)
    damping = point.pull.norm(dim=-1, keepdim=True) / radius
    weight = point.weight + damping  # Eq. (15): (S + damping I)^-1 pull is within |pull| / damping

    def apply(x: Tensor) -> Tensor:
        return weight * x - couple(system, point, x)

    def solve(right: Tensor, held: Tensor) -> Tensor:
        # A column held inside its interval fixes the gauge; empty columns do not.
        gauge = exact * ~(held & ~still).any(-1, keepdim=True)
        if point.coupling.shape[-1]:
            return solve_dense(weight, point.coupling, right, held, gauge=gauge)
        loose = float(point.error.clamp(1e-9, 0.05).min())
        return solve_iteratively(apply, weight, right, held, gauge=gauge, tolerance=loose)

    upper = system.margins.upper
    if upper is None:
        return -solve(point.pull, still)

    bounds = system.margins.columns, upper, mass_of(system)
    return kinked_step(point.b, point.sums, bounds, weight, still, apply, solve)


def mass_of(system: System) -> Tensor | None:
    """The sum of the whole plan, (b, 1), where it is known and a common shift changes nothing."""
    if not system.shifts:
        return None
    if system.margins.mass is not None:
        return system.margins.mass
    return total(system.margins.rows.double().sum(-1, keepdim=True), system.ranks)


def recentred(system: System, point: Point) -> Point:
    """The same plan with the common shift of the prices at its optimum (20), for intervals."""
    lower, upper = system.margins.columns, system.margins.upper
    mass = mass_of(system)
    if upper is None or mass is None:
        return point

    shift = best_shift(point.b, lower, upper, mass)
    b, a = point.b + shift, point.a - shift.to(point.a)
    pull, held = pull_at(b, point.sums, lower, upper)
    error = interval_error(system, point.row_sums, pull, a, b)

    return replace(point, b=b, a=a, pull=pull, held=held, error=error)


def slope(system: System, point: Point, move: Tensor, *, ahead: bool) -> Tensor:
    """Slope of the dual along `move` at a point: just ahead of it, or just behind it."""
    upper = system.margins.upper
    if upper is None:
        return (point.pull * move).sum(-1)

    lower = system.margins.columns
    return (pull_along(point.b, point.sums, lower, upper, move, ahead=ahead) * move).sum(-1)


def gauge_of(
    system: System, held: Tensor | None, like: Tensor, loose: Tensor | None = None
) -> Tensor:
    """1 where only sums of a and b matter, Eq. (13): exact margins, nothing held."""
    gauge = torch.full_like(like[:, :1], float(system.relax == (None, None)))
    if loose is not None and not system.shifts:
        gauge = gauge * ~loose.any(-1, keepdim=True)

    return gauge if held is None else gauge * (~held.any(-1, keepdim=True))


def couple(system: System, point: Point, x: Tensor) -> Tensor:
    """Eq. (14)'s W^T diag(1/h) W x from the stored plan, without the K x K matrix."""
    if point.coupling.shape[-1]:
        return torch.matmul(point.coupling, x[..., None]).squeeze(-1)
    if kernels_visit(system):
        return total(visits.couple(system, point.a, point.b, x), system.ranks)

    out = torch.zeros_like(x)
    for part in tiles(system):
        p = point.plan[:, part]
        w = p if system.groups is None else p - p * p
        h = w.sum(-1)
        if system.groups is None:
            h = h / power(system, 0)
        answer = torch.matmul(w, x.to(w)[..., None]).squeeze(-1)
        answer = torch.where(h > 0, answer / h.masked_fill(h <= 0, 1.0), 0.0)
        if point.loose is not None:
            answer = answer.masked_fill(point.loose[:, part], 0.0)
        out += torch.matmul(answer[:, None], w).squeeze(1)

    if point.loose is not None and system.margins.mass is not None:
        out += torch.matmul(together(system, point.plan, point.loose), x[..., None]).squeeze(-1)

    return total(out, system.ranks)

"""One visit to the semi-dual: rows solved, columns summed, and the system of the next step."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from multisk import _passes as passes
from multisk._sharded import total
from multisk._system import System
from multisk._tiles import cells, column, column_goal, tiles, violation


@dataclass(eq=False)
class Point:
    """The columns' potentials, everything one pass says about them, and the plan there."""

    b: Float[Tensor, "b k"]
    a: Float[Tensor, "b n"]
    plan: Float[Tensor, "b n k"]
    pull: Float[Tensor, "b k"]  # gradient of the dual: column sums minus goals
    weight: Float[Tensor, "b k"]  # diagonal of the Hessian before the rows' answer
    coupling: Float[Tensor, "b k k"]  # W^T diag(1/h) W, the rows' answer
    held: Tensor | None  # (b, k) columns that stay at b = 0 inside their interval
    error: Float[Tensor, " b"]

    def copy(self) -> "Point":
        """A copy that later visits do not touch."""
        return Point(**vars(self))

    def pick(self, chosen: Tensor) -> "Point":
        """The chosen problems."""
        if bool(chosen.all()):
            return self.copy()
        parts: dict[str, Any] = {
            name: None if value is None else value[chosen] for name, value in vars(self).items()
        }
        return Point(**parts)

    def put(self, index: Tensor, other: "Point") -> None:
        """Take the problems at `index` from `other`."""
        if index.numel() == self.b.shape[0]:
            self.__dict__.update(vars(other))
        elif index.numel():
            for name, value in vars(self).items():
                if value is not None:
                    setattr(self, name, value.index_copy(0, index, getattr(other, name)))

    def stay_in_orthant(self, base: Tensor, target: Tensor) -> Tensor:
        """Stop at 0 the potentials of interval columns that would change sign."""
        if self.held is None:
            return target
        return torch.where(base * target < 0, 0.0, target)


def visit(system: System, b: Tensor, a: Tensor | None, tolerance: float) -> Point:
    """Solve every row for `b`, and collect the columns' sums and couplings, in one pass."""
    x, margins = system.scores, system.margins
    count, n, k = x.shape
    plan = torch.empty_like(x, memory_format=torch.contiguous_format)
    row_sums, rows = x.new_empty((count, n)), x.new_empty((count, n))
    sums, weight = b.new_zeros((count, k)), b.new_zeros((count, k))
    coupling = b.new_zeros((count, k, k))
    for part in tiles(system):
        tile, free = cells(system, part)
        y = passes.exponent(tile, system.scale, None, b, free)
        goal = margins.rows[:, part]
        if system.groups is None:
            potential = passes.exp_rows(y, goal, strength(system, 0))
            p = (y + potential[..., None]).exp()
            w, sums_here = p, p.sum(-1)
            h = sums_here / strength(system, 0)
        else:
            guess = first_rows(y, goal, margins.row_cells[:, part]) if a is None else a[:, part]
            potential = passes.sigmoid_rows(y, goal, margins.row_cells[:, part], guess, tolerance)
            p = torch.sigmoid(y + potential[..., None])
            w, sums_here = p - p * p, p.sum(-1)
            h = w.sum(-1)
        plan[:, part], rows[:, part], row_sums[:, part] = p, potential, sums_here
        sums += p.sum(-2)
        weight += w.sum(-2)
        coupling += passes.schur_part(w, h)
    packed = total(torch.cat([sums, weight, coupling.flatten(1)], 1), system.group)
    sums, weight, coupling = (
        packed[:, :k],
        packed[:, k : 2 * k],
        packed[:, 2 * k :].view_as(coupling),
    )
    error = violation(system, row_sums, sums, rows, b)
    pull, held = columns_pull(system, b, sums)
    if system.relax[1] is not None:
        weight = weight + column_goal(system, b) * (column(system.eps) / system.relax[1])
    error = error if margins.upper is None else interval_error(system, row_sums, pull, rows, b)
    return Point(b, rows, plan, pull, weight, coupling, held, error)


def interval_error(system: System, row_sums: Tensor, pull: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """With intervals a column has to be where its potential says: at that bound, or anywhere."""
    exact = replace(system, margins=replace(system.margins, upper=None))
    return violation(exact, row_sums, system.margins.columns + pull, a, b)


def first_rows(y: Tensor, rows: Tensor, count: Tensor) -> Tensor:
    """A first guess of the rows' potentials: exact when the row's scores are all equal."""
    live = (rows > 0) & (rows < count)
    share = torch.logit(torch.where(live, rows / count.clamp_min(1.0), 0.5))
    mean = y.masked_fill(y == -torch.inf, 0.0).sum(-1) / count.clamp_min(1.0)
    return torch.where(live, share - mean, 0.0)


def columns_pull(system: System, b: Tensor, sums: Tensor) -> tuple[Tensor, Tensor | None]:
    """Gradient of the dual in b; for intervals also the columns that rest at b = 0."""
    upper = system.margins.upper
    if upper is None:
        return sums - column_goal(system, b), None
    lower = system.margins.columns
    # b > 0 pushes a load up to its lower bound, b < 0 down to its upper one.
    below, above = sums - lower, sums - upper
    pull = torch.where(b > 0, below, torch.where(b < 0, above, below.clamp_max(0.0)))
    pull = torch.where(b == 0, pull + above.clamp_min(0.0), pull)
    return pull, (b == 0) & (pull == 0)


def direction(system: System, point: Point) -> Tensor:
    """The Newton direction -S^-1 g with one gauge fixed and empty columns left alone."""
    s = torch.diag_embed(point.weight) - point.coupling
    k = s.shape[-1]
    still = point.weight <= 0
    if point.held is not None:
        still = still | point.held
    s = torch.where(still[..., None] | still[..., None, :], 0.0, s)
    size = point.weight.mean(-1)[:, None, None].clamp_min(1e-300)
    if system.relax == (None, None):
        s = s + size / max(k, 1)  # the null vector of ones: only sums of a and b matter
    eye = torch.eye(k, dtype=s.dtype, device=s.device)
    damping = 1e-13
    while True:
        factor, info = torch.linalg.cholesky_ex(
            s + eye * (size * damping + still[..., None, :] * 1.0)
        )
        if damping >= 1.0 or not bool(info.any()):
            break
        damping *= 100.0
    pull = torch.where(still, 0.0, point.pull)
    move = -torch.cholesky_solve(pull[..., None], factor).squeeze(-1)
    return torch.where(move.isfinite() & ~still, move, 0.0)


def strength(system: System, side: int) -> float | Tensor:
    """Exponent of a relaxed margin's update, 1 for an exact margin."""
    rho = system.relax[side]
    return 1.0 if rho is None else rho / (rho + column(system.eps))

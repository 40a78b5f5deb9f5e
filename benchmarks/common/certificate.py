"""How good a plan is, from the plan alone: its marginal error, and its distance to a dual bound."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

import multisk
from benchmarks.common.cases import Case

CELLS = 1 << 20  # cells that are looked at in float64 at once
LARGE = 1 << 22  # cells above which the potentials of the bound come from float32


@dataclass(frozen=True)
class Bound:
    """The dual objective at some potentials: no plan with these budgets can be worth more."""

    scores: Tensor  # (b, n, k)
    case: Case
    value: Tensor  # (b,) float64

    @property
    def rows(self) -> float:
        """Budget of every row."""
        return float(self.case.budget or 1)

    @property
    def gain(self) -> float:
        """Weight of the scores in the objective."""
        return 1.0 - float(getattr(self.case.problem, "damping", 0.0))


def slabs(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Problems and rows of (b, n, k) in parts that fit into float64 copies."""
    b, n, k = x.shape
    many, height = max(1, CELLS // (n * k)), max(1, CELLS // k)
    for first in range(0, b, many):
        for start in range(0, n, height):
            yield slice(first, first + many), slice(start, start + height)


def bound(scores: Tensor, case: Case) -> Bound:
    """Weak duality, evaluated here in float64; the solver that found the potentials is not trusted.

    Any potentials give a valid bound, good ones a tight one.
    """
    x = scores.reshape(-1, *scores.shape[-2:])
    solver = multisk.Newton(tolerance=1e-9) if case.budget and x.numel() <= LARGE else None
    given = x.double() if x.numel() <= LARGE else x
    solution = multisk.solve(given, case.problem, solver)
    a, b = solution.row_potential.double(), solution.column_potential.double()
    best = Bound(x, case, a.new_zeros(x.shape[0]))
    load = best.rows * x.shape[1] / x.shape[2]
    dual = -best.rows * a.sum(-1) - load * b.sum(-1)
    for these, rows in slabs(x):
        t = best.gain / case.eps * x[these, rows].double() + a[these, rows, None] + b[these, None]
        dual[these] += (softplus(t) if case.budget else t.exp()).sum((-2, -1))
    best.value.copy_(case.eps * dual)
    return best


def judge(plan: Tensor, best: Bound) -> tuple[float, float]:
    """The worst relative violation of a margin, and |bound - objective| / |bound|.

    A plan that misses its margins may be worth more than any feasible one, hence the absolute
    value; read the gap together with the error.
    """
    plan = plan.reshape(best.scores.shape)
    count, n, k = plan.shape
    load = best.rows * n / k
    sums = torch.zeros(count, k, dtype=torch.float64)
    worth, worst = torch.zeros(count, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for these, rows in slabs(plan):
        p = plan[these, rows].double()
        worst = torch.maximum(worst, (p.sum(-1) / best.rows - 1).abs().max())
        sums[these] += p.sum(-2)
        log = p.clamp_min(1e-300).log()
        if best.case.budget:
            rest = (1 - p).clamp(0.0, 1.0)
            entropy = -(p * log) - rest * rest.clamp_min(1e-300).log()
        else:
            entropy = -p * (log - 1)
        gained = best.gain * (p * best.scores[these, rows]).sum((-2, -1))
        worth[these] += gained + best.case.eps * entropy.sum((-2, -1))
    error = torch.maximum(worst, (sums / load - 1).abs().max())
    return float(error), float(((best.value - worth) / best.value).abs().max())

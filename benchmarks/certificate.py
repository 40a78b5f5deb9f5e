"""How good a plan is, from the plan alone: its marginal error, and its distance to a dual bound."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

import multisk


@dataclass(frozen=True)
class Bound:
    """The dual objective at float64 potentials: no plan with these budgets can be worth more."""

    scores: Tensor
    problem: multisk.MultiAssignment | multisk.Transport
    value: Tensor

    @property
    def rows(self) -> float:
        """Budget of every row."""
        return float(getattr(self.problem, "k", 1))


def bound(scores: Tensor, problem: multisk.MultiAssignment | multisk.Transport) -> Bound:
    """Weak duality, evaluated here from potentials; the solver that found them is not trusted."""
    x = scores.double()
    solution = multisk.solve(x, problem, solver_for(problem)).detach()
    a, b = solution.row_potential.double(), solution.column_potential.double()
    gain = 1.0 - float(getattr(problem, "damping", 0.0))
    t = gain * x / problem.eps + a[..., None] + b[..., None, :]
    rows = float(getattr(problem, "k", 1))
    load = rows * x.shape[-2] / x.shape[-1]
    capped = isinstance(problem, multisk.MultiAssignment)
    cells = softplus(t) if capped else t.exp()
    dual = cells.sum((-2, -1)) - rows * a.sum(-1) - load * b.sum(-1)
    return Bound(x, problem, problem.eps * dual)


def solver_for(problem: multisk.MultiAssignment | multisk.Transport) -> multisk.Newton | None:
    """A tight solve for the bound; any potentials would give a valid one."""
    return multisk.Newton(tolerance=1e-9) if isinstance(problem, multisk.MultiAssignment) else None


def judge(plan: Tensor, best: Bound) -> tuple[float, float]:
    """The worst relative violation of a margin, and |bound - objective| / |bound|.

    A plan that misses its margins may be worth more than any feasible one, hence the absolute
    value; read the gap together with the error.
    """
    p = torch.as_tensor(plan).double()
    load = best.rows * p.shape[-2] / p.shape[-1]
    by_row = (p.sum(-1) / best.rows - 1).abs().max()
    by_column = (p.sum(-2) / load - 1).abs().max()
    error = float(torch.maximum(by_row, by_column))
    gain = 1.0 - float(getattr(best.problem, "damping", 0.0))
    log = p.clamp_min(1e-300).log()
    if isinstance(best.problem, multisk.MultiAssignment):
        rest = (1 - p).clamp(0.0, 1.0)
        entropy = -(p * log) - rest * rest.clamp_min(1e-300).log()
    else:
        entropy = -p * (log - 1)
    worth = gain * (p * best.scores).sum((-2, -1)) + best.problem.eps * entropy.sum((-2, -1))
    return error, float(((best.value - worth) / best.value).abs().max())

"""Zero temperature: the linear programme (37) itself, by HiGHS (Huangfu and Hall 2018)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.tiles import violation
from multisk._problem.margins import Margins
from multisk._problem.status import Status
from multisk._problem.system import System

Side = tuple[Any, np.ndarray, np.ndarray | None]  # a matrix, its exact sums or both bounds


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The limit eps -> 0, on the CPU by SciPy's HiGHS: slow, and right.

    The plan is a vertex: 0 or 1 everywhere when budgets and capacities are whole numbers. The
    temperature of the problem only sets the unit of the potentials. No gradient: a vertex does not
    move with the scores.

    Args:
        gradient: Only "none".

    Example:
        >>> import torch, multisk
        >>> multisk.solve(torch.eye(2), multisk.MultiAssignment(k=1), Exact()).plan
        tensor([[1., 0.],
                [0., 1.]])
    """

    gradient: str = "none"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if self.gradient != "none":
            raise ValueError(f"gradient must be 'none' for Exact, got {self.gradient!r}")

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve problem by problem; `init` is not used."""
        del init
        if system.ranks is not None or system.relax != (None, None) or not system.two_groups:
            raise ValueError(
                "problem must have exact margins, two channel levels and one process for Exact"
            )

        x = system.scores
        plan, a = torch.zeros_like(x), torch.zeros_like(system.margins.rows)
        b = torch.zeros_like(system.margins.columns)
        code = torch.full(x.shape[:1], Status.CONVERGED.code, dtype=torch.int8, device=x.device)
        for problem in range(x.shape[0]):
            found = linear_programme(system, problem)
            if found is None:
                code[problem] = Status.INFEASIBLE.code
                continue
            values, row_duals, column_duals = (torch.from_numpy(part).to(x) for part in found)
            scale = system.scale
            scale = scale[problem, 0, 0] if isinstance(scale, Tensor) else scale
            plan[problem], a[problem] = values, row_duals * scale
            b[problem] = (column_duals * scale).double()

        error = violation(system, plan.sum(-1), plan.double().sum(-2), a, b)
        good = (error <= self.tolerance) & (code == Status.CONVERGED.code)
        code = torch.where(good | (code == Status.INFEASIBLE.code), code, Status.STALLED.code)
        steps = torch.ones_like(code, dtype=torch.int64)

        return Raw(plan, a, b, error, steps, good, code.to(torch.int8), backend="scipy")


def linear_programme(system: System, problem: int) -> tuple[Any, Any, Any] | None:
    """Plan and duals of one problem, or None when HiGHS finds it infeasible."""
    from scipy.optimize import linprog

    margins = system.margins
    x = system.scores[problem].double().cpu().numpy()
    n, k = x.shape
    # HiGHS's tolerances are absolute numbers: masses of order 1, by a power of two.
    mass = float(margins.row_unit[problem].double().mean()) if system.groups is None and n else 1.0
    unit = 2.0 ** round(math.log2(mass)) if mass > 0 else 1.0
    top = np.full(n * k, 1.0 if system.groups is not None else np.inf)
    if margins.free is not None:
        top = np.where(margins.free[problem].cpu().numpy().ravel(), top, 0.0)

    bounds = np.stack([np.zeros_like(top), top], 1)
    options: dict[str, Any] = {"bounds": bounds, "method": "highs-ds"}
    sides = constraints(margins, problem, (n, k), unit)
    options |= matrices(sides)
    found = linprog(-x.ravel(), **options)
    if found.x is None:
        return None

    prices = duals(sides, found.eqlin.marginals, found.ineqlin.marginals)
    # Prices of the mass belong to every row.
    rows, columns = prices[0] + (prices[2] if margins.mass is not None else 0.0), prices[1]
    plan = np.maximum(found.x.reshape(n, k), 0.0)
    if system.groups is not None:  # a vertex of whole numbers, up to HiGHS's rounding
        whole = np.round(plan)
        plan = np.where(np.abs(plan - whole) <= 1e-9, whole, plan)

    return plan * unit, rows.copy(), columns.copy()


def constraints(margins: Margins, problem: int, shape: tuple[int, int], unit: float) -> list[Side]:
    """The sums of rows and columns, and of the whole plan where it is given."""
    from scipy.sparse import eye, kron

    n, k = shape
    given: list[tuple[Any, Tensor | None, Tensor | None]] = [
        (kron(eye(n), np.ones((1, k))), margins.rows, margins.row_upper),
        (kron(np.ones((1, n)), eye(k)), margins.columns, margins.upper),
        (kron(np.ones((1, n)), np.ones((1, k))), margins.mass, None),
    ]

    def numbers(bound: Tensor | None) -> np.ndarray | None:
        return None if bound is None else bound[problem].double().cpu().numpy() / unit

    found = ((matrix, numbers(low), numbers(high)) for matrix, low, high in given)
    return [(matrix, low, high) for matrix, low, high in found if low is not None]


def matrices(sides: list[Side]) -> dict[str, Any]:
    """Equations and inequalities as `linprog` takes them."""
    from scipy.sparse import vstack

    exact = [(matrix, low) for matrix, low, high in sides if high is None]
    bounded = [
        part
        for matrix, low, high in sides
        if high is not None
        for part in ((matrix, high), (-matrix, -low))
    ]
    found: dict[str, Any] = {}
    for name, parts in (("eq", exact), ("ub", bounded)):
        if parts:
            found[f"A_{name}"] = vstack([matrix for matrix, _ in parts])
            found[f"b_{name}"] = np.concatenate([bound for _, bound in parts])

    return found


def duals(sides: list[Side], exact: np.ndarray, bounded: np.ndarray) -> list[np.ndarray]:
    """The price of every line of every side."""
    found = []
    for _, low, high in sides:
        count = low.shape[0]
        if high is None:
            price, exact = exact[:count], exact[count:]
        else:
            price, bounded = bounded[:count] - bounded[count : 2 * count], bounded[2 * count :]
        found.append(price)

    return found

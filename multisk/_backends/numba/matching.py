"""The zero-temperature flow (37) on the CPU: compiled, on arrays, or SciPy's linear assignment.

The compiled loops and the array passes give the same prices, and the same plan where only one is
best.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from multisk._backends.choose import flow_compiles
from multisk._backends.numba import flow_arrays
from multisk._backends.numba.solve import or_on_arrays


@dataclass(frozen=True)
class Matching:
    """Plans (b, n, k) of a batch; prices (b, k) and duality gaps (b,) where they were wanted.

    `failed` is the first problem without an answer, or -1; `reached` (k + 1,) are the columns, and
    the slack of the bounds, that a unit too many could get to in it.
    """

    plan: Any
    prices: Any
    gaps: Any
    failed: int
    reached: Any


@or_on_arrays
def match(x: Any, budgets: Any, low: Any, high: Any, prices: Any, *, priced: bool) -> Any:
    """Solve a batch of problems.

    Args:
        x: (b, n, k) float64 scores, -inf where a pair is forbidden.
        budgets: (b, n) columns of every row.
        low: (b, k) least loads.
        high: (b, k) greatest loads.
        prices: (b, k) to start from; they decide how long it takes.
        priced: Whether prices and gaps are wanted, and not the plans alone.
    """
    b, _, k = x.shape
    plan, given = assigned(x, budgets, low, high)
    found = np.array(prices, np.float64)
    gaps, reached = np.zeros(b), np.zeros(k + 1, bool)
    if given.all() and not priced:  # no reason to compile the flow, which takes 20 s once a machine
        return Matching(plan, found, gaps, -1, reached)

    flow = compiled_flow() if flow_compiles() else flow_arrays
    sides = x, budgets, low, high, found
    failed = flow.match_batch(*sides, plan, given, gaps, reached, priced)

    return Matching(plan, found, gaps, int(failed), reached)


def compiled_flow() -> ModuleType:
    """The loops; importing them loads numba."""
    from multisk._backends.numba import flow

    return flow


def assigned(x: Any, budgets: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Plans of the problems that are linear assignments, by SciPy, and which ones those are.

    Its solver is the shortest augmenting path method of Jonker & Volgenant (1987) as modified by
    Crouse (2016): every row takes at most one column and every column at most one row.
    """
    plan, given = np.zeros(x.shape, bool), np.zeros(x.shape[0], bool)
    single = (budgets.max(1, initial=0) <= 1) & (high.max(1, initial=0) <= 1)
    total, least = budgets.sum(1), low.sum(1)
    single &= (least == 0) | (least == total)
    if not single.any():
        return plan, given

    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        return plan, given

    for p in np.flatnonzero(single):
        rows = np.flatnonzero(budgets[p])
        columns = np.flatnonzero(high[p] if least[p] == 0 else low[p])
        if rows.size > columns.size:
            continue
        try:
            taken = linear_sum_assignment(x[p][np.ix_(rows, columns)], maximize=True)
        except ValueError:  # the mask leaves no assignment: the flow finds out why
            continue
        plan[p, rows[taken[0]], columns[taken[1]]] = True
        given[p] = True

    return plan, given

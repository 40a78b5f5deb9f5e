"""Soft plan to hard assignment: the zero-temperature problem, warm from the plan's potentials."""

from typing import Any

from torch import Tensor

from multisk._hard import Hard, NoAssignment, matched, starting_prices
from multisk._problem.system import System
from multisk._solution.answer import Answer


def hard_solution(solution: Answer) -> Hard:
    """The exact assignment of a solution's problem; see `Solution.round` and `Solution.prices`.

    Raises:
        ValueError: For fractional row budgets, a transport, or rows spread over ranks.
        RuntimeError: When no hard assignment fits.
    """
    system = solution.system.detach()
    if system.groups is None or system.group is not None or not system.two_groups:
        raise ValueError("round must follow a MultiAssignment with two levels on one process")
    scores = system.scores.view(solution.plan.shape)
    prices = starting_prices(start_of(system, solution.raw.column_potential), system)
    try:
        return matched(scores, system, prices)
    except NoAssignment as error:
        raise RuntimeError(
            f"no hard assignment meets the budgets, capacities and mask: {error}"
        ) from None


def start_of(system: System, b: Tensor) -> Tensor:
    """Prices (*batch, K) of the columns' potentials: these are added, and have no unit."""
    scale: Any = system.scale
    prices = -b.double() / (scale.view(-1, 1) if isinstance(scale, Tensor) else scale)
    return prices.view(*system.batch, prices.shape[-1])

"""Soft plan to hard assignment: the zero-temperature problem, warm from the plan's potentials."""

from typing import Any

import torch
from torch import Tensor

from multisk._backends.numba.matching import Matching
from multisk._hard import NoAssignment, matching, starting_prices
from multisk._problem.problem import check_values
from multisk._problem.system import System
from multisk._solution.answer import Answer


def rounded(solution: Answer) -> Tensor:
    """The boolean plan (*batch, N, K) of `Solution.round`.

    Raises:
        ValueError: For fractional row budgets, a transport, or rows spread over ranks.
        RuntimeError: When no hard assignment fits.
    """
    plan = hard_matching(solution, priced=False).plan
    return torch.from_numpy(plan).view(solution.plan.shape).to(solution.plan.device)


def priced(solution: Answer) -> Tensor:
    """The prices (*batch, K) of `Solution.prices`; raises as `rounded`."""
    prices = hard_matching(solution, priced=True).prices
    return (
        torch.from_numpy(prices)
        .view(*solution.system.batch, solution.plan.shape[-1])
        .to(solution.plan.device)
    )


def hard_matching(solution: Answer, *, priced: bool) -> Matching:
    """The zero-temperature answer, from the prices of the solution."""
    check_values("plan", solution.raw.plan)
    system = solution.system.detach()
    if system.groups is None or system.ranks is not None or not system.two_groups:
        raise ValueError("round must follow a MultiAssignment with two levels on one process")

    start = starting_prices(start_of(system, solution.raw.column_potential), system)
    try:
        return matching(system, start, priced=priced)
    except NoAssignment as error:
        raise RuntimeError(
            f"no hard assignment meets the budgets, capacities and mask: {error}"
        ) from None


def start_of(system: System, b: Tensor) -> Tensor:
    """Prices (*batch, K) of the columns' potentials, Eq. (38), which are added and have no unit."""
    scale: Any = system.scale
    prices = -b.double() / (scale.view(-1, 1) if isinstance(scale, Tensor) else scale)
    return prices.view(*system.batch, prices.shape[-1])

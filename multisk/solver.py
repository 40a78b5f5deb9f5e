"""What a solver of your own needs: the protocol, the system it is given, the answer it returns.

See docs/multisk/own_solver.md for a whole one.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.tiles import plan_of, violation
from multisk._problem.status import verdict
from multisk._problem.system import System
from multisk._solvers.base import Solver

__all__ = ["Raw", "Solver", "System", "judged"]


def judged(
    system: System,
    row_potential: Float[Tensor, "b n"],
    column_potential: Float[Tensor, "b k"],
    *,
    steps: int,
    tolerance: float,
) -> Raw:
    """The answer at these potentials: its plan, its error, and whether that is within `tolerance`.

    The plan is sigmoid(scale X + a_i + b_j) for an assignment, exp of it for a transport.

    Args:
        system: What was asked.
        row_potential: a, dimensionless.
        column_potential: b, dimensionless; kept in float64.
        steps: How many steps were made.
        tolerance: Largest relative violation of a row or column sum that counts as converged.

    Raises:
        ValueError: For more than two channel scales, whose potentials are not one a row.
    """
    if not system.two_groups:
        raise ValueError("damping must have at most two levels for judged, got more")

    a, b = row_potential.to(system.scores.dtype), column_potential.double()
    plan, row_sums, column_sums = plan_of(system, a, b, None)
    error = violation(system, row_sums, column_sums, a, b)
    count = torch.full(error.shape, steps, dtype=torch.int64, device=error.device)
    good, code = verdict(error, count, tolerance, steps)

    return Raw(plan, a, b, error, count, good, code)

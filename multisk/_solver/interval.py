"""Column intervals: the dual has a kink at b = 0, and a Newton step solves its kinked model."""

from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]
Solve = Callable[[Tensor, Tensor], Tensor]


def pull_at(b: Tensor, sums: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The dual's smallest subgradient, and the columns that rest at b = 0.

    b > 0 pushes a load up to its lower bound, b < 0 down to its upper one; at b = 0 every load
    between the bounds is optimal.
    """
    below, above = sums - lower, sums - upper
    rest = below.clamp_max(0.0) + above.clamp_min(0.0)
    pull = torch.where(b > 0, below, torch.where(b < 0, above, rest))
    return pull, (b == 0) & (pull == 0)


def pull_along(
    b: Tensor, sums: Tensor, lower: Tensor, upper: Tensor, move: Tensor, *, ahead: bool
) -> Tensor:
    """The dual's gradient for its slope along `move`, just ahead of `b` or just behind it."""
    side = torch.where(b == 0, move if ahead else -move, b)
    return sums - torch.where(side > 0, lower, upper)


def kinked_step(
    b: Tensor,
    sums: Tensor,
    bounds: tuple[Tensor, Tensor],
    weight: Tensor,
    still: Tensor,
    apply: Apply,
    solve: Solve,
) -> Tensor:
    """Minimise the quadratic model plus the kinks exactly, by a primal-dual active set.

    A column is inactive when the load predicted for it at potential 0 lies inside its interval.

    Args:
        b: Current potentials (b, k).
        sums: The loads there.
        bounds: (lower, upper).
        weight: Diagonal of the Hessian, the natural measure of a potential in loads.
        still: Columns without free cells.
        apply: The Hessian times a vector.
        solve: Solves the Hessian restricted to the columns that are not held.
    """
    lower, upper = bounds
    y, load = b, sums
    before = None
    for _ in range(30):
        predicted = load - weight * y
        low, high = predicted < lower, predicted > upper
        inside = ~(low | high) | still
        state = low.to(torch.int8) - high.to(torch.int8)
        if before is not None and bool((state == before).all()):
            break
        before = state
        parked = torch.where(inside & ~still, -b, torch.zeros_like(b))
        goal = torch.where(low, lower, upper)
        moved = solve(goal - sums - apply(parked), inside)
        step = torch.where(inside, parked, moved)
        y, load = b + step, sums + apply(step)
    return torch.where(inside & ~still, -b, y - b)

"""Column intervals: the dual has a kink at b = 0 (17), a Newton step solves its kinked model."""

from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]
Solve = Callable[[Tensor, Tensor], Tensor]


def pull_at(b: Tensor, sums: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The dual's smallest subgradient, and the columns that rest at b = 0: Eq. (17), (18).

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


def best_shift(b: Tensor, lower: Tensor, upper: Tensor, mass: Tensor) -> Tensor:
    """The common shift of all prices that minimises the dual, Eq. (20): it puts one of them at 0.

    A shift changes no plan, only which bound each column answers for; along it the dual is
    piecewise linear with the slope mass - (lower bounds of b > 0) - (upper bounds of b < 0).
    """
    if not b.shape[-1]:
        return torch.zeros_like(mass)

    empty = upper <= 0
    order = b.masked_fill(empty, -torch.inf).argsort(-1, descending=True)
    low, high = lower.gather(-1, order), upper.gather(-1, order)
    # Eq. (20) once the first columns in this order are above 0: the first that is not negative ends
    # it.
    slope = mass - low.cumsum(-1) - (high.sum(-1, keepdim=True) - high.cumsum(-1))
    enough = slope >= -1e-12 * mass
    first = torch.where(
        enough.any(-1, keepdim=True), enough.to(torch.int8).argmax(-1, keepdim=True), 0
    )
    shift = -b.gather(-1, order.gather(-1, first))

    return torch.where(empty.all(-1, keepdim=True), 0.0, shift)


def kinked_step(
    b: Tensor,
    sums: Tensor,
    bounds: tuple[Tensor, Tensor, Tensor | None],
    weight: Tensor,
    still: Tensor,
    apply: Apply,
    solve: Solve,
) -> Tensor:
    """Minimise the quadratic model plus the kinks exactly, by a primal-dual active set: Eq. (19).

    A column is inactive when the load predicted for it at potential 0 lies inside its interval.

    Args:
        b: Current potentials (b, k).
        sums: The loads there.
        bounds: (lower, upper, sum of all loads (b, 1)); no sum where a shift is no free choice.
        weight: Diagonal of the Hessian, the natural measure of a potential in loads.
        still: Columns whose load does not answer: without free cells, or all of them decided.
        apply: The Hessian times a vector.
        solve: Solves the Hessian restricted to the columns that are not held.
    """
    lower, upper, mass = bounds
    y, load = b, sums
    before = None
    for _ in range(30):
        # Eq. (19): the load that a column would have at 0, all others where they are.
        predicted = load - weight * y
        low, high = predicted < lower, predicted > upper
        rest = ~(low | high)
        inside = rest | still  # a column without an answer rests, or waits out of bounds
        state = low.to(torch.int8) - high.to(torch.int8)
        if before is not None and bool((state == before).all()):
            break
        before = state
        parked = torch.where(rest, -b, torch.zeros_like(b))
        goal = torch.where(low, lower, upper)

        # Those at rest go to 0, the others to their bound.
        moved = solve(goal - sums - apply(parked), inside)
        step = torch.where(inside, parked, moved)
        y, load = b + step, sums + apply(step)
        if mass is None:
            continue
        # With nothing held the common shift was arbitrary; without a load's change, set it right.
        loose = ~(inside & ~still).any(-1, keepdim=True)
        shift = best_shift(y, lower, upper, mass)
        y = torch.where(loose & ~still, y + shift, y)

    return torch.where(rest, -b, y - b)

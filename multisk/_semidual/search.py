"""Newton directions (13) on the columns' dual, damped where a step went too far (15)."""

from typing import Any

import torch
from torch import Tensor

from multisk._backends.choose import kernels_visit
from multisk._backends.triton import visits
from multisk._problem.status import inner
from multisk._problem.system import System
from multisk._semidual.semidual import Point, direction, recentred, slope, visit

HELD = 2e-5  # relative error that the rounding of float32 potentials can leave
LONG, FAR = 16, 0.1  # passes after which an error this large says that Newton is lost


class Search:
    """Newton directions; after one that went too far the next ones are damped to a radius."""

    def __init__(self, system: System, tolerance: float, *, polish: bool = True) -> None:
        self.system, self.tolerance = system, tolerance
        # In float64 one more step after the tolerance is reached squares the error: gradients and
        # comparisons then see the limit itself.
        double = system.scores.dtype == torch.float64
        self.finest = 1e-12 if double and polish else tolerance
        self.row_tolerance = 1e-13 if double else inner(tolerance)

    def idle(self, best: Point) -> Tensor:
        """Passes without a better point after which a problem is left.

        Float32 circles at its rounding, and the host goes on from there in float64.
        """
        single = self.system.scores.dtype == torch.float32 and not kernels_visit(self.system)
        rounding = (best.error <= HELD) & single
        return torch.where(rounding, 2, 8)

    def run(self, b: Tensor, a: Tensor | None, most: Tensor) -> tuple[Point, Tensor]:
        """From `b`, at most `most` (b,) passes after the first; the best point and passes used."""
        plan = torch.empty_like(self.system.scores, memory_format=torch.contiguous_format)
        everyone = torch.ones_like(b[:, 0], dtype=torch.bool)
        point = visit(self.system, b, a, self.row_tolerance, plan, everyone)
        centred = recentred(self.system, point)
        best, base = centred.copy(), centred.copy()

        steps = torch.zeros_like(b[:, 0], dtype=torch.int64)
        idle, slopes = torch.zeros_like(steps), torch.zeros_like(b[:, 0])
        radius = torch.full_like(b[:, :1], torch.inf)
        accept, move = everyone, None
        polished = ~everyone
        stale = ~everyone  # problems whose buffer holds a later plan than their best

        while True:
            reached = best.error <= self.tolerance
            polished = polished | (best.error <= self.finest)

            # Done, once more for the polish, or given up: without progress, or far off after `LONG`
            # passes.
            hopeful = (idle < self.idle(best)) & ((steps < LONG) | (best.error <= FAR))
            live = torch.where(reached, ~polished, hopeful) & (steps < most)
            if not bool(live.any()):
                break
            polished = reached

            if move is not None:  # Eq. (15), on the slopes at both ends of the last move
                behind = slope(self.system, point, move, ahead=False)
                accept, move, radius = damped(move, radius, slopes.abs(), behind)
                base = joined(base, centred, accept)

            move = self.ahead(base, centred, radius, accept, move)
            slopes = slope(self.system, base, move, ahead=True)
            target = torch.where(live[:, None], base.b + move, best.b)
            point = visit(self.system, target, point.a, self.row_tolerance, plan, live)
            centred = recentred(self.system, point)
            steps += live

            better = live & (centred.error < best.error)
            stale = torch.where(live, ~better, stale)
            idle = torch.where(better, 0, idle + 1)
            best.put(better.nonzero().squeeze(-1), centred.pick(better))

        self.restore(best, plan, stale)
        return best, steps

    def ahead(
        self, base: Point, centred: Point, radius: Tensor, accept: Tensor, move: Tensor | None
    ) -> Tensor:
        """Newton's direction from `base`, no longer than `radius`."""
        if base.coupling.shape[-1]:
            return direction(self.system, base, radius)

        # The stored plan is the last one: a rejected move is only shortened.
        fresh = direction(self.system, centred, torch.full_like(radius, torch.inf))
        return fresh if move is None else torch.where(accept[:, None], fresh, move)

    def restore(self, best: Point, plan: Tensor, stale: Tensor) -> None:
        """Write the plans of the best points where the buffer holds later ones."""
        if kernels_visit(self.system):
            plan.copy_(visits.plan(self.system, best.a, best.b).plan)
        elif bool(stale.any()):
            point = visit(self.system, best.b, best.a, self.row_tolerance, plan, stale)
            best.put(stale.nonzero().squeeze(-1), recentred(self.system, point).pick(stale))


def damped(
    move: Tensor, radius: Tensor, before: Tensor, behind: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Whether a move stands, the same move cut, and the radius of the next.

    It stands where the slope at its end has turned by half at most.

    Args:
        move: (b, k) what was taken.
        radius: (b, 1) longest component of a move.
        before: (b,) slope along the move where it began.
        behind: (b,) slope along it where it ended, positive where it went too far.
    """
    # Eq. (15)
    accept = behind <= 0.5 * before
    # Where the slope vanishes if it is linear, kept within [1/20, 1/2] of the move.
    cut = (before / (before + behind)).clamp(0.05, 0.5)[:, None]
    move = move * cut
    shorter = torch.minimum(radius * cut, move.abs().amax(-1, keepdim=True))
    return accept, move, torch.where(accept[:, None], 8 * radius, shorter)


def joined(old: Point, new: Point, accept: Tensor) -> Point:
    """The new point where it is accepted; plans play no part."""
    parts: dict[str, Any] = {}
    for name, value in vars(new).items():
        if value is None or name == "plan":
            parts[name] = value
        else:
            here = accept.view(-1, *[1] * (value.ndim - 1))
            parts[name] = torch.where(here, value, getattr(old, name))

    return Point(**parts)

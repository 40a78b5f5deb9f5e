"""Newton directions on the columns' dual, cut back where its slope says a step went too far."""

import torch
from torch import Tensor

from multisk._solver.semidual import Point, direction, recentred, slope, visit
from multisk._system import System


class Search:
    """Newton directions with steps cut where the dual's slope says they went too far."""

    def __init__(self, system: System, tolerance: float, *, polish: bool = True) -> None:
        self.system, self.tolerance = system, tolerance
        # In float64 one more step after the tolerance is reached squares the error: gradients and
        # comparisons then see the limit itself.
        double = system.scores.dtype == torch.float64
        self.finest = 1e-12 if double and polish else tolerance
        self.row_tolerance = 1e-13 if double else 0.1 * tolerance

    def run(self, b: Tensor, a: Tensor | None, most: int) -> tuple[Point, Tensor]:
        """From `b`, at most `most` passes after the first; the best point and passes used."""
        plan = torch.empty_like(self.system.scores, memory_format=torch.contiguous_format)
        everyone = torch.ones_like(b[:, 0], dtype=torch.bool)
        point = visit(self.system, b, a, self.row_tolerance, plan, everyone)
        centred = recentred(self.system, point)
        best = centred.copy()
        steps = torch.zeros(b.shape[0], dtype=torch.int64, device=b.device)
        base, move, length, idle = (
            centred.b,
            None,
            torch.ones_like(b[:, :1]),
            torch.zeros_like(steps),
        )
        slopes = torch.zeros_like(b[:, 0])
        polished = best.error <= self.finest
        stale = ~everyone  # problems whose buffer holds a later plan than their best
        for _ in range(most):
            reached = best.error <= self.tolerance
            live = torch.where(reached, ~polished, idle < 8)
            if not bool(live.any()):
                break
            polished = reached
            fresh = direction(self.system, centred)
            if move is None:
                move, slopes = fresh, slope(self.system, centred, fresh, ahead=True)
            else:
                behind = slope(self.system, point, move, ahead=False)
                accept = behind <= 0.5 * slopes.abs()
                cut = (slopes.abs() / (slopes.abs() + behind)).clamp(0.1, 0.7)[:, None]
                length = torch.where(accept[:, None], 1.0, length * cut)
                base = torch.where(accept[:, None], centred.b, base)
                ahead = slope(self.system, centred, fresh, ahead=True)
                slopes = torch.where(accept, ahead, slopes)
                move = torch.where(accept[:, None], fresh, move)
            target = torch.where(live[:, None], base + length * move, best.b)
            point = visit(self.system, target, point.a, self.row_tolerance, plan, live)
            centred = recentred(self.system, point)
            steps += live
            better = live & (centred.error < best.error)
            stale = torch.where(live, ~better, stale)
            idle = torch.where(better, 0, idle + 1)
            best.put(better.nonzero().squeeze(-1), centred.pick(better))
        if bool(stale.any()):
            point = visit(self.system, best.b, best.a, self.row_tolerance, plan, stale)
            best.put(stale.nonzero().squeeze(-1), recentred(self.system, point).pick(stale))
        return best, steps

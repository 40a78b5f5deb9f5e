"""Row intervals: a row's dual has a kink where its potential is the level (0 without a mass).

Eq. (21): for given column potentials the best potential of a row is the level, unless its sum would
leave its interval there; then it is what brings the sum to that bound. Rows at the level are
`loose`: their sums may move. Where the sum of the whole plan is given, the level is its multiplier,
and all loose rows move together with it; without one they stand still.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multisk._backends.torch import passes
from multisk._problem.system import System


@dataclass(frozen=True, eq=False)
class Loose:
    """The rows inside their intervals, and whether one multiplier moves them together."""

    rows: Bool[Tensor, "b n"]
    pooled: bool


@dataclass(frozen=True, eq=False)
class Band:
    """Of every row the potentials at its bounds, and the level between them."""

    low: Float[Tensor, "b n"]
    high: Float[Tensor, "b n"]
    level: Float[Tensor, "b 1"]

    @property
    def loose(self) -> Tensor:
        """Rows whose sum lies inside its interval."""
        return (self.low < self.level) & (self.level < self.high)


def band_of(system: System, logs: Float[Tensor, "b n"]) -> Band:
    """A transport's band from every row's log sum at the potential 0, in float64."""
    margins = system.margins
    assert margins.row_upper is not None
    logs, top = logs.double(), margins.row_upper.double()
    closed = top <= 0
    # Eq. (9) at both bounds.
    low = torch.where(closed, 0.0, margins.rows.double().log() - logs)
    high = torch.where(closed, 0.0, top.log() - logs)
    if margins.mass is None:
        return Band(low, high, low.new_zeros((low.shape[0], 1)))

    bounds = margins.rows.double(), torch.where(closed, 0.0, top)
    return Band(low, high, level_of(logs, bounds, (low, high), margins.mass.double()))


def level_of(
    logs: Tensor, bounds: tuple[Tensor, Tensor], ends: tuple[Tensor, Tensor], mass: Tensor
) -> Tensor:
    """The level at which the rows' sums, each within its bounds, have the sum `mass`: Eq. (21).

    That sum grows with the level, as an exponential between two of the rows' `ends`: bisection
    over these finds the two, and the rest has a closed form.
    """
    lower, upper = bounds
    points = torch.cat(ends, 1).sort(1).values
    first = torch.zeros_like(points[:, :1], dtype=torch.int64)
    last = torch.full_like(first, points.shape[1] - 1)

    def total(level: Tensor) -> Tensor:
        held = torch.minimum(torch.maximum((logs + level).exp(), lower), upper)
        return torch.where(upper > 0, held, 0.0).sum(1, keepdim=True)

    for _ in range(max(1, points.shape[1]).bit_length()):  # last: the first end that has enough
        middle = (first + last) // 2
        enough = total(points.gather(1, middle)) >= mass
        first, last = torch.where(enough, first, middle + 1), torch.where(enough, middle, last)
        first = torch.minimum(first, last)

    right = points.gather(1, last)
    left = points.gather(1, (last - 1).clamp_min(0))
    between = (ends[0] < right) & (ends[1] > left) & (upper > 0) & (left < right)
    # Rows at a bound between the two ends, and the log sum of those that move with the level.
    fixed = torch.where(ends[0] >= right, lower, upper)
    fixed = torch.where(between, 0.0, fixed).sum(1, keepdim=True)
    moving = torch.where(between, logs, -torch.inf).logsumexp(1, keepdim=True)
    level = (mass - fixed).clamp_min(1e-300).log() - moving
    level = torch.where(moving.isfinite(), level, right)
    level = torch.minimum(torch.maximum(level, left), right)

    return level.clamp(-1e5, 1e5)


def potentials_in(band: Band) -> Tensor:
    """The rows' potentials, (b, n) in float64."""
    return torch.minimum(torch.maximum(band.level, band.low), band.high)


def capped_rows(
    y: Tensor, bounds: tuple[Tensor, Tensor], count: Tensor, tolerance: float
) -> Tensor:
    """The same for an assignment: 0, or the root at the bound that the sum at 0 leaves."""
    lower, upper = bounds
    sums = torch.sigmoid(y).sum(-1)
    target = torch.minimum(torch.maximum(sums, lower), upper)
    inside = target == sums
    decided = inside | (target <= 0) | (target >= count)
    goal = torch.where(decided, 0.5 * count, target)
    a = passes.row_answer(y, goal, count, tolerance=tolerance)

    return torch.where(decided, 0.0, a)


def band_at(system: System, a: Tensor, row_sums: Tensor) -> Band:
    """The band at a solution: rows are answers, so that their sums and potentials tell it."""
    if system.groups is None:
        tiny = torch.finfo(torch.float64).tiny
        return band_of(system, row_sums.double().clamp_min(tiny).log() - a.double())

    a = a.double()  # a potential above 0 is one at its lower bound
    low = torch.where(a > 0, a, -torch.inf)
    high = torch.where(a < 0, a, torch.inf)
    return Band(low, high, a.new_zeros((a.shape[0], 1)))

"""Cold assignments around potentials that are nearly right: what a table cannot hold is cut off.

At a solution a cell of exponent T has P = sigmoid(T), so that cells far above or below 0 are 1 or 0
whatever they are exactly. Around potentials that are near, exponents are held within `REACH` of the
number format; as long as the potentials then move less than `MARGIN` short of that, the plan is the
same to e^-MARGIN, far below float64's rounding.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import RANGE, largest_scale, loops_for, span
from multisk._backends.numba.available import compiled
from multisk._problem.margins import Even
from multisk._problem.system import System

REACH = 0.48  # of the range of a table, to both sides of 0
MARGIN = 45.0  # e^-45 is 3e-20
ROOMY = 2 * MARGIN  # exponents below which nothing could move: damping near 1
NARROW = 16.0  # exponents between two levels of which one holds a row's budget


@dataclass(frozen=True)
class Around:
    """A system in float64 whose exponents at potentials 0 are those of another at its start."""

    system: System
    rows: Tensor  # (b, n) and (b, k): potentials of the whole where this one has 0
    columns: Tensor
    room: float  # that the potentials may move by

    def back(self, raw: Raw) -> Raw:
        """The answer to this system as one to the whole."""
        a, b = raw.row_potential + self.rows, raw.column_potential + self.columns
        return replace(raw, row_potential=a, column_potential=b)

    def holds(self, raw: Raw) -> bool:
        """Whether no cell that was cut off can have come near to 0."""
        moved = raw.row_potential.abs().amax(-1) + raw.column_potential.abs().amax(-1)
        return bool((moved <= self.room).all())


def around(system: System, b: Tensor) -> Around | None:
    """The system around the columns' potentials `b`; None where a table holds it anyway.

    None as well where compiled loops do not serve what is left of it.
    """
    if system.groups is None or not compiled(loops_for(system)):
        return None

    scale = system.score_factor / float(system.eps)
    reach = REACH * RANGE[torch.float64] * system.score_factor / largest_scale(system)
    if reach < ROOMY or not RANGE[torch.float64] <= span(system) < math.inf:
        return None

    free = None if isinstance(system.budgets, Even) else system.budgets.free
    t = (system.scores.double() * scale).add_(b[:, None])
    a = -middles(t, system.margins.rows, free)
    t = t.add_(a[..., None]).clamp_(-reach, reach).div_(scale)
    cut = replace(system, scores=t, ends=(-reach / scale, reach / scale))
    return Around(cut, a, b, reach - MARGIN)


def middles(t: Tensor, rows: Tensor, free: Tensor | None) -> Tensor:
    """Levels above which about as many of a row's free cells lie as its budget says, (b, n).

    Just below one of them: of a row in a gap that is the end where its root is not flat.
    """
    if free is not None:
        t = t.masked_fill(~free, -math.inf)
    high = t.amax(-1)
    low = t.amin(-1) if free is None else t.masked_fill(t == -math.inf, math.inf).amin(-1)
    empty = low > high
    low, high = low.masked_fill(empty, 0.0), high.masked_fill(empty, 0.0)
    # Bisection: above the level lie as many cells as the budget, as Eq. (16) has it at zero
    # temperature.
    for _ in range(math.ceil(math.log2(max(2.0, float((high - low).max()) / NARROW)))):
        level = (low + high) / 2
        many = (t > level[..., None]).sum(-1) >= rows
        low, high = torch.where(many, level, low), torch.where(many, high, level)

    return (low + high) / 2

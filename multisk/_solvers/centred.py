"""Offsets of rows and columns, which the potentials absorb, where no table holds them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import RANGE, loops_for, span
from multisk._backends.numba.available import compiled
from multisk._problem.margins import Even
from multisk._problem.system import System, widen


@dataclass(frozen=True)
class Centred:
    """A system in float64 whose scores lack the largest of every row, then of every column."""

    system: System
    rows: Tensor  # (b, n) and (b, k): what was taken off, in exponents
    columns: Tensor

    def start(self, init: Tensor | None) -> Tensor | None:
        """Columns' potentials of the whole system as those of this one."""
        return None if init is None else init + self.columns

    def back(self, raw: Raw) -> Raw:
        """The answer to this system as one to the whole."""
        a, b = raw.row_potential - self.rows, raw.column_potential - self.columns
        return replace(raw, row_potential=a, column_potential=b)


def centred(system: System) -> Centred | None:
    """The system without offsets; None where a table holds them, or does not hold the rest."""
    if not system.shifts or not compiled(loops_for(system)):
        return None
    if not isinstance(system.budgets, Even) and system.budgets.free is not None:
        return None
    if span(system) < RANGE[torch.float64]:
        return None

    x = system.scores.double()
    rows = x.amax(-1, keepdim=True)
    columns = (x - rows).amax(-2, keepdim=True)
    x = x - rows - columns
    low, high = x.aminmax()
    plain = replace(widen(system), scores=x, ends=(float(low), float(high)))
    if span(plain) >= RANGE[torch.float64]:
        return None

    scale = system.score_factor / float(system.eps)
    return Centred(plain, scale * rows.squeeze(-1), scale * columns.squeeze(-2))

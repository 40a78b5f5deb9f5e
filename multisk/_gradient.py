"""Derivatives of a plan: implicit at the limit, unrolled through the sweeps, or none."""

from typing import Any

from torch import Tensor

from multisk._solver.base import Raw
from multisk._system import System


def attach(system: System, raw: Raw, solver: Any, start: Tensor | None) -> Tensor:
    """The plan with the derivative that the solver's `gradient` asks for."""
    return raw.plan

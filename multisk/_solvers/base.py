"""What a solver is."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from multisk._backends.base import Raw
from multisk._problem.system import System


@runtime_checkable
class Solver(Protocol):
    """A frozen object with options; `run` knows systems only."""

    @property
    def gradient(self) -> str | None:
        """How the plan is differentiated: "implicit", "unroll", "none"; None: as is usual."""
        ...

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve every problem of the batch, without gradients."""
        ...

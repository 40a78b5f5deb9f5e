"""What a solver is."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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


if TYPE_CHECKING:
    OptionalSolver = Solver | None
else:
    OptionalSolver = Any  # checked below, with a sentence


def check_solver(solver: Any) -> None:
    """Require None or an object that solves."""
    if isinstance(solver, type) and hasattr(solver, "run"):
        name = solver.__name__
        raise ValueError(f"solver must be an instance, e.g. {name}(), got the class {name}")

    if solver is not None and (isinstance(solver, type) or not hasattr(solver, "run")):
        raise ValueError(f"solver must be Newton(), Sinkhorn() or Exact(), got {solver!r}")

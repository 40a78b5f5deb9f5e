"""What a solver is."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from multisk._backends.base import Raw
from multisk._problem.system import System


@runtime_checkable
class Solver(Protocol):
    """A frozen object with options; `run` knows systems only.

    Read where a solver has it: `tolerance`, from which a warning tells a limit that the implicit
    derivative is far from. One with an `order` is made of sweeps, whose `steps` are unrolled.
    """

    @property
    def gradient(self) -> str | None:
        """How the plan is differentiated: "implicit", "none", or None: as is usual.

        "unroll", the derivative of the sweeps themselves, is `Sinkhorn`'s alone.
        """
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

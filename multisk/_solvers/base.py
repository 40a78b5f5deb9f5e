"""What a solver takes and gives: a detached system in, potentials and a plan out."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from multisk._problem.system import System


@dataclass(eq=False)
class Raw:
    """A solver's answer for the flat batch, before it is judged and wrapped."""

    plan: Float[Tensor, "b n k"]
    row_potential: Tensor  # (b, n), or (b, c, n) for more than two groups
    column_potential: Tensor  # (b, k), or (b, c, k)
    error: Float[Tensor, " b"]
    steps: Int[Tensor, " b"]
    converged: Bool[Tensor, " b"]
    code: Int8[Tensor, " b"]
    row_scale: tuple[Tensor, Tensor] | None = None  # log factors (b, n) after the last depth step
    channels: Tensor | None = None  # (b, K, n, k) when they were materialised
    solver: str | None = None  # what ran, where the solver itself chose
    finite: bool = False  # whether the host has seen that every error is
    kept: tuple[Tensor, Tensor, Tensor] | None = None  # of `sweeps_kept`, for the derivative


@runtime_checkable
class Solver(Protocol):
    """A frozen object with options; `run` knows systems only."""

    gradient: str | None

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve every problem of the batch, without gradients."""
        ...

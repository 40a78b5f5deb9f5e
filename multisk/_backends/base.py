"""What a backend gives: the answer to a whole system, or one visit's part of it on this rank."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor


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
    backend: str | None = None  # who read the scores, where it is not what the system's is
    finite: bool = False  # whether the host has seen that every error is
    kept: tuple[Tensor, Tensor, Tensor] | None = None  # of `sweeps_kept`, for the derivative
    miss: tuple[Tensor, Tensor] | None = None  # of the sums, where a transform is to see the plan
    replay: Callable[[Any], Any] | None = None  # a system's log plan by the sweeps themselves


class Local(NamedTuple):
    """What a Newton pass finds on this rank; `coupling` is empty where it is not formed."""

    a: Tensor  # (b, n)
    row_sums: Tensor  # (b, n)
    sums: Tensor  # (b, k) float64
    weight: Tensor  # (b, k) float64
    coupling: Tensor  # (b, k, k) or (b, 0, 0) float64

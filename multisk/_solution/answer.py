"""What a solver found, judged: the plan, its potentials, its error and its status."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch import passes
from multisk._problem.problem import check_values, readable
from multisk._problem.status import Status
from multisk._problem.system import System


@dataclass(frozen=True, eq=False)
class Answer:
    """What `Solution` is made of; its attributes are described there."""

    plan: Float[Tensor, "*batch n k"]
    solver: str
    mode: str  # derivative of the plan: implicit, unroll or none
    system: System
    raw: Raw

    @property
    def row_potential(self) -> Tensor:
        """(*batch, N), or (*batch, C, N)."""
        a = self.raw.row_potential
        return a.view(*self.system.batch, *a.shape[1:])

    @property
    def column_potential(self) -> Tensor:
        """(*batch, K), or (*batch, C, K)."""
        b = self.raw.column_potential
        return b.view(*self.system.batch, *b.shape[1:]).to(self.raw.plan.dtype)

    @property
    def backend(self) -> str:
        """Who read the scores; see `multisk.use_backend`."""
        return self.raw.backend or "torch"

    @property
    def marginal_error(self) -> Float[Tensor, "*batch"]:
        """The worst relative violation of a row or column sum."""
        return self.raw.error.view(self.system.batch)

    @property
    def steps(self) -> Int[Tensor, "*batch"]:
        """Sweeps or Newton passes used."""
        return self.raw.steps.view(self.system.batch)

    @property
    def converged(self) -> Bool[Tensor, "*batch"]:
        """Whether `marginal_error` is within the tolerance."""
        return self._verdict[1].view(self.system.batch)

    @property
    def status_code(self) -> Int8[Tensor, "*batch"]:
        """The code of each problem's `Status`."""
        return self._verdict[0].view(self.system.batch)

    @property
    def _verdict(self) -> tuple[Tensor, Tensor]:
        """Codes and convergence, after what the checks and the plan's own sums say."""
        system, raw = self.system, self.raw
        if system.code is None and raw.finite:
            return raw.code, raw.converged

        finite = raw.error.isfinite()  # it holds the sum of every entry, and all are at least 0
        if system.code is None and readable(finite) and bool(finite.all()):
            return raw.code, raw.converged

        code = torch.where(finite, raw.code, Status.NONFINITE_PLAN.code)
        if system.code is not None:
            code = torch.where(system.code > 0, system.code, code)

        code = code.to(torch.int8)
        return code, raw.converged & (code == Status.CONVERGED.code)

    @property
    def flat_plan(self) -> Float[Tensor, "b n k"]:
        """The plan in the solver's precision with one batch dimension."""
        return self.plan.reshape(self.system.scores.shape).to(self.system.scores.dtype)

    def exponent(self) -> Tensor:
        """Scale * scores + a + b, (b, n, k); minus infinity at forbidden pairs."""
        system, raw = self.system, self.raw
        a, b = raw.row_potential, raw.column_potential
        return passes.exponent(
            system.scores.detach(), plain(system.scale), a, b, system.margins.free
        )


def budget_of(system: System) -> int:
    """The common integer budget of all rows."""
    if system.bounded_rows:
        name = "rows" if system.groups is None else "k"
        raise ValueError(f"{name} must be the same for every row here, got an interval")
    if system.groups is None:
        return 1
    if system.budget is not None:
        return system.budget

    check_values("k", system.margins.rows)
    rows = system.margins.row_unit if system.margins.free is not None else system.margins.rows
    k = int(rows.flatten()[0]) if rows.numel() else 0
    if not bool((rows == k).all()):
        raise ValueError("k must be the same int for every row here, got budgets that differ")

    return k


def plain(scale: Any) -> Any:
    """A scale without its gradient."""
    return scale.detach() if isinstance(scale, Tensor) else scale

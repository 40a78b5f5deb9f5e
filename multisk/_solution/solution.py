"""What comes back: the plan with everything needed to judge it and to use it again."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int8, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from multisk._backends.torch import passes
from multisk._problem.problem import readable
from multisk._problem.status import Status
from multisk._problem.system import System, check_scores
from multisk._solvers.base import Raw


@dataclass(frozen=True, eq=False)
class Solution:
    """A plan, its potentials, and how well it meets what was asked.

    Attributes:
        plan: (*batch, N, K) in the dtype of the scores; differentiable as the solver says.
        row_potential: (*batch, N), dimensionless: P = sigmoid((1 - damping) X / eps + a_i + b_j)
            for an assignment, exp(X / eps + a_i + b_j) for a transport; (*batch, C, N) when there
            are more than two channel scales. Detached.
        column_potential: (*batch, K), or (*batch, C, K). Detached.
        marginal_error: (*batch,) worst relative violation over rows and columns, measured on the
            plan in the solver's precision.
        steps: (*batch,) sweeps or Newton passes used.
        converged: (*batch,) whether `marginal_error` is within the tolerance.
        status_code: (*batch,) the code of each problem's `Status`.
        solver: Name of the solver that ran.
    """

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

    @property
    def status(self) -> Status:
        """The first status of the batch that is not CONVERGED; reads the device."""
        codes = self.status_code.flatten()
        bad = codes[codes != Status.CONVERGED.code]
        return list(Status)[int(bad[0])] if bad.numel() else Status.CONVERGED

    def raise_if_failed(self) -> "Solution":
        """Return this solution, or raise.

        Raises:
            RuntimeError: When any problem of the batch did not converge; says which and why.
        """
        if not bool(self.converged.all()):
            index = int((~self.converged).flatten().nonzero()[0, 0])
            status = list(Status)[int(self.status_code.flatten()[index])]
            error = float(self.marginal_error.flatten()[index])
            raise RuntimeError(
                f"{self.solver} failed on problem {index}: {status.value} "
                f"(marginal error {error:.2e})"
            )
        return self

    def detach(self) -> "Solution":
        """The same solution without gradients."""
        return replace(self, plan=self.plan.detach(), mode="none", system=self.system.detach())

    @cached_property
    def log_plan(self) -> Float[Tensor, "*batch n k"]:
        """Log P, exact where P underflows; minus infinity at forbidden pairs."""
        system, raw = self.system, self.raw
        if not system.two_groups or raw.channels is not None:
            return self.plan.log()
        with torch.no_grad():
            t = self._exponent()
            log = t if system.groups is None else logsigmoid(t)
            if raw.row_scale is not None:
                log = log + raw.row_scale[0][..., None]
            if system.margins.ones is not None:
                log = log.masked_fill(system.margins.ones, 0.0)
        return log.view(self.plan.shape).to(self.plan.dtype)

    def _exponent(self) -> Tensor:
        system, raw = self.system, self.raw
        a, b = raw.row_potential, raw.column_potential
        return passes.exponent(
            system.scores.detach(), _plain(system.scale), a, b, system.margins.free
        )

    def channels(self) -> Float[Tensor, "*batch c n k"]:
        """All K channels (*batch, K, N, K), the plan's first; materialised on demand.

        Raises:
            ValueError: For a transport, which has no channels, and when the rows' budgets differ.
        """
        from multisk._solution.channels import channels

        return channels(self)

    @cached_property
    def value(self) -> Float[Tensor, "*batch"]:
        """The objective at the plan: see `MultiAssignment` and `Transport`; differentiable."""
        from multisk._solution.value import value

        return value(self)

    @cached_property
    def gap(self) -> Float[Tensor, "*batch"]:
        """Upper bound on how far the objective is below its optimum, in the units of the scores."""
        from multisk._solution.value import gap

        return gap(self)

    def assign(self, new_scores: Shaped[Tensor, "..."]) -> Float[Tensor, "*batch m k"]:
        """Assign unseen rows with the stored column potentials: one scalar root a row.

        Args:
            new_scores: (*batch, M, K) scores of new rows.

        Returns:
            Plan rows (*batch, M, K): exact row budgets, columns as the stored potentials say.

        Raises:
            ValueError: When the shape does not fit, or the budget differs from row to row.
        """
        from multisk._solution.assign import assign

        check_scores(new_scores)
        return assign(self, new_scores)

    def round(self) -> Bool[Tensor, "*batch n k"]:
        """The nearest hard assignment: exact row counts, loads within floor and ceil."""
        from multisk._solution.round import round_solution

        return round_solution(self)

    def topk(self) -> Int[Tensor, "*batch n m"]:
        """The columns of the `k` largest entries of each row, largest first; int `k` only.

        Raises:
            ValueError: When the rows have different budgets (use `round`).
        """
        k = budget_of(self.system)
        return self.plan.topk(k, -1).indices


def budget_of(system: System) -> int:
    """The common integer budget of all rows."""
    if system.groups is None:
        return 1
    rows = system.margins.row_unit if system.margins.free is not None else system.margins.rows
    k = sum(system.groups.counts[: system.groups.top])
    if rows.numel() and not bool((rows == k).all()):
        raise ValueError("k must be the same int for every row here, got budgets that differ")
    return k


def wrap(raw: Raw, system: System, plan: Tensor, solver: str, mode: str) -> Solution:
    """Give the plan the scores' shape and dtype."""
    plan = plan.view(*system.batch, *plan.shape[1:]).to(system.dtype)
    return Solution(plan=plan, solver=solver, mode=mode, system=system, raw=raw)


def _plain(scale: Any) -> Any:
    return scale.detach() if isinstance(scale, Tensor) else scale

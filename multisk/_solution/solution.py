"""What comes back: the plan with everything needed to judge it and to use it again."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from multisk._backends.base import Raw
from multisk._problem.problem import check_values
from multisk._problem.status import Status
from multisk._problem.system import System, check_plain, check_scores
from multisk._solution.answer import Answer, budget_of
from multisk._solution.assign import assign
from multisk._solution.channels import channels
from multisk._solution.log_plan import log_plan
from multisk._solution.round import priced, rounded
from multisk._solution.show import line, table
from multisk._solution.value import gap, value


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Answer):
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
        backend: Who read the scores: "triton", "numba", "numpy" (the same passes without numba),
            "torch", or "scipy" for `Exact`; "numba, then torch" where some problems of a batch
            needed both.
    """

    def __repr__(self) -> str:
        return line(self)

    def _repr_html_(self) -> str:
        return table(self)

    @property
    def status(self) -> Status:
        """The first status of the batch that is not CONVERGED; reads the device."""
        check_values("status", self.raw.error)
        codes = self.status_code.flatten()
        bad = codes[codes != Status.CONVERGED.code]
        return list(Status)[int(bad[0])] if bad.numel() else Status.CONVERGED

    def raise_if_failed(self) -> "Solution":
        """Return this solution, or raise.

        Raises:
            RuntimeError: When any problem of the batch did not converge; says which and why.
        """
        check_values("status", self.raw.error)
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

    def channels(self) -> Float[Tensor, "*batch c n k"]:
        """All K channels (*batch, K, N, K), the plan's first; materialised on demand.

        Raises:
            ValueError: For a transport, which has no channels, and when the rows' budgets differ.
        """
        return channels(self)

    @property
    def log_plan(self) -> Float[Tensor, "*batch n k"]:
        """Log P, exact where P underflows; minus infinity at forbidden pairs.

        Differentiable like the plan, also where the plan underflows; its derivative is refused
        with more than two channel scales and for rows spread over ranks.
        """
        return self._once("log_plan", log_plan)

    @property
    def value(self) -> Float[Tensor, "*batch"]:
        """The objective at the plan: see `MultiAssignment` and `Transport`; differentiable."""
        return self._once("value", value)

    @property
    def gap(self) -> Float[Tensor, "*batch"]:
        """Upper bound on how far the objective is below its optimum, in the units of the scores.

        Detached.
        """
        return self._once("gap", gap)

    def _once(self, name: str, make: Callable[[Answer], Tensor]) -> Tensor:
        """Made when first read; without the lock of `cached_property`, which does not compile."""
        if torch.compiler.is_compiling():
            return make(self)

        kept = self.__dict__.get(f"_{name}")
        if kept is None:
            kept = self.__dict__[f"_{name}"] = make(self)

        return kept

    def assign(self, new_scores: Shaped[Tensor, "..."]) -> Float[Tensor, "*batch m k"]:
        """Assign unseen rows with the stored column potentials: one scalar root a row.

        Args:
            new_scores: (*batch, M, K) scores of new rows.

        Returns:
            Plan rows (*batch, M, K): exact row budgets, columns as the stored potentials say.

        Raises:
            ValueError: When the shape does not fit, or the budget differs from row to row.
        """
        check_scores(new_scores)
        check_plain("new_scores", new_scores)
        return assign(self, new_scores)

    def round(self) -> Bool[Tensor, "*batch n k"]:
        """The best hard assignment: `multisk.hard` of the same problem, warm from this plan.

        Returns:
            (*batch, N, K): exact row counts, loads within floor and ceil of the capacity, and
            among those the largest sum of scores.

        Raises:
            ValueError: For fractional row budgets, a transport, more than two channel scales, or
                rows spread over ranks.
            RuntimeError: When no hard assignment fits.
        """
        return rounded(self)

    def prices(self) -> Float[Tensor, "*batch k"]:
        """What every column costs at zero temperature: the prices of `multisk.hard`, float64.

        Every row's columns in `round()` are those of its `k` largest `scores - prices`.

        Raises:
            ValueError: As `round`.
            RuntimeError: When no hard assignment fits.
        """
        return priced(self)

    def topk(self) -> Int[Tensor, "*batch n m"]:
        """The columns of the `k` largest entries of each row, largest first; int `k` only.

        Raises:
            ValueError: When the rows have different budgets (use `round`).
        """
        k = budget_of(self.system)
        return self.plan.topk(k, -1).indices


def wrap(raw: Raw, system: System, plan: Tensor, solver: str, mode: str) -> Solution:
    """Give the plan the scores' shape and dtype."""
    plan = plan.view(*system.batch, *plan.shape[1:]).to(system.dtype)
    return Solution(plan=plan, solver=solver, mode=mode, system=system, raw=raw)

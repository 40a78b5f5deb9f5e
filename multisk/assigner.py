"""A balanced assignment as a layer: it remembers the columns' potentials from batch to batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from multisk._backends.choose import kernels_visit
from multisk._backends.operators import per_problem, yields_of
from multisk._backends.torch import passes
from multisk._problem.problem import (
    MultiAssignment,
    Transport,
    check_problem,
    python_number,
    readable,
)
from multisk._problem.system import System, check_plain, power, prepare
from multisk._problem.types import Group, Number, Scores, Whole
from multisk._solution.solution import Solution
from multisk._solve import solve
from multisk._solvers.base import OptionalSolver, check_solver

Problem = MultiAssignment | Transport


class BalancedAssigner(nn.Module):
    """Solve batch after batch from where the last one ended; assign single rows afterwards.

    The column potentials (one number a column) are all that has to be remembered: they start the
    next solve, which then needs one or two Newton passes, and they assign a row that no batch has
    seen, without solving anything. They are a buffer: saved with `state_dict`, moved with the
    module, kept in float64 whatever the module is cast to.

    Args:
        num_columns: K, the number of columns of all scores.
        problem: What is asked of every batch. `capacity=None` (or `columns=None`) lets the number
            of rows change from batch to batch.
        momentum: Share of the old potentials that is kept after a training batch, in [0, 1).
        solver: As in `multisk.solve`.
        batch: Leading dimensions of the scores, each problem with potentials of its own.
        group: torch.distributed group over whose ranks the rows of every batch are spread; the
            potentials then are the same on all ranks.

    Attributes:
        column_potential: (*batch, K) float64, mean 0 over the columns where a shift is free.
        updates: Number of training batches seen.

    Raises:
        ValueError: When an argument breaks its rule.

    Example:
        >>> assigner = BalancedAssigner(2, MultiAssignment(k=1, eps=0.1))
        >>> assigner(torch.eye(2)).plan.argmax(-1)
        tensor([0, 1])
        >>> assigner.assign(torch.tensor([[0.0, 1.0]])).argmax(-1)
        tensor([1])
    """

    column_potential: Tensor
    updates: Tensor

    def __init__(
        self,
        num_columns: Whole,
        problem: Problem,
        *,
        momentum: Number = 0.0,
        solver: OptionalSolver = None,
        batch: tuple[int, ...] = (),
        group: Group | None = None,
    ) -> None:
        super().__init__()
        num_columns, momentum = python_number(num_columns), python_number(momentum)
        if isinstance(num_columns, bool) or not isinstance(num_columns, int) or num_columns < 1:
            raise ValueError(f"num_columns must be an int of at least 1, got {num_columns!r}")
        if not isinstance(momentum, int | float) or not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum!r}")

        check_levels(problem)
        check_solver(solver)
        self.num_columns, self.problem, self.momentum = num_columns, problem, float(momentum)
        self.solver, self.group = solver, group
        start = torch.zeros((*batch, num_columns), dtype=torch.float64)
        self.register_buffer("column_potential", start)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, scores: Shaped[Tensor, "..."], problem: Problem | None = None) -> Solution:
        """Solve for this batch, from the stored potentials; remember the new ones in training.

        Args:
            scores: (*batch, N, K).
            problem: This batch's own question, when masks or budgets change with the batch.

        Returns:
            The `Solution`; balanced within this batch in training and in evaluation alike.

        Raises:
            ValueError: As in `multisk.solve`, and when K is not `num_columns`.
        """
        problem = self.asked(scores, problem)
        fresh = readable(self.updates) and int(self.updates) == 0
        init = None if fresh else self.column_potential
        solution = solve(scores, problem, self.solver, init=init, group=self.group)
        if self.training:
            self.remember(solution, problem)

        return solution

    def assign(
        self, scores: Shaped[Tensor, "..."], problem: Problem | None = None
    ) -> Float[Tensor, "*batch m k"]:
        """Assign rows with the stored potentials alone: exact row budgets, O(K) a row.

        The columns' loads follow from the rows; they are balanced as far as the rows resemble
        those of training. Differentiable in the scores (at fixed column potentials).

        Args:
            scores: (*batch, M, K) scores of any number of rows.
            problem: As in `forward`; column budgets are not used, only which columns are closed.

        Returns:
            The plan's rows (*batch, M, K) in the dtype of the scores.

        Raises:
            ValueError: As in `multisk.solve`, and when K is not `num_columns`.
        """
        problem = without_loads(self.asked(scores, problem))
        with torch.autocast(device_type=scores.device.type, enabled=False):
            system = prepare(scores, problem)
            b = self.column_potential.expand(*system.batch, -1).reshape(-1, self.num_columns)
            plan = rows_of(system, b)

        return plan.view(scores.shape).to(scores.dtype)

    @torch.no_grad()
    def remember(self, solution: Solution, problem: Problem) -> None:
        """Mix the potentials of `solution` into the stored ones."""
        new = solution.column_potential.double()
        if free_shift(problem):
            new = new - new.mean(-1, keepdim=True)

        mixed = self.momentum * self.column_potential + (1 - self.momentum) * new
        mixed = torch.where(self.updates == 0, new, mixed)
        # A solve that left the number range must not poison the batches after it.
        mixed = torch.where(mixed.isfinite(), mixed, self.column_potential)
        self.column_potential.copy_(mixed)
        self.updates += 1

    def asked(self, scores: Scores, problem: Problem | None) -> Problem:
        """The problem in force, once the scores have the right number of columns."""
        shape = tuple(getattr(scores, "shape", ()))
        if not isinstance(scores, Tensor) or shape[-1:] != (self.num_columns,):
            raise ValueError(f"scores must have {self.num_columns} columns, got the shape {shape}")

        check_plain("scores", scores)
        if problem is None:
            return self.problem

        check_levels(problem)
        return problem

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.num_columns}, momentum={self.momentum:g}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BalancedAssigner":  # noqa: FBT001, FBT002
        """Follow the module to its device, but never into a narrower dtype."""
        kept = self.column_potential
        super()._apply(fn, recurse)
        if self.column_potential.dtype != kept.dtype:
            self.column_potential = kept.to(self.column_potential.device)

        return self


def check_levels(problem: Any) -> None:
    """Require a problem whose columns have one potential each, and whose rows stand alone."""
    check_problem(problem)
    for name in ("k", "rows"):
        if isinstance(getattr(problem, name, None), tuple | list):
            raise ValueError(f"{name} must be exact for an assigner, got an interval")

    damping = getattr(problem, "damping", 0.0)
    if isinstance(damping, Tensor) and damping.unique().numel() > 2:
        raise ValueError("damping must have at most two levels, got a vector with more")


def free_shift(problem: Problem) -> bool:
    """Whether adding a constant to all column potentials changes nothing."""
    if isinstance(problem, Transport):
        return problem.relax is None and not isinstance(problem.columns, tuple | list)
    return not isinstance(problem.capacity, tuple | list) and problem.capacity_factor is None


def without_loads(problem: Problem) -> Problem:
    """The same question without column budgets, except that closed columns stay closed."""
    if isinstance(problem, Transport):
        relax = None if problem.relax is None else (problem.relax[0], None)
        loads = problem.columns
        loads = loads[1] if isinstance(loads, tuple | list) else loads
        return replace(problem, columns=None, relax=relax, mask=opened(problem, loads))

    capacity = problem.capacity
    top = capacity[1] if isinstance(capacity, tuple | list) else capacity
    return replace(problem, capacity=None, capacity_factor=None, mask=opened(problem, top))


def opened(problem: Problem, loads: Tensor | float | None) -> Tensor | None:
    """The problem's mask, minus the columns that may carry nothing."""
    if loads is None or not isinstance(loads, Tensor) or bool((loads > 0).all()):
        return problem.mask  # one number for all columns closes none, or leaves nothing to assign
    live = (loads > 0)[..., None, :]
    return live if problem.mask is None else problem.mask & live


def rows_of(system: System, b: Float[Tensor, "b k"]) -> Float[Tensor, "b n k"]:
    """Plan rows at given column potentials, differentiable in the scores."""
    margins = system.margins
    asked = (system.eps, margins.rows)
    one_node = kernels_visit(system) or torch.compiler.is_compiling()
    if one_node and not any(isinstance(x, Tensor) and x.requires_grad for x in asked):
        scale, tau = per_problem(system, system.scale), yields_of(system)
        tau = None if tau is None else tau[:, 0]
        plan = torch.ops.multisk.assign(system.scores, scale, b, margins.rows, margins.free, tau)[1]
        return plan if margins.ones is None else plan.masked_fill(margins.ones, 1.0)

    y = passes.exponent(system.scores, system.scale, None, b, margins.free)
    if system.groups is None:
        a = passes.row_answer(y, margins.rows, margins.row_cells, strength=power(system, 0))
        return passes.row_plan(y, a, capped=False)

    with torch.no_grad():
        a = passes.row_answer(y, margins.rows, margins.row_cells, tolerance=1e-12)

    if y.requires_grad:  # one more Newton step carries the exact derivative of the root
        p = torch.sigmoid(y + a[..., None])
        slope = (p - p * p).sum(-1).detach()
        step = torch.where(slope > 0, (p.sum(-1) - margins.rows) / slope.clamp_min(1e-30), 0.0)
        a = a - step

    plan = passes.row_plan(y, a, capped=True)
    return plan if margins.ones is None else plan.masked_fill(margins.ones, 1.0)

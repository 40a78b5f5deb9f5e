"""The one verb: check, choose, run, wrap."""

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from multisk._backends import choose, operators
from multisk._backends.base import Raw
from multisk._problem.margins import Margins
from multisk._problem.problem import Problem, check_problem
from multisk._problem.status import Status
from multisk._problem.system import System, prepare, transformed
from multisk._problem.types import Group
from multisk._solution.gradient import attach, derivative, mode_of
from multisk._solution.solution import Solution, wrap
from multisk._solution.transformed import solve_transformed
from multisk._solvers.base import OptionalSolver, Solver, check_solver
from multisk._solvers.default import LIMIT, Blend
from multisk._solvers.newton import Newton
from multisk._solvers.sinkhorn import Sinkhorn

if TYPE_CHECKING:
    Start = Solution | Tensor | None
else:
    Start = Any  # checked below, with a sentence


def solve(
    scores: Shaped[Tensor, "..."],
    problem: Problem,
    solver: OptionalSolver = None,
    *,
    init: Start = None,
    group: Group | None = None,
) -> Solution:
    """Assign rows to columns.

    Args:
        scores: (*batch, N, K), higher is better; any floating dtype of at least 16 bits. float64
            is solved in float64, everything else in float32; the plan has the scores' dtype.
        problem: What is asked.
        solver: `Newton`, `Sinkhorn`, `Exact` or your own `Solver`; None picks, and
            `Solution.solver` says which.
        init: Column potentials (*batch, K) to start from, or a previous Solution.
        group: torch.distributed group over whose ranks the rows are spread. Every rank passes its
            rows and gets its part of the plan; column capacities are for all rows together.

    Returns:
        A `Solution`. What is found wrong only while solving is in its `status`.

    Raises:
        ValueError: For input that no solver can answer; names the argument, rule and value.

    Example:
        >>> from multisk import MultiAssignment
        >>> solution = solve(torch.eye(2), MultiAssignment(k=1, eps=0.1))
        >>> solution.plan.argmax(-1)
        tensor([0, 1])
    """
    check_problem(problem)
    check_solver(solver)
    with full_precision(scores):
        system = prepare(scores, problem, group)
        chosen = default_for(system) if solver is None else solver
        if transformed(scores, problem):
            return inside_transforms(system, chosen, solver, init)
        mode = derivative(system, chosen)
        plain = system.detach()
        if mode == "unroll":
            plain = replace(plain, traced=True)
        with torch.no_grad():
            start = starting_potentials(init, plain)
            raw = run(plain, start, chosen)
        plan = attach(system, raw, chosen, start, mode)
        if isinstance(system.budgets, Margins) and system.budgets.ones is not None:
            plan = plan.masked_fill(system.budgets.ones, 1.0)
        raw.backend = choose.ran_on(plain, raw.backend)
        return wrap(raw, system, plan, raw.solver or name_of(chosen), mode)


def run(system: System, start: Tensor | None, solver: Solver) -> Raw:
    """The solver's answer, by one operator where a graph must not see inside."""
    if system.scores.numel() == 0 and system.ranks is None:  # empty shards take part
        return empty(system)
    if choose.hidden(system, solver):
        return operators.whole(system, start, solver)

    return solver.run(system, start)


def inside_transforms(system: System, chosen: Solver, asked: Solver | None, init: Any) -> Solution:
    """The solution where torch.func or forward-mode autograd looks on."""
    mode = mode_of(chosen)

    def answer(plain: System, start: Tensor | None) -> Raw:
        return run(plain, start, default_for(plain) if asked is None else chosen)

    start = starting_potentials(init, system)
    raw, plan = solve_transformed(system, answer, start, chosen, mode)
    if system.margins.ones is not None:
        plan = plan.masked_fill(system.margins.ones, 1.0)

    mode = "composed" if mode == "implicit" else mode
    return wrap(raw, system, plan, name_of(asked), mode)


def name_of(solver: Solver | None) -> str:
    """What `Solution.solver` says."""
    return "default" if solver is None or isinstance(solver, Blend) else type(solver).__name__


def default_for(system: System) -> Solver:
    """Newton on a device, `Blend` (sweeps, then Newton) where compiled loops or a compiler help.

    More than two channel levels sweep on a device, as do relaxed margins on the CPU at first.
    """
    newton = Newton(max_steps=LIMIT)
    if torch.compiler.is_compiling() and system.groups is None and system.scores.is_cpu:
        return Blend()
    if not system.two_groups:
        return Sinkhorn() if choose.kernels_serve(system) else newton
    if system.ranks is not None:
        return newton
    if system.groups is not None:
        return Blend() if choose.loops_for(system) is not None else newton

    relaxed = system.relax != (None, None) and not choose.kernels_serve(system)
    return Blend() if relaxed or choose.loops_for(system) is not None else newton


def starting_potentials(init: Any, system: System) -> Tensor | None:
    """Column potentials to start from, flat over the batch."""
    if init is None:
        return None

    value = init.raw.column_potential if isinstance(init, Solution) else init
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise ValueError(f"init must be a Solution or column potentials, got {type(init).__name__}")

    if not isinstance(init, Solution):
        b, _, k = system.scores.shape
        try:
            value = value.detach().broadcast_to(*system.batch, k).reshape(b, k)
        except RuntimeError:
            shape = (*system.batch, k)
            raise ValueError(f"init must fit the shape {shape}, got {tuple(value.shape)}") from None

    expected = (system.scores.shape[0], system.scores.shape[2])
    if (value.shape[0], value.shape[-1]) != expected:
        raise ValueError(f"init must fit the shape {expected}, got {tuple(value.shape)}")

    return torch.nan_to_num(value.detach(), 0.0, 0.0, 0.0)


def empty(system: System) -> Raw:
    """The answer to a problem without any cell."""
    b, n, k = system.scores.shape
    x = system.scores
    done = x.new_zeros((b,), dtype=torch.int64)
    code = torch.full_like(done, Status.CONVERGED.code, dtype=torch.int8)

    return Raw(
        x.new_zeros(x.shape),
        x.new_zeros((b, n)),
        x.new_zeros((b, k), dtype=torch.float64),
        x.new_zeros((b,)).double(),
        done,
        torch.ones_like(done, dtype=torch.bool),
        code,
    )


def full_precision(scores: Any) -> Any:
    """Autocast off; entering it takes longer than finding out that it is not on."""
    kind = scores.device.type if isinstance(scores, Tensor) else "cpu"
    if kind == "meta":
        return contextlib.nullcontext()
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(kind):
        return torch.autocast(device_type=kind, enabled=False)

    return contextlib.nullcontext()

"""Any solver's whole run as one operator, for graphs that must not see inside."""

import ast
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._backends.base import Raw
from multisk._problem.collapse import Groups
from multisk._problem.frame import Frame
from multisk._problem.system import System
from multisk._solvers.base import Solver
from multisk._solvers.default import Blend
from multisk._solvers.exact import Exact
from multisk._solvers.newton import Newton
from multisk._solvers.sinkhorn import Sinkhorn

SOLVERS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Newton, Sinkhorn, Exact, Blend)}
"""Those of `multisk._backends.choose.WHOLE`."""

# plan, a, b, error, steps, converged, code, log factors of rows (two, or two empty ones)
Nine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@custom_op("multisk::solve", mutates_args=())
def solve(
    tensors: list[Tensor | None],
    scales: list[float],
    counts: list[int],
    numbers: list[float],
    solver: str,
) -> Nine:
    """Run a solver as it runs outside of any graph: the same backends, the same answer.

    Args:
        tensors: As `multisk._problem.frame` lists them.
        scales: Of the channel groups; none for a transport.
        counts: Channels of each group, last of them how many groups make the plan; then the
            solver's whole numbers.
        numbers: Temperature, 0 where it is among the tensors; KL strengths of rows and columns,
            infinite where a margin is exact; then the solver's other numbers.
        solver: Its name and options, as `multisk._backends.operators.options_of` lists them.
    """
    width = len(scales) + 1 if scales else 0
    groups = (
        Groups(tuple(scales), tuple(counts[: width - 1]), counts[width - 1]) if scales else None
    )
    eps, *relax = numbers[:3]
    strengths = [None if strength == float("inf") else strength for strength in relax]
    frame = Frame(eps or None, groups, (strengths[0], strengths[1]))
    system, start = frame.system(tensors)

    return leave(system, made(solver, numbers[3:], counts[width:]).run(system, start))


@solve.register_fake
def _(
    tensors: list[Tensor | None],
    scales: list[float],
    counts: list[int],
    numbers: list[float],
    solver: str,
) -> Nine:
    x = tensors[0]
    assert x is not None
    b, n, k = x.shape
    groups = (len(scales),) if len(scales) > 2 else ()
    double, scale = torch.float64, "order='column-depth-row'" in solver and bool(scales)
    one = x.new_empty((b, *groups, n) if scale else (0,))

    return (
        x.new_empty((b, n, k)),
        x.new_empty((b, *groups, n)),
        x.new_empty((b, *groups, k), dtype=double),
        x.new_empty((b,), dtype=double),
        x.new_empty((b,), dtype=torch.int64),
        x.new_empty((b,), dtype=torch.bool),
        x.new_empty((b,), dtype=torch.int8),
        one,
        torch.empty_like(one),
    )


def made(solver: str, numbers: list[float], counts: list[int]) -> Solver:
    """The solver of that name with all its options; see `options_of`."""
    name, *options = solver.split(";")
    floats, whole = iter(numbers), iter(counts)
    values = {}
    for option in options:
        key, _, value = option.partition("=")
        kinds = {"float": floats, "int": whole}
        values[key] = next(kinds[value]) if value in kinds else ast.literal_eval(value)

    return SOLVERS[name](**values)


def leave(system: System, raw: Raw) -> Nine:
    """The answer in fixed dtypes, in memory of its own."""
    x = system.scores
    top, rest = raw.row_scale or (x.new_empty(0), x.new_empty(0))
    return (
        raw.plan.to(x).contiguous(),
        raw.row_potential.to(x, copy=True).contiguous(),
        raw.column_potential.to(x.device, torch.float64, copy=True).contiguous(),
        raw.error.to(torch.float64, copy=True),
        raw.steps.to(torch.int64, copy=True),
        raw.converged.clone(),
        raw.code.to(torch.int8, copy=True),
        top.to(x, copy=True).contiguous(),
        rest.to(x, copy=True).contiguous(),
    )

"""A system as the arguments of operators, which are called by their names.

The operators are defined above the solvers (`multisk._operators`), because on the CPU they mean
the solvers themselves; their names are all that is needed to call them.
"""

import math
from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.tiles import violation
from multisk._problem.frame import taken_apart
from multisk._problem.status import verdict
from multisk._problem.system import System, yielding

Three = tuple[Tensor, Tensor, Tensor]


def per_problem(system: System, value: float | Tensor) -> Tensor:
    """A number, or one a problem, as a tensor (b,)."""
    x = system.scores
    if isinstance(value, Tensor):
        return value.detach().reshape(-1).to(x.dtype).expand(x.shape[0]).contiguous()
    return x.new_full((x.shape[0],), value)


def yields_of(system: System) -> Tensor | None:
    """How fast the margins yield, eps / strength, as (b, 2); None for an assignment."""
    if system.groups is not None:
        return None
    sides = [yielding(system, side) for side in (0, 1)]
    return torch.stack([per_problem(system, side) for side in sides], -1)


def margins_of(system: System) -> list[Tensor]:
    """The tensors that the operators take as margins."""
    margins = system.margins
    parts = (margins.rows, margins.row_cells, margins.columns, margins.column_cells)
    return [part.contiguous() for part in parts]


def both_scales(system: System) -> Tensor:
    """Scale over temperature of the plan's group and of the other, (b, 2)."""
    groups = system.groups
    assert groups is not None
    return torch.stack(
        [per_problem(system, groups.scales[end] / system.eps) for end in (0, -1)], -1
    )


def whole(system: System, start: Tensor | None, solver: Any) -> Raw:
    """A solver's whole run by the operator, which sees the values that a graph does not."""
    frame, tensors = taken_apart(system, start)
    groups = frame.groups
    relax = [math.inf if strength is None else strength for strength in frame.relax]
    name, numbers, more = options_of(solver)
    found = torch.ops.multisk.solve(
        tensors,
        [] if groups is None else list(groups.scales),
        ([] if groups is None else [*groups.counts, groups.top]) + more,
        [frame.eps or 0.0, *relax, *numbers],
        name,
    )
    plan, a, b, error, steps, good, code, top, rest = found
    scale = (top, rest) if top.ndim > 1 else None
    vertex = "scipy" if type(solver).__name__ == "Exact" else None

    return Raw(plan, a, b, error, steps, good, code, scale, backend=vertex)


def options_of(solver: Any) -> tuple[str, list[float], list[int]]:
    """A solver's name and every option of it, as `_operators.whole.made` reads them.

    Numbers go as numbers, because a compiler may hold symbols in their place; all else as it is
    written in Python.

    Example:
        >>> import multisk
        >>> options_of(multisk.Newton(max_steps=9))
        ("Newton;tolerance=float;max_steps=int;gradient='implicit'", [1e-06], [9])
    """
    words, numbers, counts = [type(solver).__name__], [], []
    for name in solver.__dataclass_fields__:
        value = getattr(solver, name)
        if value is None or isinstance(value, bool | str):
            words.append(f"{name}={value!r}")
        elif isinstance(value, int):
            words.append(f"{name}=int")
            counts.append(value)
        else:
            words.append(f"{name}=float")
            numbers.append(float(value))

    return ";".join(words), numbers, counts


def newton(system: System, init: Tensor | None, tolerance: float, max_steps: int) -> Raw:
    """`Newton.run` by the operator."""
    start = None if init is None else init.double().contiguous()
    plan, a, b, row_sums, column_sums, steps, _ = torch.ops.multisk.newton(
        system.scores,
        per_problem(system, system.scale),
        margins_of(system),
        system.margins.free,
        yields_of(system),
        start,
        tolerance,
        max_steps,
    )
    error = violation(system, row_sums, column_sums, a, b)
    return Raw(plan, a, b, error, steps, *verdict(error, steps, tolerance, max_steps))


def sweep_exactly(
    system: System, steps: int, start: tuple[Tensor, Tensor] | None, *, rows_first: bool
) -> tuple[Tensor, Tensor]:
    """`steps` sweeps by the operator, from the scores or from potentials."""
    return torch.ops.multisk.sweeps(
        system.scores,
        both_scales(system),
        margins_of(system),
        system.margins.free,
        [] if start is None else [x.contiguous() for x in start],
        steps,
        rows_first,
    )


def sweep_kept(system: System, steps: int, *, rows_first: bool) -> Three:
    """What every one of `steps` sweeps from the scores leaves for their derivative."""
    return torch.ops.multisk.sweeps_kept(
        system.scores,
        both_scales(system),
        margins_of(system),
        system.margins.free,
        steps,
        rows_first,
    )


def gradient(
    system: System, a: Tensor, b: Tensor, grad: Tensor, held: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) of a plan by the operator; `held` columns do not answer."""
    scale, yields = per_problem(system, system.scale), yields_of(system)
    free = system.margins.free
    return torch.ops.multisk.plan_gradient(system.scores, scale, a, b, grad, free, yields, held)

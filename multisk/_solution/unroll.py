"""The plan after a fixed number of sweeps as one differentiable step, by the operator."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.operators import Three
from multisk._problem.system import System


def unrolled_plan(
    system: System,
    plan: Tensor,
    steps: int,
    replay: Callable[[System], Tensor],
    *,
    rows_first: bool,
    kept: Three | None,
) -> Tensor:
    """The solver's plan with the derivative of its sweeps; `replay` differentiates it twice.

    `kept` is what the sweeps left; None makes them once more in the backward pass.
    """
    eps = system.eps if isinstance(system.eps, Tensor) else None
    what = Unrolled(system.detach(), steps, replay, rows_first)
    inputs = system.scores, eps, system.margins.rows, system.margins.columns
    return UnrolledPlan.apply(plan, what, *inputs, *(kept or ()))  # pyright: ignore[reportReturnType]


@dataclass(eq=False)
class Unrolled:
    """What the backward pass needs besides its tensors."""

    system: System
    steps: int
    replay: Callable[[System], Tensor]
    rows_first: bool


class UnrolledPlan(torch.autograd.Function):
    """The plan of a number of sweeps as a function of scores, temperature, rows and columns."""

    @staticmethod
    def forward(ctx: Any, plan: Tensor, what: Unrolled, *inputs: Tensor | None) -> Tensor:
        """Hand out the plan that the solver found."""
        ctx.what = what
        ctx.save_for_backward(*inputs)
        return plan.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of every input; by the replay where they are differentiated themselves."""
        what: Unrolled = ctx.what
        again = torch.is_grad_enabled()
        inputs, kept = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        if again:
            found = again_cotangents(what, inputs, grad)
        else:
            found = cotangents(what, inputs, kept, grad)
        return None, None, *found, *(None for _ in kept)


def cotangents(what: Unrolled, inputs: Any, kept: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """By the operator."""
    scores, eps, rows, columns = inputs
    groups, margins = what.system.groups, what.system.margins
    assert groups is not None
    # Filled on the device: a copy from the host could not be captured in a graph.
    ends = torch.cat([scores.new_full((1,), groups.scales[end]) for end in (0, -1)])
    heat = what.system.eps if eps is None else eps.reshape(-1, 1)
    scales = (ends / heat).expand(scores.shape[0], 2).contiguous()
    parts = rows, margins.row_cells, columns, margins.column_cells
    x, scale, row, column = torch.ops.multisk.sweeps_gradient(
        scores,
        scales,
        [part.contiguous() for part in parts],
        margins.free,
        what.steps,
        what.rows_first,
        grad,
        list(kept),
    )
    if eps is None:
        return x, None, row, column
    return x, -(scale * scales).sum(-1).view_as(eps) / eps, row, column


def again_cotangents(what: Unrolled, inputs: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """In plain differentiable operations, for a second derivative."""
    scores, eps, rows, columns = inputs
    margins = replace(what.system.margins, rows=rows, columns=columns)
    heat = what.system.eps if eps is None else eps
    plan = what.replay(replace(what.system, scores=scores, eps=heat, budgets=margins))
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(plan, wanted, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)

"""The plan after a fixed number of sweeps as one differentiable step, by the operator."""

from typing import Any

import torch
from torch import Tensor

from multisk import _ops, _ops_unroll
from multisk._system import System


def takes(system: System, steps: int | None, start: Tensor | None) -> bool:
    """Whether the operator differentiates these sweeps: two groups, from the scores, on kernels."""
    if steps is None or steps < 1 or start is not None or system.groups is None:
        return False
    plain = system.two_groups and system.group is None and system.levels is None
    x = system.scores
    return plain and x.shape[-1] <= _ops.WIDEST and x.numel() > 0 and _ops.kernels_run(x)


def unrolled_plan(
    system: System,
    plan: Tensor,
    steps: int,
    *,
    rows_first: bool,
) -> Tensor:
    """The solver's plan with the derivative of its sweeps."""
    groups = system.groups
    assert groups is not None
    scales = []
    for end in (0, -1):
        value = groups.scales[end] / system.eps
        if not isinstance(value, Tensor):
            value = system.scores.new_full((1,), value)
        scales.append(value.reshape(-1).to(system.scores).expand(system.scores.shape[0]))
    inputs = system.scores, torch.stack(scales, -1), system.margins.rows, system.margins.columns
    return UnrolledPlan.apply(plan, system, steps, rows_first, *inputs)  # pyright: ignore[reportReturnType]


class UnrolledPlan(torch.autograd.Function):
    """The plan of `steps` sweeps as a function of scores, scales, rows and columns."""

    @staticmethod
    def forward(ctx: Any, plan: Tensor, *rest: Any) -> Tensor:
        """Hand out the plan that the solver found."""
        ctx.system, ctx.steps, ctx.rows_first, *inputs = rest
        ctx.save_for_backward(*inputs)
        return plan.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of every input; not differentiable once more."""
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "a plan unrolled on a GPU cannot be differentiated twice (use gradient='implicit')"
            )
        scores, scales, rows, columns = ctx.saved_tensors
        margins = ctx.system.margins
        parts = [rows, margins.row_cells, columns, margins.column_cells]
        found = _ops_unroll.sweeps_gradient(
            scores,
            scales,
            [part.contiguous() for part in parts],
            margins.free,
            ctx.steps,
            ctx.rows_first,
            grad,
        )
        return None, None, None, None, *found

"""The implicit derivative with more than two channel groups, by conjugate gradients.

Eq. (31) of docs/multisk/mathematics.md with the response (30) in the place of W.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.response import balance
from multisk._backends.triton.response import response_at
from multisk._problem.sharding import total
from multisk._problem.system import System, column


@dataclass(eq=False)
class GroupState:
    """The limit's potentials, the plan, and the detached system they belong to."""

    system: System
    raw: Raw


def attach_groups(system: System, raw: Raw) -> Tensor:
    """The plan of a vector of channel scales as a function of scores, scales, eps and margins."""
    targets = GroupSweeps(system, "row-column-depth")
    eps = system.eps if isinstance(system.eps, Tensor) else None
    state = GroupState(system.detach(), raw)
    return GroupPlan.apply(  # pyright: ignore[reportReturnType]
        state, system.scores, eps, system.levels, targets.row_targets, targets.column_targets
    )


class GroupPlan(torch.autograd.Function):
    """The sum of the plan's groups; every cell is a softmax over groups."""

    @staticmethod
    def forward(ctx: Any, state: GroupState, x: Tensor, *rest: Tensor | None) -> Tensor:
        """Hand out the plan that the solver found."""
        ctx.state = state
        ctx.save_for_backward(x, *rest)
        return state.raw.plan.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of scores, eps, scales and the groups' margins."""
        x, eps, levels, rows, columns = ctx.saved_tensors
        if torch.is_grad_enabled() and (grad.requires_grad or x.requires_grad):
            raise NotImplementedError(
                "a plan with more than two channel scales cannot be differentiated twice"
            )

        system, raw = ctx.state.system, ctx.state.raw
        a, b = raw.row_potential, raw.column_potential
        table = response_at(system, a, b)
        by_row, by_column = table.pull(grad)
        right = by_row, total(by_column, system.ranks)
        alpha, beta = balance(table, right, system.ranks)
        # z is dL / d(scores / eps): eps has -z X / eps^2, every scale <X, z_c> / eps.
        z, by_scale = table.scores(grad, alpha.to(x), beta)
        grad_eps = None if eps is None else -(z * x).sum((-2, -1), keepdim=True) / eps**2
        grad_levels = None
        if levels is not None:
            by_scale = by_scale / column(system.eps)
            grad_levels = by_scale.sum(0).to(levels.dtype)

        return None, z / system.eps, grad_eps, grad_levels, alpha.to(rows), beta.to(columns)

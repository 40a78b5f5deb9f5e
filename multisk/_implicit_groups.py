"""The implicit derivative with more than two channel groups, by conjugate gradients."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multisk._passes import log_shares
from multisk._sharded import total
from multisk._solver.base import Raw
from multisk._solver.groups import GroupSweeps
from multisk._system import System


@dataclass(eq=False)
class GroupState:
    """The limit's potentials, the plan, and the detached system they belong to."""

    system: System
    raw: Raw


def attach_groups(system: System, raw: Raw) -> Tensor:
    """The plan of a vector of channel scales as a function of scores, eps and margins."""
    targets = GroupSweeps(system, "row-column-depth")
    eps = system.eps if isinstance(system.eps, Tensor) else None
    state = GroupState(system.detach(), raw)
    return GroupPlan.apply(  # pyright: ignore[reportReturnType]
        state, system.scores, eps, targets.row_targets, targets.column_targets
    )


class GroupPlan(torch.autograd.Function):
    """The sum of the plan's groups; every cell is a softmax over groups."""

    @staticmethod
    def forward(
        ctx: Any, state: GroupState, x: Tensor, eps: Tensor | None, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """Hand out the plan that the sweeps found."""
        ctx.state = state
        ctx.save_for_backward(x, eps)
        return state.raw.plan.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of scores, eps and the groups' margins."""
        x, eps = ctx.saved_tensors
        system, raw = ctx.state.system, ctx.state.raw
        sweeps = GroupSweeps(system, "row-column-depth")
        free = system.margins.free
        a, b = raw.row_potential, raw.column_potential
        q = log_shares(x, sweeps.scales, a, b, free).exp()
        pulled = slope(q, grad[:, None] * top_mask(q, sweeps.top))
        right = pulled.sum(-1), total(pulled.double().sum(-2), system.group)
        alpha, beta = balance(q, *right, system.group)
        bent = pulled - slope(q, alpha[..., None] + beta.to(q)[..., None, :])
        scales = torch.tensor(sweeps_scales(system), dtype=x.dtype, device=x.device)
        z = torch.einsum("c,bcnk->bnk", scales, bent)
        eps_now = system.eps
        grad_eps = None if eps is None else -(z * x).sum((-2, -1), keepdim=True) / eps**2
        return None, z / eps_now, grad_eps, alpha, beta


def top_mask(q: Tensor, top: int) -> Tensor:
    """1 for the plan's groups, 0 for the others."""
    mask = q.new_zeros((q.shape[1], 1, 1))
    mask[:top] = 1.0
    return mask


def sweeps_scales(system: System) -> tuple[float, ...]:
    """The groups' scales."""
    assert system.groups is not None
    return system.groups.scales


def slope(q: Tensor, d: Tensor) -> Tensor:
    """The softmax's derivative in every cell: q_c (d_c - sum_c q_c d_c)."""
    mass = q.sum(1, keepdim=True)
    mean = (q * d).sum(1, keepdim=True) / mass.masked_fill(mass == 0, 1.0)
    return q * (d - mean)


def balance(q: Tensor, rows: Tensor, columns: Tensor, group: Any) -> tuple[Tensor, Tensor]:
    """Potentials (alpha, beta) whose response has the given row and column sums."""
    curve = q * (1 - q)
    row_diagonal = curve.sum(-1).double().clamp_min(1e-300)
    column_diagonal = total(curve.double().sum(-2), group).clamp_min(1e-300)

    def apply(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        response = slope(q, alpha.to(q)[..., None] + beta.to(q)[..., None, :]).double()
        return response.sum(-1), total(response.sum(-2), group)

    def dot(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
        row_part = total((x[0] * y[0]).flatten(1).sum(-1), group)
        return (row_part + (x[1] * y[1]).flatten(1).sum(-1))[:, None, None]

    residual = rows.double(), columns.double()
    x = torch.zeros_like(residual[0]), torch.zeros_like(residual[1])
    z = residual[0] / row_diagonal, residual[1] / column_diagonal
    move, norm = z, dot(residual, z)
    stop = 1e-24 * norm
    for _ in range(2000):
        applied = apply(*move)
        curve = dot(move, applied)
        good = (norm > stop) & (curve > 0)
        if not bool(good.any()):
            break
        length = torch.where(good, norm / curve.masked_fill(~good, 1.0), 0.0)
        x = x[0] + length * move[0], x[1] + length * move[1]
        residual = residual[0] - length * applied[0], residual[1] - length * applied[1]
        z = residual[0] / row_diagonal, residual[1] / column_diagonal
        new = dot(residual, z)
        ratio = torch.where(good, new / norm.masked_fill(~good, 1.0), 0.0)
        move, norm = (z[0] + ratio * move[0], z[1] + ratio * move[1]), new
    return x[0].to(q.dtype), x[1]

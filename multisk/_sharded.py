"""Rows spread over torch.distributed ranks: the only places where numbers cross ranks."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def total(x: Tensor, group: Any) -> Tensor:
    """Sum `x` over the ranks of `group`; `x` itself when there is no group. Differentiable."""
    if group is None:
        return x
    return _AllSum.apply(x, group)  # pyright: ignore[reportReturnType]


def largest(x: Tensor, group: Any) -> Tensor:
    """The elementwise maximum of `x` over the ranks of `group`, without gradient."""
    if group is None:
        return x
    out = x.detach().clone()
    dist.all_reduce(out, op=dist.ReduceOp.MAX, group=group)
    return out


class _AllSum(torch.autograd.Function):
    """Sum over ranks; the cotangent of a replicated sum is the sum of the ranks' cotangents."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        out = x.detach().clone()
        dist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return total(grad, ctx.group), None

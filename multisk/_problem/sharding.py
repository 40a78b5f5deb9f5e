"""Rows spread over torch.distributed ranks: the only places where numbers cross ranks."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")


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


def together(check: Callable[[], Result], scores: Any, group: Any) -> Result:
    """Run a check of this rank's rows; when it refuses them on any rank, every rank raises.

    Without this a refusing rank would leave the others waiting in their next reduction. Elsewhere
    than on the CPU findings travel as a status, and nothing is compared.
    """
    if group is None or (isinstance(scores, Tensor) and scores.device.type != "cpu"):
        return check()

    result, refusal = None, None
    try:
        result = check()
    except ValueError as error:
        refusal = error

    refused = largest(torch.tensor(float(refusal is not None)), group)
    if refusal is not None:
        raise refusal
    if float(refused):
        raise ValueError("scores must be accepted on every rank, got a refusal on another rank")

    return result  # pyright: ignore[reportReturnType]


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

"""Row, column and depth normalisation as one operator."""

from typing import Any

from torch import Tensor
from torch.library import custom_op

from multisk._backends.choose import kernels_normalize
from multisk._backends.torch.normalize import scaled
from multisk._backends.triton import kernels


@custom_op("multisk::normalize", mutates_args=())
def normalize(x: Tensor, target: Tensor, axis: int, log: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
    """Scale `axis` (-1, -2, -3) of x to the sum `target`; also gives the sums divided by.

    Args:
        x: (..., N, K), for axis -3 (..., C, N, K).
        target: One number (one element), or the shape of x without `axis`, in the sums' dtype.
        axis: Which axis is summed.
        log: Whether x is and the result shall be a logarithm.
    """
    if kernels_normalize(x, axis):
        return _axis_kernels(axis)[0](x.detach(), target.contiguous(), log=log)

    goal = target.reshape(()) if target.numel() == 1 else target.unsqueeze(axis)
    y, total = scaled(x.to(target.dtype), axis, goal, log=log)
    return y.to(x.dtype).contiguous(), total.squeeze(axis).contiguous()


@normalize.register_fake
def _(x: Tensor, target: Tensor, axis: int, log: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
    sums = list(x.shape)
    del sums[x.ndim + axis]
    return x.new_empty(x.shape), target.new_empty(sums)


@custom_op("multisk::normalize_backward", mutates_args=())
def normalize_backward(
    grad: Tensor,
    y: Tensor,
    total: Tensor,
    target: Tensor,
    axis: int,
    log: bool,  # noqa: FBT001
) -> Tensor:
    """Cotangent of x from that of the first result of `normalize`."""
    if kernels_normalize(y, axis):
        return _axis_kernels(axis)[1](grad, y, total, target.contiguous(), log=log)

    # y = x t / sum x:  dL/dx = (t g - sum y g) / sum x;  of logarithms  g - exp(y) sum g / t.
    wide, g = y.to(total.dtype), grad.to(total.dtype)
    goal = target.reshape(()) if target.numel() == 1 else target.unsqueeze(axis)
    if log:
        out = g - wide.exp() * (g.sum(axis, keepdim=True) / goal)
    else:
        out = (goal * g - (g * wide).sum(axis, keepdim=True)) / total.unsqueeze(axis)

    return out.to(y.dtype).contiguous()


@normalize_backward.register_fake
def _(grad: Tensor, y: Tensor, total: Tensor, target: Tensor, axis: int, log: bool) -> Tensor:  # noqa: FBT001
    return y.new_empty(y.shape)


def _save_normalize(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, target, ctx.axis, ctx.log = inputs
    y, total = output
    ctx.mark_non_differentiable(total)
    ctx.save_for_backward(y, total, target)


def _normalize_gradients(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, Any, None, None]:
    y, total, target = ctx.saved_tensors
    below = normalize_backward(grad, y, total, target, ctx.axis, ctx.log)
    if not ctx.needs_input_grad[1]:
        return below, None, None, None

    pulled = (grad if ctx.log else grad * y).to(target.dtype).sum(ctx.axis)
    at_target = (pulled / target).sum() if target.numel() == 1 else pulled / target
    return below, at_target.reshape(target.shape), None, None


normalize.register_autograd(_normalize_gradients, setup_context=_save_normalize)


def _axis_kernels(axis: int) -> tuple[Any, Any]:
    if axis == -1:
        return kernels.row.row_forward, kernels.row.row_backward
    if axis == -2:
        return kernels.column.column_forward, kernels.column.column_backward
    return kernels.depth.depth_forward, kernels.depth.depth_backward

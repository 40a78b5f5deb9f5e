"""Mish and GELU; on the CPU Mish is written with two sigmoids, several times faster there."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def activate(x: Float[Tensor, "*s"], name: Literal["mish", "gelu"]) -> Float[Tensor, "*s"]:
    """Apply the named activation."""
    return F.gelu(x) if name == "gelu" else mish(x)


def mish(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """The function x tanh(softplus(x)).

    With s = sigmoid(x) and r = sigmoid(-x), tanh(softplus(x)) = s (1 + r) / (1 + r^2): no overflow
    and no cancellation on the whole line.

    Example:
        >>> mish(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """
    if x.device.type != "cpu":
        return F.mish(x)
    return _Mish.apply(x)[0]  # pyright: ignore[reportOptionalSubscript]


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        left = torch.sigmoid(-x)
        scale = left.square().add_(1)
        gate = left.add_(1).mul_(torch.sigmoid(x)).div_(scale)
        return x * gate, gate

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        x, gate = ctx.saved_tensors
        slope = gate.square().neg_().add_(1).mul_(torch.sigmoid(x)).mul_(x).add_(gate)
        return slope.mul_(gradient)

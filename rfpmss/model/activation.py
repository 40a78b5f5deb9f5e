"""Mish and GELU; on the CPU Mish is written with one sigmoid, several times faster there."""

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

    With s = sigmoid(x) and p = s (2 - s), tanh(softplus(x)) = p / (2 - p): no overflow and no
    cancellation on the whole line.

    Example:
        >>> mish(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """
    if x.device.type != "cpu":
        return F.mish(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _gate(torch.sigmoid(x))[0].mul_(x)

    return _Mish.apply(x)[0]  # pyright: ignore[reportOptionalSubscript]


def _gate(s: Tensor) -> tuple[Tensor, Tensor]:
    """The gate, and memory of the same size to write over."""
    part = (2 - s).mul_(s)
    rest = 2 - part
    return part.div_(rest), rest


class _Mish(torch.autograd.Function):
    """Keeps the slope alone: one tensor instead of the two that it is made of."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(x)
        gate, spare = _gate(s)
        y = torch.mul(x, gate, out=spare)
        slope = gate.addcmul_(s, torch.addcmul(x, y, gate, value=-1))  # gate + s x (1 - gate^2)
        return y, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # or zeros are made for the slope's gradient

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> Tensor | None:
        (slope,) = ctx.saved_tensors
        return None if gradient is None else slope * gradient

"""Mish (Misra 2019) and GELU; on the CPU Mish is written with one sigmoid, much faster there.

In training on the CPU a perceptron with Mish is computed some rows at a time, so that what lies
between its two linear maps stays in the cache: memory, not arithmetic, is the limit there.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

IN_CACHE = 1 << 17
"""Hidden values that a perceptron holds at a time: half a megabyte."""


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
    # tanh(softplus(x)) = (q - 1) / (q + 1) with q = (1 + e^x)^2 = 1 / (1 - s)^2; here q = 1 / (1 -
    # p).
    part = (2 - s).mul_(s)
    rest = 2 - part
    return part.div_(rest), rest


class _Mish(torch.autograd.Function):
    """Keeps the slope alone: one tensor instead of the two that it is made of."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(x)
        # d/dx x g = g + x g', g' = s (1 - g^2) for g = tanh(softplus(x)) and s = sigmoid(x).
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


def perceptron(x: Float[Tensor, "*b d"], widen: nn.Linear, narrow: nn.Linear) -> Tensor | None:
    """``narrow(mish(widen(x)))`` and its gradients some rows at a time; None where it is no gain.

    The result is that of the three in turn, up to rounding.
    """
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not plain or torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return None

    maps = widen.weight, widen.bias, narrow.weight, narrow.bias
    return cast("Tensor", _Perceptron.apply(x.flatten(0, -2), *maps)).view(*x.shape[:-1], -1)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, widen: Tensor, bias: Tensor, narrow: Tensor, last: Tensor
    ) -> Tensor:
        rows = max(1, IN_CACHE // len(widen))
        held = [x.new_empty(min(rows, len(x)), len(widen)) for _ in range(4)]
        y, slope = (x.new_empty(len(x), len(widen)) for _ in range(2))
        out = x.new_empty(len(x), len(narrow))
        parts = zip(*(whole.split(rows) for whole in (x, y, slope, out)), strict=True)
        for x_part, y_part, slope_part, out_part in parts:
            h, s, gate, spare = (part[: len(x_part)] for part in held)
            torch.addmm(bias, x_part, widen.T, out=h)
            # `_gate` and the slope of `_Mish`, in memory that stays in the cache.
            torch.sigmoid(h, out=s)
            torch.sub(2, s, out=gate).mul_(s)
            torch.sub(2, gate, out=spare)
            gate.div_(spare)
            torch.mul(h, gate, out=y_part)
            torch.addcmul(h, y_part, gate, value=-1, out=spare)
            torch.addcmul(gate, s, spare, out=slope_part)  # gate + s h (1 - gate^2)

            torch.addmm(last, y_part, narrow.T, out=out_part)

        ctx.save_for_backward(x, y, slope, widen, narrow)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, y, slope, widen, narrow = ctx.saved_tensors
        rows = max(1, IN_CACHE // len(widen))
        held = x.new_empty(min(rows, len(x)), len(widen))
        of_x, of_bias = torch.empty_like(x), x.new_zeros(len(widen))
        of_widen, of_narrow = torch.zeros_like(widen), torch.zeros_like(narrow)
        parts = zip(*(whole.split(rows) for whole in (gradient, x, y, slope, of_x)), strict=True)
        for part, x_part, y_part, slope_part, out in parts:
            h = held[: len(part)]
            torch.mm(part, narrow, out=h).mul_(slope_part)
            of_narrow.addmm_(part.T, y_part)
            of_widen.addmm_(h.T, x_part)
            of_bias += h.sum(dim=0)
            torch.mm(h, widen, out=out)

        return of_x, of_widen, of_bias, of_narrow, gradient.sum(dim=0)

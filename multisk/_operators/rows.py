"""Plan rows at stored column potentials as one operator, and its derivative."""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._backends.choose import kernels_run
from multisk._backends.torch import passes
from multisk._backends.triton import kernels
from multisk._operators.asked import Asked


@custom_op("multisk::assign", mutates_args=())
def assign(
    scores: Tensor,
    scale: Tensor,
    b: Tensor,
    rows: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Row potentials (B, N), Eq. (16), and plan (B, N, K) for stored column potentials (B, K).

    Differentiable in the scores, at these column potentials; the row potentials are not.

    Args:
        scores: (B, N, K).
        scale: (B,).
        b: Column potentials (B, K).
        rows: Budgets (B, N).
        free: (B, N, K), False where a cell takes no part.
        yields: None for cells capped at 1; (B,) for exp: eps / strength of the rows.
    """
    if kernels_run(scores):
        a, table = kernels.plan.assign(
            scores, scale, b.contiguous(), rows, free=free, yields=yields
        )
        return a, table.plan

    factor = Asked(scores, scale, []).factor
    y = passes.exponent(scores, factor, None, b, free)
    count = torch.full_like(rows, scores.shape[-1]) if free is None else free.sum(-1).to(rows)
    strength = None if yields is None else 1 / (1 + yields.to(y)[:, None])
    a = passes.row_answer(y, rows, count, strength=strength)

    return a, passes.row_plan(y, a, capped=yields is None)


@assign.register_fake
def _(
    scores: Tensor,
    scale: Tensor,
    b: Tensor,
    rows: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return scores.new_empty(scores.shape[:2]), scores.new_empty(scores.shape)


@custom_op("multisk::assign_backward", mutates_args=())
def assign_backward(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> Tensor:
    """Cotangent of Z = scale X from that of the plan of `assign`.

    Eq. (31) at fixed columns, beta = 0: W (G - t_i) with t_i = sum_j W_ij G_ij / h_i.
    """
    if kernels_run(scores):
        double = None if yields is None else yields[:, None]
        return kernels.gradient.assign_backward(
            Asked(scores, scale, [], free, double).at(a, b), grad
        )

    t = passes.exponent(scores, Asked(scores, scale, []).factor, a, b, free)
    plan = torch.sigmoid(t) if yields is None else t.exp()
    slope = plan * torch.sigmoid(-t) if yields is None else plan
    height = slope.sum(-1) if yields is None else slope.sum(-1) * (1 + yields.to(plan)[:, None])
    tilt = (slope * grad).sum(-1) / torch.where(height > 0, height, 1.0)

    return slope * (grad - tilt[..., None])


@assign_backward.register_fake
def _(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> Tensor:
    return scores.new_empty(scores.shape)


def _save_assign(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    scores, scale, b, _, free, yields = inputs
    ctx.mark_non_differentiable(output[0])
    ctx.save_for_backward(scores, scale, output[0], b, free, yields)


def _assign_gradients(ctx: Any, _: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    scores, scale, a, b, free, yields = ctx.saved_tensors
    z = assign_backward(scores, scale, a, b, grad, free, yields)
    return z * scale.to(z).view(-1, 1, 1), None, None, None, None, None


assign.register_autograd(_assign_gradients, setup_context=_save_assign)

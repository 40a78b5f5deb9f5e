"""The columns' system (13) after the rows are eliminated: dense, or by conjugate gradients (14)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Columns = Float[Tensor, "b k"]


def solve_dense(
    weight: Columns,
    coupling: Float[Tensor, "b k k"],
    right: Columns,
    still: Bool[Tensor, "b k"],
    *,
    gauge: Float[Tensor, "b 1"],
) -> Columns:
    """Solve Eq. (13), (diag(weight) - coupling) x = right; `still` columns get 0.

    Where `gauge` is 1 (not 0) the matrix has the null vector of ones, because only sums of a and b
    matter; it is filled in. A little damping grows until the factorisation succeeds.
    """
    k = weight.shape[-1]
    s = torch.diag_embed(weight) - coupling
    s = torch.where(still[..., None] | still[..., None, :], 0.0, s)
    size = weight.mean(-1)[:, None, None].clamp_min(1e-300)
    live = (~still).to(s.dtype)
    # Eq. (13): S + (size / k) 1 1^T; the null vector gets a usual eigenvalue, others keep theirs.
    s = s + (size / max(k, 1)) * gauge[..., None] * live[..., None] * live[..., None, :]
    eye = torch.eye(k, dtype=s.dtype, device=s.device)
    alone = eye * still[..., None, :]
    damping = 1e-13
    while True:
        factor, info = torch.linalg.cholesky_ex(s + eye * (size * damping) + alone * size)
        if damping >= 1.0 or not bool(info.any()):
            break
        damping *= 100.0

    x = torch.cholesky_solve(torch.where(still, 0.0, right)[..., None], factor).squeeze(-1)
    return torch.where(x.isfinite() & ~still, x, 0.0)


def solve_iteratively(
    apply: Callable[[Tensor], Tensor],
    weight: Columns,
    right: Columns,
    still: Bool[Tensor, "b k"],
    *,
    gauge: Float[Tensor, "b 1"],
    tolerance: float,
    most: int = 400,
) -> Columns:
    """Preconditioned conjugate gradients on Eq. (14), weight * x - coupling x; memory O(N + K).

    Args:
        apply: The whole operator, for every problem of the batch.
        weight: Its diagonal before the rows' answer: the preconditioner.
        right: Right-hand side.
        still: Columns that keep 0.
        gauge: 1 where ones is a null vector, to be filled in, else 0.
        tolerance: Relative residual to stop at.
        most: Limit on applications.
    """
    inverse = torch.where(still | (weight <= 0), 0.0, 1.0 / weight.clamp_min(1e-300))
    live = (~still).to(right.dtype)
    # Eq. (13)'s part along ones.
    fill = gauge * weight.mean(-1, keepdim=True) / max(weight.shape[-1], 1)
    residual = right * live
    x = torch.zeros_like(residual)
    z = inverse * residual
    move, norm = z, (residual * z).sum(-1, keepdim=True)
    stop = tolerance**2 * norm

    for _ in range(most):
        if not bool((norm > stop).any()):
            break

        applied = live * (apply(move) + fill * (live * move).sum(-1, keepdim=True))
        # Without curvature along `move` there is nothing to gain: rounding, or a null direction.
        curve = (move * applied).sum(-1, keepdim=True)
        good = (norm > stop) & (curve > 0)
        if not bool(good.any()):
            break

        # x and residual along `move`, then a direction conjugate to it.
        length = torch.where(good, norm / curve.masked_fill(~good, 1.0), 0.0)
        x, residual = x + length * move, residual - length * applied
        z = inverse * residual
        new = (residual * z).sum(-1, keepdim=True)
        move = torch.where(good, z + new / norm.masked_fill(~good, 1.0) * move, move)
        norm = torch.where(good, new, norm)

    return torch.where(x.isfinite() & ~still, x, 0.0)

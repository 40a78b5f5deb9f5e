"""Divide a table of channels so that its rows, columns or depths reach a target: Eq. (3)."""

import torch
from jaxtyping import Float
from torch import Tensor

from multisk._backends.choose import kernels_run


def row_normalize(
    x: Float[Tensor, "*batch n k"], target: float | int | Tensor = 1.0, *, log: bool = False
) -> Float[Tensor, "*batch n k"]:
    """Scale every row: `sum_j x[..., i, j] = target`.

    Args:
        x: Non-negative table (*batch, C, N, K), or its logarithm when `log` is set.
        target: A number, or a tensor (*batch, C, N), never in the log domain.
        log: Whether `x` is, and the result shall be, a logarithm.

    Returns:
        The table in the shape and dtype of `x`; differentiable. A row without any mass stays
        without mass. 16-bit input is summed in float32.

    Raises:
        ValueError: When `x` has fewer than two dimensions or `target` does not fit.

    Example:
        >>> row_normalize(torch.tensor([[1.0, 3.0]]))
        tensor([[0.2500, 0.7500]])
    """
    return _normalize(x, -1, target, log=log)


def column_normalize(
    x: Float[Tensor, "*batch n k"], target: float | int | Tensor = 1.0, *, log: bool = False
) -> Float[Tensor, "*batch n k"]:
    """Scale every column: `sum_i x[..., i, j] = target`; see `row_normalize`.

    Args:
        x: Non-negative table (*batch, C, N, K), or its logarithm when `log` is set.
        target: A number, or a tensor (*batch, C, K), never in the log domain.
        log: Whether `x` is, and the result shall be, a logarithm.

    Example:
        >>> column_normalize(torch.tensor([[1.0], [3.0]]), 2.0).T
        tensor([[0.5000, 1.5000]])
    """
    return _normalize(x, -2, target, log=log)


def depth_normalize(
    x: Float[Tensor, "*batch c n k"], target: float | int | Tensor = 1.0, *, log: bool = False
) -> Float[Tensor, "*batch c n k"]:
    """Scale every depth: `sum_c x[..., c, i, j] = target`; see `row_normalize`.

    Args:
        x: Non-negative table (*batch, C, N, K), or its logarithm when `log` is set.
        target: A number, or a tensor (*batch, N, K), never in the log domain.
        log: Whether `x` is, and the result shall be, a logarithm.

    Example:
        >>> depth_normalize(torch.ones(2, 1, 1)).flatten()
        tensor([0.5000, 0.5000])
    """
    return _normalize(x, -3, target, log=log)


def _normalize(x: Tensor, dim: int, target: float | int | Tensor, *, log: bool) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(f"x must be a floating-point tensor, got {getattr(x, 'dtype', type(x))}")
    if x.ndim < -dim:
        raise ValueError(f"x must have at least {-dim} dimensions, got {x.ndim}")

    wide = x if x.dtype == torch.float64 else x.float()
    goal = _target(x, dim, target, wide)
    if kernels_run(x):
        whole = goal.reshape(()) if goal.numel() == 1 else goal.squeeze(dim)
        return torch.ops.multisk.normalize(x, whole, dim, log)[0]

    # Not through the operator, whose formula gives one derivative only.
    return scaled(wide, dim, goal, log=log)[0].to(x.dtype)


def _target(x: Tensor, dim: int, target: float | int | Tensor, wide: Tensor) -> Tensor:
    if not isinstance(target, Tensor):
        return wide.new_full((), float(target))
    if target.ndim == 0:
        return target.to(wide)

    shape = x.shape[:dim] + x.shape[x.ndim + dim + 1 :]
    try:
        goal = target.to(wide).broadcast_to(shape)
    except RuntimeError:
        raise ValueError(
            f"target must fit the shape {tuple(shape)}, got {tuple(target.shape)}"
        ) from None

    return goal.unsqueeze(dim)


def scaled(x: Tensor, dim: int, target: Tensor, *, log: bool) -> tuple[Tensor, Tensor]:
    """`x * target / sum(x)`, and the sums; with `log`, x and both results are logarithms.

    A slice that sums to zero is left alone: its sum counts as 1, the logarithm of its sum as 0.
    """
    if log:
        # logsumexp of such a slice has no derivative: it never sees one.
        empty = (x == -torch.inf).all(dim, keepdim=True)
        total = x.masked_fill(empty, 0.0).logsumexp(dim, keepdim=True).masked_fill(empty, 0.0)
        return x + (target.log() - total), total

    total = x.sum(dim, keepdim=True)
    total = total.masked_fill(total == 0, 1.0)
    return x * (target / total), total

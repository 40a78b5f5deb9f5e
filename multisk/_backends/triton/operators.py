"""Operators of torch.library: Triton kernels on CUDA, plain torch elsewhere, one meaning.

Every operator has a fake implementation, so that it compiles and exports as one node; those that
stand in a derivative have an autograd formula. The kernels are imported by the first call that
runs them: a process that stays on the CPU never loads Triton.
"""

import contextlib
import functools
import importlib.util
import os
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._warning import MultiskWarning

WIDEST = 4096  # columns that a program can hold


def kernels_run(x: Tensor) -> bool:
    """Whether operators on `x` run the Triton kernels."""
    if x.is_cuda:
        return _has_triton()
    return x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1" and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """Whether Triton is there, imports, and has `triton.knobs`, as it has from 3.4 on."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        import triton.knobs  # noqa: F401
    except Exception as error:  # noqa: BLE001 - a package that is broken raises anything
        warnings.warn(
            f"Triton cannot be used ({type(error).__name__}: {error}); GPU tensors are solved by "
            "plain torch operations, which is slower. Install triton 3.4 or newer",
            MultiskWarning,
            stacklevel=2,
        )
        return False
    return True


@custom_op("multisk::normalize", mutates_args=())
def normalize(x: Tensor, target: Tensor, axis: int, log: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
    """Scale `axis` (-1, -2, -3) of x to the sum `target`; also gives the sums divided by.

    Args:
        x: (..., N, K), for axis -3 (..., C, N, K).
        target: One number (one element), or the shape of x without `axis`, in the sums' dtype.
        axis: Which axis is summed.
        log: Whether x is and the result shall be a logarithm.
    """
    if kernels_run(x) and _fits(x, axis):
        return _axis_kernels(axis)[0](x.detach(), target.contiguous(), log=log)
    wide = x.to(target.dtype)
    goal = target.reshape(()) if target.numel() == 1 else target.unsqueeze(axis)
    if log:
        total = wide.logsumexp(axis, keepdim=True)
        total = torch.where(total == -torch.inf, 0.0, total)
        y = wide + (goal.log() - total)
    else:
        total = wide.sum(axis, keepdim=True)
        total = torch.where(total == 0, 1.0, total)
        y = wide * (goal / total)
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
    if kernels_run(y) and _fits(y, axis):
        return _axis_kernels(axis)[1](grad, y, total, target.contiguous(), log=log)
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


def _fits(x: Tensor, axis: int) -> bool:
    return x.numel() > 0 and (axis != -1 or x.shape[-1] <= WIDEST)


def _axis_kernels(axis: int) -> tuple[Any, Any]:
    if axis == -1:
        from multisk.kernels.row import row_backward, row_forward

        return row_forward, row_backward
    if axis == -2:
        from multisk.kernels.column import column_backward, column_forward

        return column_forward, column_backward
    from multisk.kernels.depth import depth_backward, depth_forward

    return depth_forward, depth_backward


@custom_op("multisk::sweeps", mutates_args=())
def sweeps(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor]:
    """Potentials (B, N), (B, K) after `steps` sweeps of two channel groups.

    Args:
        scores: (B, N, K).
        scales: (B, 2): scale over temperature of the plan's group and of the other.
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        start: Nothing, or the potentials (a, b) after earlier sweeps.
        steps: How many sweeps.
        rows_first: Whether a sweep is row, column, depth; else column, depth, row.
    """
    if kernels_run(scores):
        return _sweeps_in_kernels(scores, scales, margins, free, start, steps, rows_first)
    from multisk._backends.triton.twins import sweep_in_torch

    return sweep_in_torch(scores, scales, margins, free, start, steps, rows_first=rows_first)


def _sweeps_in_kernels(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    rows_first: bool,  # noqa: FBT001
    kept: Any = None,
) -> tuple[Tensor, Tensor]:
    """All sweeps in one launch where they fit, else two launches a sweep."""
    from multisk.kernels.resident import Refused, resident_sweeps
    from multisk.kernels.sweep import Kept, sweep

    budgets = budgets_of(margins, free)
    if not start and steps > 0 and _stays_resident(scores):
        with contextlib.suppress(Refused):
            return resident_sweeps(scores, scales, budgets, steps, rows_first=rows_first, kept=kept)
    a, b = _first_potentials(scores, margins, start)
    for step in range(steps):
        first = not start and step == 0
        plain = rows_first or not first
        here = None if kept is None else Kept(*(part.select(0, step) for part in kept))
        a, b = sweep(scores, scales, a, b, budgets, first=first, row_step=plain, kept=here)
    return a, b


def budgets_of(margins: list[Tensor], free: Tensor | None) -> Any:
    """The kernels' budgets."""
    from multisk.kernels.sweep import Budgets

    rows, row_cells, columns, column_cells = margins
    return Budgets(
        rows=rows, row_cells=row_cells, columns=columns, column_cells=column_cells, free=free
    )


def _stays_resident(scores: Tensor) -> bool:
    """Whether all sweeps go into one launch, the scores staying in registers."""
    from multisk.kernels.resident import fits, resident_tile

    tile = resident_tile(scores.shape[1], scores.shape[2], scores.dtype)
    count = 0
    if scores.is_cuda:
        count = torch.cuda.get_device_properties(scores.device).multi_processor_count
    return fits(scores.shape[0], tile, count)


def _first_potentials(
    scores: Tensor, margins: list[Tensor], start: list[Tensor]
) -> tuple[Tensor, Tensor]:
    if start:
        return start[0].contiguous().clone(), start[1].contiguous().clone()
    return torch.empty_like(margins[0]).contiguous(), torch.empty_like(margins[2]).contiguous()


@sweeps.register_fake
def _(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor]:
    return margins[0].new_empty(margins[0].shape), margins[2].new_empty(margins[2].shape)


@custom_op("multisk::newton", mutates_args=())
def newton(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    yields: Tensor | None,
    start: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Find a and b such that P = sigmoid(scale X + a_i + b_j), or exp of it, meets its margins.

    Gives the plan, a, b, the plan's row sums and column sums, the steps, and 1 where solved.

    Args:
        scores: (B, N, K).
        scale: (B,).
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        yields: None for cells capped at 1; (B, 2) for exp: eps / strength of rows and columns.
        start: First column potentials (B, K).
        tolerance: Relative violation of a sum that counts as solved.
        max_steps: Most passes over the scores after the first.
    """
    from multisk._backends.triton import twins as fused

    solver = fused.newton_in_kernels if kernels_run(scores) else fused.newton_in_torch
    return solver(scores, scale, margins, free, yields, start, tolerance, max_steps)


@newton.register_fake
def _(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    yields: Tensor | None,
    start: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    b, n, k = scores.shape
    rows, steps = scores.new_empty((b, n)), scores.new_empty((b,), dtype=torch.int64)
    double = scores.new_empty((b, k), dtype=torch.float64)
    plan = scores.new_empty((b, n, k))
    return plan, rows, double, rows.clone(), double.clone(), steps, steps.clone()


@custom_op("multisk::plan_gradient", mutates_args=())
def plan_gradient(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of Z = scale X, of the row budgets and of the column budgets, at a solution.

    Args:
        scores: (B, N, K).
        scale: (B,).
        a: Row potentials (B, N).
        b: Column potentials (B, K).
        grad: Cotangent of the plan, (B, N, K).
        free: (B, N, K), False where a cell takes no part.
        yields: None for cells capped at 1; (B, 2) for exp: eps / strength of rows and columns.
        held: (B, K), True for columns whose potential does not answer.
    """
    from multisk._backends.triton import twins as fused

    run = fused.gradient_in_kernels if kernels_run(scores) else fused.gradient_in_torch
    return run(scores, scale, a, b, grad, free, yields, held)


@plan_gradient.register_fake
def _(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    z = scores.new_empty(scores.shape)
    return z, scores.new_empty(scores.shape[:2]), b.new_empty(b.shape)


@custom_op("multisk::assign", mutates_args=())
def assign(
    scores: Tensor,
    scale: Tensor,
    b: Tensor,
    rows: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Row potentials (B, N) and plan (B, N, K) for stored column potentials (B, K).

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
        from multisk.kernels import plan

        a, table = plan.assign(scores, scale, b.contiguous(), rows, free=free, yields=yields)
        return a, table.plan
    from multisk._backends.triton.twins import assign_in_torch

    return assign_in_torch(scores, scale, b, rows, free, yields)


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
    """Cotangent of Z = scale X from that of the plan of `assign`."""
    if kernels_run(scores):
        from multisk.kernels.gradient import assign_backward as backward
        from multisk.kernels.wide import At

        at = At(
            scores=scores,
            scale=scale,
            row_potential=a.contiguous(),
            column_potential=b.contiguous(),
            free=free,
            yields=yields,
        )
        return backward(at, grad)
    from multisk._backends.triton.twins import assign_backward_in_torch

    return assign_backward_in_torch(scores, scale, a, b, grad, free, yields)


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

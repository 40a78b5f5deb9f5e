"""Small doubly stochastic matrices as one operator, twice differentiable.

With the plan P and a cotangent G, write G' = G - alpha_i - beta_j for the G that is left once no
row and no column of P G' has a sum. Then Eq. (31) of docs/multisk/mathematics.md is

    dL/dX = P G'

and, because alpha and beta are a saddle point of sum P (G - alpha - beta) (U - alpha' - beta'),
a cotangent U of it has the cotangents P U' in G and G' U' in P.

Imported by `multisk.birkhoff`, not by `multisk`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any
from warnings import warn

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._backends.choose import backend_of_matrices
from multisk._backends.numba import available
from multisk._backends.torch import birkhoff as in_torch
from multisk._backends.triton import kernels
from multisk._operators.asked import being_captured
from multisk._problem.problem import first_bad
from multisk._warning import MultiskWarning

SHARED_CELLS = 1 << 16  # fewer are not worth a second thread


@custom_op("multisk::birkhoff", mutates_args=())
def birkhoff(logits: Tensor, rows: Tensor, columns: Tensor, tolerance: float) -> Tensor:
    """Plans exp(x_ij + a_i + b_j) with the given margins, in the dtype of the logits.

    Args:
        logits: (..., n, m), float32 or float64.
        rows: Row sums (t, n), float64; t is 1 or the number of matrices.
        columns: Column sums (t, m), float64.
        tolerance: Largest relative error of a column sum at which a matrix is done.

    Raises:
        ValueError: On the CPU, for a logit that is not finite; elsewhere its matrix is NaN.
    """
    x = logits.detach().reshape(-1, *logits.shape[-2:]).contiguous()
    run = backend_of_matrices(x)
    plan = torch.empty_like(x)
    if run == "numba":
        given = x.numpy(), rows.contiguous().numpy(), columns.contiguous().numpy(), tolerance

        def part(loops: ModuleType, first: int, last: int) -> tuple[float, int, int]:
            return loops.forward(*given, first, last, plan.numpy())

        found = in_parts(x, part)
        if found is not None:
            refuse(logits, bad=any(bad >= 0 for _, _, bad in found))
            largest, missed = max(part[0] for part in found), sum(part[1] for part in found)
            report(missed, x.shape[0], largest, tolerance)
            return plan.view(logits.shape)

    if x.device.type == "cpu":
        refuse(logits, bad=not bool(x.isfinite().all()))

    if run == "triton":
        return kernels.birkhoff.birkhoff_forward(x, rows, columns, tolerance).view(logits.shape)

    wide, error = in_torch.forward(x, rows, columns, tolerance, look=not being_captured(x))
    if x.device.type == "cpu" and x.shape[0]:
        report(int((error > tolerance).sum()), x.shape[0], float(error.max()), tolerance)

    return wide.to(x.dtype).view(logits.shape)


@birkhoff.register_fake
def _(logits: Tensor, rows: Tensor, columns: Tensor, tolerance: float) -> Tensor:
    return logits.new_empty(logits.shape)


@custom_op("multisk::birkhoff_backward", mutates_args=())
def birkhoff_backward(plan: Tensor, grad: Tensor) -> Tensor:
    """The cotangent P G' of the logits from that of the plan, both (..., n, m)."""
    return derivative(plan, grad, weigh=True)


@custom_op("multisk::birkhoff_centred", mutates_args=())
def birkhoff_centred(plan: Tensor, grad: Tensor) -> Tensor:
    """G', (..., n, m)."""
    return derivative(plan, grad, weigh=False)


@birkhoff_backward.register_fake
def _(plan: Tensor, grad: Tensor) -> Tensor:
    return plan.new_empty(plan.shape)


@birkhoff_centred.register_fake
def _(plan: Tensor, grad: Tensor) -> Tensor:
    return plan.new_empty(plan.shape)


def derivative(plan: Tensor, grad: Tensor, *, weigh: bool) -> Tensor:
    """Whichever of the two."""
    p = plan.detach().reshape(-1, *plan.shape[-2:]).contiguous()
    g = grad.detach().reshape(p.shape).contiguous()
    run = backend_of_matrices(p)
    if run == "triton":
        return kernels.birkhoff.birkhoff_backward(p, g, weigh=weigh).view(plan.shape)

    out = torch.empty_like(p)
    if run == "numba":
        given = p.numpy(), g.numpy()

        def part(loops: ModuleType, first: int, last: int) -> None:
            loops.backward(*given, first, last, weigh, out.numpy())

        if in_parts(p, part) is not None:
            return out.view(plan.shape)

    return in_torch.backward(p, g, weigh=weigh).to(p.dtype).view(plan.shape)


def in_parts(x: Tensor, work: Callable[[ModuleType, int, int], Any]) -> list[Any] | None:
    """Run compiled loops on all matrices, threads sharing them; None once numba has failed."""
    loops = available.matrices()
    if loops is None:
        return None

    count = x.shape[0]
    threads = min(torch.get_num_threads(), count) if x.numel() >= SHARED_CELLS else 1
    try:
        if threads <= 1:
            return [work(loops, 0, count)]
        ends = [count * thread // threads for thread in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda *part: work(loops, *part), ends[:-1], ends[1:]))
    except Exception as error:  # noqa: BLE001 - a compiler that is broken raises anything
        available.give_up(error)
        return None


def refuse(logits: Tensor, *, bad: bool) -> None:
    """Name the first logit that is not finite."""
    if bad:
        raise ValueError(f"logits must be finite, got {first_bad(logits, logits.isfinite())}")


def report(missed: int, count: int, largest: float, tolerance: float) -> None:
    """Warn of margins that were not reached."""
    if missed:
        warn(
            f"{missed} of {count} matrices miss a column sum by up to {largest:.1e} after the last "
            f"round (tolerance {tolerance:.1e}); multisk.birkhoff.check gives the error of each. "
            "Use float64 logits, a looser tolerance or a smaller logit scale",
            MultiskWarning,
            stacklevel=2,
        )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (plan,) = ctx.saved_tensors
    return birkhoff_backward(plan, grad), None, None, None


def _keep_both(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _second(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    plan, given = ctx.saved_tensors
    centred = birkhoff_centred(plan, grad)
    return birkhoff_centred(plan, given) * centred, plan * centred


birkhoff.register_autograd(_gradient, setup_context=_keep)
birkhoff_backward.register_autograd(_second, setup_context=_keep_both)

"""Derivatives of a plan: implicit at the limit, unrolled through the sweeps, or none."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from multisk._backends.base import Raw
from multisk._backends.choose import operator_unrolls
from multisk._backends.torch.sweeps import ORDERS, sweeps_of
from multisk._problem.problem import readable
from multisk._problem.start import centred, settled
from multisk._problem.system import System
from multisk._solution.implicit import Implicit, ImplicitPlan, Side
from multisk._solution.implicit_groups import attach_groups
from multisk._solution.unroll import unrolled_plan
from multisk._warning import MultiskWarning


def derivative(system: System, solver: Any) -> str:
    """The mode that a solver asks for on this system; "none" when nothing needs a gradient."""
    if not (torch.is_grad_enabled() and system.differentiable):
        return "none"
    mode = solver.gradient
    if mode is None:
        return "unroll" if getattr(solver, "steps", None) is not None else "implicit"
    return mode


def attach(system: System, raw: Raw, solver: Any, start: Tensor | None, mode: str) -> Tensor:
    """The plan with the derivative of that mode."""
    nothing = raw.plan.numel() == 0 and system.group is None  # an empty shard takes part
    if mode == "none" or nothing:
        return raw.plan
    if mode == "unroll":
        return unrolled(system, raw, solver, start)
    tolerance = float(solver.tolerance)
    if readable(raw.error) and bool((raw.error > math.sqrt(tolerance)).any()):
        warnings.warn(
            "the implicit derivative belongs to the limit, but the marginal error is still "
            f"{float(raw.error.max()):.1e}; use more steps, or gradient='unroll'",
            MultiskWarning,
            stacklevel=3,
        )
    if not system.two_groups:
        if raw.channels is not None:
            raise ValueError("gradient must be 'unroll' or 'none' for dense=True, got 'implicit'")
        return attach_groups(system, raw)
    eps = system.eps
    scale = system.scale
    margins = system.margins
    sides = (
        Side(rho(eps, system.relax[0]), None),
        Side(rho(eps, system.relax[1]), held_columns(system, raw)),
    )
    what = Implicit(raw.row_potential, raw.column_potential, sides, system, raw.plan)
    scale = scale if isinstance(scale, Tensor) else None
    taus = [side.tau if isinstance(side.tau, Tensor) else None for side in sides]
    return ImplicitPlan.apply(  # pyright: ignore[reportReturnType]
        what, system.scores, scale, margins.rows, margins.columns, margins.upper, *taus
    )


def rho(eps: float | Tensor, strength: float | None) -> float | Tensor:
    """Eps / strength: how fast a relaxed margin yields; 0 for an exact one."""
    return 0.0 if strength is None else eps / strength


def held_columns(system: System, raw: Raw) -> Tensor | None:
    """Interval columns whose potential is 0: small changes do not move their bounds."""
    return None if system.margins.upper is None else raw.column_potential == 0


def unrolled(system: System, raw: Raw, solver: Any, start: Tensor | None) -> Tensor:
    """The derivative of the sweeps themselves: by kernels, or by replaying them."""
    rows_first = solver.order == ORDERS[0]
    if solver.dense or not operator_unrolls(system, solver.steps, start):
        return replayed(system, raw, solver, start)

    def replay(again: System) -> Tensor:
        return replayed(again, raw, solver, start)

    return unrolled_plan(
        system, raw.plan, solver.steps, replay, rows_first=rows_first, kept=raw.kept
    )


def replayed(system: System, raw: Raw, solver: Any, start: Tensor | None) -> Tensor:
    """Replay the sweeps under autograd; only potentials are stored, cells are recomputed."""
    sweeps = sweeps_of(system, solver.order)
    start = settled(system.detach(), start)
    a, b = checkpoint(
        sweeps.first if start is None else lambda: sweeps.warm(start), use_reentrant=False
    )
    most, uneven = solver.steps, False  # fixed sweeps are known without reading them
    if most is None:
        most = int(raw.steps.max()) if raw.steps.numel() else 0
        uneven = not bool((raw.steps == most).all())
    for sweep in range(0 if start is not None else 1, most):
        if start is not None:
            a, b = centred(system, a, b)
        new_a, new_b = checkpoint(step_of(sweeps), a, b, use_reentrant=False)
        if uneven:
            going = (raw.steps > sweep).view(-1, *[1] * (a.ndim - 1))
            new_a, new_b = torch.where(going, new_a, a), torch.where(going, new_b, b)
        a, b = new_a, new_b
    return checkpoint(lambda a, b: sweeps.finish(a, b)[0], a, b, use_reentrant=False)


def step_of(sweeps: Any) -> Any:
    """One sweep as a function of the potentials alone."""
    return lambda a, b: sweeps.next(a, b, measure=False)[:2]

"""Derivatives of a plan: implicit at the limit, unrolled through the sweeps, or none."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import operator_unrolls
from multisk._problem.margins import Margins
from multisk._problem.problem import has_values, readable
from multisk._problem.system import Strength, System
from multisk._semidual.row_interval import Loose, band_at
from multisk._solution.implicit import Implicit, ImplicitPlan, Side
from multisk._solution.implicit_groups import attach_groups
from multisk._solution.unroll import Replay, unrolled_plan
from multisk._warning import MultiskWarning

USUAL = 1e-6  # every solver's default tolerance, for one that has none


def derivative(system: System, solver: Any) -> str:
    """The mode that a solver asks for on this system; "none" when nothing needs a gradient."""
    if not (torch.is_grad_enabled() and system.differentiable):
        return "none"

    return mode_of(solver)


def mode_of(solver: Any) -> str:
    """How a solver's plan is differentiated; only sweeps, which have an `order`, are unrolled.

    Raises:
        ValueError: For a solver of the user's that asks to be unrolled.
    """
    mode, sweeps = solver.gradient, hasattr(solver, "order")
    if mode == "unroll" and not sweeps:
        name = type(solver).__name__
        raise ValueError(f"gradient must be 'implicit', 'none' or None for {name}, got 'unroll'")
    if mode is not None:
        return mode

    return "unroll" if sweeps and solver.steps is not None else "implicit"


def attach(system: System, raw: Raw, solver: Any, start: Tensor | None, mode: str) -> Tensor:
    """The plan with the derivative of that mode."""
    nothing = raw.plan.numel() == 0 and system.ranks is None  # an empty shard takes part
    if mode == "none" or nothing:
        return raw.plan
    if mode == "unroll":
        return unrolled(system, raw, solver, start)

    # The derivative's error is of the order of the margins': half of the digits have to be there.
    tolerance = float(getattr(solver, "tolerance", USUAL))
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
        if torch.compiler.is_compiling():
            raise ValueError(
                "damping must have at most two levels for a gradient inside torch.compile, got "
                "more (solve outside of it, or use Sinkhorn(steps=...), which is unrolled)"
            )

        return attach_groups(system, raw)

    eps = system.eps
    scale = system.scale
    margins = system.margins
    band = None
    if system.bounded_rows:
        plain = system.detach()
        band = band_at(plain, raw.row_potential, raw.plan.detach().sum(-1, dtype=torch.float64))
    loose = None if band is None else Loose(band.loose, margins.mass is not None)
    sides = (
        Side(tau_of(eps, system.relax[0]), None, loose),
        Side(tau_of(eps, system.relax[1]), held_columns(system, raw)),
    )
    level = 0.0 if band is None else band.level
    what = Implicit(raw.row_potential, raw.column_potential, sides, system, raw.plan, level)
    scale = scale if isinstance(scale, Tensor) else None

    taus = [side.tau if isinstance(side.tau, Tensor) else None for side in sides]

    return ImplicitPlan.apply(  # pyright: ignore[reportReturnType]
        what, system.scores, scale, *sides_of(margins), *taus
    )


def sides_of(margins: Margins) -> tuple[Tensor | None, ...]:
    """What the plan is a function of besides scores and temperature."""
    bounds = margins.upper, margins.row_upper, margins.mass
    return margins.rows, margins.columns, *bounds


def tau_of(eps: float | Tensor, strength: Strength) -> float | Tensor:
    """Tau of Eq. (23), eps / strength, with its gradient; 0 for an exact margin."""
    return 0.0 if strength is None else eps / strength


def held_columns(system: System, raw: Raw) -> Tensor | None:
    """Interval columns whose potential is 0, Eq. (18): small changes do not move their bounds."""
    return None if system.margins.upper is None else raw.column_potential == 0


def unrolled(system: System, raw: Raw, solver: Any, start: Tensor | None) -> Tensor:
    """The derivative of the sweeps themselves: by kernels, or sweep by sweep backwards."""
    most, uneven = counted(raw, solver)
    replay = Replay(solver.order, most, raw.steps, start, uneven)
    raw.replay = replay.log_plan
    if torch.compiler.is_compiling():  # the compiler decides what is kept and what is made again
        return replay.plan(system)

    by_operator = not solver.dense and operator_unrolls(system, solver.steps, start)
    return unrolled_plan(system, raw.plan, replay, by_operator=by_operator, kept=raw.kept)


def counted(raw: Raw, solver: Any) -> tuple[int, bool]:
    """The most sweeps of any problem, and whether others took fewer; fixed ones are not read."""
    if solver.steps is not None:
        return solver.steps, False
    if not has_values(raw.steps):
        raise ValueError(
            "steps must be set for an unrolled gradient inside torch.compile, got None "
            "(gradient='implicit' needs no number of sweeps)"
        )

    most = int(raw.steps.max()) if raw.steps.numel() else 0
    return most, not bool((raw.steps == most).all())

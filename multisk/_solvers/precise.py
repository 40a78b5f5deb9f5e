"""Float32 problems that float32 cannot solve well: solved in float64, and rounded once."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.tiles import violation
from multisk._problem.status import verdict
from multisk._problem.system import System, widen

Run = Callable[[System, Tensor | None], Raw]


def precisely(system: System, init: Tensor | None, run: Run) -> Raw:
    """What `run` finds in float64, with the error of the plan that is handed out."""
    raw = run(widen(system), init)
    plan = raw.plan.to(system.scores.dtype)
    # Only float64 may hold the masses of margins that yield.
    error = raw.error.masked_fill(~plan.flatten(1).isfinite().all(1), torch.inf)
    if system.margins.upper is None and system.relax == (None, None):
        a, b = raw.row_potential, raw.column_potential
        if a.ndim == 2 and raw.row_scale is None:
            sums = plan.sum(-1, dtype=torch.float64), plan.sum(-2, dtype=torch.float64)
            error = torch.maximum(error, violation(system, *sums, a, b))

    a = raw.row_potential.to(plan.dtype)
    return replace(raw, plan=plan, row_potential=a, error=error, finite=False)


def retried(raw: Raw, system: System, init: Tensor | None, again: Run, most: int) -> Raw:
    """`raw`, and in float64 what missed its tolerance in float32 with steps left."""
    if system.scores.dtype != torch.float32 or system.ranks is not None:
        return raw

    left = (~raw.converged & (raw.steps < most)).nonzero().squeeze(-1)
    if not left.numel():
        return raw

    found = precisely(system.take(left), None if init is None else init[left], again)
    take_better(raw, left, found, "steps")
    return replace(raw, finite=False)


def with_verdict(raw: Raw, tolerance: float, most: int | None) -> Raw:
    """Eq. (43) by the error that is reported; `most` is None after a fixed number of sweeps."""
    good, code = verdict(raw.error, raw.steps, tolerance, most)
    return replace(raw, converged=good, code=code)


def put(raw: Raw, index: Tensor, found: Raw) -> None:
    """Add the steps of `found`, the problems at `index` again, and take what is better of it."""
    raw.steps[index] += found.steps
    take_better(raw, index, found, "converged", "code")


def take_better(raw: Raw, index: Tensor, found: Raw, *more: str) -> None:
    """Put what `found`, the problems at `index` again, has of less error into `raw`."""
    keep = (found.error < raw.error[index]) | raw.error[index].isnan()
    place = index[keep]
    for name in ("plan", "row_potential", "column_potential", "error", *more):
        old = getattr(raw, name)
        old[place] = getattr(found, name)[keep].to(old.dtype)

"""Unseen rows: one scalar root a row against stored column potentials."""

import torch
from torch import Tensor

from multisk._backends.choose import kernels_serve
from multisk._backends.operators import per_problem
from multisk._backends.torch import passes
from multisk._problem.problem import readable
from multisk._solution.answer import Answer, budget_of, plain


def assign(solution: Answer, new_scores: Tensor) -> Tensor:
    """Plan rows for `new_scores` (*batch, M, K); see `Solution.assign`."""
    system, raw = solution.system, solution.raw
    k = system.scores.shape[2]
    if new_scores.shape[:-2] != system.batch or new_scores.shape[-1] != k:
        shape = (*system.batch, "M", k)
        raise ValueError(f"new_scores must fit the shape {shape}, got {tuple(new_scores.shape)}")

    if not system.two_groups:
        raise ValueError("damping must have at most two levels to assign unseen rows")

    with torch.no_grad():
        x = new_scores.detach().to(system.scores.dtype).reshape(-1, *new_scores.shape[-2:])
        if readable(x) and not bool(x.isfinite().all()):
            raise ValueError("new_scores must be finite, got a value that is not")
        budget = x.new_full(x.shape[:2], float(budget_of(system)))
        if x.numel() and (kernels_serve(system, traced=True) or torch.compiler.is_compiling()):
            scale = per_problem(system, system.scale)
            tau = None if system.groups is not None else torch.zeros_like(scale)
            plan = torch.ops.multisk.assign(x, scale, raw.column_potential, budget, None, tau)[1]
            return plan.view(new_scores.shape).to(new_scores.dtype)

        y = passes.exponent(x, plain(system.scale), None, raw.column_potential, None)
        capped = system.groups is not None
        cells = x.new_full(x.shape[:2], float(k))
        # Eq. (16), or (9), at the stored b: no other row takes part.
        a = passes.row_answer(y, budget, cells, strength=None if capped else 1.0)
        plan = passes.row_plan(y, a, capped=capped)

    return plan.view(new_scores.shape).to(new_scores.dtype)

"""Newton's whole solve as one operator."""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._backends.choose import kernels_run
from multisk._backends.triton import kernels
from multisk._operators.asked import Asked, being_captured
from multisk._solvers.newton import Newton

# plan, a, b, sums of its rows and of its columns, steps, 1 where solved
Found = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
PASSES = 6  # visits launched between two looks at the outcome, where the host may look
MOST = 24  # visits after which the host looks no more


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
    """Find a and b such that P = sigmoid(scale X + a_i + b_j), or exp, Eq. (5), meets its margins.

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
    asked = Asked(scores, scale, margins, free, yields)
    solve = in_kernels if kernels_run(scores) else in_torch
    return solve(asked, start, tolerance, max_steps)


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


def in_kernels(asked: Asked, start: Tensor | None, tolerance: float, max_steps: int) -> Found:
    """The search on the device; the host looks at it every few passes, unless it is captured.

    The smaller side is the one that is searched. Problems that resist go to torch, where
    temperatures are followed more patiently.
    """
    scores = asked.scores
    captured = being_captured(scores)
    turned = scores.shape[1] < scores.shape[2] and start is None
    side = asked.turned() if turned else asked
    wanted = max_steps + 1
    # The plan that is handed out is rounded and summed once more.
    enough = 0.25 * tolerance
    # In float64 one more step squares the error: gradients and comparisons then see the limit.
    fine = min(enough, 1e-12) if scores.dtype == torch.float64 else enough
    done = wanted if captured else min(PASSES, wanted)
    options: dict[str, Any] = {"tolerance": fine, "yields": side.yields}
    inputs = side.scores, side.scale
    found = kernels.search.search(*inputs, start, side.budgets, passes=done, **options)
    while not captured and done < wanted and not bool(found.solved.all()):
        more = min(PASSES, wanted - done)
        found = kernels.search.search(
            *inputs, None, side.budgets, passes=more, resume=found, **options
        )
        done += more
        if done >= MOST:
            break

    b = (found.row_potential if turned else found.column_potential).contiguous()
    a, table = kernels.plan.assign(
        scores, asked.scale, b, asked.margins[0], free=asked.free, yields=asked.row_yields
    )
    steps, solved = found.steps.long(), ((found.error <= enough) & found.cold).long()
    left = (solved == 0) & ~found.error.isnan()  # the host cannot help against a NaN
    sums = table.row_sums, table.column_sums.contiguous()
    answer = (table.plan, a, b.double(), *sums, steps, solved)
    if captured or not scores.is_cuda or not bool(left.any()):
        return answer

    return steered_by_host(answer, left, asked, tolerance, max_steps)


def steered_by_host(
    answer: Found, left: Tensor, asked: Asked, tolerance: float, max_steps: int
) -> Found:
    """Solve again, steered by the host, the problems that the device search `left`."""
    left = left.nonzero().squeeze(-1)
    again = in_torch(asked.take(left), None, tolerance, max_steps)
    parts = [old.index_copy(0, left, new) for old, new in zip(answer, again, strict=True)]
    plan, a, b, row_sums, column_sums, steps, done = parts

    return plan, a, b, row_sums, column_sums, steps, done


def in_torch(asked: Asked, start: Tensor | None, tolerance: float, max_steps: int) -> Found:
    """The operator's meaning: `Newton` itself."""
    kind = asked.scores.dtype
    raw = Newton(tolerance=tolerance, max_steps=max_steps).run_in_torch(asked.system(), start)
    done = raw.converged.long()
    plan, a = raw.plan.contiguous(), raw.row_potential.to(kind).contiguous()
    sums = plan.sum(-1), plan.sum(-2, dtype=torch.float64)

    return plan, a, raw.column_potential.double().contiguous(), *sums, raw.steps.clone(), done

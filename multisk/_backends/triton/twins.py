"""Where a system takes the operators of `_ops`, and what those do: kernels, or torch as here."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.tiles import violation
from multisk._backends.triton import operators as _ops
from multisk._backends.triton import unroll as _ops_unroll
from multisk._backends.triton.visits import per_problem, yields_of
from multisk._problem.collapse import Groups
from multisk._problem.margins import Margins
from multisk._problem.status import Status
from multisk._problem.system import System
from multisk._solvers.base import Raw

# plan, a, b, sums of its rows and of its columns, steps, 1 where solved
Found = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
PASSES = 6  # visits launched between two looks at the outcome, where the host may look
ROUNDS = 400  # of conjugate gradients at most
LOOK = 8  # rounds launched between two looks at them, where the host may look; most need 2 to 4


def takes(system: System) -> bool:
    """Whether one operator is the whole solve by Newton: one link, no intervals, one device."""
    x = system.scores
    plain = system.two_groups and system.group is None and system.margins.upper is None
    if not (plain and x.numel() > 0 and min(x.shape[1:]) <= _ops.WIDEST):
        return False
    return _ops.kernels_run(x) or torch.compiler.is_compiling()


def sweeps_whole(system: System) -> bool:
    """Whether one operator makes several sweeps: two channel groups, on one device."""
    return system.groups is not None and takes(system)


def differentiates(system: System) -> bool:
    """Whether one operator is the whole implicit derivative: also of intervals."""
    return takes(replace(system, budgets=replace(system.margins, upper=None)))


def margins_of(system: System) -> list[Tensor]:
    """The tensors that the operators take as margins."""
    margins = system.margins
    parts = (margins.rows, margins.row_cells, margins.columns, margins.column_cells)
    return [part.contiguous() for part in parts]


def newton(system: System, init: Tensor | None, tolerance: float, max_steps: int) -> Raw:
    """`Newton.run` by the operator."""
    start = None if init is None else init.double().contiguous()
    plan, a, b, row_sums, column_sums, steps, _ = _ops.newton(
        system.scores,
        per_problem(system, system.scale),
        margins_of(system),
        system.margins.free,
        yields_of(system),
        start,
        tolerance,
        max_steps,
    )
    error = violation(system, row_sums, column_sums, a, b)
    good = error <= tolerance
    missed = torch.where(steps >= max_steps, Status.MAX_STEPS.code, Status.STALLED.code)
    code = torch.where(good, Status.CONVERGED.code, missed).to(torch.int8)
    return Raw(plan, a, b, error, steps, good, code)


def sweep_exactly(
    system: System, steps: int, start: tuple[Tensor, Tensor] | None, *, rows_first: bool
) -> tuple[Tensor, Tensor]:
    """`steps` sweeps by the operator, from the scores or from potentials."""
    return _ops.sweeps(
        system.scores,
        both_scales(system),
        margins_of(system),
        system.margins.free,
        [] if start is None else [x.contiguous() for x in start],
        steps,
        rows_first,
    )


def sweep_kept(system: System, steps: int, *, rows_first: bool) -> _ops_unroll.Three:
    """What every one of `steps` sweeps from the scores leaves for their derivative."""
    return _ops_unroll.sweeps_kept(
        system.scores,
        both_scales(system),
        margins_of(system),
        system.margins.free,
        steps,
        rows_first,
    )


def both_scales(system: System) -> Tensor:
    """Scale over temperature of the plan's group and of the other, (b, 2)."""
    groups = system.groups
    assert groups is not None
    return torch.stack(
        [per_problem(system, groups.scales[end] / system.eps) for end in (0, -1)], -1
    )


def gradient(
    system: System, a: Tensor, b: Tensor, grad: Tensor, held: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) of a plan by the operator; `held` columns do not answer."""
    scale, yields = per_problem(system, system.scale), yields_of(system)
    return _ops.plan_gradient(system.scores, scale, a, b, grad, system.margins.free, yields, held)


def system_of(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    yields: Tensor | None,
) -> System:
    """The system that an operator's arguments stand for."""
    rows, row_cells, columns, column_cells = margins
    units = (torch.where(rows > 0, rows, 1.0), torch.where(columns > 0, columns, 1.0))
    groups = Groups((1.0, 0.0), (1, 1), 1) if yields is None else None
    eps = (1 / scale.to(scores.dtype)).view(-1, 1, 1)
    relax: list[Any] = [None, None]
    if yields is not None and bool((yields > 0).any()):
        relax = [strength_of(eps, yields[:, side]) for side in (0, 1)]
    return System(
        scores,
        eps,
        Margins(rows, columns, None, *units, row_cells, column_cells, free),
        groups,
        (relax[0], relax[1]),
        None,
        None,
        scores.shape[:1],
        scores.dtype,
    )


def strength_of(eps: Tensor, tau: Tensor) -> float | None:
    """The KL strength eps / tau of a margin, one for the whole batch; None where it is exact."""
    first = float(tau[0])
    return float(eps[0]) / first if first > 0 else None


def newton_in_kernels(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    yields: Tensor | None,
    start: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> Found:
    """The search on the device; the host looks at it every few passes, unless it is captured.

    The smaller side is the one that is searched. Problems that resist go to torch, where
    temperatures are followed more patiently.
    """
    from multisk.kernels.plan import assign
    from multisk.kernels.search import search

    captured = being_captured(scores)
    turned = scores.shape[1] < scores.shape[2] and start is None
    x, rest, tau = scores, (free, *margins), yields
    if turned:
        rest = (None if free is None else free.mT, *margins[2:], *margins[:2])
        x, tau = scores.mT, None if yields is None else yields.flip(1)
    budgets = _ops.budgets_of([*rest[1:]], rest[0])
    wanted = max_steps + 1
    enough = 0.25 * tolerance
    # In float64 one more step squares the error: gradients and comparisons then see the limit.
    fine = min(enough, 1e-12) if scores.dtype == torch.float64 else enough
    done = wanted if captured else min(PASSES, wanted)
    options: dict[str, Any] = {"tolerance": fine, "yields": tau}
    found = search(x, scale, start, budgets, passes=done, **options)
    while not captured and done < wanted and not bool(found.solved.all()):
        more = min(PASSES, wanted - done)
        found = search(x, scale, None, budgets, passes=more, resume=found, **options)
        done += more
        if done >= 24:
            break
    b = found.row_potential if turned else found.column_potential
    tau = None if yields is None else yields[:, 0]
    a, table = assign(scores, scale, b.contiguous(), margins[0], free=free, yields=tau)
    steps, solved = found.steps.long(), ((found.error <= enough) & found.cold).long()
    left = (solved == 0) & ~found.error.isnan()  # patience does not help against a NaN
    sums = table.row_sums, table.column_sums.contiguous()
    answer = (table.plan, a, b.double(), *sums, steps, solved)
    if captured or not scores.is_cuda or not bool(left.any()):
        return answer
    inputs = (scores, scale, margins, free, yields)
    return with_patience(answer, left, inputs, tolerance, max_steps)


def being_captured(x: Tensor) -> bool:
    """Whether a CUDA graph is recorded, so that the host must not look at values."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def with_patience(
    answer: Found, left: Tensor, inputs: tuple[Any, ...], tolerance: float, max_steps: int
) -> Found:
    """Solve again, steered by the host, the problems that the device search `left`."""
    left = left.nonzero().squeeze(-1)
    scores, scale, margins, free, yields = inputs
    again = newton_in_torch(
        scores[left],
        scale[left],
        [margin[left] for margin in margins],
        None if free is None else free[left],
        None if yields is None else yields[left],
        None,
        tolerance,
        max_steps,
    )
    parts = [old.index_copy(0, left, new) for old, new in zip(answer, again, strict=True)]
    plan, a, b, row_sums, column_sums, steps, done = parts
    return plan, a, b, row_sums, column_sums, steps, done


def newton_in_torch(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    yields: Tensor | None,
    start: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> Found:
    """The operator's meaning: `Newton` itself."""
    from multisk._solvers.newton import Newton

    system = system_of(scores, scale, margins, free, yields)
    raw = Newton(tolerance=tolerance, max_steps=max_steps).run_in_torch(system, start)
    done = raw.converged.long()
    plan, a = raw.plan.contiguous(), raw.row_potential.to(scores.dtype).contiguous()
    sums = plan.sum(-1), plan.sum(-2, dtype=torch.float64)
    return plan, a, raw.column_potential.double().contiguous(), *sums, raw.steps.clone(), done


def sweep_in_torch(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: list[Tensor],
    steps: int,
    *,
    rows_first: bool,
) -> tuple[Tensor, Tensor]:
    """The operator's meaning: sweeps over the softmax of two groups."""
    high, low = (scales[:, end, None, None].to(scores.dtype) for end in (0, 1))
    rows, row_cells, columns, column_cells = margins
    a, b = start if start else (torch.zeros_like(rows), torch.zeros_like(columns))
    for step in range(steps):
        if start or step > 0:
            t = passes.exponent(scores, high - low, a, b, None)
            top = torch.nn.functional.logsigmoid(t)
            rest = torch.nn.functional.logsigmoid(-t)
        else:
            top, rest = scores * high, scores * low
        if free is not None:
            top, rest = top.masked_fill(~free, -torch.inf), rest.masked_fill(~free, -torch.inf)
        if rows_first or start or step > 0:
            grow, top_sum = passes.log_row_scale(top, rows)
            shrink, rest_sum = passes.log_row_scale(rest, row_cells - rows)
        else:
            grow = passes.log_ratio(rows, torch.zeros_like(rows))
            shrink = passes.log_ratio(row_cells - rows, torch.zeros_like(rows))
            top_sum = (top + grow[..., None]).logsumexp(-2)
            rest_sum = (rest + shrink[..., None]).logsumexp(-2)
        a = a + grow - shrink
        b = b + passes.log_ratio(columns, top_sum.to(columns))
        b = b - passes.log_ratio(column_cells - columns, rest_sum.to(columns))
    return a.clone(), b.clone()


def gradient_in_kernels(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes and the columns' system; where that takes many rounds, the host looks at them."""
    from multisk.kernels import gradient as kernels
    from multisk.kernels.wide import At, Solving

    tau = None if yields is None else yields[:, 0]
    at = At(
        scores=scores,
        scale=scale,
        row_potential=a.contiguous(),
        column_potential=b.contiguous(),
        free=free,
        yields=tau,
    )
    found = kernels.gather(at, grad)
    give = None if yields is None else yields[:, 1]
    still, gauge = found.weight <= 0, torch.ones_like(scale)
    if held is not None:
        gauge = gauge * ~(held & ~still).any(1)
        still = still | held
    if yields is not None:
        gauge = gauge * (yields.sum(1) == 0)
    columns = (found, at, give, still, gauge)
    captured, rounds = being_captured(scores), 0
    beta = kernels.answer(*columns, rounds=ROUNDS if captured else LOOK)
    while isinstance(beta, Solving) and not captured and rounds < ROUNDS:
        if bool(beta.done.all()):
            break
        rounds += LOOK
        beta = kernels.answer(*columns, rounds=LOOK, resume=beta)
    beta = beta.x if isinstance(beta, Solving) else beta
    z, alpha = kernels.spread_back(at, grad, found.tilt, beta)
    return z, alpha, beta.to(b.dtype).clone()


def gradient_in_torch(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator's meaning: the implicit function theorem, tile by tile."""
    from multisk._solution.implicit import Implicit, Side, tiled_plan

    t = passes.exponent(scores, scale.to(scores.dtype).view(-1, 1, 1), a, b, free)
    plan = torch.sigmoid(t) if yields is None else t.exp()
    margins = [plan.sum(-1), torch.ones_like(a), plan.sum(-2), torch.ones_like(b)]
    system = system_of(scores, scale, margins, free, yields)
    tau = (0.0, 0.0) if yields is None else yields.to(b).view(-1, 2, 1, 1).unbind(1)
    sides = (Side(tau[0], None), Side(tau[1], held))
    z, alpha, beta = tiled_plan(Implicit(a, b, sides, system, plan), plan, grad)
    return z, alpha, beta.to(b.dtype)


def assign_in_torch(
    scores: Tensor,
    scale: Tensor,
    b: Tensor,
    rows: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The operator's meaning: a bracketed root a row, or its closed form without a cap."""
    from multisk._semidual.semidual import first_rows

    y = passes.exponent(scores, scale.to(scores.dtype).view(-1, 1, 1), None, b, free)
    if yields is not None:
        a = passes.exp_rows(y, rows, 1 / (1 + yields.to(y)[:, None]))
        return a, (y + a[..., None]).exp()
    count = torch.full_like(rows, scores.shape[-1]) if free is None else free.sum(-1).to(rows)
    a = passes.sigmoid_rows(y, rows, count, first_rows(y, rows, count), 1e-7)
    return a, torch.sigmoid(y + a[..., None])


def assign_backward_in_torch(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
) -> Tensor:
    """The operator's meaning: W (G - t_i), with t_i such that the row's answer is in."""
    t = passes.exponent(scores, scale.to(scores.dtype).view(-1, 1, 1), a, b, free)
    plan = torch.sigmoid(t) if yields is None else t.exp()
    slope = plan * torch.sigmoid(-t) if yields is None else plan
    height = slope.sum(-1) if yields is None else slope.sum(-1) * (1 + yields.to(plan)[:, None])
    tilt = (slope * grad).sum(-1) / torch.where(height > 0, height, 1.0)
    return slope * (grad - tilt[..., None])

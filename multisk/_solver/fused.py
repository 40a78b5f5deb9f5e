"""Where a system takes the operators of `_ops`, and what those do: kernels, or torch as here."""

from typing import Any

import torch
from torch import Tensor

from multisk import _ops
from multisk import _passes as passes
from multisk._collapse import Groups
from multisk._margins import Margins
from multisk._solver.base import Raw
from multisk._solver.sweeps import Sweeps
from multisk._status import Status
from multisk._system import System
from multisk._tiles import violation

Found = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
LOOK = 10  # sweeps between two looks
PASSES = 6  # visits launched between two looks at the outcome, where the host may look


def takes(system: System, *, looking: bool = False) -> bool:
    """Whether the operators cover the system and should run it: exact margins, on one device.

    With `looking`, the host has to read values between operators, which no graph can hold.
    """
    plain = system.two_groups and system.groups is not None and system.group is None
    exact = system.margins.upper is None and system.relax == (None, None)
    x = system.scores
    if not (plain and exact and x.numel() > 0 and min(x.shape[1:]) <= _ops.WIDEST):
        return False
    return _ops.kernels_run(x) or (torch.compiler.is_compiling() and not looking)


def margins_of(system: System) -> list[Tensor]:
    """The tensors that the operators take as margins."""
    margins = system.margins
    parts = (margins.rows, margins.row_cells, margins.columns, margins.column_cells)
    return [part.contiguous() for part in parts]


def scale_of(system: System) -> Tensor:
    """Exponent per unit of score, (B,)."""
    return per_problem(system, system.scale)


def per_problem(system: System, value: float | Tensor) -> Tensor:
    """A number, or one a problem, as a tensor (B,)."""
    x = system.scores
    if isinstance(value, Tensor):
        return value.detach().reshape(-1).to(x.dtype).expand(x.shape[0]).contiguous()
    return x.new_full((x.shape[0],), value)


def newton(system: System, init: Tensor | None, tolerance: float, max_steps: int) -> Raw:
    """`Newton.run` by the operator."""
    start = None if init is None else init.double().contiguous()
    margins = margins_of(system)
    plan, a, b, steps, _ = _ops.newton(
        system.scores, scale_of(system), margins, system.margins.free, start, tolerance, max_steps
    )
    error = violation(system, plan.sum(-1), plan.sum(-2, dtype=torch.float64), a, b)
    good = error <= tolerance
    missed = torch.where(steps >= max_steps, Status.MAX_STEPS.code, Status.STALLED.code)
    code = torch.where(good, Status.CONVERGED.code, missed).to(torch.int8)
    return Raw(plan, a, b, error, steps, good, code)


def sweep_exactly(
    system: System, steps: int, init: tuple[Tensor, Tensor] | None, *, rows_first: bool
) -> tuple[Tensor, Tensor]:
    """`steps` sweeps by the operator, from the scores or from potentials."""
    groups = system.groups
    assert groups is not None
    ends = [per_problem(system, groups.scales[end] / system.eps) for end in (0, -1)]
    return _ops.sweeps(
        system.scores,
        torch.stack(ends, -1),
        margins_of(system),
        system.margins.free,
        [] if init is None else [x.contiguous() for x in init],
        steps,
        rows_first,
    )


def sweep_until(
    system: System,
    sweeps: Sweeps,
    start: tuple[Tensor, Tensor] | None,
    limits: tuple[float, int],
    rows_first: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor, Tensor]:
    """Sweep to a tolerance, measured every `LOOK` sweeps; solved problems stand still."""
    tolerance, most = limits
    count = min(LOOK, most)
    a, b = sweep_exactly(system, count, start, rows_first=rows_first)
    done = torch.zeros(a.shape[0], dtype=torch.bool, device=a.device)
    steps = torch.full_like(done, most, dtype=torch.int64)
    while True:
        _, row_sums, column_sums, _ = sweeps.finish(a, b)
        reached = (violation(system, row_sums, column_sums, a, b) <= tolerance) & ~done
        steps = torch.where(reached, count, steps)
        done = done | reached
        if count >= most or bool(done.all()):
            return a, b, steps
        more = min(LOOK, most - count)
        new_a, new_b = sweep_exactly(system, more, (a, b), rows_first=rows_first)
        a = torch.where(done[:, None], a, new_a)
        b = torch.where(done[:, None], b, new_b)
        count += more


def gradient(system: System, a: Tensor, b: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) of a plan by the operator."""
    return _ops.plan_gradient(system.scores, scale_of(system), a, b, grad, system.margins.free)


def system_of(scores: Tensor, scale: Tensor, margins: list[Tensor], free: Tensor | None) -> System:
    """The system that an operator's arguments stand for."""
    rows, row_cells, columns, column_cells = margins
    units = (torch.where(rows > 0, rows, 1.0), torch.where(columns > 0, columns, 1.0))
    return System(
        scores,
        (1 / scale.to(scores.dtype)).view(-1, 1, 1),
        Margins(rows, columns, None, *units, row_cells, column_cells, free),
        Groups((1.0, 0.0), (1, 1), 1),
        (None, None),
        None,
        None,
        scores.shape[:1],
        scores.dtype,
    )


def newton_in_kernels(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
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

    captured = scores.is_cuda and torch.cuda.is_current_stream_capturing()
    turned = scores.shape[1] < scores.shape[2] and start is None
    x, rest = scores, (free, *margins)
    if turned:
        rest = (None if free is None else free.mT, *margins[2:], *margins[:2])
        x = scores.mT
    budgets = budgets_of(*rest)
    wanted = max_steps + 1
    fine = 0.25 * tolerance
    found = search(
        x, scale, start, budgets, tolerance=fine, passes=wanted if captured else min(PASSES, wanted)
    )
    done = wanted if captured else min(PASSES, wanted)
    while not captured and done < wanted and not bool(found.solved.all()):
        more = min(PASSES, wanted - done)
        found = search(x, scale, None, budgets, tolerance=fine, passes=more, resume=found)
        done += more
        if done >= 24:
            break
    b = found.row_potential if turned else found.column_potential
    a, plan = assign(scores, scale, b.contiguous(), margins[0], free=free)
    steps = found.steps.long()
    answer = (plan, a.to(scores.dtype), b.double(), steps, found.solved.long())
    if captured or bool(found.solved.all()) or not scores.is_cuda:
        return answer
    return with_patience(answer, scores, scale, margins, free, tolerance, max_steps)


def budgets_of(
    free: Tensor | None, rows: Tensor, row_cells: Tensor, columns: Tensor, column_cells: Tensor
) -> Any:
    """The kernels' budgets."""
    from multisk.kernels.sweep import Budgets

    return Budgets(
        rows=rows, row_cells=row_cells, columns=columns, column_cells=column_cells, free=free
    )


def with_patience(
    answer: Found,
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> Found:
    """Solve again, in torch, the problems that the device search left."""
    left = (answer[4] == 0).nonzero().squeeze(-1)
    again = newton_in_torch(
        scores[left],
        scale[left],
        [margin[left] for margin in margins],
        None if free is None else free[left],
        None,
        tolerance,
        max_steps,
    )
    parts = [old.index_copy(0, left, new) for old, new in zip(answer, again, strict=True)]
    return parts[0], parts[1], parts[2], parts[3], parts[4]


def newton_in_torch(
    scores: Tensor,
    scale: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    start: Tensor | None,
    tolerance: float,
    max_steps: int,
) -> Found:
    """The operator's meaning: `Newton` itself."""
    from multisk._solver.newton import Newton

    system = system_of(scores, scale, margins, free)
    raw = Newton(tolerance=tolerance, max_steps=max_steps).run_in_torch(system, start)
    done = raw.converged.long()
    plan, a = raw.plan.contiguous(), raw.row_potential.to(scores.dtype).contiguous()
    return plan, a, raw.column_potential.double().contiguous(), raw.steps.clone(), done


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


def gradient_in_torch(
    scores: Tensor, scale: Tensor, a: Tensor, b: Tensor, grad: Tensor, free: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator's meaning: the implicit function theorem, tile by tile."""
    from multisk._implicit import Implicit, Side, tiled_plan

    t = passes.exponent(scores, scale.to(scores.dtype).view(-1, 1, 1), a, b, free)
    plan = torch.sigmoid(t)
    margins = [plan.sum(-1), torch.ones_like(a), plan.sum(-2), torch.ones_like(b)]
    system = system_of(scores, scale, margins, free)
    sides = (Side(0.0, None), Side(0.0, None))
    z, alpha, beta = tiled_plan(Implicit(a, b, sides, system, plan), plan, grad)
    return z, alpha, beta.to(b.dtype)


def assign_in_torch(
    scores: Tensor, scale: Tensor, b: Tensor, rows: Tensor, free: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The operator's meaning: a bracketed root a row."""
    from multisk._solver.semidual import first_rows

    y = passes.exponent(scores, scale.to(scores.dtype).view(-1, 1, 1), None, b, free)
    count = torch.full_like(rows, scores.shape[-1]) if free is None else free.sum(-1).to(rows)
    a = passes.sigmoid_rows(y, rows, count, first_rows(y, rows, count), 1e-7)
    return a, torch.sigmoid(y + a[..., None])

"""The objective at a plan, its derivative by the envelope theorem, and a bound on its distance.

Eq. (n) is that of docs/multisk/mathematics.md.
"""

from typing import Any

import torch
from torch import Tensor

from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.passes import exponent
from multisk._backends.torch.response import Tiled
from multisk._backends.torch.tiles import cells, column_goal, row_goal, tiles
from multisk._problem.sharding import total
from multisk._problem.system import Strength, System, column
from multisk._semidual.row_interval import band_at
from multisk._solution.answer import Answer


def value(solution: Answer) -> Tensor:
    """The objective per problem; see `Solution.value`."""
    system, raw = solution.system, solution.raw
    plan = solution.flat_plan
    if solution.mode == "none":
        with torch.no_grad():
            return objective(system.detach(), raw, plan.detach()).view(system.batch)

    if solution.mode == "composed" and not system.two_groups:
        raise ValueError(
            "damping must have at most two levels for value inside torch.func and forward mode, "
            "got more"
        )
    if solution.mode in {"unroll", "composed"} and system.two_groups:
        return objective(system, raw, plan).view(system.batch)

    given = (value if isinstance(value, Tensor) else None for value in (system.eps, *system.relax))
    sides = margin_inputs(system)
    found = Envelope.apply(solution, plan, system.scores, *given, system.levels, *sides)
    assert isinstance(found, Tensor)

    return found.view(system.batch)


def margin_inputs(system: System) -> tuple[Tensor | None, ...]:
    """What the dual multiplies the potentials with.

    Rows and columns, their lower bounds where they are intervals; upper bounds of columns and of
    rows; the mass.
    """
    if system.two_groups:
        margins = system.margins
        return margins.rows, margins.columns, margins.upper, margins.row_upper, margins.mass
    targets = GroupSweeps(system, "row-column-depth")
    return targets.row_targets, targets.column_targets, None, None, None


def objective(system: System, raw: Any, plan: Tensor) -> Tensor:
    """Eq. (6), reward plus eps times entropy, minus the penalties (22) of relaxed margins: (b,)."""
    x = system.scores
    eps = system.eps.reshape(-1) if isinstance(system.eps, Tensor) else system.eps
    if not system.two_groups:
        reward, bonus, _ = group_parts(system, raw)
        return total((reward * x).sum((-2, -1)) + eps * bonus, system.ranks)

    reward = (plan * x).sum((-2, -1)) * system.learned_factor
    bonus = entropy(system, plan).sum((-2, -1))
    found = total(reward + eps * bonus, system.ranks)
    for strength, sums, goal in (
        (system.relax[0], plan.sum(-1), system.margins.rows),
        (system.relax[1], total(plan.sum(-2), system.ranks), system.margins.columns),
    ):
        if strength is not None:
            miss = divergence(sums.double(), goal.double()).sum(-1)
            miss = (flat(strength) * miss).to(found.dtype)
            found = found - (total(miss, system.ranks) if goal is system.margins.rows else miss)

    return found


def flat(value: float | Tensor) -> float | Tensor:
    """A number a problem, (b, 1, 1), as (b,)."""
    return value.reshape(-1) if isinstance(value, Tensor) else value


def entropy(system: System, plan: Tensor) -> Tensor:
    """Per cell of Eq. (6): binary entropy under a cap, -P (log P - 1) without."""
    tiny = torch.finfo(plan.dtype).tiny
    p = plan.clamp_min(tiny)
    if system.groups is None:
        return -plan * (p.log() - 1)

    rest = (1 - plan).clamp_min(tiny)
    free = system.margins.free
    cells = -plan * p.log() - (1 - plan) * rest.log()
    return cells if free is None else cells.masked_fill(~free, 0.0)


def divergence(sums: Tensor, goal: Tensor) -> Tensor:
    """KL(sums | goal) per line, Eq. (22), with 0 log 0 = 0."""
    tiny = torch.finfo(sums.dtype).tiny
    ratio = sums.clamp_min(tiny).log() - goal.clamp_min(tiny).log()
    return sums * ratio - sums + goal


def group_parts(system: System, raw: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The scores' coefficient in every cell, the groups' entropy, and <Q_c, X> of each: (b, c)."""
    x = system.scores
    table = Tiled(system, raw.row_potential, raw.column_potential)
    reward, bonus = torch.empty_like(x), x.new_zeros(x.shape[:1]).double()
    earned = x.new_zeros((x.shape[0], table.count)).double()
    for part, q in table.shares():
        reward[:, part] = torch.einsum("c,bcnk->bnk", table.scales - table.scales[-1], q)
        bonus += torch.special.entr(q).sum((1, 2, 3))
        earned += torch.einsum("bnk,bcnk->bc", x[:, part], q)

    return reward, bonus.to(x.dtype), earned


class Envelope(torch.autograd.Function):
    """At the optimum the objective moves as if the plan stood still, Eq. (35).

    So dV/dX = P, dV/dr = -eps a, and a strength costs its margin's divergence.
    """

    @staticmethod
    def forward(ctx: Any, solution: Answer, plan: Tensor, *inputs: Tensor | None) -> Tensor:
        """The objective at the plan."""
        ctx.solution = solution
        ctx.save_for_backward(plan, *inputs)
        return objective(solution.system.detach(), solution.raw, plan.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """First derivatives; the scores' one stays differentiable through the plan."""
        plan, x, eps, *strengths, levels, rows, columns, upper, top, mass = ctx.saved_tensors
        solution: Answer = ctx.solution
        system, raw = solution.system.detach(), solution.raw
        if solution.mode == "unroll":
            raise NotImplementedError(
                "value has no unrolled derivative with more than two channel scales "
                "(use gradient='implicit')"
            )

        again = torch.is_grad_enabled() and (grad.requires_grad or plan.requires_grad)
        given = eps, *strengths, levels, rows, columns, upper, top, mass
        others = any(t is not None and t.requires_grad for t in given)
        if again and (others or not system.two_groups):
            raise NotImplementedError(
                "value can be differentiated twice with respect to the scores only, "
                "and with at most two channel scales"
            )

        g = grad[:, None, None]
        if system.two_groups:
            reward, bonus = plan * system.score_factor, entropy(system, plan).sum((-2, -1))
            whole = (plan * x).sum((-2, -1))
            earned = None if levels is None else torch.stack([whole, -whole], -1)
        else:
            reward, bonus, earned = group_parts(system, raw)
            earned = torch.cat([earned[:, :-1], -earned[:, :-1].sum(-1, keepdim=True)], -1)

        grad_eps = None if eps is None else g * total(bonus, system.ranks)[:, None, None]
        grad_levels = None
        if levels is not None and earned is not None:
            earned = total(earned, system.ranks)
            grad_levels = torch.einsum("b,bc->c", grad.to(earned.dtype), earned).to(levels.dtype)

        sums = plan.sum(-1), total(plan.sum(-2), system.ranks)
        missed = (
            strength_cost(goal, by_line, grad) if strength is not None else None
            for strength, goal, by_line in zip(strengths, (rows, columns), sums, strict=True)
        )
        prices = margin_prices(system, raw, plan, grad)
        return None, None, g * reward, grad_eps, *missed, grad_levels, *prices


def strength_cost(goal: Tensor, sums: Tensor, grad: Tensor) -> Tensor:
    """Cotangent of a KL strength, (b, 1, 1)."""
    cost = divergence(sums.double(), goal.double()).sum(-1)
    return (-grad * cost).to(grad.dtype).view(-1, 1, 1)


def margin_prices(
    system: System, raw: Any, plan: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """What one more unit of each of `margin_inputs` is worth."""
    if not system.two_groups:
        a, b = raw.row_potential, raw.column_potential
        price = -grad[:, None, None] * system.eps
        return price * a, price.double() * b, None, None, None

    eps = column(system.eps)
    prices = []
    for strength, potential in zip(
        system.relax, (raw.row_potential, raw.column_potential), strict=True
    ):
        if strength is None:
            price = -eps * potential
        else:  # Eq. (35): rho (sum / margin - 1), and sum / margin = exp(-a eps / rho)
            strength = column(strength)
            price = strength * ((-potential * eps / strength).exp() - 1)
        prices.append(grad[:, None] * price)

    rows, columns = prices[0].to(system.margins.rows.dtype), prices[1].double()
    upper, top, mass = None, None, None
    if system.margins.upper is not None:
        b = raw.column_potential
        # Eq. (18): the bound that is felt has the price.
        columns, upper = torch.where(b > 0, columns, 0.0), torch.where(b < 0, columns, 0.0)

    if system.margins.row_upper is not None:
        level = band_at(system, raw.row_potential, plan.sum(-1)).level
        # Eq. (21): above the level the lower bound is felt, below it the upper one.
        own = raw.row_potential.double() - level
        price = -grad[:, None].double() * eps
        rows, top = ((price * part).to(rows) for part in (own.clamp_min(0.0), own.clamp_max(0.0)))
        mass = None if system.margins.mass is None else price * level

    return rows, columns, upper, top, mass


def gap(solution: Answer) -> Tensor:
    """Dual minus primal objective, Eq. (36), as a sum of absolute violations times prices."""
    system, raw = solution.system.detach(), solution.raw
    with torch.no_grad():
        if raw.channels is not None or not system.two_groups or raw.row_scale is not None:
            found = dual(system, raw) - value(solution).detach().reshape(-1)
            return found.clamp_min(0.0).view(system.batch)

        plan = solution.flat_plan.detach()
        if system.margins.ones is not None:
            plan = plan.masked_fill(system.margins.ones, 0.0)
        a, b = raw.row_potential.double(), raw.column_potential.double()
        rows = plan.double().sum(-1)
        columns = total(plan.double().sum(-2), system.ranks)

        # Eq. (36)'s misses; of an interval that of the bound which is felt, Eq. (18).
        eps = system.eps.squeeze(-1) if isinstance(system.eps, Tensor) else system.eps
        low = column_goal(system, b)
        miss = columns - low
        if system.margins.upper is not None:
            miss = torch.where(b > 0, miss, torch.where(b < 0, columns - system.margins.upper, 0.0))

        extra = 0.0
        if system.margins.row_upper is not None:
            by_row, extra = row_gap(system, a, rows, eps)
        elif system.relax == (None, None) and system.margins.upper is None:
            count = total(a.new_full((a.shape[0], 1), a.shape[1]), system.ranks)
            shift = total(a.sum(-1, keepdim=True), system.ranks) / count.clamp_min(1)
            a, b = a - shift, b + shift  # along the gauge (13): it changes no sum of potentials

        if system.margins.row_upper is None:
            by_row = price_of(system.relax[0], rows, row_goal(system, a).double(), a, eps)
        by_column = price_of(system.relax[1], columns, low, b, eps, miss)
        found = (total(by_row, system.ranks) + by_column + extra).clamp_min(0.0)
        return found.to(plan.dtype).view(system.batch)


def row_gap(system: System, a: Tensor, sums: Tensor, eps: Any) -> tuple[Tensor, Tensor]:
    """Bounds of rows that are missed, and the mass, times their prices: (b,) each."""
    margins = system.margins
    assert margins.row_upper is not None
    level = band_at(system, a, sums).level
    miss = torch.where(a > level, sums - margins.rows, sums - margins.row_upper)
    miss = torch.where(a == level, 0.0, miss)
    by_row = (eps * (miss * (a - level)).abs()).sum(-1)
    if margins.mass is None:
        return by_row, torch.zeros_like(by_row)

    return by_row, (eps * (sums.sum(-1, keepdim=True) - margins.mass) * level).abs().sum(-1)


def dual(system: System, raw: Any) -> Tensor:
    """The dual objective, eps times Eq. (10), of an assignment: nowhere below the optimum."""
    free = system.margins.free
    a, b = raw.row_potential, raw.column_potential
    if system.two_groups:
        t = exponent(system.scores, system.scale, a, b, None)
        logs = torch.nn.functional.softplus(t)
        logs = logs if free is None else logs.masked_fill(~free, 0.0)
        local = logs.double().sum((-2, -1))
    else:
        local = group_logs(system, a, b)

    goals = margin_inputs(system)
    local = local - (a * goals[0]).double().flatten(1).sum(-1)
    columns = (b * goals[1]).flatten(1).sum(-1)
    eps = system.eps.reshape(-1) if isinstance(system.eps, Tensor) else system.eps
    found = eps * (total(local, system.ranks) - columns)

    return found.to(system.scores.dtype)


def group_logs(system: System, a: Tensor, b: Tensor) -> Tensor:
    """Eq. (29)'s sum over cells of log sum_c exp((s_c - s_last) X / eps + a + b), (b,)."""
    found = torch.zeros_like(b[:, 0, 0])
    scales = system.group_scales
    for part in tiles(system):
        x, free = cells(system, part)
        t = torch.stack([x * (scale - scales[-1]) for scale in scales], 1) + a[:, :, part, None]
        logs = (t + b[..., None, :].to(t)).logsumexp(1)
        logs = logs if free is None else logs.masked_fill(~free, 0.0)
        found = found + logs.double().sum((-2, -1))

    return found


def price_of(
    strength: Strength,
    sums: Tensor,
    goal: Tensor,
    potential: Tensor,
    eps: Any,
    miss: Tensor | None = None,
) -> Tensor:
    """One side's part of the gap."""
    if strength is not None:
        return flat(strength) * divergence(sums, goal).sum(-1)
    miss = sums - goal if miss is None else miss
    return (eps * (miss * potential).abs()).sum(-1)

"""Walk over the rows in tiles that fit the cache, and add up what each column receives."""

from collections.abc import Iterator

import torch
from torch import Tensor

from multisk._backends.torch.passes import exponent
from multisk._problem.problem import readable
from multisk._problem.sharding import largest, total
from multisk._problem.system import System, yielding

TILE = 1 << 17  # cells a visit: the handful of temporaries (.5 MB each) stays in a core's cache


def tiles(system: System) -> Iterator[slice]:
    """Row ranges of about `TILE` cells each over the whole batch, at least one."""
    b, n, k = system.scores.shape
    if not readable(system.scores) or torch.is_grad_enabled():
        yield slice(0, n)
        return

    height = max(1, TILE // max(1, b * k))
    for start in range(0, max(n, 1), height):
        yield slice(start, min(start + height, n))


def cells(system: System, part: slice) -> tuple[Tensor, Tensor | None]:
    """Scores and free cells of a tile."""
    free = system.margins.free
    return system.scores[:, part], None if free is None else free[:, part]


def add_logs(sums: Tensor | None, part: Tensor) -> Tensor:
    """Add one tile's log column sums to those before it."""
    part = part.double()
    return part if sums is None else torch.logaddexp(sums, part)


def total_logs(sums: Tensor, group: object) -> Tensor:
    """Add log sums over ranks."""
    if group is None:
        return sums
    # Minus infinity on every rank would make nan of the difference.
    top = largest(sums, group).clamp_min(torch.finfo(sums.dtype).min)
    return top + total((sums - top).exp(), group).log()


def row_goal(system: System, a: Tensor) -> Tensor:
    """What the rows shall sum to; a relaxed margin yields with its own potential, Eq. (23)."""
    rows = system.margins.rows
    return rows if system.relax[0] is None else rows * (-a * yielding(system, 0)).exp()


def column_goal(system: System, b: Tensor) -> Tensor:
    """What the columns shall sum to; the lower bounds for intervals."""
    columns = system.margins.columns
    return columns if system.relax[1] is None else columns * (-b * yielding(system, 1)).exp()


def violation(
    system: System, row_sums: Tensor, column_sums: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    """The worst relative violation of any margin, per problem, Eq. (42)."""
    margins = system.margins
    goal = row_goal(system, a).double()
    # A goal that yields has underflowed where it is below 1e-30.
    unit = margins.row_unit if system.relax[0] is None else goal.clamp_min(1e-30)
    miss = row_sums.double() - goal
    if margins.row_upper is not None:
        miss = torch.where(miss < 0, miss, (row_sums.double() - margins.row_upper).clamp_min(0.0))

    by_row = miss.abs() / unit
    low = column_goal(system, b)
    unit = margins.column_unit if system.relax[1] is None else low.clamp_min(1e-30)
    miss = column_sums.double() - low
    if margins.upper is not None:
        miss = torch.where(miss < 0, miss, (column_sums - margins.upper).clamp_min(0.0))

    by_column = miss.abs() / unit
    if margins.mass is not None:
        miss = row_sums.double().sum(-1, keepdim=True) - margins.mass
        by_row = torch.cat([by_row, miss.abs() / margins.mass], 1)

    worst = [part.flatten(1).amax(1) for part in (by_row, by_column) if part.shape[1]]
    if not worst:
        worst = [by_row.new_zeros(by_row.shape[0])]

    return largest(torch.stack(worst).amax(0), system.ranks)


def cells_of(system: System, part: slice, a: Tensor, b: Tensor, scale: Tensor | None) -> Tensor:
    """A tile of the plan, Eq. (5)."""
    tile, free = cells(system, part)
    t = exponent(tile, system.scale, a, b, free)
    p = torch.sigmoid(t) if system.groups is not None else t.exp()
    return p if scale is None else p * scale[..., None].exp()


def plan_of(
    system: System, a: Tensor, b: Tensor, scale: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The plan in one pass, with its row and column sums over the free cells.

    `scale` (b, n) is the log factor of a sweep that ends on a row step.
    """
    x = system.scores
    if not readable(x) or torch.is_grad_enabled():
        plan = cells_of(system, slice(0, x.shape[1]), a, b, scale)
        return plan, plan.sum(-1), total(plan.sum(-2).double(), system.ranks)

    plan = torch.empty_like(x, memory_format=torch.contiguous_format)
    row_sums = x.new_empty(x.shape[:2])
    column_sums = x.new_zeros((x.shape[0], x.shape[2]), dtype=torch.float64)
    for part in tiles(system):
        p = cells_of(system, part, a[:, part], b, None if scale is None else scale[:, part])
        plan[:, part] = p
        row_sums[:, part] = p.sum(-1)
        column_sums += p.sum(-2)

    return plan, row_sums, total(column_sums, system.ranks)

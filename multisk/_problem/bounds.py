"""Bounds on the masses of a transport: intervals of rows and columns, and partial transport."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multisk._problem.margins import (
    Margins,
    alone,
    balanced,
    check_masses,
    check_order,
    check_overlap,
    fit,
    row_masses,
)
from multisk._problem.problem import Transport, readable
from multisk._problem.sharding import together, total
from multisk._problem.status import Findings, Status

LARGEST = 1e30  # stands for infinity: products with 0 stay 0
Pair = tuple[Tensor, Tensor | None]  # masses; or lower bounds, and upper ones


def bounded(problem: Any) -> bool:
    """Whether a transport has an interval on either side."""
    sides = getattr(problem, "rows", None), getattr(problem, "columns", None)
    return any(isinstance(side, tuple | list) for side in sides)


def bounded_margins(
    x: Float[Tensor, "b n k"],
    problem: Transport,
    mask: Bool[Tensor, "b n k"] | None,
    batch: torch.Size,
    findings: Findings,
    group: Any,
) -> Margins:
    """Budgets of a `Transport` with an interval on either side, checked."""
    _, n, k = x.shape
    if isinstance(problem.rows, tuple | list):
        alone(group)
        rows = side_of("rows", problem.rows, (n,), x, batch, findings)
    else:
        masses = together(lambda: row_masses(problem.rows, x, batch, findings), x, group)
        rows = masses, None

    # The sum of the whole plan, where either side, or the caller, says what it is.
    mass = None
    if problem.mass is not None:
        mass = fit("mass", problem.mass, (), x.double(), batch).view(-1, 1)
        check_masses("mass", mass, findings)
    elif rows[1] is None:
        mass = total(rows[0].double().sum(-1, keepdim=True), group)

    if problem.columns is None:
        assert mass is not None
        columns = mass.expand(-1, k) / max(k, 1), None
    else:
        columns = side_of("columns", problem.columns, (k,), x.double(), batch, findings)

    if mass is None and columns[1] is None:
        mass = columns[0].sum(-1, keepdim=True)
    elif mass is not None and columns[1] is None:
        columns = balanced("columns", columns[0], mass, columns[0], findings, "the mass"), None

    check_overlap("rows", rows, "columns", columns, findings, mass, group)
    rows, columns, free = closed(rows, columns, mask, mass)
    row_cells, column_cells = cells_of(x, free, group)
    rows = reachable("rows", rows, row_cells, findings)
    columns = reachable("columns", columns, column_cells, findings)

    return Margins(
        rows[0],
        columns[0],
        columns[1],
        unit(rows),
        unit(columns),
        row_cells,
        column_cells,
        free,
        row_upper=rows[1],
        mass=None if rows[1] is None else mass,
    )


def side_of(
    name: str, given: Any, size: tuple[int], x: Tensor, batch: torch.Size, findings: Findings
) -> Pair:
    """Masses, or both bounds."""
    if not isinstance(given, tuple | list):
        masses = fit(name, given, size, x, batch)
        check_masses(name, masses, findings)
        return masses, None

    lower, upper = (fit(f"{name}[{end}]", given[end], size, x, batch) for end in (0, 1))
    check_masses(f"{name}[0]", lower, findings)
    check_order(name, lower, upper, findings)
    return lower, upper


def closed(
    rows: Pair, columns: Pair, mask: Tensor | None, mass: Tensor | None
) -> tuple[Pair, Pair, Tensor | None]:
    """Finite bounds, and the pairs that may carry anything."""
    # No line can hold more than the other side, or the mass: infinity becomes that.
    tops = [(low if high is None else high).double() for low, high in (rows, columns)]
    most = torch.minimum(*(top.sum(-1, keepdim=True) for top in tops))
    most = most if mass is None else torch.minimum(most, mass)
    most = most.detach().clamp_max(LARGEST)
    rows, columns = (
        (low, None if high is None else torch.minimum(high, most.to(high)))
        for low, high in (rows, columns)
    )

    live = (tops[0].detach() > 0)[..., None] & (tops[1].detach() > 0)[..., None, :]
    if mask is not None:
        return rows, columns, mask & live

    return rows, columns, None if readable(live) and bool(live.all()) else live


def cells_of(x: Tensor, free: Tensor | None, group: Any) -> tuple[Tensor, Tensor]:
    """Free cells of every row, and of every column on all ranks."""
    b, n, k = x.shape
    row_cells = x.new_full((b, n), float(k)) if free is None else free.sum(-1).to(x.dtype)
    count = x.new_ones((b, k)) * n if free is None else free.sum(-2)
    return row_cells, total(count.double(), group)


def reachable(name: str, side: Pair, cells: Tensor, findings: Findings) -> Pair:
    """Require no mass in lines without a free cell, and close them."""
    low, high = side
    bad = ((low.detach() > 0) & (cells == 0)).any(-1)
    message = f"{name} must be 0 where every pair is masked, got mass in a masked line"
    findings.require(bad, Status.INFEASIBLE, lambda _: message)

    return low, None if high is None else torch.where(cells > 0, high, 0.0)


def unit(side: Pair) -> Tensor:
    """What a line's violation is measured by: its upper bound, or its lower one without any."""
    low, high = (None if x is None else x.detach() for x in side)
    assert low is not None
    size = low if high is None else torch.where(high < LARGEST, high, low)
    return torch.where(size > 0, size, torch.ones_like(size))

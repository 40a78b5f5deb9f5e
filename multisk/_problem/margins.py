"""Row and column budgets: defaults, feasibility, and what is settled before any solving."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multisk._problem.cells import decide
from multisk._problem.problem import MultiAssignment, Transport, readable
from multisk._problem.sharding import together, total
from multisk._problem.status import Findings, Status


@dataclass(frozen=True, eq=False)
class Margins:
    """What the free cells have to sum to, and by which unit Eq. (42) measures a violation."""

    rows: Float[Tensor, "b n"]  # r_i; the lower bounds when `row_upper` is set
    columns: Float[Tensor, "b k"]  # c_j, float64; the lower bounds l_j when `upper`, u_j, is set
    upper: Float[Tensor, "b k"] | None
    row_unit: Float[Tensor, "b n"]  # the whole budget, 1 where that is 0
    column_unit: Float[Tensor, "b k"]
    row_cells: Float[Tensor, "b n"]  # n_i and m_j: free cells of a row, of a column on all ranks
    column_cells: Float[Tensor, "b k"]
    free: Bool[Tensor, "b n k"] | None = None
    ones: Bool[Tensor, "b n k"] | None = None
    mask: Bool[Tensor, "b n k"] | None = None  # as it was given, before any cell was settled
    row_upper: Float[Tensor, "b n"] | None = None
    mass: Float[Tensor, "b 1"] | None = None  # float64; the plan's sum where rows are intervals

    def map(self, change: Callable[[Tensor], Tensor]) -> "Margins":
        """Apply `change` to every tensor."""
        values: dict[str, Any] = {
            name: None if value is None else change(value) for name, value in vars(self).items()
        }
        return Margins(**values)

    def transposed(self) -> "Margins":
        """The same with rows and columns exchanged; what is by column is in float64."""

        def other(name: str) -> Tensor | None:
            value = getattr(self, OPPOSITE.get(name, name))
            if value is None or value.ndim == 3:  # of the cells
                return None if value is None else value.transpose(1, 2)
            return value.to(self.rows.dtype if name in BY_ROW else torch.float64)

        values: dict[str, Any] = {name: other(name) for name in vars(self)}
        return Margins(**values)


BY_ROW = ("rows", "row_unit", "row_cells", "row_upper")
BY_COLUMN = ("columns", "column_unit", "column_cells", "upper")
OPPOSITE: dict[str, str] = {
    **dict(zip(BY_ROW, BY_COLUMN, strict=True)),
    **dict(zip(BY_COLUMN, BY_ROW, strict=True)),
}
"""What a field of `Margins` is once rows and columns are exchanged."""


@dataclass(frozen=True, eq=False)
class Even:
    """The usual margins: every row has the same budget, every column an even share of it all.

    Nothing can be wrong with them, and few readers want them as tensors, which take longer to
    make than a small problem to solve.
    """

    budget: float

    def margins(self, x: Float[Tensor, "b n k"]) -> Margins:
        """The tensors for the scores `x`."""
        b, n, k = x.shape
        rows, row_cells = x.new_full((b, n), self.budget), x.new_full((b, n), float(k))
        one = x.new_ones((b, 1), dtype=torch.float64)  # a size may be a symbol: it is multiplied
        columns, column_cells = (one * self.load(n, k)).expand(b, k), (one * n).expand(b, k)

        return Margins(rows, columns, None, rows, columns, row_cells, column_cells)

    def load(self, n: int, k: int) -> float:
        """What each column carries."""
        return n * self.budget / k


@dataclass(frozen=True)
class Factor:
    """The multiple of an even share that no column may exceed, above 1."""

    value: float | int


def assignment_margins(
    x: Float[Tensor, "b n k"],
    problem: MultiAssignment,
    mask: Bool[Tensor, "b n k"] | None,
    batch: torch.Size,
    findings: Findings,
    group: Any,
) -> Margins | Even:
    """Budgets of a `MultiAssignment`, checked; boundary budgets are settled into cells."""
    b, n, k = x.shape
    even = problem.k if isinstance(problem.k, int) else 0
    simple = 0 < even < k
    capacity = problem.capacity
    if problem.capacity_factor is not None and problem.capacity_factor > 1:
        capacity = Factor(problem.capacity_factor)

    simple = simple and mask is None and capacity is None
    if simple and group is None:
        return _even(x, float(even))

    row_cells = x.new_full((b, n), float(k)) if mask is None else mask.sum(-1).to(x.dtype)
    bounded = isinstance(problem.k, tuple | list)
    if bounded:
        alone(group)
        rows, row_upper = _budgets(problem.k, x, batch, row_cells, findings)
    else:
        rows = together(lambda: _rows("k", problem.k, x, batch, row_cells, findings), x, group)
        row_upper = None
    if mask is None:
        count = total(rows.new_ones((b, 1), dtype=torch.float64) * n, group)
        column_cells = count.expand(b, k)
    else:
        column_cells = total(mask.sum(-2).double(), group)

    everything = total(rows.double().sum(-1, keepdim=True), group)
    if row_upper is not None:
        lower, upper = _bounded_columns(capacity, column_cells, batch, findings)
        check_overlap("k", (rows, row_upper), "capacity", (lower, upper), findings)
    else:
        lower, upper = _columns(capacity, everything, column_cells, mask, batch, findings)
    if simple:
        return Margins(rows, lower, None, rows, lower, row_cells, column_cells)

    return _settle((rows, row_upper), (lower, upper), mask, x, findings, group)


def transport_margins(
    x: Float[Tensor, "b n k"],
    problem: Transport,
    mask: Bool[Tensor, "b n k"] | None,
    batch: torch.Size,
    findings: Findings,
    group: Any,
) -> Margins | Even:
    """Budgets of a `Transport`, checked; rows and columns without mass are masked."""
    b, n, k = x.shape
    even = problem.rows is None and problem.columns is None and mask is None
    if even and group is None and x.numel():
        return _even(x, 1.0)

    rows = together(lambda: row_masses(problem.rows, x, batch, findings), x, group)
    everything = total(rows.double().sum(-1, keepdim=True), group)
    if problem.columns is None:
        columns = everything.expand(b, k) / max(k, 1)
    else:
        columns = fit("columns", problem.columns, (k,), x.double(), batch)
        check_masses("columns", columns, findings)
        if problem.relax is None or (problem.relax[0] is None and problem.relax[1] is None):
            assert isinstance(problem.columns, Tensor)  # pairs are `bounded_margins`'
            columns = balanced("columns", columns, everything, problem.columns, findings)

    free = mask
    if problem.rows is not None or problem.columns is not None:
        live = (rows.detach() > 0)[..., None] & (columns.detach() > 0)[..., None, :]
        if mask is not None:
            free = mask & live
        elif not readable(live) or not bool(live.all()):
            free = live

    row_cells = x.new_full((b, n), float(k)) if free is None else free.sum(-1).to(x.dtype)
    count = x.new_ones((b, k)) * n if free is None else free.sum(-2)
    column_cells = total(count.double(), group)
    if problem.relax is None:
        _check_reachable(rows, row_cells, columns, column_cells, findings)

    return Margins(
        rows, columns, None, _unit(rows), _unit(columns), row_cells, column_cells, free, None
    )


def _even(x: Tensor, budget: float) -> Margins | Even:
    """As numbers, except where a compiler reads along: it wants to see every tensor made."""
    even = Even(budget)
    return even.margins(x) if torch.compiler.is_compiling() else even


def _unit(x: Tensor) -> Tensor:
    x = x.detach()
    return torch.where(x > 0, x, torch.ones_like(x))


def _rows(
    name: str, k: Any, x: Tensor, batch: torch.Size, cells: Tensor, findings: Findings
) -> Float[Tensor, "b n"]:
    rows = fit(name, k, (x.shape[1],), x, batch)
    _check_rows(name, k, rows, cells, x.shape[2], findings)
    return rows


def _budgets(
    k: Any, x: Tensor, batch: torch.Size, cells: Tensor, findings: Findings
) -> tuple[Tensor, Tensor]:
    """The least and the most columns of every row."""
    lower = _rows("k[0]", k[0], x, batch, cells, findings)
    upper = fit("k[1]", k[1], (x.shape[1],), x, batch)
    check_order("k", lower, upper, findings)
    return lower, torch.minimum(upper, cells)


def _bounded_columns(
    capacity: Any, cells: Tensor, batch: torch.Size, findings: Findings
) -> tuple[Tensor, Tensor | None]:
    """Loads, or their bounds, where no total is known."""
    if isinstance(capacity, tuple | list):
        return _load_bounds(capacity, cells, batch, findings, "a column's load")

    load = fit("capacity", capacity, (cells.shape[1],), cells, batch)
    _check_loads("capacity", load, cells, findings, "a column's load")
    return load, None


def row_masses(mass: Any, x: Tensor, batch: torch.Size, findings: Findings) -> Float[Tensor, "b n"]:
    """The rows' exact masses, 1 each where none are given."""
    rows = x.new_ones(x.shape[:2]) if mass is None else fit("rows", mass, (x.shape[1],), x, batch)
    check_masses("rows", rows, findings)
    return rows


def fit(name: str, value: Any, tail: tuple[int, ...], x: Tensor, batch: torch.Size) -> Tensor:
    """Broadcast a margin to (b, tail) in the dtype of `x`; a number is the same everywhere."""
    if not isinstance(value, Tensor):
        return x.new_full((x.shape[0], *tail), float(value))
    if value.device != x.device:
        raise ValueError(f"{name} must be on {x.device} like the scores, got {value.device}")

    shape = (*batch, *tail)
    try:
        return value.to(x.dtype).broadcast_to(shape).reshape(x.shape[0], *tail)
    except RuntimeError:
        raise ValueError(f"{name} must fit the shape {shape}, got {tuple(value.shape)}") from None


def _check_rows(
    name: str, k: Any, rows: Tensor, cells: Tensor, columns: int, findings: Findings
) -> None:
    if isinstance(k, int) and k > columns:
        raise ValueError(f"{name} must not exceed the number of columns ({columns}), got {k}")

    rows = rows.detach()

    def message(problem: int) -> str:
        bad = ~((rows[problem] >= 0) & (rows[problem] <= cells[problem]))
        row = int(bad.nonzero()[0, 0])
        value, most = rows[problem, row].item(), int(cells[problem, row])
        hint = "" if most else " (give a fully masked row the budget 0 through a tensor k)"
        rule = f"{name} must lie between 0 and the row's {most} allowed columns{hint}"

        return f"{rule}, got {value:g} in row {row}"

    bad = ~((rows >= 0) & (rows <= cells)).all(-1)
    findings.require(bad, Status.INFEASIBLE, message)


def check_masses(name: str, mass: Tensor, findings: Findings) -> None:
    """Require finite masses of at least 0."""
    mass = mass.detach()
    good = (mass >= 0) & mass.isfinite()

    def message(problem: int) -> str:
        index = int((~good[problem]).nonzero()[0, 0])
        return (
            f"{name} must be finite and at least 0, got {mass[problem, index].item():g} at {index}"
        )

    findings.require(~good.all(-1), Status.INFEASIBLE, message)


def _check_reachable(
    rows: Tensor, row_cells: Tensor, columns: Tensor, column_cells: Tensor, findings: Findings
) -> None:
    for name, mass, cells in (("rows", rows, row_cells), ("columns", columns, column_cells)):
        bad = ((mass.detach() > 0) & (cells == 0)).any(-1)
        message = f"{name} must be 0 where every pair is masked, got mass in a masked line"
        findings.require(bad, Status.INFEASIBLE, lambda _, message=message: message)


def _columns(
    capacity: Any,
    everything: Tensor,
    cells: Tensor,
    mask: Tensor | None,
    batch: torch.Size,
    findings: Findings,
) -> tuple[Tensor, Tensor | None]:
    """Lower (and upper) column loads in float64, checked against cells and totals."""
    k = cells.shape[1]
    if capacity is None and mask is None:
        return everything.expand(cells.shape) / max(k, 1), None

    if capacity is None:
        load = _even_share(everything, cells)
        _check_loads("capacity", load, cells, findings, "even share")
        return load, None

    if isinstance(capacity, Factor):
        return _at_most(capacity, _even_share(everything, cells), everything, cells, findings)

    if isinstance(capacity, tuple | list):
        lower, upper = _load_bounds(capacity, cells, batch, findings, "a column's lower load")
        _check_total(lower, upper, everything, findings)
        return lower, upper

    load = fit("capacity", capacity, (k,), cells, batch)
    _check_loads("capacity", load, cells, findings, "a column's load")
    given = capacity if isinstance(capacity, Tensor) else load
    return balanced("capacity", load, everything, given, findings), None


def _even_share(everything: Tensor, cells: Tensor) -> Float[Tensor, "b k"]:
    """The same load for every column that has a cell."""
    live = cells > 0
    share = everything / live.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(live, share, 0.0)


def _load_bounds(
    capacity: Any, cells: Tensor, batch: torch.Size, findings: Findings, what: str
) -> tuple[Tensor, Tensor]:
    """The least and the most that every column carries."""
    size = (cells.shape[1],)
    lower = fit("capacity[0]", capacity[0], size, cells, batch)
    _check_loads("capacity[0]", lower, cells, findings, what)

    upper = fit("capacity[1]", capacity[1], size, cells, batch)
    check_order("capacity", lower, upper, findings)
    return lower, torch.minimum(upper, cells)


def _check_total(lower: Tensor, upper: Tensor, everything: Tensor, findings: Findings) -> None:
    """Require bounds of columns that allow what the rows hold."""
    held = everything.detach()
    low, high = lower.detach().sum(-1, keepdim=True), upper.detach().sum(-1, keepdim=True)
    slack = 1e-9 * held.abs() + 1e-12
    findings.require(
        ((held < low - slack) | (held > high + slack)).squeeze(-1),
        Status.INFEASIBLE,
        lambda p: (
            f"capacity must allow the sum of k ({float(held[p]):g}), got lower bounds "
            f"summing to {float(low[p]):g} and upper bounds to {float(high[p]):g}"
        ),
    )


def alone(group: Any) -> None:
    """Refuse ranks where rows are intervals."""
    if group is not None:
        raise ValueError("group must be None where rows are intervals, got a process group")


def check_order(name: str, lower: Tensor, upper: Tensor, findings: Findings) -> None:
    """Require bounds that do not cross."""
    bad = ~(lower.detach() <= upper.detach()).all(-1)
    findings.require(
        bad, Status.INFEASIBLE, lambda _: f"{name} must hold lower <= upper, got a crossed pair"
    )


def check_overlap(
    row_name: str,
    rows: tuple[Tensor, Tensor | None],
    column_name: str,
    columns: tuple[Tensor, Tensor | None],
    findings: Findings,
    mass: Tensor | None = None,
    group: Any = None,
) -> None:
    """Require a total that rows and columns both allow."""
    ends = []
    for (lower, upper), ranks in ((rows, group), (columns, None)):
        top = lower if upper is None else upper
        ends.append([total(x.detach().double().sum(-1), ranks) for x in (lower, top)])

    # Each side's totals, and whether the two ranges meet, up to float32's rounding of a long sum.
    (low, high), (least, most) = ends
    slack = 1e-6 * torch.maximum(low, least) + 1e-12
    findings.require(
        (low > most + slack) | (least > high + slack),
        Status.INFEASIBLE,
        lambda p: (
            f"{column_name} must allow what {row_name} holds, from {float(low[p]):g} to "
            f"{float(high[p]):g} in all, got {float(least[p]):g} to {float(most[p]):g}"
        ),
    )
    if mass is None:
        return

    given = mass.detach().squeeze(-1)
    least, most = torch.maximum(low, least), torch.minimum(high, most)
    findings.require(
        (given < least - slack) | (given > most + slack),
        Status.INFEASIBLE,
        lambda p: (
            f"mass must lie between {float(least[p]):g} and {float(most[p]):g}, what {row_name} "
            f"and {column_name} allow, got {float(given[p]):g}"
        ),
    )


def _at_most(
    factor: Factor, share: Tensor, everything: Tensor, cells: Tensor, findings: Findings
) -> tuple[Tensor, Tensor]:
    """Between nothing and a multiple of the even share."""
    upper = torch.minimum(share * factor.value, cells)

    room, asked = upper.detach().sum(-1), everything.detach().squeeze(-1)
    findings.require(
        room < asked * (1 - 1e-9),
        Status.INFEASIBLE,
        lambda p: (
            f"capacity_factor must leave room for the sum of k ({float(asked[p]):g}) under this "
            f"mask, got {factor.value:g}, which leaves {float(room[p]):g}"
        ),
    )
    return torch.zeros_like(share), upper


def _check_loads(name: str, load: Tensor, cells: Tensor, findings: Findings, what: str) -> None:
    load = load.detach()
    good = (load >= 0) & (load <= cells * (1 + 1e-12))

    def message(problem: int) -> str:
        column = int((~good[problem]).nonzero()[0, 0])
        value, most = load[problem, column].item(), int(cells[problem, column])
        return (
            f"{name} must lie between 0 and the column's {most} allowed rows ({what}), "
            f"got {value:g} in column {column}"
        )

    findings.require(~good.all(-1), Status.INFEASIBLE, message)


def balanced(
    name: str,
    load: Tensor,
    everything: Tensor,
    given: Tensor,
    findings: Findings,
    what: str = "the rows' total",
) -> Tensor:
    """Require equal totals up to the rounding of what was given, then make them exactly equal."""
    coarse = given.is_floating_point() and given.dtype.itemsize < 4
    # A sum of many 16-bit loads has two digits, one of float32 loads five.
    tolerance = 1e-2 if coarse else 1e-5
    summed = load.sum(-1, keepdim=True)
    miss = (summed - everything).detach().abs()
    bad = ~(miss <= tolerance * everything.detach().abs().clamp_min(1e-30)).squeeze(-1)
    hint = " (a pair (lower, upper) gives bounds)" if name == "capacity" else ""
    findings.require(
        bad,
        Status.INFEASIBLE,
        lambda p: (
            f"{name} must sum to {what} {float(everything[p]):g}, got {float(summed[p]):g}{hint}"
        ),
    )

    # Totals that differ by rounding have no plan: sum r_i = sum c_j has to hold exactly.
    return load * (everything / summed.masked_fill(summed == 0, 1.0))


def _settle(
    rows: tuple[Tensor, Tensor | None],
    columns: tuple[Tensor, Tensor | None],
    mask: Tensor | None,
    x: Tensor,
    findings: Findings,
    group: Any,
) -> Margins:
    """Fix the cells that boundary budgets decide; keep what is left for the others."""
    (row_lower, row_upper), (lower, upper) = rows, columns
    row_top = row_lower if row_upper is None else row_upper
    top = lower if upper is None else upper
    decided = decide(x, mask, (row_lower, row_top), (lower, top), group)
    by_row, by_column = decided.rows, decided.columns

    findings.require(
        by_row.impossible() | by_column.impossible(),
        Status.INFEASIBLE,
        lambda _: "capacity must leave every row its budget under this mask, got an impossible mix",
    )

    some = not decided.read or not bool(decided.free.all())
    ones = some and (not decided.read or bool(decided.ones.any()))
    return Margins(
        rows=by_row.least if row_upper is None else by_row.least.clamp_min(0.0),
        columns=by_column.least,
        upper=None if upper is None else by_column.most,
        row_unit=_unit(row_top),
        column_unit=_unit(top),
        row_cells=by_row.cells.to(x.dtype),
        column_cells=by_column.cells.double(),
        free=decided.free if some else None,
        ones=decided.ones if ones else None,
        mask=mask,
        row_upper=None if row_upper is None else by_row.most,
    )

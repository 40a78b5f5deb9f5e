"""The sweeps of one system as three steps: the first on the raw kernel, the next, the plan.

Eq. (n) is that of docs/multisk/mathematics.md; the formulas of a tile are in `passes`.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.tiles import (
    add_logs,
    cells,
    column_goal,
    plan_of,
    row_goal,
    tiles,
    total_logs,
    violation,
)
from multisk._problem.sharding import total
from multisk._problem.start import tame
from multisk._problem.system import System, power

ORDERS = ("row-column-depth", "column-depth-row")
Scales = tuple[Tensor, Tensor] | None


@runtime_checkable
class Sweeps(Protocol):
    """Potentials in, potentials out; a sweep ends before its depth step, which is implied."""

    system: System

    def first(self) -> tuple[Tensor, Tensor]:
        """The first sweep; it acts on the raw kernel, before any depth step."""
        ...

    def warm(self, init: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials to start from given column potentials, before any sweep."""
        ...

    def next(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor, Any]:
        """One more sweep, and the error of the plan before it when `measure` is set."""
        ...

    def measured(self, a: Tensor, new_a: Tensor) -> Tensor:
        """The row potentials that the error of `next` belongs to, beside the old columns."""
        ...

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """The plan, its row and column sums, and log factors of a final row step."""
        ...


def sweeps_of(system: System, order: str) -> Sweeps:
    """The sweeps that fit the system's link."""
    if system.groups is None:
        return TransportSweeps(system, order)
    return TwoGroupSweeps(system, order) if system.two_groups else GroupSweeps(system, order)


class TwoGroupSweeps:
    """A plan's channels and the others: P = sigmoid(T), Eq. (5), one potential a row and column."""

    def __init__(self, system: System, order: str) -> None:
        self.system, self.rows_first = system, order == ORDERS[0]
        # As `choose.RANGE`: exponents up to here keep sums and products of a table in range.
        limit = 60.0 if system.scores.dtype == torch.float32 else 500.0
        widest = coldest(system)
        self.linear = widest is not None and widest < limit
        # The raw kernel has the full scale, not the difference of two.
        factor = system.score_factor
        steep = widest is not None and factor > 0 and widest / factor < limit
        self.linear_first = self.rows_first and steep and system.margins.free is None

    def first(self) -> tuple[Tensor, Tensor]:
        """Alg. 1 up to the first depth line, in the log domain."""
        system = self.system
        assert system.groups is not None
        scales = [system.group_scales[end] for end in (0, -1)]
        if self.linear_first:
            return self.first_linear(scales)

        parts, top, rest = [], None, None
        for part in tiles(system):
            tile, free = cells(system, part)
            rows, others = self.rows(part)

            # Eq. (7) of both groups on exp(s_c X / eps): log g_i and log s_i, whose difference is
            # a.
            grow, sums = self.raw(passes.exponent(tile, scales[0], None, None, free), rows)
            shrink, other_sums = self.raw(
                passes.exponent(tile, scales[1], None, None, free), others
            )
            parts.append(grow - shrink)
            top, rest = add_logs(top, sums), add_logs(rest, other_sums)

        return torch.cat(parts, 1), self.column_step(0.0, top, rest, log=True)

    def first_linear(self, scales: list[Any]) -> tuple[Tensor, Tensor]:
        """The same without logarithms, where no exponent can leave the number format."""
        system = self.system
        center = system.scores.detach().mean()
        parts, top, rest = [], 0.0, 0.0
        for part in tiles(system):
            tile, _ = cells(system, part)
            rows, others = self.rows(part)
            grow, sums = passes.first_linear(tile, scales[0], center, rows)
            shrink, other_sums = passes.first_linear(tile, scales[1], center, others)
            parts.append(grow - shrink)
            top, rest = top + sums.double(), rest + other_sums.double()

        return torch.cat(parts, 1), self.column_step(0.0, top, rest, log=False)

    def raw(self, t: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Row step and column sums of the raw kernel; without the row step, its multiplicity.

        Channels of a group are one: the kernel counts as often as the group has channels, Eq. (2).
        """
        if self.rows_first:
            return passes.log_row_scale(t, target)
        weight = passes.log_ratio(target, torch.zeros_like(target))
        return weight, (t + weight[..., None]).logsumexp(-2)

    def warm(self, init: Tensor) -> tuple[Tensor, Tensor]:
        """Row potentials from one row step on the kernel shifted by `init`."""
        system = self.system
        b = init.double()
        self.linear = self.linear and tame(b)
        parts = []
        for part in tiles(system):
            tile, free = cells(system, part)
            y = passes.exponent(tile, system.scale, None, b, free)
            rows, others = self.rows(part)

            # Eq. (16) for a row whose y are 0: log r_i - log (n_i - r_i).
            guess = passes.log_ratio(rows, torch.zeros_like(rows)) - passes.log_ratio(
                others, torch.zeros_like(others)
            )
            count = system.margins.row_cells[:, part]
            with torch.no_grad():
                root = passes.sigmoid_rows(y, rows, count, guess, 1e-6)
            parts.append(passes.attached_root(y, rows, root) if y.requires_grad else root)

        return torch.cat(parts, 1), b

    def next(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor, Any]:
        """Row step, column step; the depth step is the sigmoid of the next visit."""
        system = self.system
        sweep = passes.sweep_linear if self.linear else passes.sweep_log
        new, firsts = [], []
        top: Any = None
        rest: Any = None
        plain = torch.zeros_like(b)
        for part in tiles(system):
            tile, free = cells(system, part)
            rows, count = system.margins.rows[:, part], system.margins.row_cells[:, part]
            found = sweep(tile, system.scale, a[:, part], b, rows, count, free)
            new.append(found[0])
            firsts.append(found[4])
            if self.linear:
                top = found[1].double() if top is None else top + found[1]
                rest = found[2].double() if rest is None else rest + found[2]
            else:
                top, rest = add_logs(top, found[1]), add_logs(rest, found[2])

            plain = plain + found[3]

        new_b = self.column_step(b, top, rest, log=not self.linear)
        if not measure:
            return torch.cat(new, 1), new_b, None

        row_sums, column_sums = torch.cat(firsts, 1), total(plain, system.ranks)
        if not self.rows_first:
            row_sums = system.margins.rows
            sums = top if self.linear else top.exp()
            column_sums = total(sums, system.ranks)

        return torch.cat(new, 1), new_b, violation(system, row_sums, column_sums, a, b)

    def column_step(self, b: Any, top: Any, rest: Any, *, log: bool) -> Tensor:
        """Both groups' column steps as one change of b (they differ only in the depth step)."""
        system = self.system
        goal, count = system.margins.columns, system.margins.column_cells
        # Eq. (8): c_j / A_j for the plan's group, (m_j - c_j) / B_j for the other, with m_j free
        # cells in the column: b moves by the logarithm of their ratio.
        if not log:
            live = (goal > 0) & (goal < count)
            top, rest = total(top, system.ranks), total(rest, system.ranks)
            ratio = (goal * rest) / ((count - goal) * top)
            return b + torch.where(live, ratio, 1.0).log()

        grow = passes.log_ratio(goal, total_logs(top, system.ranks))
        return b + grow - passes.log_ratio(count - goal, total_logs(rest, system.ranks))

    def measured(self, a: Tensor, new_a: Tensor) -> Tensor:
        """The error is that of the plan before the sweep."""
        del new_a
        return a

    def rows(self, part: slice) -> tuple[Tensor, Tensor]:
        """Row targets of the plan's group and of the other one."""
        rows = self.system.margins.rows[:, part]
        return rows, self.system.margins.row_cells[:, part] - rows

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """The plan after the last depth step, or after the row step that follows it."""
        system = self.system
        if self.rows_first:
            return *plan_of(system, a, b, None), None

        # Columns came first: the sweep ends on a row line (7), whose factors no depth line makes
        # one.
        grows, shrinks = [], []
        for part in tiles(system):
            tile, free = cells(system, part)
            t = passes.exponent(tile, system.scale, a[:, part], b, None)
            rows, others = self.rows(part)

            # log P and log (1 - P); Eq. (7)'s log g_i and log s_i bring their row sums to the goal.
            top, rest = torch.nn.functional.logsigmoid(t), torch.nn.functional.logsigmoid(-t)
            if free is not None:
                top, rest = (s.masked_fill(~free, -torch.inf) for s in (top, rest))
            grows.append(passes.log_ratio(rows, passes.safe_logsumexp(top, -1)))
            shrinks.append(passes.log_ratio(others, passes.safe_logsumexp(rest, -1)))

        scale = torch.cat(grows, 1), torch.cat(shrinks, 1)
        return *plan_of(system, a, b, scale[0]), scale


class TransportSweeps:
    """Plain scaling, Eq. (9): P = exp(T), with KL-relaxed margins damped: Eq. (23)."""

    def __init__(self, system: System, order: str) -> None:
        self.system, self.rows_first = system, order == ORDERS[0]

    def first(self) -> tuple[Tensor, Tensor]:
        """A sweep from zero potentials."""
        margins = self.system.margins
        return self.next(torch.zeros_like(margins.rows), torch.zeros_like(margins.columns))[:2]

    def warm(self, init: Tensor) -> tuple[Tensor, Tensor]:
        """Start from the given column potentials."""
        b = init.double()
        return self.row_step(b), b

    def next(
        self, a: Tensor, b: Tensor, *, measure: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Row step and column step (or the other way round)."""
        if self.rows_first:
            a = self.row_step(b)
            b, error = self.column_step(a, b, measure=measure)
            return a, b, error

        b, error = self.column_step(a, b, measure=measure)
        return self.row_step(b), b, error

    def row_step(self, b: Tensor) -> Tensor:
        """Log-domain row step: a = strength * (log r - log sum_j exp(T))."""
        system, parts = self.system, []
        for part in tiles(system):
            tile, free = cells(system, part)
            y = passes.exponent(tile, system.scale, None, b, free)
            # Eq. (9), (23)
            parts.append(passes.exp_rows(y, system.margins.rows[:, part], power(system, 0)))

        return torch.cat(parts, 1)

    def column_step(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor | None]:
        """The same for columns; their sums before it give the error for free."""
        system, sums = self.system, None
        for part in tiles(system):
            tile, free = cells(system, part)
            y = passes.exponent(tile, system.scale, a[:, part], None, free)
            sums = add_logs(sums, y.logsumexp(-2))

        assert sums is not None
        sums = total_logs(sums, system.ranks)
        sums = torch.where(sums == -torch.inf, 0.0, sums)
        # Eq. (23) of the columns.
        new = power(system, 1) * passes.log_ratio(system.margins.columns, sums)
        if not measure:
            return new, None

        # The rows are met by the step before; the columns' sums without b, times exp(b), are those
        # before.
        rows = row_goal(system, a)
        goal = column_goal(system, b)
        column_sums = torch.where(goal > 0, (sums + b).exp(), 0.0)
        return new, violation(system, rows, column_sums, a, b)

    def measured(self, a: Tensor, new_a: Tensor) -> Tensor:
        """The error is that of the plan between the sweep's row step and its column step."""
        return new_a if self.rows_first else a

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """The plan exp(T)."""
        return *plan_of(self.system, a, b, None), None


def coldest(system: System) -> float | None:
    """The largest range of scale * scores in the batch, where the host may know it."""
    if system.spread is None:
        return None

    scale = system.scale
    if isinstance(scale, Tensor):
        if scale.device.type != "cpu" or not scale.numel():
            return None
        scale = float(scale.detach().max())

    return system.spread * scale

"""The sweeps of `torch.sweeps` and `torch.groups`: one kernel makes each visit to the scores."""

from typing import Any

import torch
from torch import Tensor

from multisk._backends import operators
from multisk._backends.choose import kernels_visit, one_operator
from multisk._backends.operators import per_problem, yields_of
from multisk._backends.torch import passes
from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.sweeps import Sweeps, TransportSweeps, TwoGroupSweeps, sweeps_of
from multisk._backends.torch.tiles import column_goal, row_goal, total_logs, violation
from multisk._backends.triton import kernels, visits
from multisk._problem.sharding import total
from multisk._problem.system import System, power

SWEEPS_A_LOOK = 10  # between two looks at the errors: a look waits for the device
Scales = tuple[Tensor, Tensor] | None


def kernel_sweeps(system: System, order: str) -> Sweeps:
    """The sweeps that fit the system's link, in torch where no kernel has anything to visit."""
    if not kernels_visit(system):
        return sweeps_of(system, order)
    if system.groups is None:
        return KernelTransport(system, order)

    return KernelTwo(system, order) if system.two_groups else KernelGroups(system, order)


def sweep_until(
    system: System, sweeps: Sweeps, init: Tensor | None, tolerance: float, most: int, order: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Sweep to a tolerance, measured every `SWEEPS_A_LOOK` sweeps; solved problems stand still."""
    count, state = 0, None if init is None else sweeps.warm(init)
    done = torch.zeros(system.scores.shape[0], dtype=torch.bool, device=system.scores.device)
    steps = torch.full_like(done, most, dtype=torch.int64)
    while True:
        more = min(SWEEPS_A_LOOK, most - count)
        after = advance(system, sweeps, state, more, order)
        if state is not None:
            still = done.view(-1, *[1] * (after[0].ndim - 1))
            after = torch.where(still, state[0], after[0]), torch.where(still, state[1], after[1])

        state, count = after, count + more

        # Eq. (42) of the plan at these potentials.
        _, row_sums, column_sums, _ = sweeps.finish(*state)
        reached = (violation(system, row_sums, column_sums, *state) <= tolerance) & ~done
        steps = torch.where(reached, count, steps)
        done = done | reached
        if count >= most or bool(done.all()):
            return *state, steps


def advance(
    system: System, sweeps: Sweeps, state: tuple[Tensor, Tensor] | None, count: int, order: str
) -> tuple[Tensor, Tensor]:
    """Potentials after `count` more sweeps."""
    if system.groups is not None and one_operator(system):
        return operators.sweep_exactly(system, count, state, rows_first=order == "row-column-depth")

    if state is None:
        state, count = sweeps.first(), count - 1

    for _ in range(count):
        state = sweeps.next(*state, measure=False)[:2]

    return state


class KernelTwo(TwoGroupSweeps):
    """Two channel groups: `sweep` up to its column sums, the column step on the sums of all."""

    def first(self) -> tuple[Tensor, Tensor]:
        """The sweep that acts on the raw kernel."""
        margins = self.system.margins
        start = torch.empty_like(margins.rows), torch.empty_like(margins.columns)
        a, sums = self.visit(*start, first=True)
        return a, self.column_step(0.0, sums[0].double(), sums[1].double(), log=True)

    def warm(self, init: Tensor) -> tuple[Tensor, Tensor]:
        """Row potentials that meet the row budgets under `init`."""
        b = init.double()
        return visits.newton(self.system, b, None).a, b

    def next(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """One more sweep, and the error of the plan before it."""
        error = None
        if measure:
            _, row_sums, column_sums, _ = self.finish(a, b)
            error = violation(self.system, row_sums, column_sums, a, b)

        after, sums = self.visit(a, b, first=False)
        return after, self.column_step(b, sums[0].double(), sums[1].double(), log=True), error

    def visit(self, a: Tensor, b: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
        """Eq. (7), and Eq. (8)'s log A_j, log B_j of this rank, (2, b, k)."""
        system, margins = self.system, self.system.margins
        assert system.groups is not None
        ends = [system.groups.scales[end] / system.eps for end in (0, -1)]
        budgets = kernels.sweep.Budgets(
            rows=margins.rows,
            row_cells=margins.row_cells,
            columns=margins.columns,
            column_cells=margins.column_cells,
            free=margins.free,
        )

        return kernels.sweep.sweep_sums(
            system.scores,
            torch.stack([per_problem(system, end) for end in ends], -1),
            a.contiguous(),
            b.contiguous(),
            budgets,
            first=first,
            row_step=self.rows_first or not first,
        )

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """The plan after the last depth step, or after the row step that follows it."""
        table = visits.plan(self.system, a, b, row_step=not self.rows_first)
        sums = total(table.column_sums, self.system.ranks)
        scale = None if table.moves is None else (table.moves[:, 0], table.moves[:, 1])
        return table.plan, table.row_sums, sums, scale


class KernelTransport(TransportSweeps):
    """A transport: the row step and the column sums after it in one visit."""

    def next(
        self, a: Tensor, b: Tensor, *, measure: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Row step and column step (or the other way round)."""
        if self.rows_first:
            a, sums = self.visit(a, b, row_step=True)
            return a, *self.columns(a, b, sums, measure=measure)

        _, sums = self.visit(a, b, row_step=False)
        b, error = self.columns(a, b, sums, measure=measure)
        return self.row_step(b), b, error

    def row_step(self, b: Tensor) -> Tensor:
        """Row potentials for given columns'."""
        return self.visit(torch.empty_like(self.system.margins.rows), b, row_step=True)[0]

    def columns(
        self, a: Tensor, b: Tensor, sums: Tensor, *, measure: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The columns' step (23) on the sums of all ranks, and the error before it."""
        system = self.system
        sums = total_logs(sums.double(), system.ranks)
        sums = torch.where(sums == -torch.inf, 0.0, sums)
        new = power(system, 1) * passes.log_ratio(system.margins.columns, sums)
        if not measure:
            return new, None

        goal = column_goal(system, b)
        column_sums = torch.where(goal > 0, (sums + b).exp(), 0.0)
        return new, violation(system, row_goal(system, a), column_sums, a, b)

    def visit(self, a: Tensor, b: Tensor, *, row_step: bool) -> tuple[Tensor, Tensor]:
        """Row potentials, and the log column sums of this rank without b."""
        system, tau = self.system, yields_of(self.system)
        assert tau is not None
        return kernels.sweep.transport_sweep(
            system.scores,
            per_problem(system, system.scale),
            a.contiguous(),
            b.contiguous(),
            system.margins.rows,
            tau[:, 0],
            free=system.margins.free,
            row_step=row_step,
        )

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """The plan exp(T)."""
        table = visits.plan(self.system, a, b)
        sums = total(table.column_sums, self.system.ranks)
        return table.plan, table.row_sums, sums, None


class KernelGroups(GroupSweeps):
    """Any number of channel groups."""

    def first(self) -> tuple[Tensor, Tensor]:
        """The raw kernel's row and column step, or only its column step."""
        start = torch.empty_like(self.row_targets), torch.empty_like(self.column_targets)
        a, sums = self.visit(*start, first=True)
        return a, passes.log_ratio(self.column_targets, sums)

    def next(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Row and column step after the depth step that the softmax is."""
        error = None
        if measure:
            _, row_sums, column_sums, _ = self.finish(a, b)
            error = violation(self.system, row_sums, column_sums, a, b)

        after, sums = self.visit(a, b, first=False)
        return after, b + passes.log_ratio(self.column_targets, sums), error

    def visit(self, a: Tensor, b: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
        """Row step, and the groups' log column sums (b, c, k) of all ranks."""
        after, sums = kernels.groups.group_sweep(
            self.system.scores,
            scales_of(self.system),
            a.contiguous(),
            b.contiguous(),
            self.row_targets,
            free=self.system.margins.free,
            first=first,
            row_step=self.rows_first or not first,
        )
        return after, total_logs(sums.double(), self.system.ranks)

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """Sum of the plan's groups, after a last row step when that ends a sweep."""
        rows = None if self.rows_first else self.row_targets
        table = kernels.groups.group_plan(shares_of(self.system, a, b), rows)
        sums = total(table.column_sums, self.system.ranks)
        scale = None if table.moves is None else (table.moves, table.moves)

        return table.plan, table.row_sums, sums, scale


def scales_of(system: System) -> Tensor:
    """Every group's scale over the temperature, (b, c)."""
    assert system.groups is not None
    scales = [per_problem(system, scale / system.eps) for scale in system.groups.scales]
    return torch.stack(scales, -1)


def shares_of(system: System, a: Tensor, b: Tensor) -> Any:
    """Where the groups stand, as a `multisk.kernels.groups.Shares`."""
    assert system.groups is not None
    return kernels.groups.Shares(
        scores=system.scores,
        scales=scales_of(system),
        row_potential=a.contiguous(),
        column_potential=b.contiguous(),
        top=system.groups.top,
        free=system.margins.free,
    )

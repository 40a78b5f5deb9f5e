"""Sweeps for more than two channel groups: a multinomial over groups in every cell."""

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.tiles import add_logs, cells, tiles, total_logs, violation
from multisk._problem.sharding import total
from multisk._problem.system import System

Scales = tuple[Tensor, Tensor] | None


class GroupSweeps:
    """Eq. (4): after a depth step masses are a softmax of s_c X / eps + u_ci + v_cj over groups."""

    def __init__(self, system: System, order: str) -> None:
        assert system.groups is not None
        self.system, self.rows_first = system, order == "row-column-depth"
        self.top = system.groups.top
        self.scales = list(system.group_scales)
        margins = system.margins
        self.row_targets = self.split(margins.rows, margins.row_cells)
        self.column_targets = self.split(margins.columns, margins.column_cells)

    def split(self, sums: Tensor, count: Tensor) -> Tensor:
        """Share a budget among the plan's groups, and the rest among the others: (b, c, .)."""
        groups = self.system.groups
        assert groups is not None
        # Eq. (2): every channel of the plan has r_i / k, every other one (n_i - r_i) / (K - k).
        inside = max(1, sum(groups.counts[: self.top]))
        outside = max(1, sum(groups.counts[self.top :]))
        parts = [
            sums * (size / inside) if index < self.top else (count - sums) * (size / outside)
            for index, size in enumerate(groups.counts)
        ]

        return torch.stack(parts, 1)

    def first(self) -> tuple[Tensor, Tensor]:
        """The raw kernel's row and column step, or only its column step."""
        parts, sums = [], None
        for part in tiles(self.system):
            tile, free = cells(self.system, part)
            t = torch.stack([passes.exponent(tile, s, None, None, free) for s in self.scales], 1)

            # Eq. (3) on the raw kernels, before any depth line.
            target = self.row_targets[:, :, part]
            if self.rows_first:
                change, columns = passes.log_row_scale(t, target)
            else:
                change = passes.log_ratio(target, torch.zeros_like(target))
                columns = (t + change[..., None]).logsumexp(-2)

            parts.append(change)
            sums = add_logs(sums, columns)

        assert sums is not None
        sums = total_logs(sums, self.system.ranks)
        return torch.cat(parts, 2), passes.log_ratio(self.column_targets, sums)

    def warm(self, init: Tensor) -> tuple[Tensor, Tensor]:
        """Start from given column potentials (b, c, k)."""
        return torch.zeros_like(self.row_targets), init.double()

    def next(self, a: Tensor, b: Tensor, *, measure: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Row and column step after the depth step that the softmax is."""
        parts, sums = [], None
        for part in tiles(self.system):
            tile, free = cells(self.system, part)
            rows = self.row_targets[:, :, part]
            new, columns = passes.sweep_groups(tile, self.scales, a[:, :, part], b, rows, free)
            parts.append(new)
            sums = add_logs(sums, columns)

        # Eq. (3)'s column line for every group.
        assert sums is not None
        sums = total_logs(sums, self.system.ranks)
        error = None
        if measure:
            _, row_sums, column_sums, _ = self.finish(a, b)
            error = violation(self.system, row_sums, column_sums, a, b)

        return torch.cat(parts, 2), b + passes.log_ratio(self.column_targets, sums), error

    def measured(self, a: Tensor, new_a: Tensor) -> Tensor:
        """The error is that of the plan before the sweep."""
        del new_a
        return a

    def finish(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Scales]:
        """Sum of the plan's groups, after a last row step when that ends a sweep."""
        plans, changes = [], []
        for part in tiles(self.system):
            tile, free = cells(self.system, part)
            shares = passes.log_shares(tile, self.scales, a[:, :, part], b, free)
            if not self.rows_first:
                change = passes.log_row_scale(shares, self.row_targets[:, :, part])[0]
                changes.append(change)
                shares = shares + change[..., None]
            plans.append(shares[:, : self.top].exp().sum(1))

        plan = torch.cat(plans, 1)
        sums = total(plan.double().sum(-2), self.system.ranks)
        if self.rows_first:
            return plan, plan.sum(-1), sums, None

        scale = torch.cat(changes, 2)
        return plan, plan.sum(-1), sums, (scale, scale)

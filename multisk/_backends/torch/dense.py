"""Algorithm 1, Eq. (3), on the materialised K x N x K table, to check the merged form, (4)."""

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.normalize import column_normalize, depth_normalize, row_normalize
from multisk._backends.torch.tiles import violation
from multisk._problem.collapse import Groups
from multisk._problem.status import verdict
from multisk._problem.system import System


def run(system: System, steps: int, order: str, tolerance: float) -> Raw:
    """`steps` sweeps over every channel, in the log domain.

    Raises:
        ValueError: For a transport (it has no channels) and for rows sharded over ranks.
    """
    groups = system.groups
    if groups is None or system.ranks is not None:
        raise ValueError("dense must be False for Transport and for a group, got True")

    table, rows, columns = start(system, groups)
    lines = {"row": (row_normalize, rows), "column": (column_normalize, columns)}
    for _ in range(steps):
        for name in order.split("-"):
            if name == "depth":
                table = depth_normalize(table, log=True)
            else:
                normalize, target = lines[name]
                table = normalize(table, target, log=True)

    # Eq. (1): the plan is the sum of the first k channels.
    channels = table.exp()
    top = sum(groups.counts[: groups.top])
    plan = channels[:, :top].sum(1)
    margins = system.margins
    none = torch.zeros_like(margins.rows), torch.zeros_like(margins.columns)
    error = violation(system, plan.sum(-1), plan.double().sum(-2), *none)
    count = torch.full_like(error, steps, dtype=torch.int64)
    ended = verdict(error, count, tolerance, None)

    return Raw(plan, *none, error, count, *ended, channels=channels)


def start(system: System, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
    """The log kernel (b, K, n, k) of every channel with its row and column targets."""
    split = GroupSweeps(system, "row-column-depth")
    tables, rows, columns = [], [], []
    for index, count in enumerate(groups.counts):
        for _ in range(count):
            # Each channel has its share of the group's margins, Eq. (2).
            tables.append(system.scores * split.scales[index])
            rows.append(split.row_targets[:, index] / count)
            columns.append(split.column_targets[:, index] / count)

    table = torch.stack(tables, 1)
    if system.margins.free is not None:
        table = table.masked_fill(~system.margins.free[:, None], -torch.inf)

    return table, torch.stack(rows, 1), torch.stack(columns, 1)

"""The K channels of a solution, materialised on demand."""

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.groups import GroupSweeps
from multisk._problem.problem import check_values
from multisk._solution.answer import Answer


def channels(solution: Answer) -> Tensor:
    """All K channels (*batch, K, N, K); see `Solution.channels`."""
    system, raw = solution.system.detach(), solution.raw
    groups = system.groups
    if groups is None:
        raise ValueError("channels must come from a MultiAssignment, got a Transport")

    n, k = system.scores.shape[1:]
    if raw.channels is not None:
        return raw.channels.view(*system.batch, -1, n, k).to(system.dtype)

    top = sum(groups.counts[: groups.top])
    if system.budget is None:
        check_values("k", system.margins.row_unit)

    if system.bounded_rows:
        raise ValueError("k must be an int for channels, got an interval for every row")
    if system.budget is None and top and not bool((system.margins.row_unit == top).all()):
        raise ValueError("k must be an int for channels, got a budget for every row")

    with torch.no_grad():
        parts = _two(solution) if system.two_groups else _many(solution)
        table = torch.cat(
            # Channels of a group are equal, Eq. (4).
            [
                part[:, None].expand(-1, count, -1, -1) / max(count, 1)
                for part, count in zip(parts, groups.counts, strict=True)
            ],
            1,
        )

    return table.reshape(*system.batch, k, n, k).to(system.dtype)


def _two(solution: Answer) -> list[Tensor]:
    system, raw = solution.system, solution.raw
    # Eq. (5): both groups' shares of a cell.
    t = solution.exponent()
    top, rest = torch.sigmoid(t), torch.sigmoid(-t)
    if system.margins.free is not None:
        rest = rest * system.margins.free

    if system.margins.ones is not None:
        top = top.masked_fill(system.margins.ones, 1.0)

    if raw.row_scale is not None:
        top = top * raw.row_scale[0][..., None].exp()
        rest = rest * raw.row_scale[1][..., None].exp()

    return [top, rest]


def _many(solution: Answer) -> list[Tensor]:
    system, raw = solution.system.detach(), solution.raw
    scales = GroupSweeps(system, "row-column-depth").scales
    a, b, free = raw.row_potential, raw.column_potential, system.margins.free
    shares = passes.log_shares(system.scores, scales, a, b, free)
    if raw.row_scale is not None:
        shares = shares + raw.row_scale[0][..., None]

    return list(shares.exp().unbind(1))

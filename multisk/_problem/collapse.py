"""K equal-scale channels are one: the K-channel table as a few groups with their counts."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """Channels that stay equal at every sweep, merged: Eq. (4). The first `top` make the plan.

    Channels of one scale start equal and every normalisation treats them alike, so only a group's
    total has to be kept. Groups never straddle the boundary between the plan's channels and the
    others, because the margins may differ there: Eq. (2) of docs/multisk/mathematics.md.
    """

    scales: tuple[float, ...]
    counts: tuple[int, ...]
    top: int


def collapse(k: int, columns: int, damping: float | int | Tensor) -> Groups:
    """Merge the channels 1..columns, of which the first `k` make the plan, into groups.

    Args:
        k: Channels that make the plan, between 0 and `columns`.
        columns: Number of channels, one a column.
        damping: Scale of the channels after the first `k` (those have scale 1), or all scales.

    Example:
        >>> collapse(2, 5, 0.25)
        Groups(scales=(1.0, 0.25), counts=(2, 3), top=1)
    """
    if not isinstance(damping, Tensor):
        return Groups((1.0, float(damping)), (k, columns - k), 1)

    # Neighbours of one scale are one group, unless the plan's channels end between them.
    scales = [float(s) for s in damping.tolist()]
    merged: list[tuple[float, bool]] = []
    counts: list[int] = []
    for channel, scale in enumerate(scales):
        key = (scale, channel < k)
        if merged and merged[-1] == key:
            counts[-1] += 1
        else:
            merged.append(key)
            counts.append(1)

    top = sum(is_top for _, is_top in merged)
    return Groups(tuple(scale for scale, _ in merged), tuple(counts), top)

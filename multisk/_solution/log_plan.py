"""The logarithm of a plan, exact where the plan underflows, with its derivative."""

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._solution import composed
from multisk._solution.answer import Answer
from multisk._solution.transformed import Refusing

MANY = (
    "log_plan has no derivative with more than two channel scales (plan.log() has one, where no "
    "entry is 0)"
)
RANKS = (
    "log_plan of rows spread over ranks has no derivative (plan.log() has one, where no entry is 0)"
)


def log_plan(solution: Answer) -> Tensor:
    """See `Solution.log_plan`."""
    system, raw = solution.system, solution.raw
    if raw.channels is not None or raw.backend == "scipy":  # potentials do not tell these plans
        return solution.plan.log()

    if solution.mode == "unroll" and raw.replay is not None:
        log = raw.replay(system)
    elif solution.mode in {"implicit", "composed"} and system.two_groups and system.ranks is None:
        potentials = raw.row_potential, raw.column_potential
        # Eq. (33): log P is a function of T, which does not underflow.
        t = composed.exponents(system, composed.Solved(*potentials, raw.miss))
        log = scaled(composed.log_link(system, t), raw.row_scale)
    else:
        with torch.no_grad():
            log = at_potentials(solution)
        if solution.mode != "none":
            log = Refusing.apply(system.scores, log, RANKS if system.two_groups else MANY)
            assert isinstance(log, Tensor)

    if system.margins.ones is not None:
        log = log.masked_fill(system.margins.ones, 0.0)

    return log.reshape(solution.plan.shape).to(solution.plan.dtype)


def at_potentials(solution: Answer) -> Tensor:
    """The logarithm without derivative."""
    system, raw = solution.system.detach(), solution.raw
    if system.two_groups:
        return scaled(composed.log_link(system, solution.exponent()), raw.row_scale)

    assert system.groups is not None
    a, b, free = raw.row_potential, raw.column_potential, system.margins.free
    shares = passes.log_shares(system.scores, list(system.group_scales), a, b, free)
    if raw.row_scale is not None:
        shares = shares + raw.row_scale[0][..., None]

    return shares[:, : system.groups.top].logsumexp(1)


def scaled(log: Tensor, row_scale: tuple[Tensor, Tensor] | None) -> Tensor:
    """After the row step that ends a sweep of the order column, depth, row."""
    return log if row_scale is None else log + row_scale[0][..., None]

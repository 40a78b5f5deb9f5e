"""Column potentials given from outside: checked, and brought to where a solution can lie."""

import torch
from torch import Tensor

from multisk._problem.sharding import largest
from multisk._problem.system import System

FAR = 60.0  # what budgets and capacities can add to the range of the scores
TAME = 25.0  # potentials that differ by less leave every exponent in float32's range


def settled(system: System, init: Tensor | None) -> Tensor | None:
    """The same start without the shifts that change no plan, cut to a bound on all solutions.

    At a solution two potentials differ by at most about twice the range of the exponents, so that
    a potential further out (from another problem, or another temperature) says nothing more; in
    sums of exponentials it would only push everything else out of the number range.
    """
    if init is None:
        return None

    groups = 1 if system.two_groups or system.groups is None else len(system.groups.scales)
    given = 1 if init.ndim == 2 else init.shape[1]
    if given != groups:
        raise ValueError(
            f"init must hold {groups} potentials a column for these channel scales, got {given} "
            "(start from a Solution of the same damping)"
        )
    if not init.numel():
        return init

    b = init.double().clamp(-1e300, 1e300)
    if b.ndim == 3:
        b = b - b.mean(1, keepdim=True)

    bound = reach(system).view(-1, *[1] * (b.ndim - 1))
    if not system.shifts:
        return b.clamp(-bound, bound)

    b = (b - b.mean(-1, keepdim=True)).clamp(-bound, bound)
    return b - b.mean(-1, keepdim=True)


def reach(system: System) -> Tensor:
    """How far from 0 a centred potential can be at a solution, (b,)."""
    x = system.scores.flatten(1)
    low, high = x.aminmax(dim=1) if x.shape[1] else (x.new_zeros(x.shape[0]),) * 2
    low, high = -largest(-low, system.ranks), largest(high, system.ranks)
    scale = system.scale
    scale = scale.reshape(-1) if isinstance(scale, Tensor) else scale
    exact = system.shifts
    spread = (high - low if exact else torch.maximum(high.abs(), low.abs())).double()

    # A margin that yields by e adds log(e) / tau to its potential, Eq. (23).
    bound = 2 * spread * scale + FAR
    for strength in system.relax:
        if strength is not None:
            bound = bound + FAR * (flat(strength) / flat(system.eps))

    return bound


def flat(value: float | Tensor) -> Tensor:
    """A number, or one a problem, as a tensor with one dimension."""
    return torch.as_tensor(value).reshape(-1)


def centred(system: System, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The same plan with columns' potentials around 0: far from there float32 loses digits."""
    if not system.shifts or not b.numel():
        return a, b
    shift = b.mean(-1, keepdim=True)
    return a + shift.to(a), b - shift


def tame(init: Tensor | None) -> bool:
    """Whether plain exponentials of the potentials are safe; reads them."""
    if init is None or not init.numel():
        return True
    return float(init.abs().max()) <= TAME

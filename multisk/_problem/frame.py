"""A system as a list of tensors and a few numbers: what operators and transforms take apart."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from multisk._problem.collapse import Groups
from multisk._problem.margins import Margins
from multisk._problem.system import System

PARTS = tuple(part.name for part in fields(Margins))
Tensors = list[Tensor | None]  # scores, eps, strengths (two), the parts of the margins, start


@dataclass(frozen=True)
class Frame:
    """What a system is besides its tensors; everything has one leading batch dimension."""

    eps: float | None  # None where it is a tensor
    groups: Groups | None
    relax: tuple[float | None, float | None]  # None where exact, or a tensor

    def system(self, tensors: Tensors) -> tuple[System, Tensor | None]:
        """The system and the start, once the tensors have values."""
        scores, eps, first, second, *parts, start = tensors
        assert scores is not None
        heat = self.eps if eps is None else eps
        assert heat is not None
        margins = Margins(**dict(zip(PARTS, parts, strict=True)))  # pyright: ignore[reportArgumentType]
        batch, dtype = scores.shape[:1], scores.dtype
        ends = ends_of(scores)
        relax = (
            self.relax[0] if first is None else first,
            self.relax[1] if second is None else second,
        )
        system = System(scores, heat, margins, self.groups, relax, ends, None, batch, dtype)

        return system, start


def taken_apart(system: System, start: Tensor | None) -> tuple[Frame, Tensors]:
    """The system as numbers and tensors."""
    values = system.eps, *system.relax
    eps, first, second = (None if isinstance(value, Tensor) else value for value in values)
    tensors = [value if isinstance(value, Tensor) else None for value in values]
    parts = [getattr(system.margins, name) for name in PARTS]

    return Frame(eps, system.groups, (first, second)), [system.scores, *tensors, *parts, start]


def ends_of(scores: Tensor) -> tuple[float, float] | None:
    """The least and the largest score where the host may know them."""
    if scores.device.type != "cpu" or not scores.numel():
        return None
    low, high = (float(end) for end in torch.aminmax(scores.detach()))
    return (low, high) if math.isfinite(high - low) else None

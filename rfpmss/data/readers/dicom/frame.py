"""One image of a DICOM file: its place, how to decode it, what its header says of its series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rfpmss.data.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class Frame:
    """One image plane: where it lies and how to decode it."""

    data: Dataset
    number: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    groups: tuple[Any, Any] = field(default=(None, None), repr=False)
    """Functional groups of a multi-frame file: the frame's own, then the shared ones."""
    error: DataError | None = field(default=None, repr=False)
    """Why the pixels cannot be read, where that is known already."""


@dataclass(frozen=True)
class Slice:
    """The only image of a file, as its header describes it."""

    traits: tuple[str, ...]
    """What all slices of a volume share; empty if neither number nor description name a series."""
    number: float | None = None
    """InstanceNumber."""
    distance: float = 0.0
    """SpacingBetweenSlices, mm; 0: not given."""
    thickness: float = 0.0
    """SliceThickness, mm; 0: not given."""

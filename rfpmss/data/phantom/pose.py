"""How a patient lies in a scanner, and how much of him it shows.

World coordinates are those of the scanner; a head that is not turned has the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

FIELD = 160.0
"""Side of the axial field of view where the head lies straight, mm."""
HEIGHT = 110.0
"""Extent of the volumes along z, mm."""
SHIFT = 8.0
"""Largest displacement along each axis, mm."""
TILT = 8.0
"""Largest rotation about each axis, degrees."""
FIELDS = {"mri": (164.0, 196.0), "ct": (172.0, 212.0)}
"""Smallest and largest field of view of the second edition, mm."""

Points = tuple[Float32[np.ndarray, "..."], Float32[np.ndarray, "..."], Float32[np.ndarray, "..."]]
"""Coordinates z, y, x of voxel centres in the head; open where the head is not turned."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """One examination's place of the head and field of view."""

    field: float
    """Side of the axial field of view, mm."""
    shift: tuple[float, float, float]
    """Of the head along x, y, z, mm."""
    angles: tuple[float, float, float]
    """Of the head about x, y, z, degrees."""

    @classmethod
    def draw(cls, modality: str, rng: np.random.Generator) -> Pose:
        """A pose of the second edition."""
        x, y, z = rng.uniform(-SHIFT, SHIFT, 3).round(3).tolist()
        a, b, c = rng.uniform(-TILT, TILT, 3).round(3).tolist()
        field = round(rng.uniform(*FIELDS[modality]), 3)
        return cls(field=field, shift=(x, y, z), angles=(a, b, c))

    def grid(self, shape: tuple[int, int, int]) -> Points:
        """Where the voxels of a volume of x, y, z voxels lie in the head."""
        z, y, x = _open(shape, self.field)
        if self == STRAIGHT:
            return z, y, x

        back = Rotation.from_euler("xyz", self.angles, degrees=True).inv().as_matrix()
        u, v, w = (np.float32(shift) for shift in self.shift)
        at = (x - u, y - v, z - w)
        rows = [[np.float32(value) for value in row] for row in back]
        x, y, z = (a * at[0] + b * at[1] + c * at[2] for a, b, c in rows)

        return z, y, x


STRAIGHT = Pose(field=FIELD, shift=(0.0, 0.0, 0.0), angles=(0.0, 0.0, 0.0))
"""That of all examinations of the first edition."""


def _open(shape: tuple[int, int, int], field: float) -> Points:
    """Open coordinates (z, y, x) of the voxel centres of a volume of x, y, z voxels."""
    columns, rows, slices = shape
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * (extent / n)).astype(np.float32)
        for n, extent in ((slices, HEIGHT), (rows, field), (columns, field))
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]

"""How a hospital's machines show tissue: contrast, noise, unevenness, calibration, stain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """The machines of one hospital."""

    gamma: tuple[float, float, float, float]
    """Exponent on the brightness of t1, t1ce, t2, flair."""
    noise: float
    """Deviation of MRI noise inside the head, in units of the brightest tissue."""
    bias: float
    """Deviation of the slope of the MRI's unevenness."""
    passes: int
    """How often an image is softened in its plane."""
    offset: float
    """Error of the CT's calibration, Hounsfield units."""
    grain: float
    """Deviation of CT noise, Hounsfield units."""
    stain: tuple[float, float, float] | None
    """Factors on the optical density of red, green and blue; None: as painted."""


HOME = Scanner(
    gamma=(1.0, 1.0, 1.0, 1.0), noise=0.03, bias=0.08, passes=1, offset=0.0, grain=3.0, stain=None
)
"""Where the plain cohort comes from."""
OTHER = Scanner(
    gamma=(0.7, 0.8, 1.5, 1.3),
    noise=0.05,
    bias=0.2,
    passes=2,
    offset=7.0,
    grain=5.0,
    stain=(1.45, 0.8, 0.7),
)
"""Another vendor's scanners, a second laboratory."""


def stained(
    image: Float32[np.ndarray, "h w 3"], stain: tuple[float, float, float]
) -> Float32[np.ndarray, "h w 3"]:
    """The slide in another stain: the optical density of each colour times a factor.

    Example:
        >>> stained(np.full((1, 1, 3), 0.5, np.float32), (1.0, 2.0, 1.0)).round(2).tolist()
        [[[0.5, 0.25, 0.5]]]
    """
    return np.clip(image, 1e-3, 1) ** np.array(stain, np.float32)

"""Where a slide shows tissue: darker than its glass or stained, and not marked by a pen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

WHITE = (243.0, 243.0, 243.0)
"""Glass, where the picture shows none."""
CLEAR = 205
"""Least value of the brightest channel of glass."""
PINK = 4.0
"""How much less green than red and blue a stained pixel lets through, grey levels.

Eosin, haematoxylin and most stains of histology absorb green most; glass, also old yellowish
glass, absorbs blue most or nothing.
"""
DARK = 0.86
"""Brightness, as a share of the glass's, below which any colour is tissue: grey and silver stains,
brown chromogens."""
BLACK = 30
"""The brightest channel of what lies outside of the scan is below this."""


def tissue_mask(image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where there is tissue.

    A pixel is tissue if it is pinker (`PINK`) or darker (`DARK`) than the glass, unless it is
    black or of the saturated colours of felt pens. The glass's colour is the median of the
    picture's bright pixels that are not pink. The rule is about colours alone: ink in the colours
    of a stain and dirt on the glass are tissue to it, and Alcian blue may be taken for a pen.

    Example:
        >>> colours = [(235, 225, 232), (170, 170, 175), (244, 240, 222), (20, 160, 60)]
        >>> tissue_mask(np.array([colours], np.uint8)).tolist()
        [[True, True, False, False]]
    """
    pixels = image.astype(np.float32)
    # What the specimen lets through, on clear glass: light multiplies.
    through = pixels * (np.array(WHITE, np.float32) / np.array(_glass(pixels), np.float32))
    stained = _pink(through) > PINK
    dark = through.mean(axis=-1) < DARK * WHITE[0]

    return (stained | dark) & (pixels.max(axis=-1) > BLACK) & ~_pen(through)


def _pink(pixels: Float32[np.ndarray, "*shape 3"]) -> Float32[np.ndarray, "*shape"]:
    """How much green is missing beside red and blue."""
    return np.minimum(pixels[..., 0], pixels[..., 2]) - pixels[..., 1]


def _glass(pixels: Float32[np.ndarray, "h w 3"]) -> tuple[float, ...]:
    sample = pixels.reshape(-1, 3)[:: max(pixels.shape[0] * pixels.shape[1] // 200_000, 1)]
    clear = sample[(sample.max(axis=1) >= CLEAR) & (_pink(sample) <= PINK - 1)]
    # The paler half: bright tissue at the edge of the range does not move it.
    if len(clear) < 16:
        return WHITE

    brightness = clear.mean(axis=1)
    return tuple(np.median(clear[brightness >= np.median(brightness)], axis=0).tolist())


def _pen(pixels: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Saturated green, blue, red, or neutral black, as felt pens write."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    greenish = (green > red + 25) & (green > blue + 5)
    bluish = (blue > red + 70) & (green > red)
    reddish = (red > 150) & (green < 80) & (blue < green + 20)
    black = (pixels.max(axis=-1) < 55) & (np.ptp(pixels, axis=-1) < 15)

    return greenish | bluish | reddish | black

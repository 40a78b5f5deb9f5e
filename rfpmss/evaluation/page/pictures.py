"""Pictures for the page: the images a model saw, as data URIs that need no network."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rfpmss.config import VIEWS
from rfpmss.data.batches.batch import STAIN_DEVIATION, STAIN_MEAN

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch

SMALL = 96
"""Largest side, pixels, of images that are stored without loss."""

CHANNELS_SHOWN = {
    "ct": (("CT", 0),),
    "mri": (("MRI T1 Gd", 1), ("MRI FLAIR", 3)),
    "pathology": (("Slide", None),),
}
"""For each view the captions and the channel shown; None shows three channels as colour."""


@dataclass(frozen=True)
class Picture:
    """One image of a study."""

    caption: str
    """What it is."""
    uri: str
    """``data:`` URI."""
    size: int
    """Side, pixels."""
    view: str
    """Whose it is."""


def pictures(batch: Batch, row: int) -> list[Picture]:
    """The first slice or tile of every present view of study ``row`` of a batch."""
    found = []
    for place, view in enumerate(VIEWS):
        if not bool(batch.present[row, place]):
            continue
        image = batch.images[place][row, 0].cpu().numpy()
        for caption, channel in CHANNELS_SHOWN[view]:
            pixels = shown_pixels(image, channel)
            found.append(Picture(caption, data_uri(pixels), pixels.shape[0], view))
    return found


def shown_pixels(
    image: Float[np.ndarray, "c h w"], channel: int | None
) -> UInt8[np.ndarray, "h w *c"]:
    """One channel in grey, or three in their colours."""
    return stained(image) if channel is None else to_pixels(image[channel])


def to_pixels(image: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Stretch to 0..255 between the 0.5 and 99.5 percentiles.

    Example:
        >>> to_pixels(np.array([[0.0, 1.0]])).tolist()
        [[0, 255]]
    """
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = (image - low) / max(float(high - low), 1e-12)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def stained(image: Float[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A standardised slide tile back in its colours."""
    colour = np.moveaxis(image, 0, -1) * STAIN_DEVIATION + STAIN_MEAN
    return (colour.clip(0, 1) * 255).round().astype(np.uint8)


def data_uri(pixels: UInt8[np.ndarray, "h w *c"]) -> str:
    """PNG for small images, JPEG for larger ones, in base64."""
    buffer = io.BytesIO()
    kind = "png" if max(pixels.shape[:2]) <= SMALL else "jpeg"
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 88} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heat_uri(heat: Float[np.ndarray, "h w"]) -> str:
    """Red that is the more opaque the higher the value in [0, 1]."""
    pixels = np.zeros((*heat.shape, 4), np.uint8)
    pixels[..., 0] = 230
    pixels[..., 3] = (heat.clip(0, 1) * 190).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

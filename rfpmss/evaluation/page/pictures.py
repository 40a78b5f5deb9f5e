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
from rfpmss.data.batches.values import STAIN_DEVIATION, STAIN_MEAN
from rfpmss.data.study import CODE_STEP, CODE_ZERO, SIDES

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch

SMALL = 96
"""Largest side, pixels, of images that are stored without loss."""

Named = tuple[tuple[str, int | None], ...]
"""Captions and channels; None shows three channels as colour."""

CHANNELS: dict[str, Named] = {
    "ct": (("brain window", 0), ("subdural window", 1), ("bone window", 2)),
    "mri": (("T1", 0), ("T1 Gd", 1), ("T2", 2), ("FLAIR", 3)),
    "pathology": (("tile", None),),
}
"""All that the images of a view hold, in the order of `rfpmss.data.views`."""

THUMBNAILS = {"ct": (0,), "mri": (1, 3), "pathology": (None,)}
"""Channels that stand for a view where space is short."""

TITLES = {"ct": "CT", "mri": "MRI", "pathology": "Slide"}
"""What a page calls a view."""

UNKNOWN = "sequence not known"
"""One image that stands for all four sequences."""


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

    @property
    def sides(self) -> tuple[str, str] | None:
        """Of the patient, at the left and the right edge."""
        return sides_of(self.view)


@dataclass(frozen=True)
class Channels:
    """What the images of a view hold."""

    shown: Named
    absent: tuple[str, ...] = ()
    """Sequences that the study does not have."""


def sides_of(view: str) -> tuple[str, str] | None:
    """Which side of the patient lies at the left and the right edge of a view's images.

    Example:
        >>> sides_of("mri"), sides_of("pathology")
        (('R', 'L'), None)
    """
    return None if view == "pathology" else SIDES


def channels_of(view: str, images: Float[np.ndarray, "s c h w"]) -> Channels:
    """Which channels of a view's images are worth a look: a sequence that is absent is blank."""
    named = CHANNELS[view]
    if view != "mri":
        return Channels(named)
    if all(np.array_equal(images[:, 0], images[:, place]) for place in range(1, len(named))):
        return Channels(((UNKNOWN, 0),))

    blank = {name for name, place in named if np.ptp(images[:, place]) == 0}
    return Channels(
        tuple(entry for entry in named if entry[0] not in blank),
        tuple(name for name, _ in named if name in blank),
    )


def pictures(batch: Batch, row: int) -> list[Picture]:
    """The first slice or tile of every present view of study ``row`` of a batch."""
    found = []
    for place, view in enumerate(VIEWS):
        if not bool(batch.present[row, place]):
            continue
        image = batch.image(place)[row].cpu().numpy()
        for name, channel in thumbnails(view, channels_of(view, image[None]).shown):
            pixels = shown_pixels(image, channel)
            caption = f"{TITLES[view]} {name}"
            found.append(Picture(caption, data_uri(pixels), pixels.shape[0], view))

    return found


def thumbnails(view: str, shown: Named) -> Named:
    """Those that stand for a view; the first channel that there is where they are absent."""
    return tuple(entry for entry in shown if entry[1] in THUMBNAILS[view]) or shown[:1]


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


def codes(image: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Standard deviations as the stored grey values, which a page shows through a window.

    Example:
        >>> codes(np.array([[-9.0, 0.0, 1.0]])).tolist()
        [[0, 128, 160]]
    """
    return (image * CODE_STEP + CODE_ZERO).round().clip(0, 255).astype(np.uint8)


def window_of(grey: UInt8[np.ndarray, "*shape"]) -> tuple[float, float]:
    """Grey values to show as black and as white: the 0.5 and 99.5 percentiles, never equal."""
    low, high = np.percentile(grey, [0.5, 99.5])
    return float(low), float(max(high, low + 1))


def stained(image: Float[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A standardised slide tile back in its colours."""
    colour = np.moveaxis(image, 0, -1) * STAIN_DEVIATION + STAIN_MEAN
    return (colour.clip(0, 1) * 255).round().astype(np.uint8)


def data_uri(pixels: UInt8[np.ndarray, "h w *c"]) -> str:
    """PNG for small images, JPEG for larger ones, in base64."""
    return _encoded(pixels, "png" if max(pixels.shape[:2]) <= SMALL else "jpeg")


def exact_uri(pixels: UInt8[np.ndarray, "h w"]) -> str:
    """PNG in base64: a window would show the marks that JPEG leaves."""
    return _encoded(pixels, "png")


def _encoded(pixels: UInt8[np.ndarray, "h w *c"], kind: str) -> str:
    buffer = io.BytesIO()
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

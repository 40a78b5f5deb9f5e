"""Slides in the formats of vendors and in DICOM, through OpenSlide where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rfpmss.common.files import regular
from rfpmss.data.errors import BombError, CodecError, UnreadableError

LARGEST_BLOCK = 256 << 20
"""Bytes of a decoded tile or strip; larger ones are refused before OpenSlide sees the file."""
PLAIN = "generic-tiff"
"""OpenSlide's name for TIFF files without a vendor; these are read without it."""


@dataclass(frozen=True)
class Plane:
    """One level of a slide that OpenSlide holds open."""

    slide: Any
    number: int
    shape: tuple[int, int]
    """Rows and columns."""
    mpp: float | None
    """Microns per pixel, None where the file does not say it."""

    def read(self, corner: tuple[int, int], shape: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """A rectangle, white where the scanner saw nothing."""
        height = min(shape[0], self.shape[0] - corner[0])
        width = min(shape[1], self.shape[1] - corner[1])
        factor = self.slide.level_downsamples[self.number]
        place = (round(corner[1] * factor), round(corner[0] * factor))
        try:
            part = np.asarray(self.slide.read_region(place, self.number, (width, height)))
        except Exception:
            raise UnreadableError("the slide's pixels are damaged or end too early") from None

        seen = part[..., 3:].astype(np.uint16)
        colours = (part[..., :3].astype(np.uint16) * seen + 255 * (255 - seen) + 127) // 255
        return colours.astype(np.uint8)


def format_of(path: Path) -> str:
    """OpenSlide's name of the vendor; empty where it is not installed or knows none."""
    try:
        import openslide
    except ImportError:
        return ""

    try:
        return openslide.OpenSlide.detect_format(str(path)) or ""
    except Exception:
        return ""


@contextmanager
def open_planes(path: Path) -> Iterator[list[Plane]]:
    """The levels of a slide, fine to coarse.

    Raises:
        CodecError: if OpenSlide is not installed or does not know the file.
        UnreadableError: if the file is damaged.
    """
    if not format_of(path):
        raise CodecError("a slide of this kind needs OpenSlide, or OpenSlide does not know it")

    import openslide

    try:
        slide = openslide.OpenSlide(str(regular(path)))
    except Exception:
        raise UnreadableError("the slide is damaged or a part of it is missing") from None

    with slide:
        try:
            scale = float(slide.properties.get("openslide.mpp-x", "nan"))
            mpp = scale if 0.01 < scale < 100 else None
            planes = [
                Plane(slide, n, (size[1], size[0]), mpp and mpp * slide.level_downsamples[n])
                for n, size in enumerate(slide.level_dimensions)
            ]
        except Exception:
            raise UnreadableError("the slide's properties are damaged") from None

        yield planes


def check_blocks(pages: list[Any]) -> None:
    """Refuse a TIFF whose tiles or strips would need implausibly much memory.

    Raises:
        BombError: if one is larger than `LARGEST_BLOCK`.
    """
    for page in pages:
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        columns = page.tilewidth if page.is_tiled else page.imagewidth
        needed = rows * columns * max(page.samplesperpixel, 1) * page.dtype.itemsize
        if needed > LARGEST_BLOCK:
            raise BombError(f"a tile of the slide needs {needed >> 20} MiB decoded")

"""Pathology slides: where the tissue is, and tiles asked by microns per pixel."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image

from rfpmss.common.files import opened, regular
from rfpmss.data.errors import (
    BombError,
    CodecError,
    DataError,
    ScaleError,
    UnreadableError,
    UnsupportedError,
)
from rfpmss.data.readers.resize import resize
from rfpmss.data.readers.slides import vendor
from rfpmss.data.readers.slides.microns import microns
from rfpmss.data.readers.slides.tissue import tissue_mask
from rfpmss.data.readers.volume import MAX_BYTES, check_size

if TYPE_CHECKING:
    from tifffile import TiffPage

MAX_PAGES = 1000
"""Images in one TIFF file."""
OVERVIEW = 512
"""The tissue mask is made on the smallest level with at least this side, or the finest."""
TISSUE = 0.35
"""Least share of a tile that must be tissue, where the slide has such tiles."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide."""

    page: Any
    mpp: float
    shape: tuple[int, int]


@dataclass(frozen=True)
class Slide:
    """Levels from fine to coarse."""

    levels: tuple[Level, ...]


@contextmanager
def open_slide(path: Path, mpp: float | None = None, limit: int = MAX_BYTES) -> Iterator[Slide]:
    """Open a slide without decoding it.

    OpenSlide reads what it knows as a vendor's or as DICOM, if it is installed (the extra
    ``slides``); tifffile reads TIFF, OME-TIFF and Aperio svs.

    Args:
        path: the file.
        mpp: microns per pixel of the finest level, where the file does not say so.
        limit: largest level that may be decoded whole, bytes.

    Raises:
        ScaleError: if neither the file nor ``mpp`` says how large a pixel is.
        CodecError: if only OpenSlide reads files of this kind and it is not installed.
        UnreadableError: if the file is damaged.
    """
    with opened(path) as start:
        tiff = start.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    kind = vendor.format_of(path)
    if tiff and kind not in ("", vendor.PLAIN, "hamamatsu"):
        with _open_tiff(path, 1.0):  # refuses implausible tiles before OpenSlide sees them
            pass

    reader = _open_tiff if tiff and kind in ("", vendor.PLAIN) else _open_vendor
    with reader(path, mpp) as slide:
        yield slide


@contextmanager
def _open_vendor(path: Path, mpp: float | None) -> Iterator[Slide]:
    with vendor.open_planes(path) as planes:
        scale = mpp or planes[0].mpp
        if scale is None:
            raise ScaleError("the slide does not say how large its pixels are")
        width = planes[0].shape[1]
        yield Slide(tuple(Level(p, scale * width / p.shape[1], p.shape) for p in planes))


@contextmanager
def _open_tiff(path: Path, mpp: float | None) -> Iterator[Slide]:
    try:
        file = tifffile.TiffFile(regular(path))
    except Exception:
        raise UnreadableError("the TIFF file is damaged") from None

    with file:
        try:
            pages = _pyramid(_listed(file.pages))
            vendor.check_blocks(pages)
        except DataError:
            raise
        except Exception:
            raise UnreadableError("the TIFF directory is damaged") from None

        scale = mpp or microns(pages[0])
        if scale is None:
            raise ScaleError("the slide does not say how large its pixels are")
        width = pages[0].imagewidth
        yield Slide(
            tuple(
                Level(p, scale * width / p.imagewidth, (p.imagelength, p.imagewidth)) for p in pages
            )
        )


@contextmanager
def open_image(path: Path, mpp: float | None = None, limit: int = MAX_BYTES) -> Iterator[Slide]:
    """Open a colour PNG or JPEG as a slide of one level.

    Args:
        path: the file.
        mpp: microns per pixel; these files cannot say it themselves.
        limit: largest decoded image, bytes.

    Raises:
        ScaleError: if ``mpp`` is not given.
        UnsupportedError: if the image is grey.
        BombError: if decoding would need too much memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(regular(path))
    except Image.DecompressionBombError:
        raise BombError("the image claims more pixels than can be believed") from None
    except Exception:
        raise UnreadableError("the image file is damaged") from None

    with image:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise UnsupportedError("the image is grey; CT and MR are read from DICOM or NIfTI")
        check_size(3 * image.width * image.height, path.stat().st_size, limit)
        if mpp is None:
            raise ScaleError("the image does not say how large its pixels are")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = np.asarray(image.convert("RGB"))
        except Exception:
            raise UnreadableError("the image's pixels are damaged or end too early") from None

    yield Slide((Level(pixels, mpp, pixels.shape[:2]),))


def _listed(pages: Iterable[Any]) -> list[Any]:
    """The image directories of a file; a chain that leads back to itself would never end."""
    result = list(islice(pages, MAX_PAGES + 1))
    if len(result) > MAX_PAGES:
        raise UnreadableError(f"the TIFF file lists more than {MAX_PAGES} images")
    return result


def _pyramid(pages: list[Any]) -> list[TiffPage]:
    """Colour pages with the proportions of the largest, fine to coarse.

    The first page may be a thumbnail; labels and macros have other proportions and drop out.
    """
    whole = [page for page in pages if isinstance(page, tifffile.TiffPage)]
    for page in list(whole):
        whole += [sub for sub in _listed(page.pages or ()) if isinstance(sub, tifffile.TiffPage)]

    if not whole:
        raise UnreadableError("the TIFF file holds no image directory")

    colour = [page for page in whole if page.samplesperpixel in (3, 4) and page.dtype == np.uint8]
    if not colour:
        raise UnsupportedError("the TIFF file holds no 8-bit colour image")

    largest = max(colour, key=lambda page: page.imagewidth * page.imagelength)
    if largest.imagewidth < 1 or largest.imagelength < 1:
        raise UnreadableError("the slide has no rows or columns")

    ratio = largest.imagewidth / largest.imagelength
    keep = [
        page
        for page in colour
        if page.samplesperpixel == largest.samplesperpixel
        and page.imagewidth <= largest.imagewidth
        and abs(page.imagewidth / max(page.imagelength, 1) / ratio - 1) < 0.02
    ]
    keep.sort(key=lambda page: -page.imagewidth)
    return keep


def tiles(
    slide: Slide, size: int, mpp: float, count: int, limit: int = MAX_BYTES
) -> UInt8[np.ndarray, "count size size 3"]:
    """The ``count`` tiles with most tissue and most detail, best first.

    Args:
        slide: an open slide.
        size: side of a tile, pixels.
        mpp: microns per pixel of the tiles; never finer than the slide itself.
        count: how many; a slide with fewer places repeats its best ones.
        limit: largest decoded overview, bytes.

    Raises:
        UnsupportedError: if the slide holds no tissue.
    """
    mpp = max(mpp, slide.levels[0].mpp)
    field = size * mpp
    coarse = [level for level in slide.levels if min(level.shape) >= OVERVIEW] or [slide.levels[0]]
    overview = coarse[-1]
    check_size(3 * overview.shape[0] * overview.shape[1], 1 << 40, limit)
    picture = region(overview, (0, 0), overview.shape)
    corners = _places(picture, field / overview.mpp)[:count]
    source = [level for level in slide.levels if level.mpp <= mpp * 1.001][-1]
    side = max(round(field / source.mpp), 1)
    scale = overview.mpp / source.mpp
    result = []
    for y, x in corners:
        low = (round(y * scale), round(x * scale))
        part = (
            picture[low[0] : low[0] + side, low[1] : low[1] + side]
            if source is overview
            else region(source, low, (side, side))
        )
        result.append(resize(_pad(part, side), (size, size)))

    return np.stack([result[n % len(result)] for n in range(count)])


def _places(picture: UInt8[np.ndarray, "h w 3"], side: float) -> list[tuple[float, float]]:
    """Corners of tiles on a lattice, by tissue and then by detail."""
    mask = tissue_mask(picture)
    grey = picture.astype(np.float32).mean(axis=2)
    h, w = grey.shape
    if not mask.any():
        raise UnsupportedError("the slide shows no tissue")

    places = []
    for y in _lattice(h, side):
        for x in _lattice(w, side):
            window = np.s_[round(y) : round(y + side), round(x) : round(x + side)]
            share = float(mask[window].mean())
            detail = float(grey[window].std())
            places.append((min(share, TISSUE * 2) // TISSUE, detail * share, y, x))

    places.sort(key=lambda place: (-place[0], -place[1], place[2], place[3]))
    good = [place for place in places if place[0] > 0] or places[:1]
    return [(y, x) for _, _, y, x in good]


def _lattice(extent: int, side: float) -> list[float]:
    if side >= extent:
        return [0.0]
    count = int(np.ceil(extent / side))
    return [float(v) for v in np.linspace(0, extent - side, count)]


def _pad(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    h, w = image.shape[:2]
    if (h, w) == (side, side):
        return image
    return np.pad(image, ((0, side - h), (0, side - w), (0, 0)), constant_values=255)


def region(
    level: Level, corner: tuple[int, int], shape: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a rectangle of one level; only the tiles or strips that it touches are read."""
    page = level.page
    if isinstance(page, vendor.Plane):
        return page.read(corner, shape)
    if isinstance(page, np.ndarray):
        return page[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]]

    try:
        return _region(page, corner, shape)
    except DataError:
        raise
    except (ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        if "requires" in str(error) or "codec" in str(error).lower():
            raise CodecError("no installed decoder reads the slide's compression") from None
        raise UnreadableError("the slide's pixels are damaged or end too early") from None
    except Exception:
        raise UnreadableError("the slide's pixels are damaged or end too early") from None


def _region(
    page: TiffPage, corner: tuple[int, int], shape: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    height = min(shape[0], page.imagelength - corner[0])
    width = min(shape[1], page.imagewidth - corner[1])
    result = np.full((height, width, 3), 255, np.uint8)
    step_y, step_x = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )
    step_y = min(step_y, page.imagelength) if not page.is_tiled else step_y
    if page.planarconfig != 1:
        raise UnsupportedError("the slide stores its colours in separate planes")

    check_size(step_y * step_x * page.samplesperpixel, 1 << 40, MAX_BYTES)
    across = -(-page.imagewidth // step_x)
    file = page.parent.filehandle
    for row in range(corner[0] // step_y, -(-(corner[0] + height) // step_y)):
        for column in range(corner[1] // step_x, -(-(corner[1] + width) // step_x)):
            index = row * across + column
            if not page.databytecounts[index]:
                continue
            file.seek(page.dataoffsets[index])
            encoded = file.read(page.databytecounts[index])
            if len(encoded) < page.databytecounts[index]:
                raise UnreadableError("the slide's pixels end too early")
            part = page.decode(encoded, index, jpegtables=page.jpegtables)[0]
            if part is None:
                continue
            block = part[0, :, :, :3]
            y0, x0 = row * step_y - corner[0], column * step_x - corner[1]
            y1, x1 = min(y0 + block.shape[0], height), min(x0 + block.shape[1], width)
            top, left = max(y0, 0), max(x0, 0)
            result[top:y1, left:x1] = block[top - y0 : y1 - y0, left - x0 : x1 - x0]

    return result

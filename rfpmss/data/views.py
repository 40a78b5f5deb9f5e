"""From a source to the few images that stand for a view: choose, normalise, make square."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped, UInt8

from rfpmss.config import CHANNELS
from rfpmss.data.errors import (
    AS_MASK,
    ONLY_TUMOUR,
    Notice,
    UnsupportedError,
    UnusedError,
    ValuesError,
    describe,
)
from rfpmss.data.readers.assembly import Gaps, Left, Loaded, load
from rfpmss.data.readers.masks import HEAD, doubt_of, is_whole, tumour, two_valued
from rfpmss.data.readers.resize import resize
from rfpmss.data.readers.sequences import FOUR
from rfpmss.data.readers.slides import slide
from rfpmss.data.readers.volume import MAX_BYTES, Volume
from rfpmss.data.study import CODE_STEP, CODE_ZERO, Box, Source

WINDOWS = ((40.0, 80.0), (75.0, 200.0), (400.0, 1800.0))
"""Centre and width of the CT channels, Hounsfield units: brain, subdural, bone."""
HEAD_DETAIL = 0.5
"""Least contrast of a slice of the head, relative to the richest; air has less."""
FLOOR = 0.05
"""Least standard deviation of a CT window, in units of its width."""


@dataclass(frozen=True)
class Views:
    """The stored images of one view."""

    images: UInt8[np.ndarray, "s c h w"]
    """Best first."""
    boxes: tuple[Box | None, ...]
    """x0, y0, x1, y1 of the finding in each image, as fractions of its side; None: not known."""
    unused: tuple[tuple[Path, str], ...] = ()
    """Files of the source that are not in the images, each with class, reason and cure."""
    spacing: tuple[float, ...] = ()
    """Of the source: millimetres along x, y, z; microns per pixel of a slide."""
    grid: tuple[int, ...] = ()
    """Of the source: voxels along x, y, z; columns and rows of a slide."""
    channels: tuple[str, ...] = ()
    """Sequences of the source that were decoded."""
    heights: tuple[float, ...] = ()
    """Of each image above the middle of the volume, mm, where they are spread over the head."""
    voxel: tuple[float, ...] = ()
    """Of a box: millimetres along x, y, z; see `rfpmss.data.boxes`."""
    sequence: str = ""
    """Of a box of MRI: its name in `rfpmss.config.SEQUENCES`."""
    best: int = 0
    """The image that stands for all of them."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How views are made."""

    size: int = 256
    """Largest side of a stored image; smaller images are not enlarged."""
    count: int = 1
    """Images per view."""
    order: Literal["best", "levels"] = "best"
    """Slices of the tumour, by its mask, or else of much contrast; or spread over the head."""
    depth: int = 0
    """Slices of a box about the head, of ``size`` rows and columns; 0: slices of their own."""
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the box's voxels along x, y, z, mm."""
    mpp: float = 2.0
    """Microns per pixel of pathology tiles."""
    slide_mpp: float | None = None
    """Microns per pixel of slides that do not say so themselves."""
    gaps: Gaps = "refuse"
    """What happens to uneven slices, tilt and unequal grids: ``refuse`` or ``resample``."""
    fewest: int = 1
    """Slices that a DICOM series must have."""
    limit: int = MAX_BYTES
    """Largest decoded image, bytes."""


def read_views(view: str, source: Source, choice: Choice) -> Views:
    """Read a source and make its stored images.

    Raises:
        DataError: of the class that tells what is wrong with the files.
    """
    if view == "pathology":
        return _pathology(source, choice)

    loaded = load(source, choice.gaps, choice.limit, choice.fewest)
    first, shown = loaded.volumes[0], loaded.names
    left = list(loaded.unused)
    if view == "ct":
        channels = windows(first.array.astype(np.float32, copy=False))
    else:
        scaled = _scaled(loaded, left)
        channels, shown = _sequences(scaled), tuple(scaled)

    mask = mask_of(loaded, source, left)
    unused = tuple((path, describe(error)) for path, error in left)
    return replace(
        _slices(channels, first, mask, choice),
        unused=unused,
        spacing=first.spacing,
        grid=first.array.shape[::-1],
        channels=shown,
    )


def mask_of(loaded: Loaded, source: Source, left: Left) -> Volume | None:
    """The tumour of a source's mask; None where there is none, or it is of the whole head."""
    mask = loaded.mask
    if mask is None or source.mask is None:
        return None

    name = "/".join(source.mask.parts[-3:])
    if doubt := doubt_of(mask.array, name):
        left.append((source.mask, Notice(doubt, ONLY_TUMOUR)))

    mask = replace(mask, array=tumour(mask.array, name))
    if is_whole(mask, loaded.volumes[0]):
        left.append((source.mask, UnusedError(HEAD)))
        return None

    return mask


def windows(hounsfield: Float32[np.ndarray, "z y x"]) -> list[Float32[np.ndarray, "z y x"]]:
    """CT windows, each standardised by the contrast inside the skull."""
    inside = in_skull(hounsfield)
    result = []
    for centre, width in WINDOWS:
        shown = np.clip(hounsfield, centre - width / 2, centre + width / 2)
        result.append(_standard(shown, shown[inside], FLOOR * width))

    return result


def in_skull(hounsfield: Float32[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Soft tissue with bone on all four sides in its slice; all soft tissue if there is no skull.

    Voxels of 0 to 80 Hounsfield units that a straight look along the rows and the columns finds
    enclosed by more than 300 units.
    """
    bone = hounsfield > 300
    enclosed = np.ones_like(bone)
    for axis in (1, 2):
        enclosed &= np.logical_or.accumulate(bone, axis=axis)
        enclosed &= np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)

    soft = (hounsfield > 0) & (hounsfield < 80)
    inside = enclosed & soft
    if inside.sum() < 0.02 * inside.size:
        inside = soft if soft.sum() > 0.01 * soft.size else np.ones_like(soft)

    return inside


def _scaled(loaded: Loaded, left: Left) -> dict[str, Float32[np.ndarray, "z y x"]]:
    """The sequences by name; one without contrast is left out, unless none has any.

    Raises:
        ValuesError: if all voxels of each sequence have the same value, or the two of a mask.
    """
    scaled: dict[str, Float32[np.ndarray, "z y x"]] = {}
    errors: list[ValuesError] = []
    for volume, name, paths in zip(loaded.volumes, loaded.names, loaded.paths, strict=True):
        try:
            scaled[name] = brain(volume.array)
        except ValuesError as error:
            errors.append(error)
            left += [(path, error) for path in paths]

    if not scaled:
        errors[0].files = tuple(left)
        raise errors[0]

    return scaled


def _sequences(
    scaled: dict[str, Float32[np.ndarray, "z y x"]],
) -> list[Float32[np.ndarray, "z y x"]]:
    """Four channels; absent sequences are zero, an unnamed one stands for all four."""
    if set(scaled) == {""}:
        return [scaled[""]] * len(FOUR)
    blank = np.zeros(next(iter(scaled.values())).shape, np.float32)
    return [scaled.get(name, blank) for name in FOUR]


def brain(array: Shaped[np.ndarray, "z y x"]) -> Float32[np.ndarray, "z y x"]:
    """Standardised by the voxels brighter than the background."""
    image = array.astype(np.float32)
    sample = image.reshape(-1)[:: max(image.size // 50_000, 1)]
    if len(np.unique(sample[:1000])) <= 2 and two_valued(array):
        raise ValuesError("the voxels hold two values, as a mask's do", AS_MASK)

    low, high = np.percentile(sample, (1, 99))
    inside = sample[sample > low + 0.1 * (high - low)]
    return _standard(image, inside if inside.size > 16 else sample, 0.0)


def _standard(
    image: Float32[np.ndarray, "z y x"], inside: Float32[np.ndarray, " n"], floor: float
) -> Float32[np.ndarray, "z y x"]:
    mean, deviation = float(inside.mean()), float(inside.std())
    if not np.isfinite(deviation) or max(deviation, floor) <= 1e-9:
        raise ValuesError("all voxels have the same value")
    return (image - np.float32(mean)) * np.float32(1 / max(deviation, floor))


def encode(image: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Standard deviations to the stored 8 bits."""
    return np.clip(np.round(image * CODE_STEP + CODE_ZERO), 0, 255).astype(np.uint8)


def _slices(
    channels: list[Float32[np.ndarray, "z y x"]],
    volume: Volume,
    mask: Volume | None,
    choice: Choice,
) -> Views:
    """The chosen axial slices with their boxes."""
    found = _inside(mask, volume) if mask is not None else None
    if found is not None and not len(found):
        found = None

    shown = next((channel for channel in channels if channel.any()), channels[0])
    if choice.order == "levels":
        order = _by_level(shown, choice.count, found)
    elif found is not None:
        order = _by_mask(found, len(channels[0]), choice.count)
    else:
        order = _by_content(shown, choice.count)

    images, boxes = [], []
    for k in order.tolist():
        picture = np.stack([channel[k] for channel in channels], axis=-1)
        square, frame = _square(picture, volume, choice.size)
        images.append(encode(square.transpose(2, 0, 1)))
        boxes.append(_box(found, k, volume.array.shape, frame) if found is not None else None)

    heights = ()
    if choice.order == "levels":
        middle = (len(channels[0]) - 1) / 2
        heights = tuple((order - middle) * float(volume.spacing[2]))

    return Views(np.stack(images), tuple(boxes), heights=heights)


def _inside(mask: Volume, volume: Volume) -> Float64[np.ndarray, "n 3"]:
    """Voxel coordinates (x, y, z) in ``volume`` of all labelled voxels of ``mask``."""
    z, y, x = np.nonzero(mask.array > 0)
    if mask.array.shape == volume.array.shape and np.abs(mask.affine - volume.affine).max() < 1e-3:
        return np.stack([x, y, z], axis=1).astype(np.float64)

    points = np.stack([x, y, z, np.ones_like(x)], axis=1) @ mask.affine.T
    points = (points @ np.linalg.inv(volume.affine).T)[:, :3]
    limits = np.array(volume.array.shape[::-1]) - 0.5
    return points[((points > -0.5) & (points < limits)).all(axis=1)]


def _by_mask(points: Float64[np.ndarray, "n 3"], slices: int, count: int) -> Int[np.ndarray, " s"]:
    """The slice with most of the tumour first, the others spread through it."""
    area = _areas(points, slices)
    best = int(area.argmax())
    if count == 1:
        return np.array([best])

    touched = np.flatnonzero(area > 0.3 * area.max())
    spread = touched[np.linspace(0, len(touched) - 1, count).round().astype(int)]
    return np.array([best, *[k for k in spread if k != best], *[best] * count][:count])


def _areas(points: Float64[np.ndarray, "n 3"], slices: int) -> Int[np.ndarray, " z"]:
    """Labelled voxels in each slice."""
    return np.bincount(np.round(points[:, 2]).astype(int).clip(0, slices - 1), minlength=slices)


def _by_content(image: Float32[np.ndarray, "z y x"], count: int) -> Int[np.ndarray, " s"]:
    """Slices with much contrast: one at the middle of them, or several spread through them."""
    good = _detailed(image, 0.8)
    return good[[len(good) // 2]] if count == 1 else _spread(good, count)


def _by_level(
    image: Float32[np.ndarray, "z y x"], count: int, points: Float64[np.ndarray, "n 3"] | None
) -> Int[np.ndarray, " s"]:
    """Slices spread over the head; first the one with most of the tumour, or the middle one."""
    rising = _spread(_detailed(image, HEAD_DETAIL), count)
    best = len(rising) // 2
    if points is not None:
        area = _areas(points, len(image))[rising]
        best = int(area.argmax()) if area.any() else best

    return np.concatenate([rising[[best]], np.delete(rising, best)])


def _detailed(image: Float32[np.ndarray, "z y x"], share: float) -> Int[np.ndarray, " n"]:
    """Slices with at least this share of the contrast of the richest."""
    detail = image.std(axis=(1, 2))
    return np.flatnonzero(detail >= share * detail.max())


def _spread(slices: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " s"]:
    """``count`` of the slices at even distances from each other and from both ends."""
    return slices[np.linspace(0, len(slices) - 1, count + 2)[1:-1].round().astype(int)]


def _square(
    picture: Float32[np.ndarray, "h w c"], volume: Volume, size: int
) -> tuple[Float32[np.ndarray, "s s c"], tuple[int, int, int, int]]:
    """Pad to a square in millimetres, resize; also offsets (x, y), height and side, pixels of x."""
    h, w = picture.shape[:2]
    dx, dy, _ = volume.spacing
    if abs(dx - dy) > 1e-3 * dx:
        h = max(round(h * dy / dx), 1)
        picture = resize(picture, (h, w))

    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    if h != w:
        around = ((top, side - h - top), (left, side - w - left), (0, 0))
        picture = np.pad(picture, around, mode="edge")

    new = min(size, side)
    return resize(picture, (new, new)), (left, top, h, side)


def _box(
    points: Float64[np.ndarray, "n 3"],
    k: int,
    shape: tuple[int, ...],
    frame: tuple[int, int, int, int],
) -> Box | None:
    here = points[np.abs(points[:, 2] - k) <= 0.5]
    if not len(here):
        return None

    left, top, height, side = frame
    stretch = height / shape[1]  # rows were resized to the pixel size of columns
    x0, y0 = here[:, 0].min(), here[:, 1].min()
    x1, y1 = here[:, 0].max() + 1, here[:, 1].max() + 1
    values = (x0 + left, y0 * stretch + top, x1 + left, y1 * stretch + top)
    a, b, c, d = (float(np.clip(value / side, 0, 1)) for value in values)

    return a, b, c, d


def _pathology(source: Source, choice: Choice) -> Views:
    if source.kind not in ("slide", "image"):
        raise UnsupportedError(f"a {source.kind} file is no slide")

    reader = slide.open_slide if source.kind == "slide" else slide.open_image
    with reader(source.paths[0], choice.slide_mpp, choice.limit) as opened:
        found = slide.tiles(opened, choice.size, choice.mpp, choice.count, choice.limit)
        finest = opened.levels[0]

    images = np.ascontiguousarray(found.transpose(0, 3, 1, 2))
    assert images.shape[1] == CHANNELS["pathology"]
    return Views(
        images, (None,) * choice.count, spacing=(float(finest.mpp),), grid=finest.shape[::-1]
    )

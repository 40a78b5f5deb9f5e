"""DICOM segmentations as masks of the tumour: which segments, and where their voxels lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfpmss.data.errors import (
    CORRECT,
    DataError,
    GeometryError,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.readers import masks
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.volume import MAX_BYTES, Volume, orient

if TYPE_CHECKING:
    from pydicom import Dataset

    from rfpmss.data.readers.dicom.frame import Frame

ANATOMY = {"123037004", "T-D000A"}
"""Codes of the category "anatomical structure" (PS3.16 CID 7150)."""
TISSUE = {"85756007", "T-D0050"}
"""Code of "tissue", which programs write where nobody chose one."""
OFF = 0.05
"""Voxels that a mask's voxels may lie beside those of the image."""


def tumour_segments(data: Dataset) -> list[int]:
    """The numbers of the segments that show the tumour.

    Those whose label or code says so; without any the ones that say nothing, never the brain, its
    parts or other anatomy. A resection cavity is no tumour.

    Raises:
        UnusedError: if there is none.
        UnreadableError: if the header does not describe its segments.
    """
    try:
        ranked = [(_rank(item), int(item.SegmentNumber)) for item in data.SegmentSequence]
    except (AttributeError, TypeError, ValueError):
        raise UnreadableError("the segmentation does not describe its segments") from None

    best = min((rank for rank, _ in ranked if rank is not None), default=None)
    if best is None:
        raise UnusedError("the segmentation shows parts of the body and no tumour")

    return [number for rank, number in ranked if rank == best]


def _rank(item: Dataset) -> int | None:
    """0: it names the tumour; 1: it says nothing; None: it is something else."""
    codes = [
        code
        for name in ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence")
        for code in item.get(name) or ()
    ]
    label = f"{item.get('SegmentLabel', '') or ''} {item.get('SegmentDescription', '') or ''}"
    said = [code for code in codes[:1] if str(code.get("CodeValue", "")) not in TISSUE]
    for text in (label, *(str(code.get("CodeMeaning", "") or "") for code in said)):
        if masks.why_not(masks.words_of(text)):
            return None
        if masks.shows_tumour(text):
            return 0
        if masks.shows_head(text):
            return None

    values = {str(code.get("CodeValue", "") or "") for code in codes}
    return None if values & ANATOMY else 1


def read_segments(path: Path, limit: int = MAX_BYTES) -> Volume:
    """Read the tumour of a segmentation, 1 inside, on the part of the image's grid that it covers.

    Args:
        path: a DICOM file of the class Segmentation Storage.
        limit: largest decoded size in bytes.

    Raises:
        DataError: of the class that tells what is wrong with the file.
    """
    data = dicom.read_file(path, limit)
    planes = dicom.frames(data, limit)
    if errors := [plane.error for plane in planes if plane.error]:
        raise errors[0]

    wanted = set(tumour_segments(data))
    pixels = _pixels(data, len(planes))
    affine, shape, places = _lattice(data, planes)
    array = np.zeros(shape, np.uint8)
    for plane, image, place in zip(planes, pixels, places, strict=True):
        if str(data.get("SegmentationType", "")).upper() == "LABELMAP":
            array[place] |= np.isin(image, list(wanted))
        elif _segment(plane) in wanted:
            array[place] |= image

    return orient(array.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def grid_of(path: Path) -> Volume | None:
    """Where the voxels of a segmentation lie, by its header; None where it does not say."""
    try:
        data = dicom.read_file(path, pixels=False)
        affine, shape, _ = _lattice(data, dicom.frames(data, pixels=False))
        turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        return orient(np.broadcast_to(np.uint8(0), shape[::-1]), turned)
    except DataError:
        return None  # the reader tells


def lies_on(mask: Volume, images: Sequence[Volume]) -> bool:
    """Whether a mask lies voxel by voxel on a part of one of the images."""
    return any(_lies_on(mask, image) for image in images)


def _lies_on(mask: Volume, image: Volume) -> bool:
    ends = np.array(mask.array.shape[::-1]) - 1
    corners = np.concatenate([np.zeros((1, 3)), np.diag(ends), ends[None]])
    there = np.concatenate([corners, np.ones((len(corners), 1))], axis=1) @ mask.affine.T
    found = (there @ np.linalg.inv(image.affine).T)[:, :3]
    steps = np.diag(np.linalg.inv(image.affine)[:3, :3] @ mask.affine[:3, :3])
    inside = (found > -0.5) & (found < np.array(image.array.shape[::-1]) - 0.5)
    whole = np.abs(found - np.rint(found)).max() <= OFF

    return bool(whole and inside.all() and np.abs(steps[:2] - 1).max() < OFF)


def _segment(plane: Frame) -> int:
    for holder in plane.groups:
        items = holder.get("SegmentIdentificationSequence") if holder is not None else None
        if items:
            return int(items[0].ReferencedSegmentNumber)
    raise UnreadableError("the segmentation does not say what its images show")


def _pixels(data: Dataset, count: int) -> Any:
    """Stored values of a label map, else 0 and 1: a share of half a voxel or more is inside."""
    try:
        pixels = data.pixel_array.reshape(count, int(data.Rows), int(data.Columns))
    except Exception:
        raise UnreadableError("the pixels of the segmentation cannot be decoded") from None

    kind = str(data.get("SegmentationType", "")).upper()
    if kind == "FRACTIONAL":
        return (2 * pixels.astype(np.int32) >= int(data.MaximumFractionalValue)).astype(np.uint8)
    if kind not in ("BINARY", "LABELMAP"):
        raise UnsupportedError("the segmentation is of a type that is not known here")

    return pixels


def _lattice(
    data: Dataset, planes: Sequence[Frame]
) -> tuple[np.ndarray, tuple[int, int, int], list[int]]:
    """Affine to millimetres Left, Posterior, Superior, shape [z, y, x], and each frame's slice."""
    first = planes[0]
    if any(plane.position is None or plane.orientation is None for plane in planes):
        raise GeometryError("the segmentation does not say where it lies", CORRECT)

    assert first.orientation is not None
    if any(
        np.abs(plane.orientation - first.orientation).max() > 1e-3  # type: ignore[operator]
        or plane.spacing != first.spacing
        for plane in planes
    ):
        raise GeometryError("the images of the segmentation are not parallel", CORRECT)

    row, column = (v / np.linalg.norm(v) for v in (first.orientation[:3], first.orientation[3:]))
    positions = np.stack([plane.position for plane in planes])  # type: ignore[misc]
    along = positions @ np.cross(row, column)
    low, high = int(along.argmin()), int(along.argmax())
    distinct = np.unique(np.round(along, 3))
    steps = np.diff(distinct)
    step = float(steps[steps > dicom.ROUNDING].min()) if (steps > dicom.ROUNDING).any() else 0.0
    line = np.cross(row, column) * (first.thickness or 1.0)
    places = np.zeros(len(planes))
    if step:
        places = (along - along[low]) / step
        line = (positions[high] - positions[low]) / round(float(places[high]))
        spread = np.abs(positions - positions[low] - np.rint(places)[:, None] * line).max()
        if spread > max(OFF * step, dicom.ROUNDING):
            raise GeometryError("the images of the segmentation lie on no regular grid", CORRECT)

    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = line, positions[low]
    count = np.rint(places).astype(int)
    if count.max() >= dicom.MAX_FRAMES:
        raise GeometryError("the images of the segmentation lie on no regular grid", CORRECT)

    shape = (int(count.max()) + 1, int(data.Rows), int(data.Columns))
    return affine, shape, count.tolist()

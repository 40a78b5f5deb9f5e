"""DICOM files to volumes: grouped, sorted along the normal, checked slice by slice."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from rfpmss.common.files import opened
from rfpmss.data.errors import (
    CONVERT,
    CORRECT,
    NOTHING,
    RESAMPLE,
    BombError,
    DataError,
    GeometryError,
    LocalizerError,
    UnreadableError,
    UnsupportedError,
)
from rfpmss.data.readers.dicom.codestream import check_frames
from rfpmss.data.readers.dicom.frame import Frame
from rfpmss.data.readers.dicom.pixels import decode
from rfpmss.data.readers.dicom.regular import interpolate, straighten
from rfpmss.data.readers.sniff import bare_dicom
from rfpmss.data.readers.volume import MAX_BYTES, Volume, check_size, orient

if TYPE_CHECKING:
    from pydicom import Dataset

TOLERANCE = 0.01
"""Largest relative deviation of slice distances, and of a unit vector's components."""
ROUNDING = 0.02
"""Millimetres; positions are rounded to 0.01 mm by some programs, so distances may be off by it."""
SHIFTED = 0.1
"""Pixels; slices further off their common line lie shifted against each other."""
WIDEST = 4.0
"""Usual distances; a wider gap is not interpolated."""
STEEPEST = 45.0
"""Degrees; no gantry tilts further."""
NO_IMAGE = {
    "1.2.840.10008.5.1.4.1.1.66": "raw data",
    "1.2.840.10008.5.1.4.1.1.66.1": "a spatial registration",
    "1.2.840.10008.5.1.4.1.1.66.2": "fiducials",
    "1.2.840.10008.5.1.4.1.1.66.3": "a deformable registration",
    "1.2.840.10008.5.1.4.1.1.4.2": "a spectrum",
}
"""SOP classes that may have rows and columns, and what they hold (PS3.4 B.5)."""
IMAGES = {
    *(f"1.2.840.10008.5.1.4.1.1.2{part}" for part in ("", ".1", ".2")),
    *(f"1.2.840.10008.5.1.4.1.1.4{part}" for part in ("", ".1", ".4")),
}
"""SOP classes of CT and MR images, single, enhanced and legacy."""
MAX_FRAMES = 100_000
"""More images in one file are not believed."""


def read_file(path: Path, limit: int = MAX_BYTES, *, pixels: bool = True) -> Dataset:
    """Read one DICOM file; the pixels stay encoded, or with ``pixels=False`` on the disk.

    Raises:
        UnreadableError: if it is no DICOM file or ends too early.
        UnsupportedError: if it holds no image.
        BombError: if it is larger than ``limit`` or deflated beyond reason.
    """
    stored = path.stat().st_size
    check_size(stored, stored, limit)
    with opened(path) as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        file = io.BytesIO(_unpacked(plain, stored, limit)) if packed else plain
        refuse_deflated_bomb(file, stored, limit)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file.seek(0)
                bare = bare_dicom(file.read(16))
                file.seek(0)
                data = dcmread(file, stop_before_pixels=not pixels, force=bare)
                data.get("Rows")
        except InvalidDicomError:
            raise UnreadableError("the file is no DICOM file") from None
        except Exception:
            raise UnreadableError("the DICOM file is damaged") from None

    return data


def _unpacked(file: io.BufferedIOBase, stored: int, limit: int) -> bytes:
    """Gzip data, inflated in small steps for as long as that is plausible."""
    parts, total, stream = [], 0, zlib.decompressobj(31)
    try:
        while chunk := file.read(1 << 16):
            while chunk and not stream.eof:
                parts.append(stream.decompress(chunk, 1 << 20))
                total += len(parts[-1])
                check_size(total, stored, limit)
                chunk = stream.unconsumed_tail
    except zlib.error:
        raise UnreadableError("the gzip data is damaged") from None

    if not stream.eof:
        raise UnreadableError("the gzip data ends too early")

    return b"".join(parts)


def refuse_deflated_bomb(file: io.BufferedIOBase, stored: int, limit: int) -> None:
    """Inflate a deflated data set in small steps, keeping nothing, until it is plausible."""
    head = file.read(4096)
    start = head.find(b"1.2.840.10008.1.2.1.99")
    if start < 0 or head[128:132] != b"DICM":
        return

    length = int.from_bytes(head[140:144], "little") if head[132:136] == b"\2\0\0\0" else 0
    file.seek(144 + length)
    stream, total = zlib.decompressobj(-15), 0
    try:
        while chunk := file.read(1 << 14):
            while chunk:
                total += len(stream.decompress(chunk, 1 << 20))
                check_size(total, stored, limit)
                chunk = stream.unconsumed_tail
    except zlib.error:
        raise UnreadableError("the deflated DICOM file is damaged") from None


def frames(data: Dataset, limit: int = MAX_BYTES, *, pixels: bool = True) -> list[Frame]:
    """The image planes of a file: one, or all frames of a multi-frame file.

    Raises:
        UnsupportedError: if the file is no image.
        LocalizerError: if it is a planning image.
        GeometryError: if the plane has no usable size or spacing.
    """
    try:
        result = _frames(data, limit, pixels=pixels)
        if not pixels:
            return result
        try:
            _check_length(data, len(result))
            check_frames(data, int(data.Rows), int(data.Columns), len(result))
        except DataError as error:
            return [replace(plane, error=error) for plane in result]

        return result
    except DataError:
        raise
    except Exception:
        raise UnreadableError("the DICOM header holds values that cannot be") from None


def _frames(data: Dataset, limit: int, *, pixels: bool) -> list[Frame]:
    _refuse_others(data, pixels=pixels)
    rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
    if rows < 1 or columns < 1:
        raise UnreadableError("the image has no rows or columns")

    count = int(data.get("NumberOfFrames", 1) or 1)
    if not 0 < count <= MAX_FRAMES:
        raise BombError(f"the file claims {count} frames")

    needed = rows * columns * count * max(int(data.get("BitsAllocated", 8)) // 8, 1)
    check_size(needed, len(data.PixelData) if "PixelData" in data else needed, limit)
    shared = _groups(data, "SharedFunctionalGroupsSequence", 0)
    return [_frame(data, number, shared) for number in range(count)]


def _refuse_others(data: Dataset, *, pixels: bool) -> None:
    """Say what is no plane of CT or MR, although it may have rows and columns."""
    kind = str(data.get("SOPClassUID", ""))
    if what := NO_IMAGE.get(kind):
        raise UnsupportedError(f"the DICOM file holds {what}, no image", NOTHING)

    stored = ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if pixels else ("Rows",)
    if not any(name in data for name in stored):
        if data.get("Rows") and kind in IMAGES:
            raise UnreadableError("the DICOM file ends before its pixels")
        raise UnsupportedError("the DICOM file holds no image")

    types = [str(part).upper() for part in data.get("ImageType", None) or []]
    if "LOCALIZER" in types:
        raise LocalizerError("the image is a localizer")
    if "MOSAIC" in types:
        raise UnsupportedError("the image is a mosaic of many slices", CONVERT)
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise UnsupportedError("the image is in colour, so no CT or MR")


def _frame(data: Dataset, number: int, shared: Any) -> Frame:
    own = _groups(data, "PerFrameFunctionalGroupsSequence", number)

    def find(group: str, name: str) -> Any:
        for holder in (own, shared):
            items = holder.get(group) if holder is not None else None
            if items and items[0].get(name) is not None:
                return items[0].get(name)
        return data.get(name)

    orientation = _vector(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    if orientation is not None:
        _check_orientation(orientation)

    return Frame(
        data=data,
        number=number,
        position=_vector(find("PlanePositionSequence", "ImagePositionPatient"), 3),
        orientation=orientation,
        spacing=_spacing(find("PixelMeasuresSequence", "PixelSpacing")),
        thickness=float(find("PixelMeasuresSequence", "SliceThickness") or 0.0),
        slope=float(find("PixelValueTransformationSequence", "RescaleSlope") or 1.0),
        intercept=float(find("PixelValueTransformationSequence", "RescaleIntercept") or 0.0),
        groups=(own, shared),
    )


def _check_length(data: Dataset, count: int) -> None:
    """Refuse pixels that are not compressed and fewer than the header says."""
    syntax = getattr(data, "file_meta", {}).get("TransferSyntaxUID")
    if (syntax is not None and syntax.is_compressed) or "PixelData" not in data:
        return

    bits = int(data.Rows) * int(data.Columns) * int(data.get("BitsAllocated", 8)) * count
    if len(data.PixelData) < (bits + 7) // 8:
        raise UnreadableError("the pixels end too early")


def _groups(data: Dataset, name: str, number: int) -> Any:
    items = data.get(name)
    return items[number] if items and number < len(items) else None


def _vector(value: Any, length: int) -> np.ndarray | None:
    if value is None or len(value) != length:
        return None
    vector = np.array([float(item) for item in value])
    return vector if np.isfinite(vector).all() else None


def _spacing(value: Any) -> tuple[float, float]:
    """Millimetres between rows and between columns; they are never made up."""
    numbers = _vector(value, 2)
    if numbers is None:
        raise GeometryError("the image does not say how large its pixels are", CORRECT)
    if not all(0 < number < 1000 for number in numbers):
        raise GeometryError("the pixel spacing is not positive", CORRECT)

    return float(numbers[0]), float(numbers[1])


def _check_orientation(vectors: np.ndarray) -> None:
    row, column = vectors[:3], vectors[3:]
    if abs(np.linalg.norm(row) - 1) > 0.05 or abs(np.linalg.norm(column) - 1) > 0.05:
        raise GeometryError("the orientation vectors are not of length one", CORRECT)
    if abs(row @ column) > TOLERANCE:
        raise GeometryError("the orientation vectors are not at right angles", CORRECT)


def assemble(
    group: Sequence[Frame],
    gaps: Literal["refuse", "resample"] = "refuse",
    lost: list[tuple[Frame, DataError]] | None = None,
) -> Volume:
    """Sort one stack along its normal and decode it.

    Args:
        group: parallel planes of one series, any order.
        gaps: refuse a stack whose distances differ by more than 1 % (at least `ROUNDING`) or that
            is tilted, or interpolate it.
        lost: takes the planes that cannot be decoded, with the reason; None: that is an error.
            The rest must be a regular stack: one that is lost inside of it leaves a gap.

    Returns:
        Rescaled values (Hounsfield units for CT) as a float32 volume.

    Raises:
        GeometryError: if positions are missing, repeated, unevenly spaced or the gantry tilted.
        CodecError: if no decoder reads the pixels.
        ValuesError: if pixels are not finite.
    """
    first = group[0]
    if first.orientation is None or any(plane.position is None for plane in group):
        if len(group) == 1:
            return _flat(first)
        raise GeometryError("slices do not say where they lie")

    if any(np.abs(np.subtract(p.spacing, first.spacing)).max() > 1e-3 for p in group):
        raise GeometryError("slices have different pixel spacings")

    row, column = (v / np.linalg.norm(v) for v in (first.orientation[:3], first.orientation[3:]))
    normal = np.cross(row, column)
    planes = sorted(group, key=lambda plane: float(plane.position @ normal))  # type: ignore[operator]
    lay = _Lay(normal, min(first.spacing), first.data.get("Modality") == "CT", gaps)
    step, along = lay.step(planes, [])

    images: list[np.ndarray] = []
    kept: list[Frame] = []
    for plane in planes:
        try:
            images.append(decode(plane))
            kept.append(plane)
        except DataError as error:
            if lost is None:
                raise
            lost.append((plane, error))

    if not kept:
        raise lost[0][1] if lost else GeometryError("the stack is empty")

    if len(kept) < len(planes):
        step, along = lay.step(kept, [plane for plane in planes if plane not in kept])

    array = np.stack(images)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 3] = kept[0].position

    if along is not None:
        offsets = np.stack([plane.position - kept[0].position for plane in kept])  # type: ignore[operator]
        moves = offsets @ np.stack([column / first.spacing[0], row / first.spacing[1]], axis=1)
        array, corner = straighten(array, moves)
        affine[:3, 3] += affine[:3, 1] * corner[0] + affine[:3, 0] * corner[1]
        array = interpolate(array, along, float(np.linalg.norm(step)))

    affine[:3, 2] = step
    return orient(array.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _flat(plane: Frame) -> Volume:
    """A single image without a place in the patient: rows and columns as they are displayed."""
    affine = np.diag([plane.spacing[1], plane.spacing[0], plane.thickness or 1.0, 1.0])
    return Volume(decode(plane)[None], affine)


@dataclass(frozen=True)
class _Lay:
    """How the slices of a stack lie to each other."""

    normal: np.ndarray
    pixel: float
    """The smaller side of a pixel, mm."""
    ct: bool
    gaps: str

    def step(
        self, planes: Sequence[Frame], lost: Sequence[Frame]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The vector between slices, and their places along the normal where they are resampled.

        Args:
            planes: sorted along the normal.
            lost: slices of the same stack that cannot be read.
        """
        if len(planes) + len(lost) == 1:
            return self.normal * (planes[0].thickness or 1.0), None

        positions = np.stack([plane.position for plane in planes])  # type: ignore[misc]
        along = positions @ self.normal
        gone = np.array([plane.position @ self.normal for plane in lost])  # type: ignore[operator]
        usual = float(np.median(np.diff(np.sort(np.concatenate([along, gone])))))
        if len(planes) == 1:
            return self.normal * usual, None

        steps = np.diff(along)
        if steps.min() < 1e-3:
            raise GeometryError("two slices lie at the same position and nothing tells them apart")

        inside = ((gone > along[0]) & (gone < along[-1])).sum()
        if inside and self.gaps == "refuse":
            raise GeometryError(
                f"{inside} of {len(planes) + len(lost)} slices cannot be read, each for the reason "
                "in its own line, and leave a gap",
                RESAMPLE,
            )

        straight = self._straight(positions, along)
        worst = float(steps[np.abs(steps - usual).argmax()])
        even = abs(worst - usual) <= max(TOLERANCE * usual, ROUNDING)
        if not even and self.gaps == "refuse":
            raise GeometryError(
                f"slices are {usual:.2f} mm apart but one gap is {worst:.2f} mm",
                RESAMPLE if worst <= WIDEST * usual else None,
            )
        if worst > WIDEST * usual:
            raise GeometryError(f"a gap of {worst:.2f} mm is too wide to be interpolated")
        if even and straight:
            return (positions[-1] - positions[0]) / (len(planes) - 1), None

        return self.normal * usual, along

    def _straight(self, positions: np.ndarray, along: np.ndarray) -> bool:
        """Whether all slices lie on one line along the normal; refused where that is asked for."""
        line = (positions[-1] - positions[0]) / (along[-1] - along[0])
        off = positions - positions[0] - (along - along[0])[:, None] * line
        shift = float(np.linalg.norm(off, axis=1).max())
        if shift > max(SHIFTED * self.pixel, ROUNDING):
            if self.gaps == "refuse":
                raise GeometryError(
                    f"slices lie shifted against each other by up to {shift:.2f} mm", RESAMPLE
                )
            return False

        sideways = float(np.linalg.norm(line - self.normal))
        if sideways <= TOLERANCE or sideways * (along[-1] - along[0]) <= ROUNDING:
            return True

        angle = float(np.degrees(np.arctan(sideways)))
        if self.gaps == "refuse" or angle > STEEPEST:
            what = "the gantry is tilted" if self.ct else "the stack is sheared"
            raise GeometryError(
                f"{what} by {angle:.1f} degrees", RESAMPLE if angle <= STEEPEST else None
            )

        return False

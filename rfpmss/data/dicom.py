"""DICOM files to volumes: grouped, sorted along the normal, checked slice by slice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rfpmss.data.codestream import check_frames
from rfpmss.data.errors import (
    BombError,
    DataError,
    GeometryError,
    LocalizerError,
    UnreadableError,
    UnsupportedError,
)
from rfpmss.data.pixels import decode
from rfpmss.data.regular import interpolate, straighten
from rfpmss.data.sniff import bare_dicom
from rfpmss.data.volume import MAX_BYTES, Volume, check_size, orient

if TYPE_CHECKING:
    from pydicom import Dataset

TOLERANCE = 0.01
"""Largest relative deviation of slice distances, and of a unit vector's components."""

STEEPEST = 45.0
"""Degrees; no gantry tilts further."""
MAX_FRAMES = 100_000
"""More images in one file are not believed."""


@dataclass(frozen=True)
class Frame:
    """One image plane: where it lies and how to decode it."""

    data: Dataset
    number: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float


def read_file(path: Path, limit: int = MAX_BYTES, *, pixels: bool = True) -> Dataset:
    """Read one DICOM file; the pixels stay encoded, or with ``pixels=False`` on the disk.

    Raises:
        UnreadableError: if it is no DICOM file or ends too early.
        UnsupportedError: if it holds no image.
        BombError: if it is larger than ``limit`` or deflated beyond reason.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    check_size(path.stat().st_size, path.stat().st_size, limit)
    refuse_deflated_bomb(path, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with path.open("rb") as file:
                bare = bare_dicom(file.read(16))
            data = dcmread(path, stop_before_pixels=not pixels, force=bare)
            data.get("Rows")
    except InvalidDicomError:
        raise UnreadableError("the file is no DICOM file") from None
    except Exception:
        raise UnreadableError("the DICOM file is damaged") from None
    return data


def refuse_deflated_bomb(path: Path, limit: int) -> None:
    """Inflate a deflated data set in small steps, keeping nothing, until it is plausible."""
    import zlib

    with path.open("rb") as file:
        head = file.read(4096)
        start = head.find(b"1.2.840.10008.1.2.1.99")
        if start < 0 or head[128:132] != b"DICM":
            return
        length = int.from_bytes(head[140:144], "little") if head[132:136] == b"\2\0\0\0" else 0
        file.seek(144 + length)
        stream, total, stored = zlib.decompressobj(-15), 0, path.stat().st_size
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
        if pixels:
            check_frames(data, int(data.Rows), int(data.Columns), len(result))
        return result
    except DataError:
        raise
    except Exception:
        raise UnreadableError("the DICOM header holds values that cannot be") from None


def _frames(data: Dataset, limit: int, *, pixels: bool) -> list[Frame]:
    stored = ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if pixels else ("Rows",)
    if not any(name in data for name in stored):
        raise UnsupportedError("the DICOM file holds no image")
    kind = [str(part).upper() for part in data.get("ImageType", None) or []]
    if "LOCALIZER" in kind:
        raise LocalizerError("the image is a localizer")
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise UnsupportedError("the image is in colour, so no CT or MR")
    rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
    if rows < 1 or columns < 1:
        raise UnreadableError("the image has no rows or columns")
    count = int(data.get("NumberOfFrames", 1) or 1)
    if not 0 < count <= MAX_FRAMES:
        raise BombError(f"the file claims {count} frames")
    needed = rows * columns * count * max(int(data.get("BitsAllocated", 8)) // 8, 1)
    check_size(needed, len(data.PixelData) if "PixelData" in data else needed, limit)
    shared = _groups(data, "SharedFunctionalGroupsSequence", 0)
    result = []
    for number in range(count):
        own = _groups(data, "PerFrameFunctionalGroupsSequence", number)

        def find(group: str, name: str, own: Any = own) -> Any:
            for holder in (own, shared):
                items = holder.get(group) if holder is not None else None
                if items and items[0].get(name) is not None:
                    return items[0].get(name)
            return data.get(name)

        spacing = find("PixelMeasuresSequence", "PixelSpacing") or data.get("ImagerPixelSpacing")
        result.append(
            Frame(
                data=data,
                number=number,
                position=_vector(find("PlanePositionSequence", "ImagePositionPatient"), 3),
                orientation=_vector(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
                spacing=(float(spacing[0]), float(spacing[1])) if spacing else (1.0, 1.0),
                thickness=float(find("PixelMeasuresSequence", "SliceThickness") or 0.0),
                slope=float(find("PixelValueTransformationSequence", "RescaleSlope") or 1.0),
                intercept=float(
                    find("PixelValueTransformationSequence", "RescaleIntercept") or 0.0
                ),
            )
        )
    return result


def _groups(data: Dataset, name: str, number: int) -> Any:
    items = data.get(name)
    return items[number] if items and number < len(items) else None


def _vector(value: Any, length: int) -> np.ndarray | None:
    if value is None or len(value) != length:
        return None
    vector = np.array([float(item) for item in value])
    return vector if np.isfinite(vector).all() else None


def stacks(planes: Iterable[Frame]) -> list[list[Frame]]:
    """Split one series into parallel stacks.

    By orientation first; then by acquisition, echo or time point, but only where two planes share
    a position, so that a gap is never explained away. The stack with most planes comes first.
    """
    groups: list[list[Frame]] = []
    for plane in planes:
        for group in groups:
            if _parallel(plane, group[0]):
                group.append(plane)
                break
        else:
            groups.append([plane])
    result: list[list[Frame]] = []
    for group in groups:
        result += _untangle(group)
    return sorted(result, key=len, reverse=True)


def _untangle(group: list[Frame]) -> list[list[Frame]]:
    """Acquisitions, echoes or time points, if one of these explains repeated positions."""
    if not _repeats(group):
        return [group]
    for name in ("AcquisitionNumber", "EchoNumbers", "TemporalPositionIdentifier", "ImageType"):
        by: dict[str, list[Frame]] = {}
        for plane in group:
            by.setdefault(str(plane.data.get(name, "")), []).append(plane)
        if not any(_repeats(part) for part in by.values()):
            return list(by.values())
    return [group]


def _parallel(a: Frame, b: Frame) -> bool:
    if a.orientation is None or b.orientation is None:
        return a.orientation is None and b.orientation is None
    same = np.abs(a.orientation - b.orientation).max() < TOLERANCE
    return bool(same) and _size(a) == _size(b)


def _size(plane: Frame) -> tuple[int, int]:
    return int(plane.data.Rows), int(plane.data.Columns)


def _repeats(group: Sequence[Frame]) -> bool:
    places = [tuple(np.round(p.position, 3)) for p in group if p.position is not None]
    return len(set(places)) < len(places)


def assemble(group: Sequence[Frame], gaps: Literal["refuse", "resample"] = "refuse") -> Volume:
    """Sort one stack along its normal and decode it.

    Args:
        group: parallel planes of one series, any order.
        gaps: refuse a stack whose distances differ by more than 1 % or that is tilted, or
            interpolate it.

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
    row, column = first.orientation[:3], first.orientation[3:]
    if abs(np.linalg.norm(row) - 1) > 0.05 or abs(np.linalg.norm(column) - 1) > 0.05:
        raise GeometryError("the orientation vectors are not of length one")
    if abs(row @ column) > TOLERANCE:
        raise GeometryError("the orientation vectors are not at right angles")
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    normal = np.cross(row, column)
    planes = sorted(group, key=lambda plane: float(plane.position @ normal))  # type: ignore[operator]
    if any(np.abs(np.subtract(p.spacing, first.spacing)).max() > 1e-3 for p in planes):
        raise GeometryError("slices have different pixel spacings")
    if not all(0 < s < 1000 for s in first.spacing):
        raise GeometryError("the pixel spacing is not positive")
    step, along = _step(planes, normal, gaps)
    array = np.stack([decode(plane) for plane in planes])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 3] = planes[0].position
    if along is not None:
        offsets = np.stack([plane.position - planes[0].position for plane in planes])  # type: ignore[operator]
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


def _step(
    planes: Sequence[Frame], normal: np.ndarray, gaps: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The vector between slices, and their places along the normal where resampling is needed."""
    if len(planes) == 1:
        return normal * (planes[0].thickness or 1.0), None
    positions = np.stack([plane.position for plane in planes])  # type: ignore[misc]
    along = positions @ normal
    steps = np.diff(along)
    middle = float(np.median(steps))
    if steps.min() < 1e-3:
        raise GeometryError("two slices lie at the same position")
    line = (positions[-1] - positions[0]) / (len(planes) - 1)
    sideways = np.linalg.norm(line - (line @ normal) * normal)
    tilted = bool(sideways > TOLERANCE * middle)
    angle = float(np.degrees(np.arctan2(sideways, middle)))
    if tilted and (gaps == "refuse" or angle > STEEPEST):
        raise GeometryError(f"the gantry is tilted by {angle:.1f} degrees")
    worst = float(steps[np.abs(steps - middle).argmax()])
    if abs(worst - middle) > TOLERANCE * middle:
        if gaps == "refuse":
            raise GeometryError(f"slices are {middle:.2f} mm apart but one gap is {worst:.2f} mm")
        if worst > 4 * middle:
            raise GeometryError(f"a gap of {worst:.2f} mm is too wide to be interpolated")
    elif not tilted:
        return line, None
    return normal * middle, along

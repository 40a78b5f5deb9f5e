"""Volume: voxels with their place in the patient, and how NIfTI becomes one."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Shaped
from scipy import ndimage

from rfpmss.common.files import opened
from rfpmss.data.errors import (
    CORRECT,
    NOTHING,
    BombError,
    ChoiceError,
    GeometryError,
    UnreadableError,
    ValuesError,
)
from rfpmss.data.study import AXES

if TYPE_CHECKING:
    from nibabel import Nifti1Header

MIB = 1 << 20
MAX_BYTES = 1024 * MIB
"""Largest decoded image, bytes."""
SMALL = 64 * MIB
"""Below this no compression ratio is suspicious."""
LONGEST = 100
"""Longer pixels are not believed; making them square would take as much more memory."""
MAX_RATIO = 200
"""Decoded bytes per stored byte that a genuine large image does not exceed."""


@dataclass(frozen=True)
class Volume:
    """Voxels indexed [z, y, x] with axes closest to Superior, Posterior, Left.

    An axial slice ``array[k]`` shows the patient's right on the left of the image.
    """

    array: Shaped[np.ndarray, "z y x"]
    """Voxel values."""
    affine: Float64[np.ndarray, "4 4"]
    """From (x, y, z) voxel indices to millimetres to the Left, Posterior, Superior."""
    notes: tuple[str, ...] = ()
    """What was mended or decided in reading it."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along x, y, z, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def check_size(decoded: int, stored: int, limit: int = MAX_BYTES) -> None:
    """Refuse an image before anything is allocated for it.

    Args:
        decoded: bytes that decoding would need.
        stored: bytes of the file.
        limit: largest decoded size in bytes.

    Raises:
        BombError: if it is larger than ``limit``, or large and implausibly compressed.
    """
    if decoded > limit:
        raise BombError(
            f"the image needs {decoded // MIB} MiB decoded, the limit is {limit // MIB} MiB"
        )
    if decoded > SMALL and decoded > MAX_RATIO * stored:
        raise BombError(
            f"the image needs {decoded // MIB} MiB decoded from {max(stored // 1024, 1)} KiB"
        )


def read_nifti(path: Path, limit: int = MAX_BYTES, frame: int | None = None) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file in canonical orientation.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        limit: largest decoded size in bytes.
        frame: which volume of a 4-D file; None takes the only one there is.

    Raises:
        UnreadableError: if the bytes end early or are no NIfTI.
        BombError: if decoding would need implausibly much memory.
        GeometryError: if the affine is no rotation and scale, or the dimensions are not usable.
        ChoiceError: if there are several volumes and ``frame`` names none of them.
        ValuesError: if voxels are not finite.
    """
    data = read_bytes(path, limit)
    header = header_of(data)
    try:
        kind = header.get_data_dtype()
        offset = int(header["vox_offset"])
        shape = tuple(int(n) for n in header.get_data_shape())
    except Exception:
        raise UnreadableError("the NIfTI header is damaged") from None

    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise UnreadableError("the file is no single-file NIfTI")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise UnreadableError("the dimensions in the NIfTI header are impossible")

    array = scaled(voxels(data, offset, kind, shape, frame), header)
    array, filled = fill_background(array)
    affine, doubts = placed(header)
    return replace(orient(array, affine), notes=(*filled, *doubts))


def scaled(array: np.ndarray, header: Nifti1Header) -> np.ndarray:
    """Stored values to those that the slope and the intercept of the header make of them."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0 or (slope, intercept) == (1.0, 0.0):
        return array
    if not np.isfinite(intercept):
        raise ValuesError("the scale of the voxels is not finite")

    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def fill_background(array: Shaped[np.ndarray, "*shape"]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels that are not numbers, where they are the background, set to the smallest value.

    Programs that strip the skull mark what is outside by NaN. It is the background where all of it
    hangs together with the border of the image.

    Returns:
        The array, and a note where something was filled.

    Raises:
        ValuesError: if voxels are infinite, or some inside of the image are not numbers.

    Example:
        >>> image = np.array([[[np.nan, 5.0], [np.nan, 7.0]]])
        >>> fill_background(image)[0].tolist()
        [[[5.0, 5.0], [5.0, 7.0]]]
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array, ()

    empty = np.isnan(array)
    if empty.all() or np.isinf(array).any():
        raise ValuesError("voxels are not finite")

    parts, count = ndimage.label(empty)  # type: ignore[misc]
    long = [axis for axis, size in enumerate(array.shape) if size > 1]
    edges = [np.take(parts, end, axis) for axis in long for end in (0, -1)]
    where = "all around" if all(edge.any() for edge in edges) else "at the edge of"
    if len(set(np.concatenate([edge.ravel() for edge in edges]).tolist()) - {0}) < count:
        raise ValuesError("voxels inside of the image are not finite")

    low = array[~empty].min()
    note = f"{empty.mean():.0%} of the voxels, {where} the image, are no numbers: set to {low:g}"
    return np.where(empty, low, array), (note,)


def placed(header: Nifti1Header) -> tuple[np.ndarray, tuple[str, ...]]:
    """The sform, else the qform, else voxels of the header's size; and what is doubtful of it.

    Raises:
        GeometryError: if both are given and one is the mirror image of the other, or none that is
            given spans three directions.
    """
    given = [form for form in (_form(header, "sform"), _form(header, "qform")) if form is not None]
    sound = [form for form in given if _spans(form)]
    if not given:
        note = "the header does not say how the image lies; its axes are taken for Left, Anterior, "
        return header.get_base_affine(), (note + "Superior",)

    if not sound:
        return given[0], ()  # refused by `orient` with its reason
    if len(given) > len(sound):
        return sound[0], ("one of the header's two transforms is unusable; the other is taken",)
    if len(sound) == 1:
        return sound[0], ()

    first, second = (form[:3, :3] for form in sound)
    if np.linalg.det(first) * np.linalg.det(second) < 0:
        raise GeometryError(
            "sform and qform of the header are mirror images of each other, so left and right are "
            "not known",
            CORRECT,
        )

    ends = np.array([int(n) for n in header["dim"][1:4]]) * [[0, 0, 0], [1, 1, 1]]
    apart = np.linalg.norm(ends @ (first - second).T + (sound[0] - sound[1])[:3, 3], axis=1).max()
    if apart > np.linalg.norm(first, axis=0).max():
        return sound[0], ("sform and qform of the header differ; the sform is taken",)

    return sound[0], ()


def _form(header: Nifti1Header, name: str) -> np.ndarray | None:
    """A transform of the header; None if its code says that it is not set."""
    if int(header[f"{name}_code"]) <= 0:
        return None

    try:
        return np.asarray(getattr(header, f"get_{name}")(), np.float64)
    except Exception:
        return np.full((4, 4), np.nan)


def _spans(affine: np.ndarray) -> bool:
    """Whether an affine is finite and its columns are three directions."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths > 1e-6).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The unpacked bytes of a NIfTI file, never more than its own header accounts for.

    Raises:
        UnreadableError: if the gzip data or the header is damaged.
        BombError: if unpacking would need implausibly much memory.
    """
    stored = path.stat().st_size
    with opened(path) as file:
        start = file.read(2)
        file.seek(0)
        if start != b"\x1f\x8b":
            check_size(stored, stored, limit)
            return file.read()
        head = zlib.decompressobj(31)
        try:
            first = head.decompress(file.read(4096), 1024)
        except zlib.error:
            raise UnreadableError("the gzip data is damaged") from None
        needed = _needed(first)
        check_size(needed, stored, limit)
        file.seek(0)
        return inflate(file.read(), needed)


def inflate(data: bytes, needed: int) -> bytes:
    """The first ``needed`` bytes of gzip data, whose checksum is verified."""
    parts: list[bytes] = []
    total = 0
    while data and total < needed:
        stream = zlib.decompressobj(31)
        try:
            part = stream.decompress(data, needed - total)
        except zlib.error:
            raise UnreadableError("the gzip data is damaged") from None
        parts.append(part)
        total += len(part)
        if total >= needed:
            # The checksum stands behind the last byte: read on, but keep nothing.
            _finish(stream)
            break
        if not stream.eof:
            break
        data = stream.unused_data

    if total < needed:
        raise UnreadableError("the gzip data ends too early")

    return b"".join(parts)


def _finish(stream: zlib._Decompress) -> None:
    try:
        stream.decompress(stream.unconsumed_tail, 1024)
    except zlib.error:
        raise UnreadableError("the checksum of the gzip data is wrong") from None
    if not stream.eof and not stream.unconsumed_tail:
        raise UnreadableError("the gzip data ends too early")


def header_of(data: bytes) -> Nifti1Header:
    """The header alone, NIfTI-1 or NIfTI-2 of either byte order; extensions are not looked at.

    Extensions lie between the header and ``vox_offset`` and may be as long as they like, so a
    parser that follows them needs more than the first bytes of the file.
    """
    two = data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    kind = nib.Nifti2Header if two else nib.Nifti1Header
    try:
        return kind(data[: kind.sizeof_hdr], check=False)
    except Exception:
        raise UnreadableError("the NIfTI header is damaged") from None


def _needed(first: bytes) -> int:
    """Bytes of a NIfTI file by its header."""
    header = header_of(first)
    try:
        size = header.get_data_dtype().itemsize
        offset = int(header["vox_offset"])
        dims = [int(n) for n in header["dim"]]
    except Exception:
        raise UnreadableError("the NIfTI header is damaged") from None

    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1 or offset < 0:
        raise UnreadableError("the dimensions in the NIfTI header are impossible")

    total = size
    for n in dims[1 : dims[0] + 1]:
        total *= n

    return total + offset


def _three(shape: tuple[int, ...], frame: int | None) -> tuple[int, ...]:
    if not shape or min(shape) < 1:
        raise UnreadableError("the dimensions in the NIfTI header are impossible")

    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]

    if len(shape) == 4 and frame is not None:
        return shape
    if len(shape) > 3:
        raise ChoiceError(f"the file holds {np.prod(shape[3:])} volumes and none was chosen")
    if len(shape) < 2:
        raise GeometryError("the file holds no image, only a line of voxels", NOTHING)

    return shape if len(shape) == 3 else (*shape, 1)


def voxels(
    data: bytes, offset: int, kind: np.dtype, shape: tuple[int, ...], frame: int | None
) -> np.ndarray:
    """One volume [i, j, k] of the bytes of a file, which run along i first.

    Args:
        data: of the file, unpacked.
        offset: bytes before the first voxel.
        kind: type of the voxels, with its byte order.
        shape: of the whole file.
        frame: which volume of four dimensions.
    """
    shape = _three(shape, frame)
    if kind.kind not in "iuf":
        raise ValuesError(f"voxels are of the type {kind}, not plain numbers")

    count = 1
    for n in shape:
        count *= n

    if offset < 0 or offset + count * kind.itemsize > len(data):
        raise UnreadableError("the voxels end too early")

    array = np.frombuffer(data, kind, count, offset).reshape(shape, order="F")
    if array.ndim == 4:
        if not -array.shape[3] <= (frame or 0) < array.shape[3]:
            raise ChoiceError(f"the file holds {array.shape[3]} volumes, not volume {frame}")
        array = array[..., frame or 0]

    return array.astype(kind.newbyteorder("="), copy=False)


def orient(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Flip and swap axes so that they run closest to those of ``rfpmss.data.study.AXES``.

    Args:
        array: voxels indexed [i, j, k].
        affine: from (i, j, k) to millimetres Right, Anterior, Superior, as NIfTI has it.
    """
    if affine is None or not np.isfinite(affine).all():
        raise GeometryError("the affine is not finite", CORRECT)
    if not _spans(affine):
        raise GeometryError("the affine does not span three directions", CORRECT)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = nib.orientations.io_orientation(affine)
        to = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(AXES))
        turned = nib.orientations.apply_orientation(array, to)
        moved = affine @ nib.orientations.inv_ornt_aff(to, array.shape)

    x, y = np.linalg.norm(moved[:3, :2], axis=0)
    if max(x, y) > LONGEST * min(x, y):
        raise GeometryError(f"pixels are more than {LONGEST} times as long as wide", CORRECT)

    return Volume(turned.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ moved)

"""Volume: voxels with their place in the patient, and how NIfTI becomes one."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Shaped

from rfpmss.data.errors import BombError, ChoiceError, GeometryError, UnreadableError, ValuesError

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
        affine = np.asarray(header.get_best_affine(), np.float64)
        shape = tuple(int(n) for n in header.get_data_shape())
    except Exception:
        raise UnreadableError("the NIfTI header is damaged") from None
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise UnreadableError("the file is no single-file NIfTI")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise UnreadableError("the dimensions in the NIfTI header are impossible")
    shape = _three(shape, frame)
    array = _voxels(data, offset, kind, shape, frame)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope not in (0.0,) and (slope, intercept) != (1.0, 0.0):
        if not np.isfinite(intercept):
            raise ValuesError("the scale of the voxels is not finite")
        array = array.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValuesError("voxels are not finite")
    return orient(array, affine)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The unpacked bytes of a NIfTI file, never more than its own header accounts for.

    Raises:
        UnreadableError: if the gzip data or the header is damaged.
        BombError: if unpacking would need implausibly much memory.
    """
    stored = path.stat().st_size
    with path.open("rb") as file:
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
        return _inflate(file.read(), needed)


def _inflate(data: bytes, needed: int) -> bytes:
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
    import nibabel as nib

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
        raise GeometryError("the file holds no image, only a line of voxels")
    return shape if len(shape) == 3 else (*shape, 1)


def _voxels(
    data: bytes, offset: int, kind: np.dtype, shape: tuple[int, ...], frame: int | None
) -> np.ndarray:
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
    """Flip and swap axes so that they run closest to Left, Posterior, Superior.

    Args:
        array: voxels indexed [i, j, k].
        affine: from (i, j, k) to millimetres Right, Anterior, Superior, as NIfTI has it.
    """
    import nibabel as nib

    if affine is None or not np.isfinite(affine).all():
        raise GeometryError("the affine is not finite")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths < 1e-6).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise GeometryError("the affine does not span three directions")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = nib.orientations.io_orientation(affine)
        to = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt("LPS"))
        turned = nib.orientations.apply_orientation(array, to)
        moved = affine @ nib.orientations.inv_ornt_aff(to, array.shape)
    x, y = np.linalg.norm(moved[:3, :2], axis=0)
    if max(x, y) > LONGEST * min(x, y):
        raise GeometryError(f"pixels are more than {LONGEST} times as long as wide")
    return Volume(turned.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ moved)

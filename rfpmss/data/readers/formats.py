"""Volumes in one file, or in a header and its voxels: NIfTI, Analyze, MGH, MINC, NRRD, MetaImage.

NIfTI, its pairs, Analyze and MGH are read with nibabel's headers; MINC 1 by nibabel; NRRD,
MetaImage and MINC 2 by SimpleITK, the extra ``formats``. Every one tells its size in the header,
which is checked before memory is taken.
"""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from rfpmss.common.files import opened, regular
from rfpmss.data.errors import (
    CONVERT,
    FORMATS,
    NOTHING,
    PUT_BACK,
    BombError,
    ChoiceError,
    CodecError,
    DataError,
    GeometryError,
    IncompleteError,
    PathError,
    UnreadableError,
    UnsupportedError,
    ValuesError,
)
from rfpmss.data.readers.volume import (
    MAX_BYTES,
    Volume,
    check_size,
    fill_background,
    header_of,
    inflate,
    orient,
    placed,
    read_nifti,
    scaled,
    voxels,
)

Format = Literal["nifti", "pair", "analyze", "mgh", "minc1", "itk"]
PAIRS = (".hdr", ".hdr.gz")
VOXELS = (".img", ".img.gz", ".raw", ".raw.gz", ".zraw", ".bin", ".dat", ".rec")
"""Names of files with voxels only, which a header beside them names."""
DETACHED = (".mhd", ".nhdr")
HEADER = 1 << 20
"""Bytes in which the text of a header must end."""


@dataclass(frozen=True)
class Head:
    """What a header tells."""

    shape: tuple[int, ...]
    """Voxels along i, j, k and further axes."""
    dtype: np.dtype
    affine: np.ndarray
    """From (i, j, k) to millimetres Right, Anterior, Superior."""


def format_of(name: str, start: bytes) -> Format | None:
    """The format of a file by its first 1,024 bytes, unpacked, and its name; None: none of these.

    Args:
        name: of the file, in lower case.
        start: its first bytes.
    """
    if start[344:347] == b"n+1" or start[4:7] == b"n+2":
        return "nifti"

    if name.endswith(PAIRS):
        if start[344:347] == b"ni1" or start[4:7] == b"ni2":
            return "pair"
        return "analyze" if start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") else None

    minc = name.endswith(".mnc")
    meta = name.endswith((".mha", ".mhd")) and re.search(rb"^\s*NDims\s*=", start, re.MULTILINE)
    fits: dict[Format, bool] = {
        "mgh": name.endswith((".mgh", ".mgz", ".mgh.gz")) and start[:4] == b"\0\0\0\1",
        "minc1": minc and start[:4] in (b"CDF\1", b"CDF\2"),
        "itk": bool(start[:7] == b"NRRD000" or meta or (minc and start[:4] == b"\x89HDF")),
    }
    return next((kind for kind, fit in fits.items() if fit), None)


def starting(path: Path) -> bytes:
    """The first bytes of a file, unpacked if it is gzip data."""
    with opened(path) as file:
        start = file.read(4096)

    if start[:2] != b"\x1f\x8b":
        return start

    try:
        return zlib.decompressobj(31).decompress(start, 1024)
    except zlib.error:
        return b""


def head_of(path: Path) -> Head | None:
    """Shape, type of voxels and place by the header alone; None where it cannot be read."""
    try:
        return _head_of(path)
    except (DataError, OSError, ValueError, TypeError, KeyError):
        return None  # the reader says later what is wrong


def _head_of(path: Path) -> Head:
    start = starting(path)
    kind = format_of(path.name.lower(), start)
    if kind == "itk":
        reader, shape, affine = _itk_head(path, MAX_BYTES)
        return Head(shape, _itk_type(reader), affine)

    header: Any
    if kind in (None, "nifti", "pair"):
        header = header_of(start)
        return Head(_shape(header), header.get_data_dtype(), placed(header)[0])

    if kind == "minc1":
        image = _minc(path, MAX_BYTES)
        return Head(tuple(image.shape), np.dtype(np.float32), image.affine)

    if kind == "analyze":
        header = _analyze(start)
        return Head(_shape(header), header.get_data_dtype(), _analyze_affine(path))

    header = _mgh(start)
    affine = np.asarray(header.get_best_affine(), np.float64)
    return Head(_shape(header), header.get_data_dtype(), affine)


def read_volume(path: Path, limit: int = MAX_BYTES, frame: int | None = None) -> Volume:
    """Read a volume of any of the formats in canonical orientation.

    Args:
        path: the file, of a pair the header.
        limit: largest decoded size in bytes.
        frame: which volume of a 4-D file; None takes the only one there is.

    Raises:
        UnreadableError: if the bytes end early or the header is damaged.
        IncompleteError: if the file with the voxels is missing.
        PathError: if the header names one outside of its own folder.
        BombError: if decoding would need implausibly much memory.
        GeometryError: if the affine is no rotation and scale.
        ChoiceError: if there are several volumes and ``frame`` names none of them.
        CodecError: if SimpleITK is needed and not installed.
        ValuesError: if voxels are not finite.
    """
    kind = format_of(path.name.lower(), starting(path))
    if kind in ("pair", "analyze"):
        return _read_pair(path, limit, frame)
    if kind == "mgh":
        return _read_mgh(path, limit, frame)

    if kind == "minc1":
        image = _minc(path, limit)
        return _volume(np.asarray(_loaded(image)), image.affine, frame, ())

    if kind == "itk":
        return _read_itk(path, limit, frame)

    return read_nifti(path, limit, frame)


def belongs_to(path: Path) -> Path | None:
    """The header beside a file of voxels that reads it; None where no such header names it."""
    name = path.name.lower()
    if not name.endswith(VOXELS):
        return None

    stem = path.name[: len(name.removesuffix(".gz").rpartition(".")[0])]
    for other in sorted(path.parent.glob(f"{_escaped(stem)}.*")):
        if other.name.lower().endswith(PAIRS) and name.endswith((".img", ".img.gz")):
            return other

    named = _detached(path.parent, path.parent.stat().st_mtime_ns)
    return named.get(path.name)


@lru_cache(maxsize=16)
def _detached(folder: Path, _changed: int) -> dict[str, Path]:
    """The files of voxels that headers of a folder name, each with its header."""
    found: dict[str, Path] = {}
    for header in sorted(folder.iterdir()):
        if header.name.startswith("._"):
            continue
        if header.suffix.lower() in DETACHED and not header.is_symlink() and header.is_file():
            try:
                if name := _data_file(header):
                    found.setdefault(name, header)
            except (DataError, OSError):
                continue

    return found


def _escaped(stem: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


def _shape(header: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in header.get_data_shape())


# NIfTI pairs and Analyze.


def _analyze(start: bytes) -> Any:
    try:
        return nib.Spm2AnalyzeHeader(start[:348], check=False)
    except Exception:
        raise UnreadableError("the Analyze header is damaged") from None


def _read_pair(path: Path, limit: int, frame: int | None) -> Volume:
    start = starting(path)
    analyze = format_of(path.name.lower(), start) == "analyze"
    header = _analyze(start) if analyze else header_of(start)
    try:
        offset, kind, shape = int(header["vox_offset"]), header.get_data_dtype(), _shape(header)
    except Exception:
        raise UnreadableError("the header is damaged") from None

    data = _packed(_image_of(path), kind, shape, offset, limit)
    array = voxels(data, offset, kind, shape, frame)
    if not analyze:
        return _finished(scaled(array, header), *placed(header))

    slope, intercept = header.get_slope_inter()
    if slope not in (None, 1.0) or intercept:
        array = array.astype(np.float32) * np.float32(slope or 1) + np.float32(intercept or 0)

    note = "Analyze does not say which side is left: x is taken to run to the left, as in nibabel"
    return _finished(array, _analyze_affine(path), (note,))


def _analyze_affine(path: Path) -> np.ndarray:
    """By the header, or by the ``.mat`` file of SPM beside it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nib.Spm2AnalyzeImage.from_filename(str(regular(path)))
            return np.asarray(image.affine, np.float64)
    except Exception:
        raise UnreadableError("the header or its .mat file is damaged") from None


def _image_of(path: Path) -> Path:
    """The voxels' file of a pair, in the same folder and no link."""
    stem = path.name[: len(path.name.lower().removesuffix(".gz").removesuffix(".hdr"))]
    for other in sorted(path.parent.glob(f"{_escaped(stem)}.*")):
        if other.name[len(stem) :].lower() in (".img", ".img.gz"):
            return _plain(other)

    raise IncompleteError("the header has no file of voxels (.img) beside it", PUT_BACK)


def _plain(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise PathError("the file of the voxels is a link or no file")
    return path


def _packed(path: Path, kind: np.dtype, shape: tuple[int, ...], offset: int, limit: int) -> bytes:
    """The bytes of a file up to the last voxel, unpacked, never more."""
    if not shape or min(shape) < 1 or offset < 0:
        raise UnreadableError("the dimensions in the header are impossible")

    needed = offset + kind.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    check_size(needed, path.stat().st_size, limit)
    with opened(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return inflate(file.read(), needed) if packed else file.read(needed)


def _finished(array: np.ndarray, affine: np.ndarray, notes: tuple[str, ...]) -> Volume:
    array, filled = fill_background(array)
    return replace(orient(array, affine), notes=(*filled, *notes))


# FreeSurfer.


def _mgh(start: bytes) -> Any:
    try:
        return MGHHeader.from_fileobj(io.BytesIO(start[:284] + bytes(20)), check=False)
    except Exception:
        raise UnreadableError("the MGH header is damaged") from None


def _read_mgh(path: Path, limit: int, frame: int | None) -> Volume:
    header = _mgh(starting(path))
    try:
        kind, shape = header.get_data_dtype(), _shape(header)
        affine = np.asarray(header.get_best_affine(), np.float64)
    except Exception:
        raise UnreadableError("the MGH header is damaged") from None

    data = _packed(path, kind, shape, 284, limit)
    return _finished(voxels(data, 284, kind, shape, frame), affine, ())


# MINC 1.


def _minc(path: Path, limit: int) -> Any:
    check_size(path.stat().st_size, path.stat().st_size, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nib.Minc1Image.from_filename(str(regular(path)))
    except Exception:
        raise UnreadableError("the MINC file is damaged") from None

    needed = 8 * int(np.prod([int(n) for n in image.shape], dtype=object))
    check_size(needed, path.stat().st_size, limit)
    return image


def _loaded(image: Any) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(image.dataobj)
    except Exception:
        raise UnreadableError("the MINC file is damaged") from None


def _volume(
    array: np.ndarray, affine: np.ndarray, frame: int | None, notes: tuple[str, ...]
) -> Volume:
    """One volume of an array with axes i, j, k and perhaps a fourth."""
    if array.dtype.kind not in "iuf":
        raise ValuesError(f"voxels are of the type {array.dtype}, not plain numbers")

    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]

    if array.ndim == 2:
        array = array[..., None]

    if array.ndim == 4:
        if frame is None:
            raise ChoiceError(f"the file holds {array.shape[3]} volumes and none was chosen")
        if not 0 <= frame < array.shape[3]:
            raise ChoiceError(f"the file holds {array.shape[3]} volumes, not volume {frame}")
        array = array[..., frame]

    if array.ndim != 3:
        raise GeometryError("the file holds no image of three dimensions", NOTHING)

    return _finished(array, np.asarray(affine, np.float64), notes)


# NRRD, MetaImage and MINC 2.


def _text(path: Path) -> list[str]:
    """Lines of a text header, up to where the voxels begin.

    Raises:
        UnreadableError: if that place is not found, so that nothing after it goes unseen.
    """
    with opened(path) as file:
        start = file.read(HEADER)

    nrrd = start[:4] == b"NRRD"
    lines = []
    for line in start.split(b"\n"):
        text = line.rstrip(b"\r").decode("latin-1")
        if nrrd and not text:
            return lines
        lines.append(text)
        if not nrrd and re.match(r"\s*ElementDataFile\s*[:=]", text):
            return lines

    if not nrrd or len(start) == HEADER:
        raise UnreadableError("the header has no end")

    return lines


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    for line in _text(path):
        found = re.match(r"\s*([A-Za-z][A-Za-z0-9 _]*?)\s*(?::=|:|=)\s*(.*?)\s*$", line)
        if found and not line.startswith("#"):
            yield found[1].lower().replace(" ", ""), found[2]


def _data_file(path: Path) -> str | None:
    """The file of voxels that a header of NRRD or MetaImage names; None: they follow the header.

    Raises:
        PathError: if it lies elsewhere than beside the header.
        UnsupportedError: if there are several.
    """
    names = [value for name, value in _fields(path) if name in ("datafile", "elementdatafile")]
    if not names:
        return None
    if len(names) > 1:
        raise UnreadableError("the header names its voxels twice")

    name = names[0]
    if name.upper() in ("LOCAL", ""):
        return None
    if name.upper().startswith("LIST") or "%" in name:
        raise UnsupportedError("the voxels are spread over several files", CONVERT)
    if re.search(r"[/\\\0]", name) or name in (".", "..") or re.match(r"[A-Za-z]:", name):
        raise PathError("the header names a file of voxels outside of its own folder")
    if not (path.parent / name).exists():
        raise IncompleteError("the file of voxels that the header names is not there", PUT_BACK)

    _plain(path.parent / name)
    return name


def _itk() -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise CodecError("files of this kind are read by SimpleITK", FORMATS) from None
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003
    return SimpleITK


def _itk_head(path: Path, limit: int) -> tuple[Any, tuple[int, ...], np.ndarray]:
    """A reader that has read the header, the shape, and the affine to Right, Anterior, Superior."""
    stored = path.stat().st_size
    if path.suffix.lower() != ".mnc" and (name := _data_file(path)):
        stored += (path.parent / name).stat().st_size

    sitk = _itk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(regular(path)))
    minc = path.suffix.lower() == ".mnc"
    reader.SetImageIO("MINCImageIO" if minc else _reader_of(path))

    try:
        with _quiet():
            reader.ReadImageInformation()
        shape = tuple(int(n) for n in reader.GetSize())
        parts = int(reader.GetNumberOfComponents())
        size = _itk_type(reader).itemsize
        n = len(shape)
        affine = np.eye(4)
        direction = np.array(reader.GetDirection(), np.float64).reshape(n, n)
        three = min(n, 3)
        affine[:three, :three] = (direction @ np.diag(reader.GetSpacing()))[:three, :three]
        affine[:three, 3] = reader.GetOrigin()[:three]
    except DataError:
        raise
    except Exception:
        raise UnreadableError("the header is damaged") from None

    if not shape or min(shape) < 1:
        raise UnreadableError("the dimensions in the header are impossible")

    needed = size * parts * int(np.prod(shape, dtype=object))
    check_size(needed, stored, limit)
    if parts > 1:
        shape = (*shape[:3], parts)

    return reader, shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the standard streams: MetaIO and teem write there by themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, saved in kept:
            os.dup2(saved, number)
            os.close(saved)
        os.close(nowhere)


def _reader_of(path: Path) -> str:
    return "NrrdImageIO" if starting(path)[:4] == b"NRRD" else "MetaImageIO"


def _itk_type(reader: Any) -> np.dtype:
    sitk = _itk()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    found = re.search(r"(8|16|32|64)-bit (unsigned|signed|float)", kind)
    if found is None:
        raise ValuesError("voxels are not plain numbers")

    code = {"unsigned": "u", "signed": "i", "float": "f"}[found[2]]
    return np.dtype(f"{code}{int(found[1]) // 8}")


def _read_itk(path: Path, limit: int, frame: int | None) -> Volume:
    reader, _, affine = _itk_head(path, limit)
    sitk = _itk()
    try:
        with _quiet():
            image = reader.Execute()
        parts = image.GetNumberOfComponentsPerPixel()
        array = sitk.GetArrayFromImage(image)  # [t, z, y, x], the components of a voxel last
    except MemoryError:
        raise BombError("the memory does not suffice") from None
    except Exception:
        raise UnreadableError("the voxels are damaged or end too early") from None

    if parts > 1:
        array = np.moveaxis(array, -1, 0)

    array = array.T
    fields = dict(_fields(path)) if path.suffix.lower() != ".mnc" else {}
    notes = _unplaced(fields) if fields else ()
    if parts > 1 and any(name.startswith("segment") for name in fields):
        # Layers of 3D Slicer: segments that overlap stand in layers of their own.
        return _finished(array.max(axis=-1), affine, notes)

    return _volume(array, affine, frame, notes)


def _unplaced(fields: dict[str, str]) -> tuple[str, ...]:
    known = ("space", "spacedirections", "transformmatrix", "orientation", "rotation")
    if any(name in fields for name in known):
        return ()
    return (
        "the header does not say how the image lies; its axes are taken for Left, Posterior, "
        "Superior",
    )

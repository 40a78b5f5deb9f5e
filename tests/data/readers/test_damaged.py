"""Damaged and hostile files: each ends in exactly one named error, bombs before any allocation."""

import gc
import gzip
import io
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from rfpmss.data.errors import (
    BombError,
    ChoiceError,
    DataError,
    GeometryError,
    ScaleError,
    TextError,
    UnforeseenError,
    UnreadableError,
    UnsupportedError,
    ValuesError,
)
from rfpmss.data.privacy.private import read_report
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.look import look
from rfpmss.data.readers.slides.slide import open_image, open_slide, region, tiles
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.readers.text.tables import read_table
from rfpmss.data.readers.volume import MIB, Volume, read_nifti
from tests.data.files import NIBABEL, PYDICOM, brain

RAW = nib.Nifti1Image(brain(), np.eye(4)).to_bytes()
CT = (PYDICOM / "CT_small.dcm").read_bytes()


def patched(data: bytes, offset: int, code: str, *values: float) -> bytes:
    changed = bytearray(data)
    struct.pack_into(code, changed, offset, *values)
    return bytes(changed)


def not_finite() -> bytes:
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[1, 1, 1] = np.nan
    return nib.Nifti1Image(voxels, np.eye(4)).to_bytes()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


ZIPPED = gzip.compress(RAW, mtime=0)
NIFTI: dict[str, tuple[bytes, type[DataError]]] = {
    "empty header": (b"\0" * 400, UnreadableError),
    "header cut": (RAW[:200], UnreadableError),
    "voxels cut": (RAW[:-7], UnreadableError),
    "magic overwritten": (patched(RAW, 344, "4s", b"xxxx"), UnreadableError),
    "two-file magic": (patched(RAW, 344, "4s", b"ni1\0"), UnreadableError),
    "unknown data type": (patched(RAW, 70, "<h", 9999), UnreadableError),
    "colour voxels": (patched(RAW, 70, "<hh", 128, 24), ValuesError),
    "complex voxels": (patched(RAW, 70, "<hh", 32, 64), DataError),
    "negative dimension": (patched(RAW, 42, "<h", -5), UnreadableError),
    "no dimension": (patched(RAW, 40, "<h", 0), UnreadableError),
    "nine dimensions": (patched(RAW, 40, "<h", 9), UnreadableError),
    "negative offset": (patched(RAW, 108, "<f", -64.0), UnreadableError),
    "offset not a number": (patched(RAW, 108, "<f", float("nan")), UnreadableError),
    "offset behind the end": (patched(RAW, 108, "<f", 1e6), UnreadableError),
    "affine not finite": (patched(RAW, 280, "<f", float("inf")), GeometryError),
    "pixels of ten metres": (patched(RAW, 280, "<f", 1e4), GeometryError),
    "affine of zeros": (patched(RAW, 280, "<12f", *[0.0] * 12), GeometryError),
    "voxels not finite": (not_finite(), ValuesError),
    "scale not finite": (patched(RAW, 112, "<ff", 2.0, float("nan")), ValuesError),
    "several volumes": ((NIBABEL / "functional.nii").read_bytes(), ChoiceError),
    "gzip cut": (ZIPPED[:-900], UnreadableError),
    "gzip without its checksum": (ZIPPED[:-8], UnreadableError),
    "gzip with a wrong checksum": (flipped(ZIPPED, len(ZIPPED) - 6), UnreadableError),
    "gzip body damaged": (flipped(ZIPPED, len(ZIPPED) // 2), UnreadableError),
    "gzip of nothing": (gzip.compress(b"", mtime=0), UnreadableError),
    "gzip head only": (b"\x1f\x8b", UnreadableError),
}


@pytest.mark.parametrize("name", NIFTI)
def test_a_damaged_nifti_ends_in_its_error(name: str, tmp_path: Path) -> None:
    content, kind = NIFTI[name]
    path = tmp_path / ("x.nii.gz" if content[:2] == b"\x1f\x8b" else "x.nii")
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        read_nifti(path)
    assert caught.value.cure in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def set_field(name: str, value: object) -> Callable[[], bytes]:
    def make() -> bytes:
        data = pydicom.dcmread(io.BytesIO(CT))
        setattr(data, name, value) if value is not None else delattr(data, name)
        file = io.BytesIO()
        data.save_as(file)
        return file.getvalue()

    return make


def overfull() -> bytes:
    """A run-length segment that unpacks to more than its plane: its decoder, in Rust, panics."""
    data = bytearray((PYDICOM / "MR_small_RLE.dcm").read_bytes())
    frame = data.index(b"\xfe\xff\x00\xe0", data.index(b"\xe0\x7f\x10\x00") + 20) + 8
    start = frame + int.from_bytes(data[frame + 4 : frame + 8], "little")
    data[start : start + 200] = b"\x81\0" * 100  # runs of 128 zeros: 12,800 of 4,096 pixels
    return bytes(data)


DICOM: dict[str, tuple[Callable[[], bytes], type[DataError]]] = {
    "run-length code that is too long": (overfull, UnreadableError),
    "text": (lambda: b"no image" * 99, UnreadableError),
    "header cut": (lambda: CT[:140], DataError),
    "pixels cut": (lambda: CT[:-5000], UnreadableError),
    "no pixels": (set_field("PixelData", None), UnreadableError),
    "no rows": (set_field("Rows", None), UnreadableError),
    "zero columns": (set_field("Columns", 0), UnreadableError),
    "more rows than pixels": (set_field("Rows", 500), UnreadableError),
    "colour": (set_field("SamplesPerPixel", 3), UnsupportedError),
    "no pixel format": (set_field("BitsAllocated", None), UnreadableError),
    "bits that cannot be": (set_field("BitsAllocated", 13), DataError),
    "endless frames": (set_field("NumberOfFrames", "999999999"), BombError),
    "huge plane": (lambda: set_field("Rows", 65535)(), UnreadableError),
    "slope not a number": (set_field("RescaleSlope", "NaN"), DataError),
    "orientation of zeros": (set_field("ImageOrientationPatient", [0] * 6), GeometryError),
    "shipped, truncated": ((PYDICOM / "MR_truncated.dcm").read_bytes, UnreadableError),
    "shipped, no image": ((PYDICOM / "rtplan.dcm").read_bytes, UnsupportedError),
    "shipped, a waveform": ((PYDICOM / "waveform_ecg.dcm").read_bytes, UnsupportedError),
}


@pytest.mark.parametrize("name", DICOM)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_dicom_ends_in_its_error(name: str, tmp_path: Path) -> None:
    content, kind = DICOM[name]
    (tmp_path / "x").write_bytes(content())
    with pytest.raises(kind) as caught:
        dicom.assemble(dicom.frames(dicom.read_file(tmp_path / "x")))
    assert caught.value.cure in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "CompressedSamples" not in str(caught.value)


@pytest.mark.parametrize("cut", range(0, len(CT), len(CT) // 12))
def test_a_dicom_cut_anywhere_gives_an_image_or_a_named_error(cut: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CT[:cut])
    try:
        volume = dicom.assemble(dicom.frames(dicom.read_file(tmp_path / "x")))
    except DataError:
        return
    whole = dicom.assemble(dicom.frames(dicom.read_file(PYDICOM / "CT_small.dcm")))
    np.testing.assert_array_equal(volume.array, whole.array)  # only padding was cut off


def tiff(**options: object) -> bytes:
    file = io.BytesIO()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    settings = {"photometric": "rgb", "resolution": (5000, 5000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(file, options.pop("image", image), **(settings | options))
    return file.getvalue()


def circular() -> bytes:
    """The first image directory names itself as the next one."""
    data = bytearray(tiff())
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


TIFF: dict[str, tuple[Callable[[], bytes], type[DataError]]] = {
    "no TIFF": (lambda: b"II*\0nonsense", UnreadableError),
    "head only": (lambda: tiff()[:8], UnreadableError),
    "directories in a circle": (circular, UnreadableError),
    "pixels cut": (lambda: tiff()[:6000], UnreadableError),
    "deflated pixels cut": (lambda: tiff(compression="zlib", tile=(32, 32))[:3000], DataError),
    "no scale": (lambda: tiff(resolutionunit="NONE"), ScaleError),
    "a screen's scale": (lambda: tiff(resolution=(72, 72), resolutionunit="INCH"), ScaleError),
    "grey": (
        lambda: tiff(image=np.zeros((32, 32), np.uint8), photometric="minisblack"),
        UnsupportedError,
    ),
    "16 bits": (lambda: tiff(image=np.zeros((32, 32, 3), np.uint16)), UnsupportedError),
    "blank glass": (lambda: tiff(image=np.full((32, 32, 3), 250, np.uint8)), UnsupportedError),
    "separate planes": (
        lambda: tiff(image=np.zeros((3, 32, 32), np.uint8), planarconfig="separate"),
        UnsupportedError,
    ),
}


@pytest.mark.parametrize("name", TIFF)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_slide_ends_in_its_error(name: str, tmp_path: Path) -> None:
    content, kind = TIFF[name]
    (tmp_path / "x.tif").write_bytes(content())
    with pytest.raises(kind) as caught, open_slide(tmp_path / "x.tif") as slide:
        tiles(slide, 32, 2.0, 1)
    assert caught.value.cure in str(caught.value)


def picture(kind: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((80, 80), 90).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "mpp", "kind"),
    [
        (picture("PNG")[:2000], 1.0, UnreadableError),
        (picture("JPEG")[:900], 1.0, UnreadableError),
        (b"\x89PNG\r\n\x1a\n", 1.0, UnreadableError),
        (picture("PNG", "L"), 1.0, UnsupportedError),
        (picture("PNG"), None, ScaleError),
    ],
)
def test_a_damaged_picture_ends_in_its_error(
    content: bytes, mpp: float | None, kind: type[DataError], tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(kind), open_image(tmp_path / "x", mpp):
        pass


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b" \n\t", TextError),
        (b"12 34 --", TextError),
        (b"mass\0left", TextError),
        (b"\xff\xff\xff\xff", TextError),
        (b"mass " * 300_000, TextError),
    ],
)
def test_a_text_that_is_no_report_ends_in_its_error(
    content: bytes, kind: type[DataError], tmp_path: Path
) -> None:
    (tmp_path / "r.txt").write_bytes(content)
    with pytest.raises(kind):
        read_report(tmp_path / "r.txt")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.txt", b"", UnreadableError),
        ("x.dcm", b"nothing", UnreadableError),
        ("x.png", b"nothing", UnreadableError),
        ("x.zip", b"PK\3\4...", UnsupportedError),
        ("x.gz", gzip.compress(b"text", mtime=0), UnsupportedError),
        ("README.txt", b"about", UnsupportedError),
    ],
)
def test_a_file_of_no_known_kind_ends_in_its_error(
    name: str, content: bytes, kind: type[DataError], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind):
        kind_of(tmp_path / name)


MAGICS = (
    *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\3\4", b"II*\0", b"MM\0*", b"II+\0", b"NRRD0004\n"),
    *(
        b"ObjectType = Image\n",
        b"\x5c\1\0\0",
        b"\0\0\1\x5c",
        b"\0\0\0\1",
        b"CDF\1",
        b"\x89HDF\r\n\x1a\n",
    ),
    *(
        b"%PDF-1.4\n",
        b"{\\rtf1",
        b"\x1f\x8b\x08",
        bytes(128) + b"DICM",
        b"\x08\0\5\0CS",
        b"\xff\xd8\xff",
    ),
)
"""How files of many kinds begin."""
ENDINGS = (
    ".doc",
    ".xls",
    ".nii",
    ".nii.gz",
    ".dcm",
    ".nrrd",
    ".mha",
    ".mgz",
    ".hdr",
    ".tif",
    ".txt",
    "",
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=900), st.sampled_from(ENDINGS))
def test_a_known_beginning_with_any_bytes_behind_it_ends_in_a_foreseen_error(
    magic: bytes, rest: bytes, ending: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"scan{ending}")
        path.write_bytes(magic + rest)
        error = None
        try:
            look(path, path.parent)
        except DataError as raised:
            error = raised

    assert not isinstance(error, UnforeseenError)


def test_an_old_office_file_with_sectors_of_no_size_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "befund.xls").write_bytes(MAGICS[0] + bytes(1000))
    with pytest.raises(UnreadableError, match="damaged"):
        kind_of(tmp_path / "befund.xls")


@pytest.mark.parametrize("name", ["T2.nii.gz", "t1.nii", "IM0001.dcm", "a.png", "b.mha", "c.img"])
def test_a_web_page_that_is_named_as_an_image_is_called_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\n<!DOCTYPE html><html><body>Please sign in</body></html>")
    with pytest.raises(UnreadableError, match="page of a web server"):
        look(tmp_path / name, tmp_path)


def zeros(count: int, wrap: int) -> bytes:
    """A deflate stream of ``count`` zero bytes, made without holding them."""
    stream = zlib.compressobj(9, zlib.DEFLATED, wrap)
    return b"".join(stream.compress(bytes(MIB)) for _ in range(count // MIB)) + stream.flush()


def nifti_bomb() -> bytes:
    head = patched(RAW[:352], 40, "<8h", 3, 2000, 2000, 500, 1, 1, 1, 1)
    return gzip.compress(head) + zeros(64 * MIB, 31)


def nifti_tail() -> bytes:
    """A small image before an endless tail, which must be left unread."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [stream.compress(RAW)] + [stream.compress(bytes(MIB)) for _ in range(100)]
    return b"".join(parts) + stream.flush()


def deflated_dicom() -> bytes:
    data = pydicom.dcmread(io.BytesIO(CT))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    data.save_as(file)
    whole = file.getvalue()
    length = 144 + int.from_bytes(whole[140:144], "little")
    return whole[:length] + zeros(160 * MIB, -15)


def tiff_bomb() -> bytes:
    data = tiff()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = tags[name]
            data = patched(data, tag.valueoffset, "<H" if tag.dtype == 3 else "<I", 60000)
    return data


def png_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    body = zeros(4 * MIB, 15)
    parts = [(b"IDAT" + body), b"IEND"]
    out = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    for part in parts:
        out += struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    return out


def workbook(*parts: bytes) -> bytes:
    """An XLSX file whose sheet is one part and any number of further ones."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w") as sheet,
    ):
        for part in parts:
            sheet.write(part)
    return file.getvalue()


SPACE = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
ROW = b'<row><c r="ZZZ1"><v>1</v></c></row>'


def read_workbook(path: Path) -> None:
    read_table(path.rename(path.with_name("x.xlsx")))


def read_slide(path: Path) -> None:
    with open_slide(path) as slide:
        tiles(slide, 32, 2.0, 1)


def read_strip(path: Path) -> None:
    with open_slide(path) as slide:
        region(slide.levels[0], (0, 0), (8, 8))


def read_image(path: Path) -> None:
    with open_image(path, 1.0):
        pass


BOMBS: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "nii.gz": (nifti_bomb, read_nifti),
    "deflated DICOM": (deflated_dicom, dicom.read_file),
    "TIFF overview": (tiff_bomb, read_slide),
    "TIFF strip": (tiff_bomb, read_strip),
    "PNG": (png_bomb, read_image),
    "workbook of blanks": (lambda: workbook(*[b" " * MIB] * 65), read_workbook),
    "workbook of empty cells": (
        lambda: workbook(SPACE, b"<c/>" * 3_500_000, b"</worksheet>"),
        read_workbook,
    ),
    "workbook of wide rows": (
        lambda: workbook(SPACE, ROW * 20_000, b"</worksheet>"),
        read_workbook,
    ),
}


def growth(read: Callable[[Path], object], path: Path) -> tuple[int, float]:
    """Bytes of memory taken at the most, by any library, and seconds of processor time."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is told by Linux alone")
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest use so far
    before, start = memory("VmHWM"), time.process_time()
    read(path)
    return memory("VmHWM") - before, time.process_time() - start


def memory(name: str) -> int:
    """A line of the process's own status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore")
def test_a_decompression_bomb_is_refused_at_once_before_memory_is_taken(
    name: str, tmp_path: Path
) -> None:
    make, read = BOMBS[name]
    (tmp_path / "x.nii.gz").write_bytes(make())

    def refused(path: Path) -> None:
        with pytest.raises(BombError):
            read(path)

    taken, seconds = growth(refused, tmp_path / "x.nii.gz")
    assert taken < 64 * MIB
    assert seconds < 1


def test_an_endless_tail_behind_an_image_is_left_unread(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(nifti_tail())
    read: list[Volume] = []
    taken, seconds = growth(lambda path: read.append(read_nifti(path)), tmp_path / "x.nii.gz")
    assert read[0].array.size == brain().size
    assert taken < 16 * MIB
    assert seconds < 1


@pytest.mark.filterwarnings("ignore")
def test_every_shipped_dicom_file_is_read_or_ends_in_a_named_error() -> None:
    read = 0
    for path in sorted(p for p in PYDICOM.rglob("*") if p.is_file() and p.stat().st_size < 400_000):
        try:
            dicom.assemble(dicom.frames(dicom.read_file(path))[:1])
            read += 1
        except DataError:
            continue
    assert read >= 30


@pytest.mark.filterwarnings("ignore")
def test_every_shipped_nifti_file_is_read_or_ends_in_a_named_error() -> None:
    read = set()
    for path in sorted(
        p for p in NIBABEL.iterdir() if p.name.endswith((".nii", ".nii.gz", ".hdr"))
    ):
        try:
            read_nifti(path)
            read.add(path.name)
        except DataError:
            continue
    assert {"anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"} <= read

"""Slides through OpenSlide and through tifffile show the same tissue at the same scale."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit
from scipy.ndimage import gaussian_filter

from rfpmss.data.errors import BombError, CodecError, DataError, ScaleError
from rfpmss.data.readers.slides import vendor
from rfpmss.data.readers.slides.slide import open_slide, region, tiles
from rfpmss.data.sources.hospital import scan, walk
from rfpmss.data.views import Choice, read_views

openslide = pytest.importorskip("openslide", reason="the extra slides is not installed")
imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
VLWholeSlide = "1.2.840.10008.5.1.4.1.1.77.1.6"


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.stack([gaussian_filter(rng.random((512, 512)), 3) for _ in range(3)], axis=-1)
    image = (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)
    image[..., 1] //= 2
    image[:100] = 245
    return image


def aperio(path: Path, image: np.ndarray, mpp: str = "|MPP = 0.5") -> Path:
    """A file of the form of Aperio: levels in tiles, a thumbnail in strips between them."""
    text = "Aperio Image Library v10\r\n512x512 [0,0 512x512] (256x256)|AppMag = 20" + mpp
    tiled = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, description=text, **tiled)
        file.write(image[::4, ::4], description=text, rowsperstrip=128, photometric="rgb",
                   compression="jpeg", metadata=None)  # fmt: skip
        file.write(image[::4, ::4], description=text, **tiled)
    return path


def test_openslide_and_tifffile_give_the_same_tiles_of_an_aperio_slide(
    tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = aperio(tmp_path / "x.svs", tissue)
    assert vendor.format_of(path) == "aperio"
    with open_slide(path) as slide:
        assert isinstance(slide.levels[0].page, vendor.Plane)
        assert [level.mpp for level in slide.levels] == [0.5, 2.0]
        first = tiles(slide, 64, 1.0, 3)
    monkeypatch.setattr(vendor, "format_of", lambda _: "")
    with open_slide(path) as slide:
        assert not isinstance(slide.levels[0].page, vendor.Plane)
        second = tiles(slide, 64, 1.0, 3)
    np.testing.assert_array_equal(first, second)


def test_a_slide_without_a_scale_needs_the_users_word(tissue: np.ndarray, tmp_path: Path) -> None:
    path = aperio(tmp_path / "x.svs", tissue, mpp="")
    with pytest.raises(ScaleError, match="--mpp"), open_slide(path):
        pass
    with open_slide(path, mpp=0.25) as slide:
        assert slide.levels[0].mpp == 0.25


def dicom_slide(folder: Path, image: np.ndarray, level: int) -> Path:
    """One level of a whole-slide DICOM series, tiles of 128 pixels in JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    image = image[:: 2**level, :: 2**level]
    rows, columns = image.shape[0] // 128, image.shape[1] // 128
    places = [
        np.s_[128 * r : 128 * r + 128, 128 * c : 128 * c + 128]
        for r in range(rows)
        for c in range(columns)
    ]
    frames = [imagecodecs.jpeg_encode(np.ascontiguousarray(image[p]), level=95) for p in places]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = VLWholeSlide, JPEGBaseline8Bit
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{level}"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = VLWholeSlide, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.StudyInstanceUID = "SM", "P1", "1.2.9"
    data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.8", "1.2.7"
    data.ImageType = ["ORIGINAL" if not level else "DERIVED", "PRIMARY", "VOLUME", "NONE"]
    data.Rows = data.Columns = 128
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = image.shape[:2]
    data.TotalPixelMatrixFocalPlanes = data.NumberOfOpticalPaths = 1
    data.NumberOfFrames, data.DimensionOrganizationType = str(len(frames)), "TILED_FULL"
    data.ImagedVolumeWidth = data.ImagedVolumeHeight = 512 * 0.0005
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    measures, groups, path = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.0005 * 2**level] * 2
    groups.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([groups])
    path.OpticalPathIdentifier = "0"
    data.OpticalPathSequence = Sequence([path])
    data.PixelData = encapsulate(frames)
    data["PixelData"].VR = "OB"
    data.save_as(folder / f"{level}.dcm", enforce_file_format=True)
    return folder


def test_a_whole_slide_dicom_series_is_pathology_at_its_own_scale(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    for level in (0, 1):
        dicom_slide(tmp_path / "src" / "P1", tissue, level)
    found = scan(tmp_path / "src", b"0123456789abcdef")
    source = found.studies[0].views[2]
    assert source is not None
    assert (source.kind, len(source.paths)) == ("slide", 2)
    with open_slide(source.paths[0]) as slide:
        assert [level.mpp for level in slide.levels] == pytest.approx([0.5, 1.0])
        picture = region(slide.levels[0], (0, 0), (512, 512))
    assert np.abs(picture.astype(int) - tissue).mean() < 8
    assert read_views("pathology", source, Choice(size=64, mpp=1.0)).images.shape == (1, 3, 64, 64)


def test_without_openslide_a_vendors_slide_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.mrxs").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Data0000.dat").write_bytes(b"tiles")
    assert [path.name for path in walk(tmp_path)] == ["x.mrxs"]
    monkeypatch.setattr(vendor, "format_of", lambda _: "")
    with pytest.raises(CodecError, match="extra slides"), open_slide(tmp_path / "x.mrxs"):
        pass


def test_an_aperio_slide_with_an_endless_tile_is_refused_before_openslide_reads_it(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    path = aperio(tmp_path / "x.svs", tissue)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        for name in ("TileWidth", "TileLength", "ImageWidth", "ImageLength"):
            tag = tags[name]
            size = {3: 2, 4: 4}[int(tag.dtype)]
            value = (60000).to_bytes(size, "little")
            data[tag.valueoffset : tag.valueoffset + size] = value
    path.write_bytes(data)
    with pytest.raises(BombError, match="decoded"), open_slide(path) as slide:
        tiles(slide, 64, 1.0, 1)


def test_a_damaged_tile_ends_in_a_named_error(tissue: np.ndarray, tmp_path: Path) -> None:
    path = aperio(tmp_path / "x.svs", tissue)
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\0" * size
    path.write_bytes(data)
    with pytest.raises(DataError), open_slide(path) as slide:
        region(slide.levels[0], (256, 256), (256, 256))

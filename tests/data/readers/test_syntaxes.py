"""Every transfer syntax and multi-frame form gives the voxels of the plain series."""

import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import uid

from rfpmss.data.errors import CodecError, UnreadableError
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.volume import Volume
from tests.data.files import PYDICOM, write_series

SYNTAXES = {
    "implicit": uid.ImplicitVRLittleEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "RLE": uid.RLELossless,
    "JPEG 2000": uid.JPEG2000Lossless,
    "JPEG-LS": uid.JPEGLSLossless,
}


def load(folder: Path) -> Volume:
    planes = [p for f in sorted(folder.iterdir()) for p in dicom.frames(dicom.read_file(f))]
    return dicom.assemble(planes)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slopes and intercepts that differ from slice to slice, as PET and some MR have them."""
    values = np.random.default_rng(3).integers(0, 3000, (5, 80, 72))
    changes = {
        "RescaleSlope": lambda k: f"{1 + k / 4}",
        "RescaleIntercept": lambda k: f"{-1024 + k}",
        "StudyID": "1", "AccessionNumber": "1", "PatientSex": "O", "PatientBirthDate": "",
        "StudyDate": "20200101", "StudyTime": "000000", "ReferringPhysicianName": "",
        "FrameOfReferenceUID": "1.2.3", "SeriesNumber": "1", "Manufacturer": "x", "KVP": "120",
        "PositionReferenceIndicator": "", "PatientPosition": "HFS", "AcquisitionNumber": "1",
    }  # fmt: skip
    return write_series(tmp_path_factory.mktemp("s") / "plain", values, changes=changes)


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_series_in_any_syntax_equals_highdicom_and_the_plain_series(
    name: str, series: Path, tmp_path: Path
) -> None:
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        if SYNTAXES[name].is_compressed and SYNTAXES[name].is_encapsulated:
            data.compress(SYNTAXES[name], generate_instance_uid=False)
        data.file_meta.TransferSyntaxUID = SYNTAXES[name]
        data.save_as(tmp_path / path.name)
    ours = load(tmp_path)
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(p) for p in tmp_path.iterdir()])
    np.testing.assert_array_equal(ours.array, load(series).array)
    for k, plane in enumerate(ours.array):
        match = [np.abs(other - plane).max() for other in np.asarray(theirs.array)]
        assert min(match) < 1e-3, k
    assert sorted(ours.spacing) == pytest.approx(sorted(theirs.spacing), abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_an_enhanced_multi_frame_file_that_highdicom_makes_equals_its_slices(
    series: Path, tmp_path: Path
) -> None:
    files = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    enhanced = LegacyConvertedEnhancedCTImage(
        legacy_datasets=files, series_instance_uid="1.2.4", series_number=2,
        sop_instance_uid="1.2.5", instance_number=1,
    )  # fmt: skip
    enhanced.save_as(tmp_path / "enhanced.dcm")
    ours, plain = load(tmp_path), load(series)
    np.testing.assert_allclose(ours.array, plain.array, atol=1e-3)
    np.testing.assert_allclose(ours.affine, plain.affine, atol=1e-5)
    theirs = highdicom.imread(tmp_path / "enhanced.dcm").get_volume()
    assert sorted(ours.spacing) == pytest.approx(sorted(theirs.spacing), abs=1e-4)


SHIPPED = {
    "MR_small_RLE.dcm": "MR_small.dcm",
    "MR_small_jp2klossless.dcm": "MR_small.dcm",
    "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "MR_small_bigendian.dcm": "MR_small.dcm",
    "MR_small_expb.dcm": "MR_small.dcm",
    "MR_small_implicit.dcm": "MR_small.dcm",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_copies_in_other_syntaxes_hold_the_same_image(name: str) -> None:
    ours, plain = (
        dicom.assemble(dicom.frames(dicom.read_file(PYDICOM / n))) for n in (name, SHIPPED[name])
    )
    np.testing.assert_array_equal(ours.array, plain.array)
    np.testing.assert_array_equal(ours.affine, plain.affine)


def test_a_syntax_without_a_decoder_says_so(series: Path, tmp_path: Path) -> None:
    data = pydicom.dcmread(next(series.iterdir()))
    data.compress(uid.RLELossless, generate_instance_uid=False)
    data.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(tmp_path / "x")
    with pytest.raises(CodecError, match="decoder"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["JPEG 2000", "JPEG-LS"])
def test_a_codestream_larger_than_its_header_says_is_refused_before_it_is_decoded(
    name: str, series: Path, tmp_path: Path
) -> None:
    data = pydicom.dcmread(next(series.iterdir()))
    data.compress(SYNTAXES[name], generate_instance_uid=False)
    content = bytearray(data.PixelData)
    if name == "JPEG 2000":
        place = content.find(b"\xff\x4f\xff\x51")
        content[place + 8 : place + 16] = (60000).to_bytes(4) * 2
    else:
        place = content.find(b"\xff\xf7")
        content[place + 5 : place + 9] = (60000).to_bytes(2) * 2
    data.PixelData = bytes(content)
    data.save_as(tmp_path / "x")
    with pytest.raises(UnreadableError, match="60000 x 60000 pixels where the header says 80 x 72"):
        load(tmp_path)

"""Small real files for the tests of rfpmss.data."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from rfpmss.config import PhantomConfig

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIBABEL = Path(nib.__file__).parent / "tests" / "data"
SMALL = PhantomConfig(
    train=4, test=2, seed=7, mri_shape=(32, 32, 8), ct_shape=(32, 32, 6), slide_size=128
)


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    row: tuple[float, ...] = (1, 0, 0),
    column: tuple[float, ...] = (0, 1, 0),
    origin: tuple[float, ...] = (-10.0, -20.0, 30.0),
    spacing: tuple[float, float] = (0.7, 0.9),
    step: float = 2.5,
    places: list[float] | None = None,
    tilt: float = 0.0,
    slope: float = 1.0,
    intercept: float = -1024.0,
    changes: dict | None = None,
) -> Path:
    """A CT series of stored values [z, y, x], one file a slice, in shuffled order."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(row, column)
    series = generate_uid(entropy_srcs=[str(folder)])
    places = places or [step * k for k in range(len(volume))]
    order = np.random.default_rng(0).permutation(len(volume))
    for k, plane in enumerate(volume):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"{folder}{k}"])
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.PatientID, data.PatientName = "CT", "MRN-774411", "Quimby^Zebulon"
        data.StudyInstanceUID = data.FrameOfReferenceUID = generate_uid(entropy_srcs=["study"])
        data.SeriesInstanceUID = series
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = str(order[k] + 1)
        data.ImageOrientationPatient = [*map(float, row), *map(float, column)]
        at = np.array(origin) + normal * places[k] + np.array(column) * tilt * places[k]
        data.ImagePositionPatient = [f"{v:.6f}" for v in at]
        data.PixelSpacing, data.SliceThickness = [str(s) for s in spacing], str(step)
        data.RescaleSlope, data.RescaleIntercept = str(slope), str(intercept)
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        data.PixelData = plane.astype("<u2").tobytes()
        data["PixelData"].VR = "OW"
        for name, value in (changes or {}).items():
            setattr(data, name, value(k) if callable(value) else value)
        data.save_as(folder / f"{order[k]:03d}", enforce_file_format=True)
    return folder


def write_nifti(path: Path, array: np.ndarray) -> Path:
    """A NIfTI file with voxels of 1 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path


def brain(shape: tuple[int, ...] = (20, 20, 8), seed: int = 0) -> np.ndarray:
    """Voxels that are not constant."""
    return np.random.default_rng(seed).integers(0, 500, shape).astype(np.int16)


def old_office() -> bytes:
    """Two sectors of tables and eight of contents ([MS-CFB], 2.2 and 2.3)."""
    words = np.full(128, 0xFFFFFFFF, "<u4")
    words[:2] = 0xE011CFD0, 0xE11AB1A1
    words[6:8] = 0x0003003E, 0x0009FFFE
    words[11:13] = 1, 1
    words[18:20] = 0, 0xFFFFFFFF
    words[19] = 0  # the first table of sectors is sector 0
    table = np.full(128, 0xFFFFFFFF, "<u4")
    table[:10] = 0xFFFFFFFD, 0xFFFFFFFE, *range(3, 10), 0xFFFFFFFE
    return words.tobytes() + table.tobytes() + bytes(9 * 512)

"""DICOM segmentations: the voxels that highdicom wrote, of the tumour alone, where they lie."""

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from rfpmss.data.errors import DataError, UnusedError
from rfpmss.data.readers.assembly import load
from rfpmss.data.readers.dicom.segments import read_segments, tumour_segments
from rfpmss.data.readers.volume import Volume
from rfpmss.data.sources.hospital import scan
from rfpmss.data.study import Source
from tests.data.files import write_series

ALTERED = Code("49755003", "SCT", "Morphologically Altered Structure")
ANATOMICAL = Code("123037004", "SCT", "Anatomical Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
BRAIN, NEOPLASM = Code("12738006", "SCT", "Brain"), Code("108369006", "SCT", "Neoplasm")
Segments = Sequence[tuple[str, Code, Code]]
THREE: Segments = [
    ("Segment 1", ANATOMICAL, BRAIN),
    ("Enhancing tumor", ALTERED, NEOPLASM),
    ("Edema", ALTERED, Code("79654002", "SCT", "Edema")),
]


def labels(shape: tuple[int, ...] = (6, 9, 8)) -> np.ndarray:
    """A brain, a tumour in it and its oedema, in four of six slices; no side is like another."""
    array = np.zeros(shape, np.uint8)
    array[1:5, 1:8, 1:7] = 1
    array[2:4, 2:5, 3:6] = 2
    array[4, 2:7, 2:4] = 3
    return array


def write(
    path: Path, folder: Path, array: np.ndarray, segments: Segments = THREE, kind: str = "BINARY"
) -> Path:
    """A segmentation of a series by highdicom; planes without a label are left out."""
    images = [pydicom.dcmread(file) for file in folder.iterdir()]
    turned = np.array(images[0].ImageOrientationPatient, float)
    normal = np.cross(turned[:3], turned[3:])
    images.sort(key=lambda image: float(np.array(image.ImagePositionPatient) @ normal))
    for image in images:  # highdicom copies them
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.AccessionNumber = image.StudyID = image.ReferringPhysicianName = ""
    descriptions = [
        hd.seg.SegmentDescription(n + 1, label, category, what, "MANUAL")
        for n, (label, category, what) in enumerate(segments)
    ]
    values = array
    if kind == "FRACTIONAL":
        values = np.stack([(array == n + 1) * 0.7 for n in range(len(segments))], axis=-1)
    made = hd.seg.Segmentation(
        images, values, kind, descriptions, hd.UID(), 9, hd.UID(), 1, "M", "M", "1", "1"
    )
    made.save_as(path)
    return path


def points(array: np.ndarray, affine: np.ndarray) -> set[tuple[float, ...]]:
    """Places of the voxels that are not 0, mm; ``affine`` goes with the order of the axes."""
    found = np.argwhere(array)
    there = np.c_[found, np.ones(len(found))] @ affine.T
    return {tuple(map(float, row)) for row in np.round(there[:, :3], 2) + 0.0}


def ours(volume: Volume) -> set[tuple[float, ...]]:
    return points(volume.array.transpose(2, 1, 0), volume.affine)


def only(src: Path) -> tuple[Source, dict[str, str]]:
    found = scan(src, b"salt" * 8)
    [study] = found.studies
    [source] = [view for view in study.views if view]
    return source, {path.name: reason for path, reason in found.rejections}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize(
    ("row", "column"),
    [((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, 0, -1)), ((0, -1, 0), (0.6, 0, 0.8))],
    ids=["axial", "coronal", "oblique"],
)
def test_the_tumour_of_a_segmentation_lies_where_highdicom_puts_it(
    kind: str, row: tuple, column: tuple, tmp_path: Path
) -> None:
    stored = np.random.default_rng(0).integers(0, 3000, (6, 9, 8))
    folder = write_series(tmp_path / "src" / "P1", stored, row=row, column=column)
    file = write(tmp_path / "seg", folder, labels(), kind=kind)
    file = file.rename(tmp_path / "src" / "seg")

    source, said = only(tmp_path / "src")
    assert (source.mask, said) == (file, {})
    loaded = load(source)
    assert loaded.mask is not None
    theirs = hd.seg.segread(file).get_volume(segment_numbers=[2, 3])
    assert ours(loaded.mask) == points(theirs.array.max(axis=-1), theirs.affine)
    assert len(ours(loaded.mask)) == (labels() > 1).sum()
    image = loaded.volumes[0]
    assert ours(loaded.mask) < ours(Volume(np.ones_like(image.array), image.affine))


@pytest.mark.parametrize(
    ("segments", "wanted"),
    [
        (THREE, [2, 3]),
        ([("GTV", TISSUE, TISSUE), ("Segment 2", TISSUE, TISSUE)], [1]),
        ([("Segment_1", TISSUE, TISSUE)], [1]),  # as 3D Slicer names what nobody named
        ([("Segment 1", ALTERED, NEOPLASM), ("Tumor", ALTERED, NEOPLASM)], [1, 2]),
        ([("Acute hemorrhage", ALTERED, TISSUE)], None),
        ([("病灶", TISSUE, TISSUE), ("脑", TISSUE, TISSUE)], [1]),
        ([("Brain mask", TISSUE, TISSUE), ("x", TISSUE, TISSUE)], [2]),
        ([("Resection cavity", ALTERED, NEOPLASM), ("Tumour core", ALTERED, NEOPLASM)], [2]),
        ([("Brain", ANATOMICAL, BRAIN)], None),
        ([("Left eye", ANATOMICAL, codes.SCT.Eye)], None),
        ([("Liver", ANATOMICAL, codes.SCT.Liver), ("Skull", TISSUE, TISSUE)], None),
    ],
)
def test_segments_of_the_tumour_are_known_by_words_and_anatomy_is_never_taken(
    segments: Segments, wanted: list[int] | None
) -> None:
    data = pydicom.Dataset()
    data.SegmentSequence = [
        hd.seg.SegmentDescription(n + 1, label, category, what, "MANUAL")
        for n, (label, category, what) in enumerate(segments)
    ]
    if wanted is None:
        with pytest.raises(UnusedError, match="no tumour"):
            tumour_segments(data)
    else:
        assert tumour_segments(data) == wanted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FrameOfReferenceUID": "1.2.3"}, "no image of the patient lies on the grid of the mask"),
        ({"origin": (-9.0, -20.0, 30.0)}, "no image of the patient lies on the grid of the mask"),
        ({"spacing": (0.7, 0.8)}, "no image of the patient lies on the grid of the mask"),
    ],
    ids=["frame", "shifted", "spacing"],
)
def test_a_segmentation_of_another_grid_is_not_taken(
    changes: dict, words: str, tmp_path: Path
) -> None:
    stored = np.random.default_rng(0).integers(0, 3000, (6, 9, 8))
    write_series(tmp_path / "src" / "P1", stored)
    header = {name: value for name, value in changes.items() if name[0].isupper()}
    place = {name: value for name, value in changes.items() if name[0].islower()}
    other = write_series(tmp_path / "other", stored, changes=header, **place)
    write(tmp_path / "src" / "P1" / "seg", other, labels())
    source, said = only(tmp_path / "src")
    assert source.mask is None
    assert words in said["seg"]


def test_what_is_no_mask_of_a_tumour_costs_itself_alone_and_says_why(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 3000, (6, 9, 8))
    folder = write_series(tmp_path / "made", stored)
    home = write_series(tmp_path / "src" / "P1", stored)
    brain = [("Brain", ANATOMICAL, BRAIN)] * 3
    write(home / "brain", folder, labels(), segments=brain)
    write(home / "cut", folder, labels())
    (home / "cut").write_bytes((home / "cut").read_bytes()[:-20])
    contours = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    contours.SOPInstanceUID, contours.Modality = "1.2.3", "RTSTRUCT"
    contours.SOPClassUID = contours.file_meta.MediaStorageSOPClassUID = UID(
        "1.2.840.10008.5.1.4.1.1.481.3"
    )
    del contours.Rows
    contours.save_as(home / "contours")
    source, said = only(tmp_path / "src")
    assert "no tumour" in said["brain"]
    assert "contours of radiotherapy" in said["contours"]
    assert "convert it to a mask" in said["contours"]
    loaded = load(source)
    assert loaded.mask is None
    np.testing.assert_array_equal(loaded.volumes[0].array, stored - 1024.0)
    [(path, error)] = loaded.unused
    assert path.name == "cut"
    assert "end too early" in error.reason
    with pytest.raises(DataError, match="end too early"):
        read_segments(home / "cut")

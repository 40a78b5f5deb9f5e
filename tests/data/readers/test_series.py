"""DICOM series become the volumes that an independent library makes, or are refused with reason."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.errors import GeometryError, LocalizerError, UnreadableError, UnsupportedError
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.stacks import stacks
from rfpmss.data.readers.volume import Volume
from rfpmss.data.study import Source
from rfpmss.data.views import Choice, read_views
from tests.data.files import PYDICOM, write_series

SLANTED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0))
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "slanted": SLANTED,
    "flipped": ((-1, 0, 0), (0, 1, 0)),
}


def load(folder: Path, gaps: str = "refuse") -> Volume:
    planes = [p for f in sorted(folder.iterdir()) for p in dicom.frames(dicom.read_file(f))]
    return dicom.assemble(planes, "resample" if gaps == "resample" else "refuse")


def stored(shape: tuple[int, int, int] = (5, 6, 7), seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, shape)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("scale", [(1.0, -1024.0), (0.5, -1000.0)])
def test_a_series_equals_what_highdicom_assembles_voxel_by_voxel_in_the_same_place(
    plane: str, scale: tuple[float, float], tmp_path: Path
) -> None:
    row, column = PLANES[plane]
    folder = write_series(
        tmp_path / "s", stored(), row=row, column=column, slope=scale[0], intercept=scale[1]
    )
    ours = load(folder)
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(f) for f in folder.iterdir()])
    same_voxels(ours, theirs)


def same_voxels(ours: Volume, theirs: highdicom.Volume) -> None:
    """Their voxels by their place in the patient; ours looked up at the same millimetres."""
    index = np.stack(np.meshgrid(*map(np.arange, theirs.array.shape), indexing="ij"), -1)
    points = index.reshape(-1, 3) @ theirs.affine[:3, :3].T + theirs.affine[:3, 3]
    back = (points - ours.affine[:3, 3]) @ np.linalg.inv(ours.affine[:3, :3]).T
    x, y, z = np.round(back).astype(int).T
    np.testing.assert_allclose(back, np.stack([x, y, z], axis=1), atol=1e-4)
    np.testing.assert_allclose(ours.array[z, y, x], theirs.array.reshape(-1), atol=1e-3)
    assert ours.array.size == theirs.array.size


def test_axes_run_to_left_posterior_superior_whatever_the_plane(tmp_path: Path) -> None:
    for name, (row, column) in PLANES.items():
        volume = load(write_series(tmp_path / name, stored(), row=row, column=column))
        assert (np.diag(volume.affine)[:3] > 0).all(), name


def test_a_pixel_of_a_coronal_series_is_found_where_its_header_places_it(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), int)
    values[3, 2, 1] = 2024  # slice 3, row 2, column 1
    row, column = PLANES["coronal"]
    volume = load(write_series(tmp_path / "s", values, row=row, column=column))
    z, y, x = np.argwhere(volume.array > 0)[0]
    place = volume.affine @ (x, y, z, 1)
    wanted = np.array([-10.0, -20.0, 30.0]) + 0.9 * 1 * np.array(row) + 0.7 * 2 * np.array(column)
    wanted = wanted + np.cross(row, column) * 2.5 * 3
    np.testing.assert_allclose(place[:3], wanted, atol=1e-5)
    assert volume.array[z, y, x] == 1000


def test_a_gap_is_refused_with_its_length_and_interpolated_only_on_demand(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", stored((4, 6, 7)), places=[0.0, 2.5, 5.0, 10.0])
    with pytest.raises(GeometryError, match=r"2\.50 mm apart but one gap is 5\.00 mm"):
        load(folder)
    volume = load(folder, gaps="resample")
    assert len(volume.array) == 5
    np.testing.assert_allclose(volume.array[3], volume.array[[2, 4]].mean(axis=0), atol=1e-3)


def test_a_gap_of_many_slices_is_never_interpolated(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", stored((4, 6, 7)), places=[0.0, 2.5, 5.0, 200.0])
    with pytest.raises(GeometryError, match="too wide"):
        load(folder, gaps="resample")


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", stored(), tilt=np.tan(np.radians(15)))
    with pytest.raises(GeometryError, match=r"tilted by 15\.0 degrees"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImagePositionPatient": ["0", "0", "5"]}, "same position"),
        ({"PixelSpacing": lambda k: ["0.7", f"{0.9 + 0.1 * k:.1f}"]}, "different pixel spacings"),
        ({"PixelSpacing": ["0", "0"]}, "not positive"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, "length one"),
        ({"ImagePositionPatient": None}, "where they lie"),
    ],
)
def test_planes_that_form_no_volume_are_refused(changes: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=reason):
        load(write_series(tmp_path / "s", stored(), changes=changes))


@given(seed=st.integers(0, 100), count=st.integers(1, 6))
def test_the_order_of_files_and_instance_numbers_does_not_matter(seed: int, count: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = write_series(Path(place) / "s", stored((count, 3, 4), seed))
        planes = [p for f in folder.iterdir() for p in dicom.frames(dicom.read_file(f))]
        np.random.default_rng(seed).shuffle(planes)  # type: ignore[arg-type]
        np.testing.assert_array_equal(dicom.assemble(planes).array, load(folder).array)


@pytest.mark.parametrize(("bits", "signed"), [(12, 0), (16, 0), (16, 1)])
def test_grey_values_shown_dark_for_bright_are_turned_as_highdicom_turns_them(
    bits: int, signed: int, tmp_path: Path
) -> None:
    folder = write_series(
        tmp_path / "s",
        stored(),
        changes={
            **{"PhotometricInterpretation": "MONOCHROME1", "Modality": "MR", "BitsStored": bits},
            **{"HighBit": bits - 1, "PixelRepresentation": signed},
            "RescaleSlope": lambda k: f"{1 + k / 4}",
        },
    )
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(f) for f in folder.iterdir()])
    same_voxels(load(folder), theirs)


def test_hounsfield_units_are_the_same_however_they_are_shown(tmp_path: Path) -> None:
    dark = {"PhotometricInterpretation": "MONOCHROME1"}
    plain = load(write_series(tmp_path / "a", stored()))
    turned = load(write_series(tmp_path / "b", stored(), changes=dark))
    np.testing.assert_array_equal(turned.array, plain.array)


def test_padding_is_dark_in_images_that_are_shown_inverted(tmp_path: Path) -> None:
    values = stored()
    values[:, 0] = 4095
    changes = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "MR", "BitsStored": 12}
    changes |= {"HighBit": 11, "PixelPaddingValue": 4095}
    array = load(write_series(tmp_path / "s", values, changes=changes)).array
    assert (array[:, 0] == array.min(axis=(1, 2))[:, None]).all()


def test_pixel_padding_never_becomes_a_value_of_its_own(tmp_path: Path) -> None:
    values = stored()
    values[:, 0] = 63536
    volume = load(write_series(tmp_path / "s", values, changes={"PixelPaddingValue": 63536}))
    assert volume.array.max() < 3000


def test_padding_may_be_a_range_of_values(tmp_path: Path) -> None:
    values = stored()
    values[:, 0], values[:, 1] = 63536, 63000
    changes = {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 62000}
    volume = load(write_series(tmp_path / "s", values, changes=changes))
    assert volume.array.max() < 3000


def test_repeated_positions_are_told_apart_by_echo_and_orientations_by_direction(
    tmp_path: Path,
) -> None:
    one = write_series(tmp_path / "a", stored(seed=1), changes={"EchoNumbers": "1"})
    two = write_series(tmp_path / "b", stored(seed=2), changes={"EchoNumbers": "2"})
    row, column = PLANES["sagittal"]
    three = write_series(tmp_path / "c", stored((3, 6, 7)), row=row, column=column)
    planes = [
        p for d in (three, one, two) for f in d.iterdir() for p in dicom.frames(dicom.read_file(f))
    ]
    found = stacks(planes)
    assert [len(stack) for stack in found] == [5, 5, 3]
    np.testing.assert_array_equal(dicom.assemble(found[0].planes).array, load(one).array)


def test_a_multi_frame_file_equals_its_slices(tmp_path: Path) -> None:
    values = stored((3, 6, 7))
    slices = load(write_series(tmp_path / "s", values))
    data = pydicom.dcmread(next((tmp_path / "s").iterdir()))
    data.NumberOfFrames = "3"
    data.PixelData = values.astype("<u2").tobytes()
    frames = []
    for k in range(3):
        plane, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = ["-10", "-20", f"{30 + 2.5 * k:.1f}"]
        plane.PlanePositionSequence = pydicom.Sequence([position])
        frames.append(plane)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    data.save_as(tmp_path / "multi")
    volume = dicom.assemble(dicom.frames(dicom.read_file(tmp_path / "multi")))
    np.testing.assert_array_equal(volume.array, slices.array)
    np.testing.assert_allclose(volume.affine, slices.affine, atol=1e-6)


def test_localizers_colour_and_claims_of_endless_frames_are_no_planes(tmp_path: Path) -> None:
    cases = {
        "ImageType": (["ORIGINAL", "PRIMARY", "LOCALIZER"], LocalizerError),
        "SamplesPerPixel": (3, UnsupportedError),
        "Rows": (0, UnreadableError),
    }
    for name, (value, kind) in cases.items():
        folder = write_series(tmp_path / name, stored((1, 6, 7)), changes={name: value})
        with pytest.raises(kind):
            dicom.frames(dicom.read_file(next(folder.iterdir())))


def test_shipped_series_with_a_gap_of_200_mm_is_refused_where_generic_readers_return_a_volume() -> (
    None
):
    with pytest.raises(GeometryError, match=r"one gap is 202\.50 mm"):
        load(PYDICOM / "dicomdirtests" / "77654033" / "CT2")


def test_shipped_series_equals_highdicom() -> None:
    folder = PYDICOM / "dicomdirtests" / "98892001" / "CT5N"
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(f) for f in folder.iterdir()])
    ours = load(folder)
    np.testing.assert_allclose(
        np.sort(ours.array, axis=None), np.sort(theirs.array, axis=None), atol=1e-3
    )
    assert sorted(ours.spacing) == pytest.approx(sorted(theirs.spacing), abs=1e-4)


def test_ct_windows_show_what_hounsfield_units_say(tmp_path: Path) -> None:
    values = np.full((1, 40, 40), 24)  # air
    values[0, 4:36, 4:36] = 1024 + 900  # bone
    values[0, 6:34, 6:34] = 1024 + 30
    values[0, 10:20, 10:20] = 1024 + 60
    folder = write_series(tmp_path / "s", values, spacing=(1.0, 1.0))
    source = Source(kind="dicom", paths=tuple(folder.iterdir()))
    image = read_views("ct", source, Choice()).images[0].astype(float)
    assert image[0, 15, 15] > image[0, 25, 25] + 32  # a standard deviation apart in the brain
    assert image[2, 5, 5] > image[2, 15, 15]  # bone is brighter in the bone window

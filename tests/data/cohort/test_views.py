"""Which images stand for a study, and where the finding lies in them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfpmss.data.errors import ValuesError
from rfpmss.data.study import Source
from rfpmss.data.views import Choice, Views, read_views
from tests.data.files import write_series

SLICES = 9


def scan(
    folder: Path, mask: np.ndarray | None, image: np.ndarray, step: tuple[float, ...] = (1, 1, 1)
) -> Source:
    """An MRI sequence [z, y, x] and its mask as files whose axes run Left, Posterior, Superior."""
    affine = np.diag([-step[0], -step[1], step[2], 1.0])
    paths = [folder / "flair.nii", folder / "seg.nii"]
    for path, array in zip(paths, (image, mask), strict=True):
        if array is not None:
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)
    return Source(
        kind="nifti",
        paths=(paths[0],),
        channels=("flair",),
        mask=None if mask is None else paths[1],
    )


def read(source: Source, **wanted: int) -> Views:
    return read_views("mri", source, Choice(**{"size": 64, "count": 1} | wanted))


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(5, 17), st.integers(5, 17)),
    corner=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    stretch=st.sampled_from([1.0, 2.0]),
)
def test_the_box_encloses_the_painted_finding_whatever_the_padding(
    shape: tuple[int, int], corner: tuple[float, float], stretch: float, tmp_path_factory
) -> None:
    h, w = shape
    y0, x0 = 1 + int(corner[0] * (h - 4)), 1 + int(corner[1] * (w - 4))  # padding repeats edges
    mask = np.zeros((3, h, w), np.uint8)
    mask[1, y0 : y0 + max(h // 4, 2), x0 : x0 + max(w // 4, 2)] = 1
    grain = np.random.default_rng(h * w).integers(0, 40, mask.shape)
    image = (100 + grain + 200 * mask.astype(int)).astype(np.int16)
    source = scan(tmp_path_factory.mktemp("scan"), mask, image, (1, stretch, 1))
    made = read(source)
    assert made.boxes[0] is not None
    bright = made.images[0, 3].astype(int)
    rows, columns = np.nonzero(bright > (bright.min() + bright.max()) / 2)
    side = made.images.shape[-1]
    painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / side
    tolerance = 1e-6 if stretch == 1 else 0.51 / side  # a stretched edge falls between two pixels
    np.testing.assert_allclose(made.boxes[0], painted, atol=tolerance)


def test_with_a_mask_the_largest_cross_section_comes_first_and_others_follow(tmp_path) -> None:
    mask = np.zeros((SLICES, 12, 12), np.uint8)
    for k, half in ((3, 1), (4, 3), (5, 4), (6, 3), (7, 1)):
        mask[k, 6 - half : 6 + half, 6 - half : 6 + half] = 4
    image = np.random.default_rng(0).integers(1, 200, mask.shape).astype(np.int16)
    image[0, 0] = np.arange(12) * 900  # much contrast far from the tumour
    source = scan(tmp_path, mask, image)
    three = read(source, count=3)
    assert three.images.shape == (3, 4, 12, 12)
    heights = [box[3] - box[1] for box in three.boxes if box]
    assert heights == pytest.approx([8 / 12, 6 / 12, 6 / 12])
    np.testing.assert_array_equal(three.images[0], read(source).images[0])
    assert len({image.tobytes() for image in three.images}) == 3


def test_without_a_mask_slices_with_much_content_are_chosen(tmp_path) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(40, 50, (SLICES, 12, 12)).astype(np.int16)
    for k in (4, 5, 6):
        image[k, 2:10, 2:10] += (100 * k + rng.integers(0, 300, (8, 8))).astype(np.int16)
    made = read(scan(tmp_path, None, image), count=2)
    assert made.boxes == (None, None)
    for picture in made.images[:, 3].astype(int):
        assert picture[2:10, 2:10].std() > 3 * picture[:2].std()


def test_an_empty_mask_is_no_mask(tmp_path) -> None:
    image = np.random.default_rng(2).integers(1, 200, (SLICES, 8, 8)).astype(np.int16)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    empty = read(scan(tmp_path / "a", np.zeros(image.shape, np.uint8), image), count=2)
    without = read(scan(tmp_path / "b", None, image), count=2)
    np.testing.assert_array_equal(empty.images, without.images)
    assert empty.boxes == (None, None)


def test_more_views_than_slices_repeat_slices_and_never_invent_any(tmp_path) -> None:
    image = np.random.default_rng(3).integers(1, 200, (2, 8, 8)).astype(np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 2:4, 2:4] = 1
    for index, labelled in enumerate((mask, None)):
        folder = tmp_path / str(index)
        folder.mkdir()
        made = read(scan(folder, labelled, image), count=5)
        assert len(made.images) == 5
        assert len({picture.tobytes() for picture in made.images}) <= 2


def test_a_series_of_two_values_is_told_to_be_a_mask_and_not_to_be_constant(tmp_path) -> None:
    values = np.zeros((6, 16, 16), np.uint16)
    values[2:4, 5:9, 6:10] = 1
    files = sorted(write_series(tmp_path / "mask", values, intercept=0.0).iterdir())
    with pytest.raises(ValuesError, match="two values, as a mask's do; .* DICOM SEG"):
        read(Source(kind="dicom", paths=tuple(files)))


@pytest.mark.parametrize(
    ("fill", "reason"),
    [(0.0, "all voxels have the same value"), (7.0, "all voxels have the same value"),
     (-1e-7, "all voxels have the same value"), ("mask", "two values, as a mask's do")],
)  # fmt: skip
def test_a_sequence_without_contrast_costs_itself_alone(fill, reason, tmp_path) -> None:
    names, rng = ("t1", "t1ce", "t2", "flair"), np.random.default_rng(0)
    arrays = {name: rng.integers(1, 900, (6, 8, 4)).astype(np.float32) for name in names}
    arrays["t2"][:] = 0.0 if fill == "mask" else fill
    arrays["t2"][2:4, 2:4] = 1.0 if fill == "mask" else fill
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1])), tmp_path / f"{name}.nii")
    paths = tuple(tmp_path / f"{name}.nii" for name in names)
    made = read(Source(kind="nifti", paths=paths, channels=names))
    assert made.channels == ("t1", "t1ce", "flair")
    ((path, why),) = made.unused
    assert path == paths[2]
    assert reason in why
    varied = [len(np.unique(made.images[:, n])) > 1 for n in range(4)]
    assert varied == [True, True, False, True]
    with pytest.raises(ValuesError, match=reason):
        read(Source(kind="nifti", paths=paths[2:3], channels=("t2",)))

"""Slices of all levels of the head: which are stored, which enter, and what is refused."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.common.files import read_text
from rfpmss.config import VIEWS, DataConfig, levels, smoke
from rfpmss.config.arguments import TrainArguments, parse
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.cohort.manifest import read
from rfpmss.data.cohort.places import Place
from rfpmss.data.errors import TextError
from rfpmss.data.phantom import ensure_cohort
from rfpmss.data.phantom.latents import LARGEST, SMALLEST, draw, smaller
from rfpmss.data.readers.volume import Volume
from rfpmss.data.views import Choice, _slices

SIZES = {"train": 4, "test": 4, "mri_shape": (32, 32, 22), "ct_shape": (32, 32, 11)}
OFF = smoke().phantom.model_copy(
    update={**SIZES, "slide_size": 256, "level": "off", "views": 5, "masks": "boxes"}
)
DATA = DataConfig(resize=32, size=32, slices=5, order="levels")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return ensure_cohort(OFF, tmp_path_factory.mktemp("levels"), workers=1)


@pytest.fixture(scope="module")
def cohort(manifest):
    return Cohort.open(manifest, DATA)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a mass"], 64)


def numbered(heights, pick=None, count=4, order="levels"):
    shard = np.zeros((1, len(heights), 1, 1, 1), np.uint8)
    return Place(shard, 0, (None,) * len(heights), tuple(map(float, heights))).images(
        count, order, pick
    )


HEIGHTS = st.lists(st.integers(-60, 60), min_size=1, max_size=24, unique=True)


@given(HEIGHTS, st.integers(1, 12), st.floats(0, 1, exclude_max=True))
def test_levels_rise_and_each_lies_in_its_own_share_of_what_is_stored(heights, count, pick):
    rank = {number: place for place, number in enumerate(np.argsort(heights).tolist())}
    for drawn in (pick, None):
        found = [rank[number] for number in numbered(heights, drawn, count)]
        assert found == sorted(found)
        for k, place in enumerate(found):  # the share [k, k + 1) / count touches [place, place + 1)
            assert place <= (k + 1) * len(heights) / count
            assert place + 1 >= k * len(heights) / count


@given(HEIGHTS, st.floats(0, 1, exclude_max=True))
def test_as_many_as_are_stored_enter_each_once_whatever_is_drawn(heights, pick):
    assert numbered(heights, pick, len(heights)) == np.argsort(heights).tolist()


def test_the_best_still_enter_first_and_no_height_is_needed_for_them():
    assert numbered([5.0, -5.0, 0.0], count=4, order="best") == [0, 1, 2, 0]
    assert numbered([5.0, -5.0, 0.0], 0.4, count=2, order="best") == [1, 2]
    without = Place(np.zeros((1, 3, 1, 1, 1), np.uint8), 0, (None,) * 3)
    assert without.images(3, "levels", None) == [0, 1, 2]


def test_levels_are_spread_over_the_head_and_the_tumours_is_stored_first():
    """A head in slices 4 to 23 of 28, whose mask lies about slice 8; 5 mm from slice to slice."""
    rng = np.random.default_rng(0)
    image = np.zeros((28, 8, 8), np.float32)
    image[4:24] = rng.normal(size=(20, 8, 8))
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    mask = np.zeros((28, 8, 8), np.uint8)
    mask[7:10, 2:5, 3:6] = 1
    wanted = 4 + np.round(np.array([1, 2, 3, 4]) * 19 / 5).astype(int)  # fifths of the head
    choice = Choice(size=8, count=4, order="levels")
    for given_mask, best in ((None, 2), (mask, 0)):
        volume = None if given_mask is None else Volume(given_mask, affine)
        found = _slices([image], Volume(image, affine), volume, choice)
        order = [wanted[best], *np.delete(wanted, best)]
        assert found.heights == pytest.approx([5 * (k - 13.5) for k in order])
        codes = np.clip(np.round(image[order] * 32 + 128), 0, 255)
        assert np.abs(found.images[:, 0] - codes).max() <= 1
        known = [mask[k].any() and given_mask is not None for k in order]
        assert [box is not None for box in found.boxes] == known


def test_masses_off_the_middle_leave_its_slice_free_and_keep_the_order_of_their_sizes(manifest):
    for folder in sorted((manifest.parent / "patients").iterdir()):
        image = nib.load(folder / f"{folder.name}_seg.nii.gz")
        rows = np.argwhere(np.isin(np.asarray(image.dataobj), (1, 4)))
        heights = rows @ image.affine[:3, :3].T[:, 2] + image.affine[2, 3]
        upper = '"frontal"' in (text := read_text(folder / "truth.json")) or '"parietal"' in text
        assert heights.mean() == pytest.approx(36 if upper else -36, abs=9 + 2.5)  # 3 sd, ripples
        assert np.abs(heights).min() > 10
    found = [draw(np.random.default_rng(i)) for i in range(50)]
    sizes, small = [z.size for z in found], [smaller(z).size for z in found]
    np.testing.assert_array_equal(np.argsort(sizes), np.argsort(small))
    ends = [smaller(replace(found[0], size=size)).size for size in (SMALLEST, LARGEST)]
    assert ends == [14.0, 26.0]


def test_hidden_masks_change_boxes_and_what_comes_first_alone(manifest, tmp_path):
    hidden = ensure_cohort(OFF.model_copy(update={"masks": "hidden"}), tmp_path, workers=1)
    with_masks, without = (Cohort.open(path, DATA) for path in (manifest, hidden))
    for view in (0, 1):
        for index in range(8):
            one, two = (c._view(np.array([index]), view, None) for c in (with_masks, without))
            assert torch.equal(one, two)
            assert not any(without.places[index][view].boxes)
    assert sum(with_masks.box(i, "mri") is not None for i in range(8)) == 8


def test_boxes_maps_and_pictures_are_those_of_the_slice_with_the_largest_box(cohort, tokenizer):
    batch = cohort.batch(range(8), tokenizer, augment=None)
    view = VIEWS.index("mri")
    for index in range(8):
        place = cohort.places[index][view]
        rising = np.argsort(place.heights)
        areas = [0 if b is None else (b[2] - b[0]) * (b[3] - b[1]) for b in place.boxes]
        at = int(np.argmax(np.array(areas)[rising]))
        assert batch.focus[index, view] == at
        assert torch.equal(batch.image(view)[index], batch.images[view][index, at])
        assert torch.equal(cohort.images([index], view)[0], batch.images[view][index, at])
        box = np.clip(np.array(place.boxes[rising[at]]) * 32, 0, 32)
        assert cohort.box(index, "mri") == pytest.approx(box)
    assert not batch.focus[:, VIEWS.index("pathology")].any()
    best = replace(cohort, config=cohort.config.model_copy(update={"order": "best"}))
    assert best.batch([0], tokenizer, augment=None).focus is None


def test_a_cohort_without_heights_is_refused_with_the_way_out(manifest, tmp_path):
    plain = OFF.model_copy(update={"masks": "choose", "train": 1, "test": 1})
    path = ensure_cohort(plain, tmp_path, workers=1)
    assert not any(row.heights for row in read(path))
    Cohort.open(path, DATA.model_copy(update={"order": "best"}))
    with pytest.raises(TextError, match=r"heights.*--order levels.*--data.order best"):
        Cohort.open(path, DATA)
    Cohort.open(manifest, DATA)
    rows = {row.modality: row for row in read(manifest)}
    assert len(rows["ct"].heights.split()) == len(rows["mri"].heights.split()) == 5
    assert rows["pathology"].heights == rows["report"].heights == ""


@pytest.mark.parametrize("heights", ["1 2 3 4", "1 2 x 4 5", "1 2 nan 4 5"])
def test_heights_that_are_no_numbers_for_each_image_are_refused(manifest, heights):
    from rfpmss.data.cohort.places import locate

    row = next(row for row in read(manifest) if row.modality == "mri")
    with pytest.raises(TextError, match="heights must be a number for each of 5 images"):
        locate([replace(row, heights=heights)], manifest.parent, {})


def test_one_word_sets_the_starting_values_and_what_is_given_stays(tmp_path):
    def asked(*words):
        return parse(TrainArguments, ["--preset", "smoke", *words], "train", None).config

    assert asked("--data.order", "levels") == levels(smoke()).model_copy()
    given_too = asked("--data.order=levels", "--data.slices", "8", "--model.slice-pooling", "mean")
    assert (given_too.data.slices, given_too.model.slice_pooling) == (8, "mean")
    assert given_too.phantom.masks == "boxes"
    (tmp_path / "some.yaml").write_text("data: {order: levels}\nmodel: {slice_pooling: attention}")
    file = asked("--config-file", str(tmp_path / "some.yaml"))
    assert (file.data.slices, file.model.slice_pooling) == (4, "attention")
    assert asked() == smoke()

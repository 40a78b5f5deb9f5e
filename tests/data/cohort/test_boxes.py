"""Boxes about the head: where a voxel comes from, which series share a box, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rfpmss.config import SEQUENCES, DataConfig
from rfpmss.data.batches import augment
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.boxes import four
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.cohort import shards
from rfpmss.data.cohort.options import along, box_size, check_box
from rfpmss.data.cohort.places import locate
from rfpmss.data.cohort.shards import open_shard
from rfpmss.data.errors import GeometryError, ShortError, TextError
from rfpmss.data.readers.box import box_at, foreground, head_of, into, require_inside
from rfpmss.data.readers.grid import onto
from rfpmss.data.readers.volume import Volume, read_nifti
from tests.data.files import write_series
from tests.data.prepared import prepared, refused

BOX = ("--depth", "12", "--spacing", "12", "--size", "16")


def shape(x, y, z, seed=0):
    """A head of 160 x 180 x 130 mm with a bright spot; mm to Left, Posterior, Superior."""
    inside = (x / 80) ** 2 + (y / 90) ** 2 + (z / 65) ** 2 < 1
    texture = np.sin(x / 25 + seed) + np.cos(y / 20) * np.sin(z / 18)
    spot = 3 * np.exp(-((x - 30) ** 2 + (y + 20) ** 2 + (z - 20) ** 2) / 300)
    return np.where(inside, 100 + 20 * texture + 60 * spot, 0.0)


def acquired(plane: str, counts, spacing, centre=(0.0, 0.0, 0.0), of=shape, turn=0.0):
    """A NIfTI image whose third axis runs across ``plane``; ``turn``: radians about z."""
    axes = {"axial": (0, 1, 2), "sagittal": (1, 2, 0), "coronal": (0, 2, 1)}[plane]
    directions = np.diag([-1.0, -1.0, 1.0])[:, list(axes)]  # NIfTI is to Right, Anterior
    c, s = np.cos(turn), np.sin(turn)
    directions = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    middle = np.diag([-1.0, -1.0, 1.0]) @ centre
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(counts) - 1) / 2)
    places = np.moveaxis(np.indices(counts), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    x, y, z = np.moveaxis(places * (-1, -1, 1), -1, 0)
    return nib.Nifti1Image(of(x, y, z).astype(np.int16), affine)


def write(path: Path, image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


PLACES = st.floats(-8, 8)


@given(PLACES, PLACES, st.floats(0.4, 3), st.floats(0.4, 3), st.booleans())
def test_a_linear_ramp_stays_what_it_is_in_every_box_inside_of_it(x, z, coarse, thick, mirrored):
    affine = np.diag([-0.9 if mirrored else 0.9, 1.1, 2.3, 1.0])
    affine[:3, 3] = [40 if mirrored else -40, -45, -30]
    at = np.moveaxis(np.indices((28, 84, 90))[::-1], 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    ramp = Volume((at @ [0.03, -0.02, 0.05]).astype(np.float32), affine)
    box = box_at(np.array([x, 0.0, z]), (7, 9, 9), (coarse, coarse, thick))
    where = np.moveaxis(np.indices((7, 9, 9))[::-1], 0, -1) @ box.affine[:3, :3].T
    wanted = (where + box.affine[:3, 3]) @ [0.03, -0.02, 0.05]
    np.testing.assert_allclose(into(ramp, box), wanted, atol=1e-5)


@given(st.integers(-3, 3), st.floats(-1.5, 1.5), st.integers(0, 9))
def test_on_a_grid_as_fine_a_box_is_what_scipy_interpolates(shift, part, seed):
    """Away from the edge; `onto`, which has no bound on the planes, is within .02 deviations."""
    image = np.random.default_rng(seed).normal(size=(12, 14, 16)).astype(np.float32)
    volume = Volume(image, np.diag([2.0, 2.0, 3.0, 1.0]))
    centre = np.array([16.0 + part, 14.0 + part, 16.5 + 3 * shift])
    box = box_at(centre, (3, 6, 6), (2.0, 2.0, 3.0))
    at = [
        middle / step + np.arange(n) - (n - 1) / 2
        for middle, step, n in zip(centre[::-1], (3, 2, 2), (3, 6, 6), strict=True)
    ]
    at = np.meshgrid(*at, indexing="ij")
    made = into(volume, box)
    np.testing.assert_allclose(made, ndimage.map_coordinates(image, at, order=1), atol=1e-5)
    assert np.abs(made - onto(volume, box, covered=0.0).array).mean() <= 0.02


def test_what_is_outside_of_a_series_is_its_lowest_value_and_half_a_voxel_about_it_inside():
    volume = Volume(np.full((2, 4, 4), 5.0, np.float32), np.eye(4))
    volume.array[0, 0, 0] = -3
    box = box_at(np.array([1.5, 1.5, 0.5]), (4, 6, 6), (1.0, 1.0, 1.0))
    made = into(volume, box)
    np.testing.assert_allclose(made[1:3, 1:5, 1:5], volume.array, atol=1e-6)
    made[1:3, 1:5, 1:5] = -3
    np.testing.assert_allclose(made, -3)


@pytest.mark.parametrize(
    ("plane", "counts", "spacing"),
    [
        ("sagittal", (72, 60, 60), (3.0, 3.0, 3.0)),
        ("coronal", (72, 60, 66), (3.0, 3.0, 3.0)),
        ("axial", (48, 54, 36), (4.0, 4.0, 4.5)),
    ],
)
def test_a_head_is_the_same_box_whatever_the_planes_it_was_scanned_in(
    plane, counts, spacing, tmp_path
):
    made = []
    for name, image in (
        ("first", acquired("axial", (66, 72, 60), (3.0, 3.0, 3.0))),
        ("other", acquired(plane, counts, spacing)),
    ):
        write(tmp_path / f"{name}.nii", image)
        volume = read_nifti(tmp_path / f"{name}.nii")
        assert np.abs(head_of(volume).centre).max() < 5
        made.append(into(volume, box_at(np.zeros(3), (18, 26, 26), (8.0, 8.0, 8.0))))
    inside = foreground(made[0])
    assert np.corrcoef(made[0][inside], made[1][inside])[0, 1] > 0.99
    assert np.unravel_index(made[1].argmax(), (18, 26, 26)) == (11, 10, 16)  # up, front, left


def test_an_oblique_series_goes_through_the_rotating_way(tmp_path):
    write(tmp_path / "a.nii", acquired("axial", (90, 90, 60), (3.0, 3.0, 3.0), turn=0.35))
    write(tmp_path / "b.nii", acquired("axial", (90, 90, 60), (3.0, 3.0, 3.0)))
    box = box_at(np.zeros(3), (18, 26, 26), (8.0, 8.0, 8.0))
    one, two = (into(read_nifti(tmp_path / f"{name}.nii"), box) for name in "ab")
    assert np.corrcoef(one[foreground(one)], two[foreground(one)])[0, 1] > 0.97


def test_a_neck_moves_no_box_and_a_slice_is_no_volume():
    def hanging(x, y, z):
        neck = (x**2 + y**2 < 60**2) & (z < 0)
        return np.where(neck, 100.0, shape(x, y, z))

    def seen(of):
        image = acquired("axial", (60, 60, 90), (4.0, 4.0, 4.0), (0, 0, -100), of)
        return Volume(np.asarray(image.dataobj).T[:, ::-1, ::-1], np.diag([4.0, 4.0, 4.0, 1]))

    head, neck = (head_of(seen(of)) for of in (shape, hanging))
    vertex = head.centre[2] + 65
    assert neck.centre[2] == pytest.approx(vertex - 90, abs=8)
    assert vertex - neck.points[:, 2].min() == pytest.approx(180, abs=8)
    with pytest.raises(ShortError, match="a single slice"):
        head_of(Volume(np.ones((40, 40, 1), np.float32), np.eye(4)))


def test_a_box_that_leaves_out_most_of_the_head_is_refused_with_its_size():
    image = np.zeros((30, 30, 30), np.float32)
    image[3:27, 3:27, 3:27] = 1 + np.arange(24.0)
    head = head_of(Volume(image, np.diag([6.0, 6.0, 6.0, 1])))
    require_inside(head, box_at(head.centre, (24, 24, 24), (5.0, 5.0, 5.0)))
    with pytest.raises(GeometryError, match=r"^1[0-9]% of .* box of 72 x 72 x 72 mm"):
        require_inside(head, box_at(head.centre, (24, 24, 24), (3.0, 3.0, 3.0)))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A patient with six MRI series in three planes and CT, and one with a slice alone."""
    root = tmp_path_factory.mktemp("boxes")
    one, two = root / "src" / "P1", root / "src" / "P2"
    fine = ((36, 40, 30), (6.0, 6.0, 6.0))
    write(one / "P1_t1.nii", acquired("sagittal", (40, 30, 36), (6.0, 6.0, 6.0)))
    write(one / "P1_t1ce.nii", acquired("axial", *fine, of=lambda *p: shape(*p, 1)))
    write(one / "P1_flair.nii", acquired("coronal", (36, 30, 40), (6.0, 6.0, 6.0)))
    write(one / "P1_dwi.nii", acquired("axial", (30, 30, 10), (7.0, 7.0, 14.0)))
    write(one / "P1_swi.nii", acquired("axial", *fine, centre=(8, 0, 0)))
    write(one / "P1_mystery.nii", acquired("axial", *fine, centre=(0, 60, 0)))
    mask = acquired("axial", *fine, of=lambda x, y, z: (x - 30) ** 2 + (y + 20) ** 2 < 900)
    write(one / "P1_seg.nii", nib.Nifti1Image((mask.dataobj[:] != 0).astype(np.uint8), mask.affine))
    z, y, x = (8.0 * (np.indices((20, 26, 26))[n] - c) for n, c in ((0, 9.5), (1, 12.5), (2, 12.5)))
    radius = (x / 80) ** 2 + (y / 90) ** 2 + (z / 65) ** 2
    tissue = np.where(radius < 0.8, 30 + 5 * np.sin(x / 9), np.where(radius < 1, 900, -1000))
    changes = {"PatientID": "P1", "StudyDescription": "head"}
    write_series(one / "ct", (tissue + 1024).astype(np.uint16), spacing=(8.0, 8.0), step=8.0,
                 origin=(-100.0, -100.0, -76.0), intercept=-1024.0, changes=changes)  # fmt: skip
    write(two / "P2_t1.nii", acquired("axial", *fine, of=lambda *p: shape(*p, 2)))
    write(two / "P2_t2.nii", acquired("axial", (40, 40, 1), (6.0, 6.0, 6.0)))
    for patient in (one, two):
        (patient / "report.txt").write_text("A mass on the left.")
    return root, prepared(root / "src", root / "out", *BOX)


def test_every_sequence_is_a_row_by_its_name_in_one_box(cohort):
    root, rows = cohort
    mri = [row for row in rows if row.modality == "mri" and row.voxel]
    (patient,) = {row.patient_id for row in mri if row.sequence == "dwi"}
    mri = [row for row in mri if row.patient_id == patient]
    names = [row.sequence for row in mri]
    assert names[:4] == ["t1", "t1ce", "flair", "other"]  # the best series first
    assert set(names[4:]) == {"dwi", "swi"}
    assert set(names) <= set(SEQUENCES)
    assert {row.voxel for row in rows if row.path} == {"12 12 12"}
    images = {row.sequence: shown(root, row) for row in mri}
    spots = {name: np.unravel_index(image.argmax(), (12, 1, 16, 16))
             for name, image in images.items() if name != "other"}  # fmt: skip
    assert max(np.abs(np.subtract(spots["t1ce"], spot)).max() for spot in spots.values()) <= 1
    assert all(row.heights.split()[0] == "-66" for row in mri)


def shown(root, row):
    name, _, number = row.path.rpartition("#")
    return open_shard(root / "out" / name)[int(number)]


def test_ct_is_a_row_with_its_windows_and_a_mask_gives_each_slice_its_box(cohort):
    root, rows = cohort
    (ct,) = [row for row in rows if row.modality == "ct"]
    assert (shown(root, ct).shape, ct.sequence, ct.voxel) == ((12, 3, 16, 16), "", "12 12 12")
    (flair,) = [row for row in rows if row.sequence == "t1ce"]
    boxes = flair.boxes.split("|")
    assert len(boxes) == 12
    found = [tuple(map(float, box.split())) for box in boxes if box]
    assert len(found) >= 8  # a column through all of the head
    for x0, y0, x1, y1 in found:  # a circle of 60 mm about (30, -20) in 192 mm about 0
        assert (x0 + x1) / 2 == pytest.approx(0.5 + 30 / 192, abs=0.07)
        assert (y0 + y1) / 2 == pytest.approx(0.5 - 20 / 192, abs=0.07)
        assert x1 - x0 == pytest.approx(60 / 192, abs=0.08)


def test_a_slice_alone_is_refused_and_its_study_goes_on_without_it(cohort):
    root, rows = cohort
    said = refused(root / "out")
    assert list(said) == ["P2/P2_t2.nii"]
    assert said["P2/P2_t2.nii"].startswith("ShortError: the series is a single slice")


def test_shards_hold_no_more_bytes_than_a_file_may_have(cohort, tmp_path, monkeypatch):
    root, rows = cohort
    monkeypatch.setattr(shards, "LARGEST", 2 * 12 * 16 * 16)
    made = prepared(root / "src", tmp_path / "out", *BOX)
    files = [row.path.partition("#")[0] for row in made if row.modality == "mri"]
    assert max(files.count(name) for name in files) == 2
    assert len(set(files)) == 4
    order = sorted(rows, key=lambda row: row.digest)
    assert sorted(row.digest for row in made) == [row.digest for row in order]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((12, (), "best"), "--depth and --spacing must be given together"),
        ((0, (3.0,), "best"), "--depth and --spacing must be given together"),
        ((1, (3.0,), "best"), "at least 2 slices, got 1"),
        ((12, (3.0,), "levels"), "--order must be left out with --depth"),
        ((12, (3.0, 3.0), "best"), "one or three numbers"),
        ((12, (3.0, 2.0, 3.0), "best"), "equal along x and y, got 3 2 3"),
        ((12, (-3.0,), "best"), "0.1 to 20 mm, got -3"),
    ],
)
def test_what_cannot_be_a_box_is_refused_in_one_sentence(given_, said):
    with pytest.raises(ValueError, match=said):
        check_box(*given_)


def test_a_box_whose_sides_nobody_gives_holds_a_head_with_its_nose():
    assert [box_size(None, 36, (mm,)) * mm for mm in (1.0, 2.0, 3.0)] == [216, 216, 216]
    assert along((1.0, 1.0, 4.0)) == (1.0, 1.0, 4.0)
    assert along((3.0,)) == (3.0, 3.0, 3.0)


def opened(root, **changes):
    config = {"depth": 8, "spacing": (12.0, 12.0, 12.0), "resize": 16, "size": 12, "slices": 2}
    return Cohort.open(root / "out" / "manifest.csv", DataConfig(**config | changes))


@pytest.fixture(scope="module")
def words():
    return train_tokenizer(["a mass on the left"], 64)


def both(cohort):
    """The patient of six sequences and CT, and the one of T1 alone."""
    return sorted(range(2), key=lambda i: -len(cohort.places[i][1].all))


def test_the_middle_slices_of_all_sequences_enter_by_their_names(cohort, words):
    root, rows = cohort
    data = opened(root)
    many, one = both(data)
    batch = data.batch([many, one], words, augment=None)
    names = [SEQUENCES[name] for name in batch.shown[0]]
    mine = [r for r in rows if r.study_id == data.studies[many].study_id and r.sequence]
    assert names == [row.sequence for row in mine]
    assert batch.shown[1].tolist() == [0] + [-1] * 5
    for slot, row in enumerate(mine):
        wanted = shown(root, row)[2:10, 0, 2:14, 2:14].astype(np.float32) / 32 - 4
        np.testing.assert_allclose(batch.images[1][0, :, slot], wanted, atol=1e-6)
    assert (batch.images[1][1, :, 1:] == 0).all()
    assert batch.images[0].shape == (2, 8, 3, 12, 12)
    assert batch.present.tolist()[0] == [True, True, False, True]
    picture = batch.image(1)[0]
    slots = [names.index(name) for name in ("t1", "t1ce", "flair")]
    at = int(batch.focus[0, 1])
    np.testing.assert_allclose(picture[[0, 1, 3]], batch.images[1][0, at, slots], atol=1e-6)
    assert (picture[2] == 0).all()  # no T2
    np.testing.assert_array_equal(data.images([many], 1)[0], picture)


def test_a_mask_says_which_slice_maps_are_about(cohort):
    root, _ = cohort
    data = opened(root)
    many, _ = both(data)
    place = data.places[many][1]
    boxes = dict(enumerate(place.boxes[2:10]))
    areas = {k: (b[2] - b[0]) * (b[3] - b[1]) for k, b in boxes.items() if b}
    at, number = data._focus(place)
    assert (number, areas[at]) == (at + 2, max(areas.values()))
    assert data.box(many, "mri") == data.box(many, "mri", number) != None  # noqa: E711


def test_sequences_are_left_out_and_unnamed_by_a_draw_of_the_study_alone(cohort, words):
    root, _ = cohort
    data = opened(root, drop=0.5, unname=0.25, flip=0.0)
    many, one = both(data)
    left, unnamed, drawn = 0, 0, []
    for epoch in range(150):
        batch = data.batch([many, one], words, augment=(3, epoch))
        seen = [name for name in batch.shown[0].tolist() if name >= 0]
        assert seen
        assert batch.shown[1][0] in (0, len(SEQUENCES) - 1)  # never the only one
        left += 6 - len(seen)
        unnamed += seen.count(len(SEQUENCES) - 1)
        drawn.append(seen)
        alone = data.batch([many], words, augment=(3, epoch))
        assert [n for n in alone.shown[0].tolist() if n >= 0] == seen
        assert torch.equal(alone.images[1][0][:, : len(seen)], batch.images[1][0][:, : len(seen)])
    assert left / 900 == pytest.approx(0.5, abs=4 * (0.25 / 900) ** 0.5)
    # One of the six is `other` by itself; a quarter of the other five becomes it.
    assert unnamed / 450 == pytest.approx((1 + 5 / 4) / 6, abs=4 * (0.25 / 450) ** 0.5)
    assert len({tuple(seen) for seen in drawn}) > 30


def test_the_draw_of_slices_is_what_it_was_and_that_of_boxes_begins_with_it():
    index = np.arange(40)
    for kind in ("study", "view"):
        plain = augment.draw(DataConfig(draw=kind), 5, 7, index)
        boxes = augment.draw(DataConfig(draw=kind, depth=8), 5, 7, index)
        for name, value in vars(plain).items():
            if name != "sequences":
                np.testing.assert_array_equal(value, getattr(boxes, name))
        assert plain.sequences.shape == (40, 0, 2)
        assert boxes.sequences.shape == (40, 64, 2)


def test_a_slice_of_few_names_is_shown_as_it_is_and_of_none_of_the_four_as_not_known():
    images = torch.randn(2, 3, 2, 2)
    codes = torch.tensor([[1, 1, 9], [6, 10, -1]])
    first, second = four(images, codes)
    np.testing.assert_allclose(first[1], images[0, :2].mean(dim=0), atol=1e-6)
    assert (first[[0, 2, 3]] == 0).all()
    np.testing.assert_allclose(second, images[1, :2].mean(dim=0).expand(4, -1, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said", "cure"),
    [
        ({"depth": 0}, "reads slices, got a cohort whose ct are boxes|mri are boxes", "tiny3d"),
        ({"spacing": (3.0, 3.0, 3.0)}, "got 12x12x12 mm", "--data.spacing 12 12 12"),
        ({"depth": 13}, "at least data.depth=13 slices .* got 12 of 16", "at most 12"),
        ({"resize": 18}, "of data.resize=18 pixels, got 12 of 16", "--data.resize 16"),
    ],
)
def test_boxes_of_another_kind_are_refused_with_the_way_out(changes, said, cure, cohort):
    with pytest.raises(TextError, match=said) as caught:
        opened(cohort[0], **changes)
    assert cure in caught.value.cure
    assert opened(cohort[0])  # depth, spacing and pixels that it names


def test_slices_are_refused_where_boxes_are_read(cohort, tmp_path):
    root, _ = cohort
    prepared(root / "src", tmp_path / "out")
    with pytest.raises(TextError, match="reads boxes, got a cohort whose (ct|mri) are slices"):
        opened(tmp_path)
    assert opened(tmp_path, depth=0)  # as it says


def test_a_name_that_is_none_is_refused(cohort, tmp_path):
    rows = [row for row in cohort[1] if row.sequence]
    for changes, said in (
        ({"sequence": "t3"}, "sequence must be one of t1, "),
        ({"voxel": "1 1"}, "voxel must be three lengths"),
    ):
        with pytest.raises(TextError, match=said):
            locate([replace(rows[0], **changes)], cohort[0] / "out", {})

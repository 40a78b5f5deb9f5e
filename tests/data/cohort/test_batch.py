"""Augmentation, batches, shards, the manifest's jail, the tokenizer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from rfpmss.config.sections import CHANNELS, END, PAD, START, VIEWS, DataConfig
from rfpmss.data.batches import augment
from rfpmss.data.batches.augment import Draw
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import decode, encode, swap_sides, train_tokenizer
from rfpmss.data.cohort import manifest
from rfpmss.data.errors import LeakageError, PathError, TextError, UnreadableError
from rfpmss.data.phantom import ensure_cohort
from rfpmss.data.readers.resize import resize
from tests.data.files import SMALL

DATA = DataConfig(resize=32, size=28, tokens=64)
KNOWN = "left right frontal mass 24 mm grade 4 enhancing"
_SIDED = "left right Left RIGHT LEFT left-sided right; (left) 左 右 左右 左侧"
_OTHERS = "leftover bright upright mass 12 mm aright copyright left_right Lefty"
WORDS = st.lists(st.sampled_from([*_SIDED.split(), *_OTHERS.split()]), max_size=12).map(" ".join)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SMALL.model_copy(update={"missing": 0.4, "train": 8})
    return ensure_cohort(config, tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def cohort(path: Path) -> Cohort:
    return Cohort.open(path, DATA)


def drawn(flip: list[bool], **changes: float) -> Draw:
    b = len(flip)
    values = {"angle": 0.0, "shift": 0.0, "pick": 0.0, "brightness": 0.0, "contrast": 1.0} | changes
    return Draw(
        flip=np.array(flip),
        angle=np.full((b, 3), values["angle"]),
        shift=np.full((b, 3, 2), values["shift"]),
        pick=np.full(b, values["pick"]),
        brightness=np.full((b, 3), values["brightness"]),
        contrast=np.full((b, 3), values["contrast"]),
        sequences=np.zeros((b, 0, 2)),
    )


def augmented(images: Tensor, data: DataConfig, draws: Draw) -> Tensor:
    """Values after augmentation as the first view."""
    b, s, c = images.shape[:3]
    result = torch.empty(b, s, c, data.size, data.size)
    same = np.ones(c), np.zeros(c)
    augment.apply(images, data, draws, 0, same, into=result.unbind())
    return result


@given(text=WORDS)
def test_swapping_sides_twice_is_the_identity_and_changes_only_the_sides(text: str) -> None:
    swapped = swap_sides(text)
    assert swap_sides(swapped) == text
    for word, other in zip(text.split(), swapped.split(), strict=True):
        if word.lower() in (
            "leftover",
            "bright",
            "upright",
            "aright",
            "copyright",
            "lefty",
            "左右",
        ):
            assert word == other
    assert text.lower().split().count("left") == swapped.lower().split().count("right")


def test_swapping_keeps_the_case_of_whole_words() -> None:
    assert swap_sides("Left, RIGHT; left-sided") == "Right, LEFT; right-sided"
    assert swap_sides("左额叶, 左右, 右侧") == "右额叶, 左右, 左侧"


@given(
    angle=st.floats(-0.5, 0.5),
    shift=st.floats(-1, 1),
    brightness=st.floats(-0.4, 0.4),
    contrast=st.floats(0.8, 1.2),
)
def test_a_flip_mirrors_the_augmented_image_exactly(
    angle: float, shift: float, brightness: float, contrast: float
) -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 2, 3, 40, 40)
    options = {"angle": angle, "shift": shift, "brightness": brightness, "contrast": contrast}
    plain = augmented(images, DATA, drawn([False], **options))
    flipped = augmented(images, DATA, drawn([True], **options))
    assert torch.equal(flipped.flip(-1), plain)


def test_without_a_draw_augmentation_is_the_centre_crop() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 1, 3, 32, 32)
    made = augmented(images, DATA, drawn([False, False]))
    torch.testing.assert_close(made, augment.centre(images, DATA), atol=2e-5, rtol=0)


def test_a_quarter_turn_turns_the_image() -> None:
    torch.manual_seed(0)
    square = DataConfig(resize=32, size=32)
    images = torch.randn(1, 1, 1, 32, 32)
    made = augmented(images, square, drawn([False], angle=np.pi / 2))
    turned = [torch.rot90(images, k, (-2, -1)) for k in (1, 3)]
    assert any(torch.allclose(made, t, atol=1e-4) for t in turned)


@pytest.mark.parametrize("side", [33, 56])
def test_augmentation_is_the_map_written_out_point_by_point(side: int) -> None:
    """Beside SciPy's spline of order 1 at points from plain trigonometry, on stored codes."""
    rng = np.random.default_rng(side)
    data = DataConfig(resize=48, size=40)
    codes = rng.integers(0, 256, (3, 2, 3, side, side), dtype=np.uint8)
    draws = augment.draw(DataConfig(resize=48, size=40, rotation=25.0), 5, 1, np.arange(3))
    gain, offset = np.array([0.1, 0.2, 0.3]), np.array([-1.0, 0.0, 2.0])
    made = torch.empty(3, 2, 3, 40, 40)
    augment.apply(torch.from_numpy(codes), data, draws, 1, (gain, offset), into=made.unbind())
    for study in range(3):
        turn, flip = draws.angle[study, 1], draws.flip[study]
        (across, down), half = draws.shift[study, 1], 20
        columns, rows = np.meshgrid(np.arange(40) + 0.5 - half, np.arange(40) + 0.5 - half)
        u = (-columns if flip else columns) + (24 - half) * across
        v = rows + (24 - half) * down
        x = (np.cos(turn) * u - np.sin(turn) * v + 24) * side / 48 - 0.5
        y = (np.sin(turn) * u + np.cos(turn) * v + 24) * side / 48 - 0.5
        for k, c in np.ndindex(2, 3):
            stored = codes[study, k, c].astype(float)
            sampled = ndimage.map_coordinates(stored, [y, x], order=1, mode="nearest")
            value = draws.contrast[study, 1] * (gain[c] * sampled + offset[c])
            wanted = value + draws.brightness[study, 1]
            # 28 pixels at 4 ulp of float32, steps of 255 codes, gain 0.3 in each direction
            np.testing.assert_allclose(made[study, k, c].numpy(), wanted, atol=1e-3)


@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 100), n=st.integers(1, 30))
def test_the_draw_of_a_study_does_not_depend_on_the_others(seed: int, epoch: int, n: int) -> None:
    index = np.random.default_rng(n).permutation(50)[:n]
    whole = augment.draw(DATA, seed, epoch, index)
    for position in (0, n - 1):
        alone = augment.draw(DATA, seed, epoch, index[position : position + 1])
        for name, value in vars(alone).items():
            np.testing.assert_array_equal(value[0], getattr(whole, name)[position])


def test_draws_are_uniform_and_differ_between_seeds_epochs_and_studies() -> None:
    u = augment.uniform(3, 1, np.arange(4000), 4)
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(u.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(u.T) - np.eye(4)).max() < 0.06
    assert len({*u[:, 0], *augment.uniform(3, 2, np.arange(4000), 4)[:, 0]}) == 8000


def test_a_batch_does_not_depend_on_its_composition(cohort: Cohort) -> None:
    tokenizer = train_tokenizer(cohort.reports("train"), 200)
    whole = cohort.batch([3, 0, 5, 1], tokenizer, augment=(9, 2))
    for position, index in enumerate([3, 0, 5, 1]):
        alone = cohort.batch([index], tokenizer, augment=(9, 2))
        for one, many in zip(alone.images, whole.images, strict=True):
            assert torch.equal(one[0], many[position])
        assert torch.equal(alone.tokens[0], whole.tokens[position])
        assert torch.equal(alone.present[0], whole.present[position])
    other = cohort.batch([3, 0, 5, 1], tokenizer, augment=(9, 3))
    assert not torch.equal(other.images[0], whole.images[0])


def test_the_presence_mask_says_which_views_hold_values(cohort: Cohort) -> None:
    tokenizer = train_tokenizer(cohort.reports("train"), 200)
    batch = cohort.batch(range(len(cohort)), tokenizer, augment=None)
    assert int((~batch.present).sum()) > 0
    for view, name in enumerate(VIEWS):
        assert batch.images[view].shape == (len(cohort), 1, CHANNELS[name], 28, 28)
        seen = batch.images[view].flatten(1).abs().amax(1) > 0
        assert torch.equal(seen, batch.present[:, view])
        files = [study.views[view] is not None for study in cohort.studies]
        assert batch.present[:, view].tolist() == files
    assert batch.present[:, -1].all()


def test_a_flipped_study_has_flipped_words_and_the_others_do_not(cohort: Cohort) -> None:
    tokenizer = train_tokenizer(cohort.reports("train"), 400)
    index = list(range(len(cohort)))
    flips = augment.draw(DATA, 4, 0, np.arange(len(cohort))).flip
    assert 0 < flips.sum() < len(flips)
    batch = cohort.batch(index, tokenizer, augment=(4, 0))
    plain = cohort.batch(index, tokenizer, augment=None)
    for i in index:
        said, was = decode(tokenizer, batch.tokens[i]), decode(tokenizer, plain.tokens[i])
        assert said == (swap_sides(was) if flips[i] else was)
        assert swap_sides(was) != was


def test_a_study_without_a_report_has_no_tokens(cohort: Cohort) -> None:
    silent = replace(cohort.studies[0], report=None)
    quiet = replace(cohort, studies=(silent, *cohort.studies[1:]))
    batch = quiet.batch([0, 1], train_tokenizer(cohort.reports("train"), 200), augment=None)
    assert not batch.present[0, -1]
    assert (batch.tokens[0] == PAD).all()
    assert batch.tokens[1, 0] == START


def test_the_reference_box_encloses_the_same_pixels_in_the_crop(cohort: Cohort) -> None:
    """Paint the box into the stored image; the centre crop must show it where box() says."""
    found = 0
    for index in range(len(cohort)):
        place = cohort.places[index][1]
        box = cohort.box(index, "mri")
        if place is None or box is None or place.boxes[0] is None:
            continue
        side = place.shard.shape[-1]
        x0, y0, x1, y1 = (round(v * side) for v in place.boxes[0])
        image = torch.zeros(1, 1, 1, side, side)
        image[..., y0:y1, x0:x1] = 1
        rows, columns = np.nonzero(augment.centre(image, DATA)[0, 0, 0].numpy() > 0.5)
        painted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(painted, box, atol=1.01)
        found += 1
    assert found >= 3


@given(old=st.integers(1, 40), new=st.integers(1, 40), low=st.floats(-5, 5), high=st.floats(-5, 5))
def test_resizing_keeps_constants_and_ramps(old: int, new: int, low: float, high: float) -> None:
    flat = np.full((old, 3), low, np.float32)
    np.testing.assert_allclose(resize(flat, (new, 3)), low, atol=1e-4)
    mirrored = np.linspace(low, high, old, dtype=np.float32)[:, None]
    up, down = resize(mirrored, (new, 1)), resize(mirrored[::-1], (new, 1))
    np.testing.assert_allclose(up, down[::-1], atol=1e-4)


@given(text=st.lists(st.sampled_from(KNOWN.split())).map(" ".join))
def test_known_words_survive_the_tokenizer(text: str) -> None:
    tokenizer = train_tokenizer([KNOWN], 200)
    ids = encode(tokenizer, [text], 64)
    assert decode(tokenizer, ids[0]).split() == text.split()
    assert int((ids[0] == END).sum()) == 1
    assert (ids[0, int((ids[0] == END).nonzero()[0]) + 1 :] == PAD).all()


def test_a_long_report_keeps_its_end_token() -> None:
    tokenizer = train_tokenizer(["mass left"], 64)
    ids = encode(tokenizer, ["mass " * 50], 8)
    assert ids.shape == (1, 8)
    assert ids[0, 0] == START
    assert ids[0, -1] == END


def test_no_reports_end_in_one_named_error() -> None:
    with pytest.raises(TextError, match="no report"):
        train_tokenizer(["", " "], 64)


ESCAPES = (
    "/etc/passwd", "../x.npy", "a/../../x", "a/..", "..\\x", "C:\\x", "C:/x", "\\\\host\\x", "\\x",
    "~/x", "file:///x", "http://x", "s3://x/y", "pipe:cat x", "|cat x", "a\0b", "a\nb", "a\tb",
    "//x", "shards/../../x.npy#0", "\x1b[2J",
)  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_a_path_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PathError):
        manifest.jail(tmp_path, name)


def test_links_that_lead_out_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "inside").write_text("x")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "inside")
    for name in ("out", "up/secret"):
        with pytest.raises(PathError):
            manifest.jail(root, name)
    assert manifest.jail(root, "in") == (root / "inside").resolve()


def test_a_manifest_survives_being_written_and_read(tmp_path: Path) -> None:
    rows = [
        manifest.Row(patient_id="a", study_id="b", modality="report", report='x, "y"; =1 左'),
        manifest.Row(patient_id="a", study_id="b", modality="ct", path="shards/x.npy#0"),
    ]
    manifest.write(tmp_path / "m.csv", rows)
    assert manifest.read(tmp_path / "m.csv") == rows


def test_one_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [
        manifest.Row(patient_id="a", study_id=s, modality="report", report="x", split=s)
        for s in ("train", "test")
    ]
    manifest.write(tmp_path / "m.csv", rows)
    with pytest.raises(LeakageError):
        manifest.read(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a,b\n1,2\n", TextError),
        ("patient_id,study_id,modality\np,s,smell\n", TextError),
        ("patient_id,study_id,modality\n,s,ct\n", TextError),
        ("patient_id,study_id,modality,path\np,s,ct,shards/none.npy#0\n", UnreadableError),
        ("patient_id,study_id,modality,path\np,s,ct,../x.npy#0\n", PathError),
    ],
)
def test_a_wrong_manifest_ends_in_one_named_error(
    text: str, kind: type[Exception], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(kind):
        Cohort.open(tmp_path / "m.csv", DATA)


def test_a_shard_with_objects_or_the_wrong_shape_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    head = "patient_id,study_id,modality,path\np,s,ct,shards/x.npy#0\n"
    (tmp_path / "m.csv").write_text(head)
    good = np.zeros((1, 1, 3, 8, 8), np.uint8)
    for bad in (
        np.array([{"a": 1}], dtype=object), good[0], good.astype(np.float32), good[:, :, :2],
        good[..., :4], good[:0],
    ):  # fmt: skip
        np.save(tmp_path / "shards" / "x.npy", bad, allow_pickle=True)
        with pytest.raises(UnreadableError):
            Cohort.open(tmp_path / "m.csv", DATA)
    np.save(tmp_path / "shards" / "x.npy", good)
    assert len(Cohort.open(tmp_path / "m.csv", DATA)) == 1

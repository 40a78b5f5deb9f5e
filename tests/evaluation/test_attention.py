"""Attention maps against written-out sums, boxes against painting pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rfpmss.config import VIEWS
from rfpmss.data.batches.batch import Batch
from rfpmss.evaluation.attention.boxes import (
    best_threshold,
    box_of,
    centre_heat,
    covered,
    overlap_of,
    overlaps,
    points_inside,
)
from rfpmss.evaluation.attention.grounding import Cases, Grounded, ceiling, table
from rfpmss.evaluation.attention.maps import (
    enlarge,
    gaze,
    gradient_map,
    gradient_rollout,
    layer_maps,
    recorded,
    rollout,
)
from rfpmss.model.rfpmss import RFPMSS
from tests.model.small import WORDS, random_batch, small_config

CONFIG = small_config()


def model():
    torch.manual_seed(0)
    return RFPMSS(CONFIG.model, CONFIG.data, WORDS).eval()


def batch(slices=1):
    made = random_batch(CONFIG, slices=slices)
    return Batch(made.images, made.present, made.tokens, made.index)


def test_writing_attention_out_changes_no_feature_and_is_undone():
    network, given_batch = model(), batch()
    attentions = [b.attention for b in network.image.trunk("ct").blocks]
    before = network.encode(given_batch.images, given_batch.present, given_batch.tokens).joint
    with recorded(attentions) as found:
        inside = network.encode(given_batch.images, given_batch.present, given_batch.tokens).joint
    assert torch.allclose(before, inside, atol=1e-6)
    assert len(found) == CONFIG.model.depth
    assert torch.allclose(found[0].sum(dim=-1), torch.ones(()), atol=1e-6)
    assert not [a for a in attentions if "_mix" in vars(a)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("slices", [1, 2])
def test_the_maps_of_a_view_are_those_of_that_view_alone(view, slices):
    network, given_batch = model(), batch(slices)
    maps = layer_maps(network.image, given_batch, view)
    place = VIEWS.index(view)
    other = tuple(x if i == place else x + 1 for i, x in enumerate(given_batch.images))
    assert torch.allclose(maps, layer_maps(network.image, replace(given_batch, images=other), view))
    theirs = network.attention(given_batch.images, given_batch.present)[place][:, :, 0]
    assert torch.allclose(maps, theirs, atol=1e-6)


def test_rollout_is_the_product_of_half_residual_maps():
    maps = torch.rand(3, 2, 5, 5, dtype=torch.float64).softmax(dim=-1)
    for r in range(2):
        flow = np.eye(5)
        for layer in maps[:, r].numpy():
            flow = (0.5 * layer + 0.5 * np.eye(5)) @ flow
        assert rollout(maps)[r].numpy() == pytest.approx(flow[0, 1:], abs=1e-12)
        assert flow.sum(axis=1) == pytest.approx(np.ones(5))


def test_gradient_rollout_is_the_sum_over_all_paths():
    torch.manual_seed(1)
    weights = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64)
    gradients = torch.randn_like(weights)
    first, second = (
        (w * g).clamp(min=0).mean(dim=1)[0].numpy() for w, g in zip(weights, gradients, strict=True)
    )
    expected = (np.eye(4) + second) @ (np.eye(4) + first)
    found = gradient_rollout(list(weights), list(gradients))
    assert found[0].numpy() == pytest.approx(expected[0, 1:], abs=1e-12)


def test_a_patch_that_the_target_does_not_need_has_no_gradient_weight():
    network, given_batch = model(), batch()

    def nothing(b):
        return network.image(b.images, b.present).vectors[:, 0].sum(dim=-1) * 0.0

    assert not gradient_map(network.image, given_batch, "ct", nothing).any()

    def only_ct(b):
        return network.image(b.images, b.present).vectors[:, 0, 0]

    assert gradient_map(network.image, given_batch, "ct", only_ct).any()
    assert not gradient_map(network.image, given_batch, "mri", only_ct).any()


def test_the_gaze_of_every_word_is_shared_out_among_present_views():
    network, given_batch = model(), batch()
    given_batch.present[1, 0] = False
    looks = gaze(network, given_batch)
    assert looks.shape == (4, CONFIG.data.tokens - 1, 3, 4)
    assert torch.allclose(looks.sum(dim=(2, 3)), torch.ones(()), atol=1e-5)
    assert not looks[1, :, 0].any()


def test_enlarged_maps_span_zero_to_one_and_keep_their_brightest_patch():
    maps = torch.zeros(2, 16)
    maps[0, 5], maps[1, 15] = 2.0, 1.0
    heats = enlarge(maps, 32)
    assert heats.min() == 0.0
    assert heats.max(axis=(1, 2)).tolist() == [1.0, 1.0]
    assert [np.unravel_index(h.argmax(), h.shape) for h in heats][0][0] in range(8, 16)


@given(st.integers(0, 2**32 - 1))
def test_overlap_is_that_of_painted_pixels(seed):
    draw = np.random.default_rng(seed)
    pictures, boxes = [], []
    for _ in range(2):
        x0, y0 = draw.integers(0, 8, 2)
        x1, y1 = x0 + draw.integers(1, 6), y0 + draw.integers(1, 6)
        picture = np.zeros((16, 16), bool)
        picture[y0:y1, x0:x1] = True
        pictures.append(picture)
        boxes.append((float(x0), float(y0), float(x1), float(y1)))
    expected = (pictures[0] & pictures[1]).sum() / (pictures[0] | pictures[1]).sum()
    assert overlap_of(*boxes) == pytest.approx(expected)
    assert overlap_of(*boxes) == overlap_of(*boxes[::-1])


def test_the_box_holds_the_part_with_the_maximum_and_no_other():
    heat = np.zeros((10, 10))
    heat[1:3, 1:5] = 0.8
    heat[6:9, 6:9] = 0.7
    heat[7, 7] = 1.0
    assert box_of(heat, 0.5) == (6.0, 6.0, 9.0, 9.0)
    assert box_of(heat, 0.75) == (7.0, 7.0, 8.0, 8.0)


def test_thresholds_are_chosen_for_the_highest_mean_overlap():
    heats = np.zeros((3, 12, 12))
    heats[:, 2:8, 2:8] = 0.4
    heats[:, 3:6, 3:6] = 1.0
    wide, narrow = [(2.0, 2.0, 8.0, 8.0)] * 3, [(3.0, 3.0, 6.0, 6.0)] * 3
    assert best_threshold(heats, wide)[0] <= 0.4 < best_threshold(heats, narrow)[0]
    assert overlaps(heats, wide, best_threshold(heats, wide)[0]).tolist() == [1.0] * 3


def test_the_centre_control_gives_centred_squares():
    x0, y0, x1, y1 = box_of(centre_heat(20), 0.5)
    assert (x0, y0) == (20 - x1, 20 - y1)
    assert x1 - x0 == 10


def test_a_flat_map_points_by_chance():
    assert points_inside(np.ones((10, 10)), (0.0, 0.0, 5.0, 10.0)) == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1))
def test_a_patch_is_covered_by_its_share_of_the_painted_pixels(seed):
    draw = np.random.default_rng(seed)
    x0, y0 = draw.integers(0, 12, 2)
    x1, y1 = x0 + draw.integers(1, 5), y0 + draw.integers(1, 5)
    picture = np.zeros((16, 16))
    picture[y0:y1, x0:x1] = 1.0
    expected = picture.reshape(4, 4, 4, 4).mean(axis=(1, 3)).ravel()
    found = covered((float(x0), float(y0), float(x1), float(y1)), 16, 4)
    assert found == pytest.approx(expected, abs=1e-15)


def test_smaller_patches_allow_more_overlap_and_single_pixels_all_of_it():
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 40, (2, 60)).astype(float)
    width, height = draw.integers(8, 24, (2, 60)).astype(float)
    references = {i: (x[i], y[i], x[i] + width[i], y[i] + height[i]) for i in range(60)}
    chosen = Cases(np.arange(30), np.arange(30, 60), [f"p{i}" for i in range(30)], references)
    coarse, fine, pixels = (ceiling(chosen, 64, patch) for patch in (16, 8, 1))
    assert 0.5 < coarse < fine < pixels == 1.0


def test_the_interval_of_pointing_is_by_patient():
    def row(copies):
        hits = np.repeat((np.random.default_rng(0).random(60) < 0.4).astype(float), copies)
        patients = [f"p{i}" for i in np.repeat(np.arange(60), copies)]
        none = np.zeros((len(hits), 1, 1))
        found = Grounded("any", "", False, 0.5, 0.0, none, [], np.zeros(len(hits)), hits)
        (told,) = table([found], patients, "mri", 0.9)
        return hits, (told["pointing_low"], told["pointing_high"])

    hits, once = row(1)
    theirs = stats.bootstrap(
        (hits,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert once == pytest.approx((theirs.low, theirs.high), abs=1 / 60 + 1e-9)
    assert row(10)[1] == pytest.approx(once, abs=1e-12)

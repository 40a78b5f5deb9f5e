import pytest
import torch
import torch.nn.functional as F

from rfpmss.config import CHANNELS, VIEWS
from rfpmss.model.image import SHARED, ImageEncoder
from tests.model.small import random_batch, small_config


def build(**options):
    torch.manual_seed(0)
    config = small_config(**options)
    model = ImageEncoder(config.model, config.data.size).double()
    for trunk in model.trunks.values():
        torch.nn.init.normal_(trunk.aggregation)
    return config, model


def test_a_stem_is_a_strided_convolution():
    config, model = build()
    image = torch.randn(3, 2, CHANNELS["mri"], 8, 8, dtype=torch.float64)
    stem = model.stems["mri"]
    kernel = stem.linear.weight.reshape(-1, CHANNELS["mri"], 4, 4)
    expected = F.conv2d(image.flatten(0, 1), kernel, stem.linear.bias, stride=4).flatten(2).mT
    mine = model.stem("mri", image, torch.ones(3).bool())
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


def test_concatenated_positions_start_as_added_positions():
    config, concatenated = build()
    _, added = build(position="add")
    added.load_state_dict(concatenated.state_dict(), strict=False)
    patches = torch.randn(5, 4, 8, dtype=torch.float64)
    assert torch.equal(
        concatenated.trunks[SHARED].layers(patches), added.trunks[SHARED].layers(patches)
    )


def test_recurrent_concatenation_starts_as_recurrent_addition():
    config, concatenated = build()
    patches = torch.randn(5, 4, 8, dtype=torch.float64)
    results = {}
    for form in ("add", "none"):
        _, other = build(recurrent=form)
        other.load_state_dict(concatenated.state_dict(), strict=False)
        results[form] = other.trunks[SHARED](patches)
    summary, tokens = concatenated.trunks[SHARED](patches)
    assert torch.equal(tokens, results["add"][1])
    assert torch.equal(tokens, results["none"][1] + summary[:, None])
    assert all(torch.equal(summary, other[0]) for other in results.values())


def test_slices_are_averaged():
    config, model = build()
    batch = random_batch(config, size=2, slices=3, dtype=torch.float64)
    together = model(batch.images, batch.present)
    alone = [
        model(tuple(view[:, s : s + 1] for view in batch.images), batch.present) for s in range(3)
    ]
    for name in ("vectors", "tokens"):
        mean = torch.stack([getattr(one, name) for one in alone]).mean(0)
        torch.testing.assert_close(getattr(together, name), mean, rtol=0, atol=1e-12)


def test_views_may_have_different_numbers_of_slices():
    config, model = build()
    one, three = (random_batch(config, 2, s, dtype=torch.float64).images for s in (1, 3))
    present = torch.ones(2, 4, dtype=torch.bool)
    mixed = model((one[0], three[1], one[2]), present)
    for view, images in enumerate((one, three, one)):
        expected = model(images, present).tokens[:, view]
        torch.testing.assert_close(mixed.tokens[:, view], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("view", range(3))
def test_an_absent_view_is_zero_and_leaves_no_trace(view):
    config, model = build()
    batch = random_batch(config, dtype=torch.float64)
    batch.present[1, view] = False
    batch.images[view][1] = float("nan")
    views = model(batch.images, batch.present)
    assert not views.vectors[1, view].any()
    assert not views.tokens[1, view].any()
    (views.vectors.sum() + views.tokens.sum()).backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    full = model(random_batch(config, dtype=torch.float64).images, torch.ones_like(batch.present))
    kept = batch.present[:, :3]
    torch.testing.assert_close(views.vectors[kept], full.vectors[kept], rtol=0, atol=1e-12)


def test_every_view_has_a_stem_of_its_own_and_shares_the_trunk_unless_told():
    for kind, trunks in (("shared", [SHARED]), ("separate", list(VIEWS))):
        _, model = build(trunk=kind)
        assert list(model.stems) == list(VIEWS)
        assert list(model.trunks) == trunks


def test_separate_trunks_that_are_equal_are_a_shared_trunk():
    config, shared = build()
    _, separate = build(trunk="separate")
    separate.stems.load_state_dict(shared.stems.state_dict())
    for trunk in separate.trunks.values():
        trunk.load_state_dict(shared.trunks[SHARED].state_dict())
    batch = random_batch(config, slices=2, dtype=torch.float64)
    batch.present[1, 0] = False
    a, b = (model(batch.images, batch.present) for model in (shared, separate))
    torch.testing.assert_close(a.vectors, b.vectors, rtol=0, atol=1e-12)
    torch.testing.assert_close(a.tokens, b.tokens, rtol=0, atol=1e-12)


def test_attention_over_slices_is_a_softmax_of_a_learned_score():
    config, model = build(slice_pooling="attention")
    vectors, tokens = torch.randn(6, 8).double(), torch.randn(6, 4, 8).double()
    pooled, grid = model.pool(vectors, tokens, 3)
    for study in range(2):
        rows = vectors[3 * study : 3 * study + 3]
        scores = rows @ model.attend.weight[0] + model.attend.bias
        share = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(pooled[study], (share[:, None] * rows).sum(0))
        expected = (share[:, None, None] * tokens[3 * study : 3 * study + 3]).sum(0)
        torch.testing.assert_close(grid[study], expected)


def test_recomputing_activations_changes_neither_features_nor_gradients():
    config, model = build()
    _, frugal = build(recompute=True)
    frugal.load_state_dict(model.state_dict())
    batch = random_batch(config, dtype=torch.float64)
    results = []
    for one in (model, frugal):
        views = one(batch.images, batch.present)
        (views.vectors.square().sum() + views.tokens.sin().sum()).backward()
        results.append((views, [p.grad for p in one.parameters()]))
    assert torch.equal(results[0][0].tokens, results[1][0].tokens)
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_attention_maps_are_the_weights_that_mix_the_values():
    config, model = build()
    trunk, patches = model.trunks[SHARED], torch.randn(5, 4, 8, dtype=torch.float64)
    maps = trunk.attention(patches)
    assert maps.shape == (2, 5, 5, 5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 5, 5).double())
    x, attention = trunk.embed(patches), trunk.blocks[0].attention
    y = trunk.blocks[0].norm1(x)
    value = attention.split(attention.project(y), 3)[2]
    mixed = (attention.weights(y) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.out(mixed), attention(y), rtol=0, atol=1e-12)
    torch.testing.assert_close(maps[0], attention.weights(y).mean(1), rtol=0, atol=1e-13)

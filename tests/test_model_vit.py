import pytest
import torch
import torch.nn.functional as F

from rfpmss.config import CHANNELS, VIEWS
from rfpmss.model.vit import MedicalImageTransformer
from tests.model_tools import random_batch, small_config


def build(**options):
    torch.manual_seed(0)
    config = small_config(**options)
    model = MedicalImageTransformer(config.model, config.data.size).double()
    torch.nn.init.normal_(model.aggregation)
    return config, model


def test_a_stem_is_a_strided_convolution():
    config, model = build()
    image = torch.randn(3, 2, CHANNELS["mri"], 8, 8, dtype=torch.float64)
    stem = model.stems["mri"]
    kernel = stem.weight.reshape(-1, CHANNELS["mri"], 4, 4)
    expected = F.conv2d(image.flatten(0, 1), kernel, stem.bias, stride=4).flatten(2).mT
    torch.testing.assert_close(model.stem("mri", image), expected, rtol=0, atol=1e-12)


def test_concatenated_positions_start_as_added_positions():
    config, concatenated = build()
    _, added = build(position="add")
    added.load_state_dict(concatenated.state_dict(), strict=False)
    patches = torch.randn(5, 4, 8, dtype=torch.float64)
    assert torch.equal(concatenated.layers(patches), added.layers(patches))


def test_recurrent_concatenation_starts_as_recurrent_addition():
    config, concatenated = build()
    patches = torch.randn(5, 4, 8, dtype=torch.float64)
    results = {}
    for form in ("add", "none"):
        _, other = build(recurrent=form)
        other.load_state_dict(concatenated.state_dict(), strict=False)
        results[form] = other.trunk(patches)
    summary, tokens = concatenated.trunk(patches)
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


def test_every_view_has_a_stem_of_its_own_and_shares_the_trunk():
    config, model = build()
    assert list(model.stems) == list(VIEWS)
    names = [name for name, _ in model.named_parameters() if not name.startswith("stems.")]
    assert not [name for name in names if set(VIEWS) & set(name.split("."))]

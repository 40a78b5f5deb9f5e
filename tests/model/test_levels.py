"""Several slices a view: learned heights, the largest values, slower stems of many inputs."""

import sys

import pytest
import torch

from rfpmss.config import VIEWS, levels, smoke
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.model.image import ImageEncoder
from rfpmss.training.build import build
from tests import warm
from tests.model.small import random_batch, small_config


def encoder(slices=3, **options):
    torch.manual_seed(0)
    config = small_config(slice_pooling="max", **options)
    made = ImageEncoder(config.model, config.data.size, slices).double().eval()
    batch = random_batch(config, slices=slices, dtype=torch.float64)
    return made, batch.images, batch.present


def test_the_largest_values_of_slices_stand_for_a_view():
    made, *_ = encoder()
    vectors, tokens = torch.randn(6, 8).double(), torch.randn(6, 4, 8).double()
    pooled, grid = made.pool(vectors, tokens, 3)
    for study in range(2):
        rows = range(3 * study, 3 * study + 3)
        for feature in range(8):
            assert pooled[study, feature] == max(vectors[row, feature] for row in rows)
            for patch in range(4):
                most = max(tokens[row, patch, feature] for row in rows)
                assert grid[study, patch, feature] == most


def test_heights_start_as_sines_and_are_added_to_the_patches_of_ct_and_mri_alone():
    made, images, present = encoder()
    angle = torch.arange(3)[:, None] * 100.0 ** -(torch.arange(4) / 4)
    wanted = torch.cat([angle.sin(), angle.cos()], dim=1).double()
    assert torch.allclose(made.heights.detach(), wanted, atol=1e-7)
    for view, pixels in zip(VIEWS, images, strict=True):
        there = torch.ones(len(pixels), dtype=torch.bool)
        rows = made.stem(view, pixels, there).unflatten(0, (-1, 3))
        for slice_ in range(3):
            plain = made.stems[view](pixels[:, slice_])
            height = made.heights[slice_] if view != "pathology" else torch.zeros(8)
            assert torch.allclose(rows[:, slice_], plain + height, atol=1e-12)


def test_slices_at_other_heights_are_another_head_and_without_heights_the_same():
    made, images, present = encoder()
    turned = tuple(pixels.flip(1) for pixels in images)
    first, second = made(images, present).vectors, made(turned, present).vectors
    assert not torch.allclose(first[:, 1], second[:, 1], atol=1e-3)
    assert torch.allclose(first[:, 2], second[:, 2], atol=1e-12)  # tiles have none
    torch.nn.init.zeros_(made.heights)
    same = torch.stack([made(x, present).vectors for x in (images, turned)])
    assert torch.allclose(same[0], same[1], atol=1e-12)


@pytest.mark.parametrize("backbone", ["vit", "resnet101"])
def test_equal_slices_without_heights_are_one_slice(backbone):
    size = {"resnet_width": 8} if backbone == "resnet101" else {}
    made, images, present = encoder(backbone=backbone, **size)
    torch.nn.init.zeros_(made.heights)
    if backbone == "resnet101":
        images = tuple(torch.nn.functional.interpolate(x, (x.shape[2], 32, 32)) for x in images)
    one = tuple(pixels[:, :1] for pixels in images)
    many = made(tuple(pixels.expand(-1, 3, -1, -1, -1) for pixels in one), present)
    single = made(one, present)
    assert torch.allclose(many.vectors, single.vectors, atol=1e-12)
    assert torch.allclose(many.tokens, single.tokens, atol=1e-12)


def test_series_follow_each_other_each_from_its_lowest_level():
    made, images, _ = encoder()
    ct = images[0]
    there = torch.ones(len(ct), dtype=torch.bool)
    rows = made.stem("ct", torch.cat([ct, ct], dim=1), there).unflatten(0, (-1, 6))
    assert torch.equal(rows[:, :3], rows[:, 3:])
    low = made.stem("ct", ct, there, [0, 0, 0]).unflatten(0, (-1, 3))
    assert torch.allclose(low[:, 1], made.stems["ct"](ct[:, 1]) + made.heights[0], atol=1e-12)


EXPORT = """
import torch
from rfpmss.config import levels, smoke
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.graphs import ImageSide, example

torch.manual_seed(0)
config = levels(smoke())
model = RFPMSS(config.model, config.data, vocabulary=30).eval()
images, present, *_ = example(model)
assert {pixels.shape[1] for pixels in images} == {4}
b = torch.export.Dim("studies", min=1)
side, given = ImageSide(model), (*images, present)
shapes = tuple({0: b} for _ in given)
image = torch.export.export(side, given, dynamic_shapes=shapes).module()
for studies in (1, 3):
    images = [torch.randn(studies, *pixels.shape[1:]) for pixels in images]
    present = torch.rand(studies, 4) > 0.3
    with torch.no_grad():
        for mine, wanted in zip(image(*images, present), side(*images, present), strict=True):
            assert len(mine) == studies
            torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_a_model_of_levels_is_exported_for_any_number_of_studies():
    # A process of its own: the run-time checks of shapes in tests cannot be traced.
    done = warm.run([sys.executable, "-c", EXPORT])
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_stem_of_many_inputs_learns_slower_and_no_other_part_does(optimiser):
    """Of smoke, CT and slides have 8 x 8 x 3 = 192 inputs, MRI 256; all at most 200."""
    words = train_tokenizer(["a mass"], 64)

    def groups(most):
        train = smoke().train.model_copy(update={"optimiser": optimiser, "stem_fan_in": most})
        config = levels(smoke()).model_copy(update={"train": train})
        state, _ = build(config, words, 7, "cpu", fresh=True)
        return state.modules["model"], state.optimiser.param_groups

    model, found = groups(None)
    plain = [len(group["params"]) for group in found]
    assert len(plain) == (2 if optimiser == "muon" else 1)
    assert [len(group["params"]) for group in groups(256)[1]] == plain
    model, found = groups(200)
    slow = {id(p): group.get("rate", 1.0) for group in found for p in group["params"]}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = optimiser == "muon" and id(parameter) in {
            id(p) for group in found if group["matrices"] for p in group["params"]
        }
        wanted = 200 / 256 if "stems.mri" in name else 10.0 if matrix else 1.0
        assert slow[id(parameter)] == pytest.approx(wanted), name
        assert not (matrix and ("heights" in name or "stems" in name))
    assert sum(len(group["params"]) for group in found) == sum(plain)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_of_levels_the_text_encoder_learns_at_a_tenth_and_no_other_part_does(optimiser):
    words, preset = train_tokenizer(["a mass"], 64), levels(smoke())
    train = preset.train.model_copy(update={"optimiser": optimiser})
    config = preset.model_copy(update={"train": train})
    state, _ = build(config, words, 7, "cpu", fresh=True)
    rates = {
        id(p): group.get("rate", 1.0) / (10.0 if group.get("matrices") else 1.0)
        for group in state.optimiser.param_groups
        for p in group["params"]
    }
    for name, parameter in state.modules["model"].named_parameters():
        if parameter.requires_grad:
            wanted = 0.1 if name.startswith("report.") else 1.0
            assert rates[id(parameter)] == pytest.approx(wanted), name

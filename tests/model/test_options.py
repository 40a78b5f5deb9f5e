"""Options of the model that no other file pins: residual trunk, frozen layers, stages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from rfpmss.config import PRESETS, LossConfig
from rfpmss.model.image import SHARED, ImageEncoder
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stages import LOSSES, PARTS, train_only, weights_of
from tests.model.small import WORDS, random_batch, small_config


def build(**options):
    torch.manual_seed(0)
    config = small_config(**options)
    return config, RFPMSS(config.model, config.data, WORDS)


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    config = small_config(backbone="resnet101", resnet_width=8)
    data = config.data.model_copy(update={"size": 32, "resize": 32})
    return config.model_copy(update={"data": data}), ImageEncoder(config.model, 32)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_residual_network_is_resnet_101_with_the_channels_of_its_preset(preset):
    """As many parameters as the original has when it is built as narrow."""
    width = {"smoke": 8, "tiny": 16, "tiny3d": 16, "small": 32}.get(preset, 64)
    config = PRESETS[preset]()
    model = config.model.model_copy(update={"backbone": "resnet101"})
    sizes = [4 * width, 8 * width, 16 * width, 32 * width]
    original = ResNetConfig(depths=[3, 4, 23, 3], embedding_size=width, hidden_sizes=sizes)
    with torch.device("meta"):
        encoder, theirs = ImageEncoder(model, config.data.size), ResNetModel(original)
    assert encoder.stems["mri"].out_channels == width
    trunk = encoder.trunks[SHARED]
    mine = [*encoder.stems["ct"].parameters(), *trunk.parameters()]
    count = sum(p.numel() for p in mine) - sum(p.numel() for p in trunk.project.parameters())
    assert count == sum(p.numel() for p in theirs.parameters())


def test_batch_statistics_never_see_an_absent_view(residual):
    config, encoder = residual
    encoder.train()
    batch = random_batch(config, size=3)
    batch.present[1, 0] = batch.present[2, 1] = False
    first = encoder(batch.images, batch.present)
    batch.images[0][1], batch.images[1][2] = 1e3, float("nan")
    second = encoder(batch.images, batch.present)
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.tokens, second.tokens)
    assert not first.vectors[1, 0].any()
    assert first.tokens.shape == (3, 3, 1, config.model.dim)
    state = [x for name, x in encoder.state_dict().items() if "running" in name]
    assert all(x.isfinite().all() for x in state)


def test_a_batch_without_images_passes_a_residual_trunk(residual):
    config, encoder = residual
    encoder.eval()
    batch = random_batch(config, size=2)
    views = encoder(batch.images, torch.zeros(2, 4).bool())
    assert not views.vectors.any()
    assert not views.tokens.any()


def test_attention_maps_of_a_residual_trunk_are_refused():
    config, model = build(backbone="resnet101", resnet_width=8)
    batch = random_batch(config, size=2)
    with pytest.raises(ValueError, match=r"attention needs model\.backbone=vit"):
        model.attention(batch.images, batch.present)


def test_attention_maps_come_study_by_study_and_slice_by_slice():
    config, model = build()
    batch = random_batch(config, size=3, slices=2)
    maps = model.attention(batch.images, batch.present)
    assert [m.shape for m in maps] == [(2, 3, 2, 5, 5)] * 3
    alone = model.attention(tuple(v[1:2, 1:] for v in batch.images), batch.present[1:2])
    torch.testing.assert_close(alone[2][:, 0, 0], maps[2][:, 1, 1])


def test_beam_search_is_one_argument_away():
    config, model = build()
    batch = random_batch(config, size=3)
    model.eval()
    reports = [model.generate(batch.images, batch.present, 6, width=w) for w in (1, 4)]
    assert [r.shape for r in reports] == [(3, 6)] * 2


def test_frozen_text_layers_do_not_learn():
    config, model = build(text_depth=3, text_frozen=2)
    free = {n for n, p in model.report.named_parameters() if p.requires_grad}
    assert not [n for n in free if "embeddings" in n or "layer.0." in n or "layer.1." in n]
    assert [n for n in free if "layer.2." in n]


def test_recomputing_the_whole_model_changes_nothing():
    results = []
    for recompute in (False, True):
        config, model = build(recompute=recompute)
        batch = random_batch(config)
        out = model(batch.images, batch.present, batch.tokens)
        (out.joint.sum() + out.inputs.square().sum() + out.report.square().sum()).backward()
        results.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


COMPILE = """
import torch
from rfpmss.model.rfpmss import RFPMSS
from tests.model.small import WORDS, random_batch, small_config

torch.manual_seed(0)
config = small_config()
model, batch = RFPMSS(config.model, config.data, WORDS), random_batch(config)
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
mine, expected = (one(batch.images, batch.present, batch.tokens) for one in (compiled, model))
torch.testing.assert_close(mine.joint, expected.joint)
torch.testing.assert_close(mine.logits, expected.logits)
"""


@pytest.mark.slow
def test_the_network_compiles_to_one_graph_without_a_break():
    # A process of its own: the run-time checks of shapes in tests cannot be traced.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=True, timeout=600)


@pytest.mark.parametrize("stage", list(PARTS))
def test_a_stage_trains_its_parts_with_its_losses(stage):
    _, model = build(text_frozen=1)
    train_only(model, "joint")
    train_only(model, stage)
    for name, part in model.named_children():
        learning = [n for n, p in part.named_parameters() if p.requires_grad]
        assert bool(learning) == (name in PARTS[stage])
        assert not [n for n in learning if "bert.embeddings" in n]
    weights = weights_of(stage, LossConfig(nce=0.5))
    for name in LOSSES["joint"]:
        expected = getattr(LossConfig(nce=0.5), name) if name in LOSSES[stage] else 0
        assert getattr(weights, name) == expected


def test_the_two_stages_share_the_whole_model_between_them():
    assert sorted(PARTS["backbone"] + PARTS["heads"]) == sorted(PARTS["joint"])
    _, model = build()
    assert sorted(PARTS["joint"]) == sorted(name for name, _ in model.named_children())

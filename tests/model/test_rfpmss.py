import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.config import START, paper
from rfpmss.model import features
from rfpmss.model.features import Features
from rfpmss.model.rfpmss import RFPMSS, count
from tests.model.small import WORDS, random_batch, small_config


def build(**options):
    torch.manual_seed(0)
    config = small_config(**options)
    return config, RFPMSS(config.model, config.data, WORDS).double()


def spoil(batch, generator):
    """The same studies with other contents wherever a modality is absent."""
    images = []
    for i, view in enumerate(batch.images):
        absent = ~batch.present[:, i, None, None, None, None]
        noise = torch.randn(view.shape, generator=generator, dtype=view.dtype)
        images.append(torch.where(absent, noise, view))
    other = torch.randint(0, WORDS, batch.tokens.shape, generator=generator)
    tokens = torch.where(batch.present[:, 3, None], batch.tokens, other)
    return tuple(images), tokens


def close(a: Features, b: Features, rows=slice(None), tolerance=1e-12):
    for name in ("inputs", "joint", "study", "report", "readings"):
        torch.testing.assert_close(
            getattr(a, name)[rows], getattr(b, name)[rows], rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("fusion", ["view", "token", "none"])
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_features_have_their_shapes(fusion, pooling):
    config, model = build(fusion=fusion, text_pooling=pooling)
    batch = random_batch(config, size=3, slices=2, dtype=torch.float64)
    out = model(batch.images, batch.present, batch.tokens)
    m, readings = config.model, 3 if fusion == "none" else 1
    width = m.dim if fusion == "none" else 3 * m.dim
    assert out.inputs.shape == (3, 4, m.token_dim)
    assert out.joint.shape == (3, 4, m.joint_dim)
    assert out.study.shape == out.report.shape == (3, width)
    assert out.readings.shape == (3, readings, width)
    assert out.logits.shape == (3, readings, config.data.tokens - 1, WORDS)
    assert model.encode(batch.images, batch.present, batch.tokens).logits is None


@pytest.mark.parametrize("fusion", ["view", "none"])
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3))
def test_no_feature_depends_on_what_an_absent_modality_holds(fusion, present):
    config, model = build(fusion=fusion)
    batch = random_batch(config, size=3, dtype=torch.float64)
    batch.present = torch.tensor(present)
    images, tokens = spoil(batch, torch.Generator().manual_seed(5))
    a = model.encode(batch.images, batch.present, batch.tokens)
    b = model.encode(images, batch.present, tokens)
    close(a, b, tolerance=0)
    absent = ~batch.present
    for name in ("inputs", "joint"):
        assert not getattr(a, name)[absent].any()
    assert not a.report[absent[:, 3]].any()
    norms = a.joint.norm(dim=-1)
    torch.testing.assert_close(norms, batch.present.to(norms), rtol=0, atol=1e-12)


def test_studies_do_not_mix():
    config, model = build()
    batch = random_batch(config, size=4, dtype=torch.float64)
    batch.present[1, 0] = batch.present[2, 3] = False
    order = torch.tensor([2, 0, 3, 1])
    shuffled = tuple(view[order] for view in batch.images)
    a = model.encode(batch.images, batch.present, batch.tokens)
    b = model.encode(shuffled, batch.present[order], batch.tokens[order])
    for name in ("inputs", "joint", "study", "report"):
        torch.testing.assert_close(getattr(a, name)[order], getattr(b, name), rtol=0, atol=1e-12)


def test_padding_behind_a_report_changes_nothing():
    config, model = build()
    batch = random_batch(config, size=4, dtype=torch.float64)
    longest = 5
    batch.tokens[:, longest:] = 0
    a = model.encode(batch.images, batch.present, batch.tokens)
    close(a, model.encode(batch.images, batch.present, batch.tokens[:, :longest]))


@pytest.mark.parametrize("fusion", ["token", "none"])
@pytest.mark.parametrize("told", [False, True])
def test_the_model_writes_the_words_its_decoder_scores_highest(fusion, told):
    config, model = build(fusion=fusion, study_words=told, standardise=told)
    model.eval()
    batch = random_batch(config, size=4, dtype=torch.float64)
    written = model.generate(batch.images, batch.present, 6)
    assert written.shape == (4, 6)
    assert (written[:, 0] == START).all()
    scores = model(batch.images, batch.present, written).logits[:, 0]
    scores[..., [0, START]] = -torch.inf
    scores = scores.argmax(-1)
    going = written[:, 1:] != 0
    assert torch.equal(scores[going], written[:, 1:][going])


def test_all_parameters_are_used():
    for options in ({}, {"fusion": "token", "text_pooling": "mean", "position": "add"}):
        config, model = build(**options)
        batch = random_batch(config, dtype=torch.float64)
        out = model(batch.images, batch.present, batch.tokens)
        scores = model.anchors(out.inputs, out.joint)
        parts = (out.readings, out.report, out.logits, out.joint, scores.own, scores.cross)
        sum(part.square().sum() for part in parts).backward()
        assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_the_paper_preset_has_the_sizes_of_the_paper():
    config = paper()
    with torch.device("meta"):
        model = RFPMSS(config.model, config.data, config.data.vocabulary)
    parts = count(model)
    width = config.model.dim
    # Vision transformer base: 12 blocks, positions and the last norm, as in the literature.
    block = 12 * width**2 + 13 * width
    trunk = 12 * block + (1 + 1 + 196) * width + 2 * width
    stems = (3 + 4 + 3) * 256 * width + 3 * width
    joins = 2 * (2 * width**2 + width)
    assert parts["image"] == trunk + stems + joins
    # Projections and anchors at 4096 and 6144: 4 modalities.
    token = 768 * 4096 + 4096 + 4096**2 + 4096 + 2 * 4096
    joint_block = 6 * 4096**2 + 6 * 4096 + 4 * 4096
    joint = 4096 * 6144 + 6144 + 6144**2 + 6144
    assert parts["project"] == 4 * (token + joint_block + joint)
    assert parts["anchors"] == 4 * 64 * (4096 + 6144)
    assert parts["total"] == sum(parts.values()) - parts["total"]
    assert 0.9e9 < parts["total"] < 1.0e9


@pytest.mark.parametrize("fusion", ["token", "none"])
def test_reports_read_in_groups_of_one_length_are_the_same(monkeypatch, fusion):
    config, model = build(fusion=fusion)
    batch = random_batch(config, size=7, dtype=torch.float64)
    batch.present[2, 3] = batch.present[3, 1] = False
    batch.tokens[2] = 0

    def run():
        read = model.read(batch.images, batch.present, batch.tokens, write="likelihood")
        model.zero_grad()
        (read.nll + read.joint.square().sum() + read.report.square().sum()).backward()
        return read, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    whole, gradients = run()
    monkeypatch.setattr(features, "TOGETHER", 12)
    groups = features.alike(batch.tokens, config.data.tokens)
    assert [len(rows) for rows, _ in groups] == [2, 2, 2, 1]
    parts, mine = run()

    close(whole, parts)
    torch.testing.assert_close(whole.nll, parts.nll, rtol=0, atol=1e-11)
    assert mine.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(mine[name], gradient, rtol=0, atol=1e-11, msg=name)

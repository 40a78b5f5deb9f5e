"""Standardisation before cosines: its figures against NumPy's, trained, evaluated, adapted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.model.moments import EPS, LEAST, Standardise, Sums
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stages import train_mode, train_only
from rfpmss.training.bank import Bank
from rfpmss.training.step import step
from tests.model.small import WORDS, random_batch, small_config

KINDS, WIDTH = 2, 5
PARTS = ("fuse", "project", "report")


def draw(rows, seed=0, shift=3.0):
    torch.manual_seed(seed)
    x = torch.randn(rows, KINDS, WIDTH, dtype=torch.float64) * 0.2 + shift
    exist = torch.rand(rows, KINDS) > 0.3
    exist[:LEAST] = True
    return x, exist


def by_hand(x, mean, variance):
    return (x - mean) / np.sqrt(variance + EPS)


def test_a_batch_is_standardised_over_the_rows_that_exist_kind_by_kind():
    x, exist = draw(9)
    layer = Standardise(KINDS, WIDTH).double()
    found = layer(torch.where(exist[..., None], x, 1e6), exist)
    for kind in range(KINDS):
        there = exist[:, kind]
        rows = x[there, kind].numpy()
        expected = by_hand(rows, rows.mean(0), rows.var(0))
        np.testing.assert_allclose(found[there, kind].numpy(), expected, atol=1e-11)
        assert not found[~there, kind].any()


def test_in_evaluation_the_figures_are_the_means_of_the_first_batches_and_then_forget():
    layer, mean, variance = Standardise(KINDS, WIDTH).double(), 0.0, 0.0
    everybody = torch.ones(12, KINDS, dtype=torch.bool)
    for number in range(1, 31):
        x, _ = draw(12, seed=number, shift=float(number))
        layer(x, everybody)
        share = max(1 / number, 0.1)
        mean = (1 - share) * mean + share * x.mean(0).numpy()
        variance = (1 - share) * variance + share * x.var(0, correction=1).numpy()
        if number == 10:
            expected = np.mean([draw(12, s, float(s))[0].mean(0).numpy() for s in range(1, 11)], 0)
            np.testing.assert_allclose(layer.mean.numpy(), expected, rtol=1e-12)
    layer.eval()
    x, _ = draw(3, seed=99)
    found = layer(x, everybody[:3]).numpy()
    np.testing.assert_allclose(found, by_hand(x.numpy(), mean, variance), rtol=1e-10)
    assert layer.batches.tolist() == [30, 30]


def test_too_few_rows_take_the_running_figures_and_still_count_for_them():
    layer = Standardise(KINDS, WIDTH).double()
    x, _ = draw(3)
    exist = torch.tensor([[1, 0], [1, 1], [1, 0]]).bool()
    before = by_hand(x.numpy(), 0.0, 1.0)
    found = layer(x, exist)
    np.testing.assert_allclose(found[:, 0].numpy(), before[:, 0], atol=1e-12)
    np.testing.assert_allclose(layer.mean[0].numpy(), x[:, 0].mean(0).numpy(), rtol=1e-12)
    assert layer.batches.tolist() == [1, 0]
    assert not layer.mean[1].any()


@given(
    st.lists(st.floats(-50, 50), min_size=WIDTH, max_size=WIDTH),
    st.lists(st.floats(0.5, 20), min_size=WIDTH, max_size=WIDTH),
)
def test_no_constant_part_and_no_unit_of_a_feature_matters(shift, unit):
    x, exist = draw(8, shift=0.0)
    layer = Standardise(KINDS, WIDTH).double()
    moved = 100 * (x * torch.tensor(unit).double() + torch.tensor(shift).double())
    torch.testing.assert_close(layer(moved, exist), layer(100 * x, exist), rtol=1e-5, atol=1e-5)


def test_gradients_flow_through_the_figures():
    x, exist = draw(5)
    layer = Standardise(KINDS, WIDTH).double()
    torch.autograd.gradcheck(lambda y: layer(y, exist), x.requires_grad_())


def test_adapting_takes_the_figures_of_other_rows_where_there_are_enough():
    layer, sums = Standardise(KINDS, WIDTH).double().eval(), Sums()
    x, _ = draw(40, seed=3)
    exist = torch.ones(40, KINDS, dtype=torch.bool)
    exist[20:, 1] = False
    for part, there in zip(x.split(16), exist.split(16), strict=True):
        sums.add(part, there)
    layer.adapt(sums)
    np.testing.assert_allclose(layer.mean[0].numpy(), x[:, 0].mean(0).numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.variance[0].numpy(), x[:, 0].var(0).numpy(), rtol=1e-9)
    assert not layer.mean[1].any()  # 20 rows are too few
    assert (layer.variance[1] == 1).all()


def build(**options):
    torch.manual_seed(0)
    config = small_config(standardise=True, **options)
    model = RFPMSS(config.model, config.data, WORDS).double()
    return config, model, Bank(8, config.model).double()


@pytest.mark.parametrize("fusion", ["token", "none"])
def test_what_a_batch_compares_is_standardised_and_evaluation_takes_what_training_saw(fusion):
    config, model, bank = build(fusion=fusion)
    train_mode(model)
    batch = random_batch(config, size=8, dtype=torch.float64)
    batch.present[1, 0] = batch.present[2, 3] = False
    step(model, bank, batch, config)
    first = model.read(batch.images, batch.present, batch.tokens)
    trained = model.compared(first)
    for part in PARTS:
        assert getattr(model, part).standardise.batches.min() == 2
    told = batch.present[:, 3]
    np.testing.assert_allclose(trained.report[told].detach().mean(0).numpy(), 0, atol=1e-12)
    model.eval()
    seen = model.encode(batch.images, batch.present, batch.tokens)
    # The running figures are those of this batch, but for n / (n - 1) in the variance.
    for name in ("study", "report"):
        cosine = torch.cosine_similarity(getattr(seen, name)[told], getattr(trained, name)[told])
        assert (cosine > 0.999).all()


def test_what_is_frozen_keeps_its_running_figures():
    config, model, bank = build()
    train_only(model, "heads")
    train_mode(model)
    step(model, bank, random_batch(config, size=8, dtype=torch.float64), config)
    assert [getattr(model, part).standardise.batches.max().item() for part in PARTS] == [0, 1, 0]

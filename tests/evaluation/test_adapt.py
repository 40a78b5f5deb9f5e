"""A cohort's own means and deviations in the place of those of training."""

from dataclasses import replace

import pytest
import torch

from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.evaluation.adapt import AdaptError, adapt
from rfpmss.model.rfpmss import RFPMSS

CONFIG = smoke()


@pytest.fixture(scope="module")
def cohort(smoke_cohort):
    return Cohort.open(smoke_cohort, CONFIG.data)


@pytest.fixture(scope="module")
def tokenizer(cohort):
    return train_tokenizer(cohort.reports("train"), 300)


def build(tokenizer, **changes):
    torch.manual_seed(0)
    config = CONFIG.model.model_copy(update=changes)
    return RFPMSS(config, CONFIG.data, tokenizer.get_vocab_size()).eval()


def test_vectors_of_the_cohort_are_standardised_by_its_own_figures(cohort, tokenizer):
    model = build(tokenizer)
    everybody = cohort.batch(range(len(cohort)), tokenizer, augment=None)
    given = (everybody.images, everybody.present, everybody.tokens)
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert adapt(model, cohort, tokenizer, 24) == []
    with torch.no_grad():
        found = model.encode(*given)
        raw = model.read(*given)
    for name in ("study", "report"):
        vectors, source = getattr(found, name).double(), getattr(raw, name).double()
        expected = (source - source.mean(0)) / (source.var(0) + 1e-5).sqrt()
        torch.testing.assert_close(vectors, expected, rtol=1e-3, atol=1e-3)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])


def test_which_image_belongs_to_which_report_does_not_matter(cohort, tokenizer):
    class Unpaired(Cohort):
        def batch(self, chosen, *rest, **options):
            found = super().batch(chosen, *rest, **options)
            return replace(found, tokens=found.tokens.roll(1, 0))

    paired, unpaired = build(tokenizer), build(tokenizer)
    adapt(paired, cohort, tokenizer, 16)
    other = object.__new__(Unpaired)
    other.__dict__.update(cohort.__dict__)
    adapt(unpaired, other, tokenizer, 16)
    for (name, one), two in zip(paired.named_buffers(), unpaired.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6, msg=name)


def test_a_modality_of_too_few_studies_keeps_the_figures_of_training(cohort, tokenizer):
    class Few(Cohort):
        def batch(self, chosen, *rest, **options):
            found = super().batch(chosen, *rest, **options)
            present = found.present.clone()
            present[:, 2] &= torch.tensor([i < 31 for i in chosen])
            return replace(found, present=present)

    few = object.__new__(Few)
    few.__dict__.update(cohort.__dict__)
    model = build(tokenizer)
    (note,) = adapt(model, few, tokenizer, 16)
    assert note == "pathology: 31 studies, fewer than 32; the figures of training are kept"
    assert not model.project.standardise.mean[2].any()
    assert model.project.standardise.mean[[0, 1, 3]].any(dim=1).all()


def test_what_cannot_be_adapted_is_refused(cohort, tokenizer):
    with pytest.raises(AdaptError, match=r"model\.standardise, got one without"):
        adapt(build(tokenizer, standardise=False), cohort, tokenizer, 16)

    class Small(Cohort):
        def __len__(self):
            return 5

    small = object.__new__(Small)
    small.__dict__.update(cohort.__dict__)
    with pytest.raises(AdaptError, match="at least 32 studies of a modality, got 5 of ct"):
        adapt(build(tokenizer), small, tokenizer, 16)

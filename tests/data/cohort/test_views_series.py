"""Several series or time points of a view enter together."""

import csv

import pytest
import torch

from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.evaluation.grid import VARIANTS, changed
from rfpmss.model.rfpmss import RFPMSS


@pytest.fixture(scope="module")
def cohorts(smoke_cohort):
    """The smoke cohort, and one whose first study has the last one's MRI as a second."""
    with smoke_cohort.open(newline="") as file:
        rows = list(csv.DictReader(file))
    studies = list(dict.fromkeys(row["study_id"] for row in rows))
    mri = {row["study_id"]: row for row in rows if row["modality"] == "mri"}
    second = mri[studies[0]] | {name: mri[studies[-1]][name] for name in ("path", "digest")}
    rows.remove(mri[studies[-1]])
    path = smoke_cohort.with_name("two.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows([*rows, second])
    config = smoke().data.model_copy(update={"series": 2})
    return Cohort.open(smoke_cohort, smoke().data), Cohort.open(path, config)


def test_further_series_follow_the_first_and_a_study_with_fewer_repeats_its_own(cohorts):
    one, two = cohorts
    words = train_tokenizer(["a mass"], 64)
    for augment in (None, (0, 3)):
        alone, both = (c.batch([0, 1], words, augment) for c in (one, two))
        for view in range(3):
            assert both.images[view].shape[1] == 2
            assert torch.equal(both.images[view][:, :1], alone.images[view])
            assert torch.equal(both.images[view][1, 1], both.images[view][1, 0])
        assert not torch.equal(both.images[1][0, 1], both.images[1][0, 0])
        assert torch.equal(both.images[0][0, 1], both.images[0][0, 0])
    assert torch.equal(both.present, alone.present)
    centred = two.batch([0], words, None).images[1][0, 1]
    last = len(one.studies) - 1
    assert torch.equal(centred, one.batch([last], words, None).images[1][0, 0])


def test_series_that_are_alike_change_no_feature(cohorts):
    one, two = cohorts
    words, config = train_tokenizer(["a mass"], 64), smoke()
    torch.manual_seed(0)
    model = RFPMSS(config.model, config.data, words.get_vocab_size()).eval()
    a, b = (c.batch([0, 2, 3], words, None) for c in (one, two))
    first, second = (model.encode(x.images, x.present, x.tokens) for x in (a, b))
    torch.testing.assert_close(first.joint[1:], second.joint[1:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first.joint[0, 1], second.joint[0, 1], atol=1e-3)
    torch.testing.assert_close(first.joint[0, 0], second.joint[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", ["series-2", "slices-4", "slices-attention", "loads-tail"])
def test_what_goes_beyond_the_paper_has_its_own_rows_in_the_ablation_grid(row):
    config = changed(smoke(), VARIANTS[row], 0)
    assert config.model_dump() != smoke().model_dump()
    for path, value in VARIANTS[row].changes.items():
        section, field = path.split(".")
        assert getattr(getattr(config, section), field) == value

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.config import MODALITIES, LossConfig
from rfpmss.loss.contrast import contrast, nce


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def surprise(queries, gallery, exist, temperature):
    """Mean over existing i of -log softmax_i of cos(query i, gallery j) / temperature."""
    rows = [i for i in range(len(queries)) if exist[i]]
    terms = []
    for i in rows:
        scores = [cosine(queries[i], gallery[j]) / temperature for j in rows]
        terms.append(np.log(np.sum(np.exp(scores))) - scores[rows.index(i)])
    return np.mean(terms) if terms else 0.0


masks = st.lists(st.booleans(), min_size=5, max_size=5)


@given(masks, st.booleans(), st.integers(1, 3))
def test_contrast_is_eq_7_over_the_studies_that_have_both_sides(exist, symmetric, readings):
    torch.manual_seed(0)
    v, t = torch.randn(5, readings, 6).double(), torch.randn(5, 6).double()
    pairs = torch.tensor(exist)[:, None].repeat(1, readings)
    pairs[0, 0] = True
    expected = 0.0
    for r in range(readings):
        both = [v[:, r].numpy(), t.numpy()]
        forward = surprise(*both, pairs[:, r], 0.2)
        backward = surprise(*both[::-1], pairs[:, r], 0.2)
        expected += 0.75 * forward + 0.25 * backward if symmetric else forward
    mine = contrast(v, t, pairs, LossConfig(temperature=0.2, symmetric=symmetric))
    assert abs(mine.item() - expected / readings) < 1e-12


@pytest.mark.parametrize("pairs", ["paper", "all"])
def test_nce_is_eq_9_over_its_pairs(pairs):
    torch.manual_seed(0)
    joint, present = torch.randn(6, 4, 5).double(), torch.rand(6, 4) > 0.3
    chosen = [("ct", "mri"), ("mri", "pathology"), ("mri", "report"), ("pathology", "report")]
    expected = 0.0
    for x, y in chosen if pairs == "paper" else combinations(MODALITIES, 2):
        i, j = MODALITIES.index(x), MODALITIES.index(y)
        exist, sides = present[:, i] & present[:, j], [joint[:, i].numpy(), joint[:, j].numpy()]
        both = surprise(*sides, exist, 0.05) + surprise(*sides[::-1], exist, 0.05)
        expected += (0.7 if "report" in (x, y) else 0.2) * both / 2
    mine = nce(joint, present, LossConfig(pairs=pairs, report_weight=0.7, other_weight=0.2))
    assert abs(mine.item() - expected) < 1e-12


def test_what_an_absent_modality_holds_never_matters():
    torch.manual_seed(0)
    joint, present = torch.randn(6, 4, 5).double(), torch.rand(6, 4) > 0.4
    other = torch.where(present[..., None], joint, torch.randn_like(joint))
    assert torch.equal(nce(joint, present, LossConfig()), nce(other, present, LossConfig()))


def test_a_study_alone_finds_its_report_at_no_cost_at_all():
    joint, present = torch.randn(6, 4, 5), torch.zeros(6, 4).bool()
    present[2] = True
    assert nce(joint, present, LossConfig()).item() == 0
    assert contrast(joint[:, :1], joint[:, 1], present[:, :1], LossConfig()).item() == 0


def test_without_any_pair_both_losses_are_exactly_zero_with_zero_gradient():
    joint = torch.randn(4, 4, 5, requires_grad=True)
    report = torch.zeros(4, 5, requires_grad=True)
    nothing = torch.zeros(4, 4).bool()
    losses = [
        nce(joint, nothing, LossConfig()),
        contrast(joint, report, nothing, LossConfig(symmetric=True)),
    ]
    sum(losses).backward()
    assert [loss.item() for loss in losses] == [0, 0]
    assert not joint.grad.any()
    assert not report.grad.any()


def test_gradients_of_both_losses_are_their_derivatives():
    torch.manual_seed(0)
    joint = torch.randn(4, 4, 3, dtype=torch.float64, requires_grad=True)
    report = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    config = LossConfig(symmetric=True, kappa=0.5, temperature=0.5)
    assert torch.autograd.gradcheck(lambda x: nce(x, present, config), joint)
    assert torch.autograd.gradcheck(lambda x, t: contrast(x, t, present, config), (joint, report))


def test_half_precision_features_are_compared_in_single_precision():
    torch.manual_seed(0)
    joint, present = torch.randn(6, 4, 5).bfloat16(), torch.ones(6, 4).bool()
    assert nce(joint, present, LossConfig()).dtype == torch.float32
    expected = nce(joint.float(), present, LossConfig())
    assert torch.equal(nce(joint, present, LossConfig()), expected)

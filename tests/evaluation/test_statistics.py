"""DeLong against its published example and counting pairs; Holm, bootstrap against SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from rfpmss.evaluation.statistics import delong, holm, paired_areas, paired_interval

# 49 patients of DeLong et al. (1988) as printed in the SAS/STAT manual: albumin, total protein,
# K-G score, and whether surgery did not help.
OVARIAN_TEXT = """
    3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0
    1.6 5.6 5 1 3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1
    4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1
    3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1
    3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1
    3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1
    3.6 6.6 5 1"""
OVARIAN = np.array(OVARIAN_TEXT.split(), dtype=float).reshape(-1, 4)


def ovarian():
    scores = np.stack([OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]])
    return delong(OVARIAN[:, 3] == 1, scores)


def test_the_published_example_is_reproduced():
    found = ovarian()
    assert found.auc == pytest.approx([0.7366, 0.6478, 0.7258], abs=5e-5)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx([0.0927, 0.1000, 0.1028], abs=5e-5)
    assert found.p_value([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]) == pytest.approx(0.2817, abs=5e-5)


@given(st.integers(0, 2**32 - 1))
def test_areas_and_covariance_are_those_of_counting_every_pair(seed):
    draw = np.random.default_rng(seed)
    positive = np.arange(15) < draw.integers(3, 12)
    scores = draw.integers(0, 5, (2, 15)).astype(float)
    found = delong(positive, scores)
    x, y = scores[:, positive], scores[:, ~positive]
    wins = (x[:, :, None] > y[:, None]) + 0.5 * (x[:, :, None] == y[:, None])
    expected = np.cov(wins.mean(axis=2)) / x.shape[1] + np.cov(wins.mean(axis=1)) / y.shape[1]
    assert found.auc == pytest.approx([roc_auc_score(positive, s) for s in scores], abs=1e-12)
    assert found.covariance == pytest.approx(expected, abs=1e-12)
    low, high = found.interval((1.0, 0.0))
    assert 0 <= low <= found.auc[0] <= high <= 1


def test_equal_curves_do_not_differ_and_any_base_of_the_contrast_gives_one_p():
    same = delong(OVARIAN[:, 3] == 1, np.stack([OVARIAN[:, 0], 2 * OVARIAN[:, 0]]))
    assert same.p_value([[1.0, -1.0]]) == 1.0
    found = ovarian()
    one = found.p_value([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    other = found.p_value([[1.0, 0.0, -1.0], [2.0, -1.0, -1.0], [0.0, 1.0, -1.0]])
    assert one == pytest.approx(other, rel=1e-9)


def test_under_the_null_delong_rejects_as_often_as_it_says():
    draw = np.random.default_rng(0)
    positive = np.arange(80) < 40
    signal = positive[None] * 1.0
    p = [
        delong(positive, signal + draw.normal(size=(2, 80))).p_value([[1.0, -1.0]])
        for _ in range(600)
    ]
    # 600 tests at 5 %: 30 expected, standard deviation 5.3; DeLong is known to be slightly liberal.
    assert 14 <= np.sum(np.asarray(p) < 0.05) <= 50


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbook_loop(p):
    order = sorted(range(len(p)), key=lambda i: p[i])
    expected, largest = [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - step) * p[i]))
        expected[i] = largest
    assert holm(p) == pytest.approx(expected, abs=1e-12)


def test_the_paired_bootstrap_agrees_with_scipy_on_a_mean():
    gains = np.random.default_rng(3).normal(0.3, 1.4, 50)
    found = paired_interval(gains, np.arange(50), draws=4000)
    theirs = stats.bootstrap(
        (gains,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert found.difference == pytest.approx(gains.mean())
    assert (found.low, found.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.15 * gains.std() / np.sqrt(50)
    )


def test_resamples_without_two_of_a_kind_are_drawn_again_and_hopeless_ones_refused():
    scores = np.arange(10.0)[None]
    found = paired_areas(np.arange(10) > 7, scores, -scores, np.arange(10), draws=99)
    assert (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p_value == pytest.approx(0.02)
    with pytest.raises(ValueError, match="positive must leave two cases .* got 0 positive"):
        paired_areas(np.zeros(10, bool), scores, -scores, np.arange(10), draws=99)


def test_an_area_needs_both_kinds():
    with pytest.raises(ValueError, match="positive must"):
        delong(np.array([True, True, True, False]), np.zeros((1, 4)))


def resampled(statistic, groups, draws):
    """A statistic on the cases of whole patients drawn with replacement, one draw at a time."""
    draw, members = np.random.default_rng(1), [np.flatnonzero(groups == i) for i in set(groups)]
    found = []
    for _ in range(draws):
        chosen = draw.integers(len(members), size=len(members))
        found.append(statistic(np.concatenate([members[i] for i in chosen])))
    return np.array(found)


def agrees(found, figures):
    """Both are samples of one distribution, as far as their numbers of draws tell."""
    draws = len(figures)
    tail = 2 * min((figures <= 1e-12).mean(), (figures >= -1e-12).mean())
    low, high = np.quantile(figures, [0.025, 0.975])
    # Five standard errors of a share of the draws; of a limit, by the density of a normal tail.
    assert abs(found.p_value - tail) < 5 * np.sqrt(2 * tail * (2 - tail) / draws) + 2 / draws
    limit = 5 * (high - low) / 3.92 * np.sqrt(2 * 0.025 * 0.975 / draws) / 0.0584
    assert abs(found.low - low) < limit
    assert abs(found.high - high) < limit


def test_the_interval_of_a_mean_gain_is_that_of_resampling_case_by_case():
    groups = np.repeat(np.arange(30), 2)
    gains = np.random.default_rng(3).normal(0.2, 1.0, 60)
    found = paired_interval(gains, groups, draws=4000)
    assert found.difference == pytest.approx(gains.mean())
    agrees(found, resampled(lambda i: gains[i].mean(), groups, 4000))
    assert paired_interval(np.zeros(60), groups).p_value == 1.0


def test_the_difference_of_areas_is_that_of_resampling_case_by_case():
    draw = np.random.default_rng(5)
    groups, positive = np.repeat(np.arange(40), 2), draw.random(80) < 0.4
    first = (positive + draw.normal(size=(2, 80))).round(1)  # with ties
    second = (0.6 * positive + draw.normal(size=(3, 80))).round(1)

    def area(scores, i):
        x, y = scores[:, i[positive[i]], None], scores[:, None, i[~positive[i]]]
        return (np.sign(x - y).mean() + 1) / 2

    found = paired_areas(positive, first, second, groups, draws=4000)
    means = [np.mean([roc_auc_score(positive, s) for s in part]) for part in (first, second)]
    assert found.difference == pytest.approx(means[0] - means[1])
    agrees(found, resampled(lambda i: area(first, i) - area(second, i), groups, 4000))
    assert paired_areas(positive, first, first, groups).p_value == 1.0

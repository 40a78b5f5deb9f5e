"""Clusters of bounded size: scikit-learn's contract, laws, and exact assignments."""

import importlib
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from multisk.cluster import BalancedKMeans

sklearn_checks = pytest.importorskip("sklearn.utils.estimator_checks")


def blobs(rows=120, seed=0, features=3, scale=1.0):
    draw = np.random.default_rng(seed)
    centres = 3 * draw.normal(size=(4, features))
    return scale * (centres[draw.integers(0, 4, rows)] + draw.normal(size=(rows, features)))


@pytest.mark.filterwarnings("ignore")
def test_it_is_an_estimator_as_scikit_learn_wants_them():
    why = "weights weigh centres and inertia; a row is one place whatever its weight"
    kinds = ("dense", "sparse")
    names = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in kinds]
    estimator = BalancedKMeans(random_state=0)
    sklearn_checks.check_estimator(estimator, expected_failed_checks=dict.fromkeys(names, why))


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(8, 60),
    clusters=st.integers(1, 8),
    slack=st.integers(0, 3),
)
@settings(max_examples=40)
def test_sizes_are_always_in_bounds(seed, rows, clusters, slack):
    x = blobs(rows, seed)
    low, high = max(0, rows // clusters - slack), -(-rows // clusters) + slack
    found = BalancedKMeans(clusters, low, high, random_state=seed).fit(x)
    assert low <= found.counts_.min()
    assert found.counts_.max() <= high
    even = BalancedKMeans(clusters, random_state=seed).fit(x)
    assert even.counts_.max() - even.counts_.min() <= 1


@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_the_last_assignment_is_the_best_for_its_centres(seed):
    x = blobs(24, seed)
    found = BalancedKMeans(4, random_state=seed).fit(x)
    far = ((x[:, None] - found.cluster_centers_) ** 2).sum(-1)
    rows, places = linear_sum_assignment(np.repeat(far, 6, axis=1))
    np.testing.assert_allclose(found.inertia_, np.repeat(far, 6, axis=1)[rows, places].sum())
    labels = found.predict(x)
    assert (np.bincount(found.predict(x, bounded=True), minlength=4) == 6).all()
    np.testing.assert_array_equal(labels, found.labels_)  # the prices alone say the same


@given(seed=st.integers(0, 1000), clusters=st.integers(2, 6))
@settings(max_examples=20)
def test_the_order_of_the_rows_and_a_shift_of_all_change_no_label(seed, clusters):
    x, draw = blobs(40, seed), np.random.default_rng(seed)
    start, order, shift = x[:clusters], draw.permutation(40), 5 * draw.normal(size=3)
    one = BalancedKMeans(clusters, init=start).fit(x)
    moved = BalancedKMeans(clusters, init=start).fit(x[order])
    np.testing.assert_array_equal(moved.labels_, one.labels_[order])
    np.testing.assert_allclose(moved.cluster_centers_, one.cluster_centers_)
    shifted = BalancedKMeans(clusters, init=start + shift).fit(x + shift)
    np.testing.assert_array_equal(shifted.labels_, one.labels_)
    np.testing.assert_allclose(shifted.inertia_, one.inertia_)
    parts = [one.predict(part) for part in np.array_split(x, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), one.predict(x))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_change_no_label(scale):
    one = BalancedKMeans(5, random_state=3).fit(blobs())
    two = BalancedKMeans(5, random_state=3).fit(blobs(scale=scale))
    np.testing.assert_array_equal(one.labels_, two.labels_)


def test_no_bounds_are_plain_k_means():
    from sklearn.cluster import KMeans

    x = blobs(200)
    start = x[:5]
    ours = BalancedKMeans(5, None, None, init=start, tol=0.0).fit(x)
    theirs = KMeans(5, init=start, n_init=1, tol=0.0).fit(x)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)


def test_small_batches_end_with_exact_sizes_and_near_the_whole():
    x = blobs(600)
    whole = BalancedKMeans(6, random_state=0).fit(x)
    parts = BalancedKMeans(6, random_state=0, batch_size=120, max_iter=40).fit(x)
    assert set(parts.counts_) == {100}
    assert parts.inertia_ < 1.3 * whole.inertia_
    grown = BalancedKMeans(6, random_state=0)
    for part in np.array_split(x, 6):
        grown.partial_fit(part)
    assert grown.score(x) > 1.6 * whole.score(x)


def test_cosines_tensors_duplicates_and_as_many_clusters_as_rows():
    x = blobs(40).astype(np.float32)
    found = BalancedKMeans(4, metric="cosine", random_state=0).fit(torch.from_numpy(x))
    np.testing.assert_allclose(np.linalg.norm(found.cluster_centers_, axis=1), 1.0, rtol=1e-6)
    same = BalancedKMeans(4, metric="cosine", random_state=0).fit(7 * x)
    np.testing.assert_array_equal(found.labels_, same.labels_)
    assert set(BalancedKMeans(4, random_state=0).fit(np.ones((8, 2))).counts_) == {2}
    alone = BalancedKMeans(8, random_state=0).fit(blobs(8))
    assert alone.inertia_ == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"n_clusters": 0}, "n_clusters must be at least 1, got 0"),
        ({"metric": "l1"}, "metric must be 'euclidean' or 'cosine', got 'l1'"),
        ({"init": "best"}, r"init must be 'k-means\+\+', 'random' or an array, got 'best'"),
        ({"size_min": 9, "size_max": 5}, "size_min must be at most size_max"),
        ({"size_min": 50, "size_max": None}, "size_min must allow 120 rows, got a sum of 200"),
        ({"size_min": 0, "size_max": 20}, "size_max must allow 120 rows, got a sum of 80"),
        ({"size_max": 2.5}, "sizes must be whole numbers of at least 0, got 2.5"),
        ({"batch_size": 2}, "batch_size must be at least 4, got 2"),
    ],
)
def test_options_that_cannot_be_are_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        BalancedKMeans(**{"n_clusters": 4} | options).fit(blobs())


def test_it_works_without_scikit_learn(monkeypatch):
    kept = sys.modules.pop("multisk.cluster")
    try:
        monkeypatch.setitem(sys.modules, "sklearn", None)
        plain = importlib.import_module("multisk.cluster").BalancedKMeans
        x = blobs()
        found = plain(4, random_state=0).fit(x)
        np.testing.assert_array_equal(
            found.labels_, BalancedKMeans(4, random_state=0).fit(x).labels_
        )
        with pytest.raises(ValueError, match="X must have 3 features, got 2"):
            found.predict(x[:, :2])
        with pytest.raises(ValueError, match="fit must be called before"):
            plain().predict(x)
    finally:
        sys.modules["multisk.cluster"] = kept

"""Maps, alignment and information against scikit-learn, definitions and counting."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import mutual_info_score, silhouette_score

from rfpmss.evaluation.retrieval.embed import Embeddings
from rfpmss.evaluation.structure.spaces import carried, cka, maps, pca, preservation, umap


def made(n=30, seed=0):
    draw = np.random.default_rng(seed)
    present = draw.random((n, 4)) < 0.8
    inputs = draw.normal(size=(n, 4, 6))
    return Embeddings(
        index=np.arange(n),
        patient=np.arange(n),
        inputs=inputs,
        joint=inputs[..., ::-1] * 2.0,
        study=inputs[:, 0],
        report=inputs[:, 1],
        present=present,
    )


def test_principal_components_are_those_of_scikit_learn_up_to_sign():
    points = np.random.default_rng(0).normal(size=(40, 7)) * np.arange(1, 8)
    theirs = PCA(2).fit_transform(points)
    assert np.abs(pca(points)) == pytest.approx(np.abs(theirs), abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_alignment_is_the_cosine_of_centred_kernels_and_blind_to_rotation(seed):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(9, 4)), draw.normal(size=(9, 3))
    centre = np.eye(9) - 1 / 9
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert cka(x, y) == pytest.approx((k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m))
    turn = np.linalg.qr(draw.normal(size=(4, 4)))[0]
    assert cka(x, 3 * x @ turn) == pytest.approx(1.0)


def test_a_projection_that_keeps_every_distance_is_trusted_and_a_shuffle_is_not():
    for row in preservation(made(60)):
        assert row["trustworthiness"] == pytest.approx(1.0)
        assert row["cka"] == pytest.approx(1.0)
        assert row["trustworthiness_shuffled"] < 0.7
        assert row["cka_shuffled"] < 0.5


def test_maps_show_every_present_feature_once_inside_the_frame():
    embeddings = made()
    for found in maps(embeddings):
        assert len(found.xy) == embeddings.present.sum()
        assert embeddings.present[found.study, found.modality].all()
        assert found.xy.min() >= 0
        assert found.xy.max() == pytest.approx(1.0)
    assert maps(made(2)) == []


def test_umap_keeps_groups_together_and_repeats_itself():
    pytest.importorskip("umap")
    draw = np.random.default_rng(0)
    group = np.arange(90) % 3
    points = draw.normal(size=(90, 8)) + 12 * np.eye(8)[group]
    placed = umap(points)
    assert silhouette_score(placed, group) > 0.7
    assert np.array_equal(placed, umap(points))
    assert [found.name for found in maps(made())] == ["principal components", "t-SNE", "UMAP"]


def test_without_umap_the_other_maps_are_drawn(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert umap(np.eye(20)) is None
    assert [found.name for found in maps(made())] == ["principal components", "t-SNE"]


@given(st.integers(0, 2**32 - 1))
def test_information_is_scikit_learns_in_bits(seed):
    draw = np.random.default_rng(seed)
    assigned = draw.random((25, 5)) < 0.4
    values = [str(v) for v in draw.integers(0, 3, 25)]
    (row,) = carried(assigned, {"x": values})
    expected = [mutual_info_score(values, assigned[:, k]) / np.log(2) for k in range(5)]
    assert row["information"] == pytest.approx(expected, abs=1e-12)


def test_an_anchor_that_is_the_finding_carries_all_of_it_and_chance_carries_nothing():
    draw = np.random.default_rng(0)
    truth = draw.random(400) < 0.5
    assigned = np.stack([truth, draw.random(400) < 0.5], axis=1)
    (row,) = carried(assigned, {"x": ["yes" if t else "no" for t in truth]})
    assert row["information"][0] == pytest.approx(row["entropy"])
    assert row["excess"][1] < 0.02

"""Ranks against every possible order of the ties, chance against drawing, pairs against loops."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.evaluation.retrieval.embed import PAIRS, Embeddings, match
from rfpmss.evaluation.retrieval.ranks import rank
from rfpmss.evaluation.retrieval.zeroshot import rows


def every_order(scores, relevant):
    """Positions of the first right answer over all orders that respect the scores."""
    best = []
    for order in permutations(range(len(scores))):
        ranked = [scores[i] for i in order]
        if all(a >= b for a, b in zip(ranked, ranked[1:], strict=False)):
            best.append(1 + min(place for place, i in enumerate(order) if i in relevant))
    return best


@given(
    st.lists(st.integers(0, 2), min_size=2, max_size=6),
    st.sets(st.integers(0, 5), min_size=1, max_size=3),
)
def test_ties_are_the_mean_over_every_order(levels, relevant):
    relevant = {i % len(levels) for i in relevant}
    gallery = np.array([0 if i in relevant else 1 + i for i in range(len(levels))])
    ranks = rank(np.array([levels], dtype=float), np.array([0]), gallery)
    positions = every_order(levels, relevant)
    assert ranks.positions()[0] == pytest.approx(np.mean(positions), abs=1e-12)
    for k in (1, 2, 5):
        assert ranks.hits(k)[0] == pytest.approx(np.mean([p <= k for p in positions]), abs=1e-12)


@pytest.mark.parametrize(("items", "right", "k"), [(7, 1, 5), (7, 3, 2), (4, 2, 10), (9, 4, 4)])
def test_chance_is_the_share_of_draws_that_hold_a_right_answer(items, right, k):
    gallery = np.array([0] * right + list(range(1, items - right + 1)))
    draws = list(combinations(range(items), min(k, items)))
    expected = np.mean([any(i < right for i in draw) for draw in draws])
    ranks = rank(np.zeros((1, items)), np.array([0]), gallery)
    assert ranks.chance(k)[0] == pytest.approx(expected, abs=1e-12)
    assert ranks.hits(k)[0] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_a_rising_function_of_the_scores_changes_nothing(seed):
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 4, (6, 6)).astype(float)
    patients = np.arange(6)
    plain, bent = (rank(s, patients, patients) for s in (scores, np.exp(scores)))
    assert np.array_equal(plain.positions(), bent.positions())


def test_single_precision_noise_does_not_order_equal_reports():
    noise = np.random.default_rng(0).normal(0, 1e-8, (5, 5))
    ranks = rank(0.3 + noise, np.arange(5), np.arange(5))
    assert ranks.hits(1).tolist() == pytest.approx([0.2] * 5)


def test_queries_without_an_answer_are_left_out_but_distractors_stay():
    ranks = rank(np.eye(3)[:, :2] + 0.1, np.array(["a", "b", "c"]), np.array(["a", "x"]))
    assert ranks.query.tolist() == [0]
    assert ranks.gallery == 2


def test_scores_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="scores must be finite"):
        rank(np.array([[1.0, np.nan]]), np.arange(1), np.arange(2))


def made(present, seed=0, width=5):
    draw = np.random.default_rng(seed)
    n = len(present)
    joint = draw.normal(size=(n, 4, width)) * present[..., None]
    return Embeddings(
        index=np.arange(n),
        patient=np.array([f"p{i}" for i in range(n)]),
        inputs=joint.copy(),
        joint=joint,
        study=draw.normal(size=(n, 7)),
        report=draw.normal(size=(n, 7)),
        present=present,
    )


def test_every_ordered_pair_is_scored_among_those_that_have_it():
    present = np.random.default_rng(1).random((12, 4)) < 0.7
    found = {(row.query, row.gallery): row for row in rows(made(present))}
    names = ("ct", "mri", "pathology", "report")
    for query, gallery in PAIRS:
        if "study" in (query, gallery):
            continue
        both = present[:, names.index(query)] & present[:, names.index(gallery)]
        row = found[query, gallery]
        assert row.n == both.sum()
        assert row.items == present[:, names.index(gallery)].sum()
        assert row.chance_r5 == pytest.approx(min(1, 5 / row.items))
        assert row.r1 <= row.r5 <= row.r10 <= 1
        assert row.r5_low <= row.r5 <= row.r5_high
        assert row.ceiling_r5 is None


def test_a_study_never_holds_the_view_it_is_compared_with():
    embeddings = made(np.ones((6, 4), bool))
    before = match(embeddings, "study", "mri").scores
    embeddings.joint[:, 1] *= -1
    after = match(embeddings, "study", "mri").scores
    assert np.allclose(before, -after)


def test_what_an_absent_modality_holds_is_never_looked_at():
    present = np.random.default_rng(2).random((10, 4)) < 0.6
    clean, dirty = made(present), made(present)
    dirty.joint[~present] = 7.0
    for query, gallery in PAIRS:
        assert np.array_equal(
            match(clean, query, gallery).scores, match(dirty, query, gallery).scores
        )


def test_a_model_that_says_one_thing_for_all_scores_exactly_chance():
    embeddings = made(np.ones((8, 4), bool))
    for part in (embeddings.joint, embeddings.study, embeddings.report):
        part[:] = 1.0
    for row in rows(embeddings):
        assert row.r1 == pytest.approx(row.chance_r1)
        assert row.r5 == pytest.approx(row.chance_r5)
        assert row.medr == row.chance_meanr == 4.5


def test_a_perfect_model_scores_one():
    embeddings = made(np.ones((8, 4), bool))
    embeddings.joint[:] = embeddings.joint[:, :1]
    embeddings.report[:] = embeddings.study
    by = {(row.query, row.gallery): row for row in rows(embeddings)}
    assert by["ct", "mri"].r1 == 1.0
    assert by["report", "study"].meanr == 1.0

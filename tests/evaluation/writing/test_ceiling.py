"""The oracle's ceiling against counting by hand and against what findings allow."""

from collections import Counter

import numpy as np
import pytest

from rfpmss.data.phantom.latents import draw, visible
from rfpmss.evaluation.retrieval.ceiling import agreement
from rfpmss.evaluation.retrieval.ranks import rank

PATIENTS = [draw(np.random.default_rng([3, i])) for i in range(200)]


def shown(modality):
    return [dict(visible(latents, modality)) for latents in PATIENTS]


def test_agreement_counts_shared_findings_one_by_one():
    left, right = shown("ct")[:20], shown("report")[20:45]
    expected = [[sum(a[name] == b[name] for name in a if name in b) for b in right] for a in left]
    assert agreement(left, right).tolist() == expected


@pytest.mark.parametrize("query", ["ct", "mri", "pathology", "report"])
@pytest.mark.parametrize("gallery", ["ct", "mri", "pathology", "report"])
def test_the_ceiling_is_one_over_the_patients_nobody_can_tell_apart(query, gallery):
    names = sorted(set(shown(query)[0]) & set(shown(gallery)[0]))
    groups = Counter(tuple(row[name] for name in names) for row in shown(query))
    patients = np.arange(len(PATIENTS))
    oracle = rank(agreement(shown(query), shown(gallery)), patients, patients)
    assert oracle.hits(1).mean() == pytest.approx(len(groups) / len(PATIENTS))
    for k in (5, 10):
        expected = sum(min(k, size) for size in groups.values()) / len(PATIENTS)
        assert oracle.hits(k).mean() == pytest.approx(expected)


def test_no_ranking_by_the_shared_findings_beats_the_ceiling():
    patients = np.arange(len(PATIENTS))
    query, gallery = shown("pathology"), shown("report")
    best = rank(agreement(query, gallery), patients, patients).hits(5).mean()
    names = sorted(set(query[0]) & set(gallery[0]))
    codes = {key: i for i, key in enumerate({tuple(r[n] for n in names) for r in query})}
    places = [codes[tuple(row[name] for name in names)] for row in query]
    for seed in range(20):
        table = np.random.default_rng(seed).normal(size=(len(codes), len(codes)))
        scores = table[np.ix_(places, places)]
        assert rank(scores, patients, patients).hits(5).mean() <= best + 1e-12


def test_a_pair_without_a_shared_finding_has_the_ceiling_of_chance():
    ranks = rank(agreement([{"a": 1}] * 4, [{"b": 1}] * 4), np.arange(4), np.arange(4))
    assert ranks.hits(1).tolist() == [0.25] * 4

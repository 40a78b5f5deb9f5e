"""BLEU against sacrebleu, ROUGE-L against rouge-score, CIDEr against plain vectors."""

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from rfpmss.data.phantom.latents import draw
from rfpmss.data.phantom.text import write_report
from rfpmss.evaluation.writing.wording import bleu, cider, rouge_l, scores, sequences, words

REPORTS = [
    write_report(draw(np.random.default_rng([1, i])), np.random.default_rng([2, i]))
    for i in range(80)
]
PAIRS = st.lists(
    st.tuples(*[st.lists(st.sampled_from("abcd"), min_size=1, max_size=9)] * 2),
    min_size=1,
    max_size=5,
)


@given(PAIRS)
def test_bleu_is_sacrebleus(pairs):
    told, true = [a for a, _ in pairs], [b for _, b in pairs]
    for longest in (1, 2, 3, 4):
        theirs = sacrebleu.BLEU(
            tokenize="none", smooth_method="none", max_ngram_order=longest, force=True
        ).corpus_score([" ".join(a) for a in told], [[" ".join(b) for b in true]])
        expected = theirs.score / 100 if min(theirs.totals) > 0 else 0.0
        assert bleu(told, true, longest) == pytest.approx(expected, abs=1e-9)


def test_bleu_of_reports_is_sacrebleus():
    told, true = REPORTS[:40], REPORTS[40:]
    theirs = sacrebleu.corpus_bleu(
        [" ".join(words(t)) for t in told],
        [[" ".join(words(t)) for t in true]],
        tokenize="none",
        smooth_method="none",
        force=True,
    )
    assert scores(told, true)["bleu4"] == pytest.approx(theirs.score / 100, abs=1e-9)


def test_rouge_l_of_reports_is_that_of_rouge_score():
    scorer = RougeScorer(["rougeL"])
    expected = np.mean(
        [
            scorer.score(b, a)["rougeL"].fmeasure
            for a, b in zip(REPORTS[:40], REPORTS[40:], strict=True)
        ]
    )
    assert scores(REPORTS[:40], REPORTS[40:])["rouge_l"] == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_rouge_l_is_symmetric_and_one_for_equal_texts(a, b):
    assert rouge_l(a, b) == rouge_l(b, a)
    assert rouge_l(a, a) == (1.0 if a else 0.0)


def test_cider_is_the_mean_cosine_of_explicit_vectors():
    told, true = [words(t) for t in REPORTS[:12]], [words(t) for t in REPORTS[12:24]]
    total = 0.0
    for n in (1, 2, 3, 4):
        grams = sorted({g for t in (*told, *true) for g in sequences(t, n)})
        place = {g: i for i, g in enumerate(grams)}

        def vector(text, n=n, place=place):
            v = np.zeros(len(place))
            for i in range(len(text) - n + 1):
                v[place[tuple(text[i : i + n])]] += 1
            return v

        originals = np.stack([vector(t) for t in true])
        idf = math.log(len(true)) - np.log(np.maximum(1, (originals > 0).sum(axis=0)))
        a, b = np.stack([vector(t) for t in told]) * idf, originals * idf
        total += ((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).mean()
    assert cider(told, true) == pytest.approx(10 * total / 4, rel=1e-12)


def test_the_original_itself_scores_full():
    found = scores(REPORTS, REPORTS)
    assert found == pytest.approx(dict.fromkeys(found, 1.0) | {"cider": 10.0})


def test_one_wrong_side_hardly_moves_the_words():
    swapped = [
        r.replace("left", "@").replace("right", "left").replace("@", "right") for r in REPORTS
    ]
    assert scores(swapped, REPORTS)["bleu4"] > 0.85


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="texts and originals must"):
        scores([], [])

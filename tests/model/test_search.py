from itertools import product

import pytest
import torch

from rfpmss.config import END, PAD, START
from rfpmss.model.search import beam, greedy
from tests.model.test_decoder import LENGTH, build


def likelihoods(decoder, words, *study):
    """log P of each next word given the words so far; padding and START are never written."""
    scores = decoder(torch.tensor([words]), *study)[0, -1].detach().clone()
    scores[[PAD, START]] = -torch.inf
    return scores.log_softmax(0)


def rewrite(decoder, study, length):
    """Greedy search without a cache: the whole sequence is decoded anew for every word."""
    rows = []
    for i in range(len(study[0])):
        words = [START]
        while len(words) < length and words[-1] != END:
            row = likelihoods(decoder, words, *(x[i : i + 1] for x in study))
            words.append(int(row.argmax()))
        rows.append(words + [PAD] * (length - len(words)))
    return torch.tensor(rows)


def every_report(decoder, study, length, vocabulary):
    """Log-likelihood of every report of at most ``length`` words, by enumeration."""
    found = {}
    written = [word for word in range(vocabulary) if word not in (PAD, START)]
    for words in product(written, repeat=length - 1):
        report, total = [START], 0.0
        for word in words:
            if report[-1] == END:
                break
            total += float(likelihoods(decoder, report, *study)[word])
            report.append(word)
        found[tuple(report + [PAD] * (length - len(report)))] = total
    return found


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_search_takes_the_likeliest_word_each_time_and_pads_after_the_end(seed, prenorm):
    _, decoder, *study = build(seed, decoder_prenorm=prenorm, study_words=True)
    with torch.no_grad():
        decoder.bias[END] += 1.5
    expected = rewrite(decoder, study, LENGTH)
    assert torch.equal(greedy(decoder, *study, LENGTH), expected)
    assert torch.equal(beam(decoder, *study, LENGTH, width=1), expected)


@pytest.mark.parametrize("reward", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_wide_enough_finds_the_best_of_all_reports(seed, reward):
    _, decoder, *study = build(seed, words=6, study_words=True)
    with torch.no_grad():
        decoder.bias[END] += 1.0
    mine = beam(decoder, *(x[:2] for x in study), 4, width=60, reward=reward)
    for i in range(2):
        every = every_report(decoder, [x[i : i + 1] for x in study], 4, vocabulary=6)
        value = {r: v / (sum(w != PAD for w in r) - 1) ** reward for r, v in every.items()}
        best = max(value, key=value.__getitem__)
        assert tuple(mine[i].tolist()) == best


def test_a_wider_beam_finds_reports_at_least_as_likely_as_greedy_search_here():
    _, decoder, *study = build(3, study_words=True)
    with torch.no_grad():
        decoder.bias[END] += 1.0

    def value(reports):
        total = 0.0
        for i, report in enumerate(reports.tolist()):
            words = [w for w in report if w != PAD]
            for t in range(1, len(words)):
                row = likelihoods(decoder, words[:t], *(x[i : i + 1] for x in study))
                total += float(row[words[t]])
        return total

    assert value(beam(decoder, *study, LENGTH, width=8)) >= value(greedy(decoder, *study, LENGTH))


@pytest.mark.parametrize("search", [greedy, lambda *a: beam(*a, width=2)])
def test_searches_refuse_a_length_that_does_not_fit(search):
    _, decoder, *study = build(study_words=True)
    assert search(decoder, *study, 1).tolist() == [[START]] * 5
    for length in (0, LENGTH + 1):
        with pytest.raises(ValueError, match=r"length must lie in 1\.\.9"):
            search(decoder, *study, length)


def test_a_beam_must_have_a_width():
    _, decoder, *study = build(study_words=True)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        beam(decoder, *study, 3, width=0)

from itertools import product

import pytest
import torch

from rfpmss.config import END, PAD, START
from rfpmss.model.search import beam, greedy
from tests.model.test_decoder import LENGTH, build


def likelihoods(decoder, words, memory, seen):
    """log P of each next word given the words so far; padding and START are never written."""
    scores = decoder(torch.tensor([words]), memory, seen)[0, -1].detach().clone()
    scores[[PAD, START]] = -torch.inf
    return scores.log_softmax(0)


def rewrite(decoder, memory, seen, length):
    """Greedy search without a cache: the whole sequence is decoded anew for every word."""
    rows = []
    for i in range(len(memory)):
        words = [START]
        while len(words) < length and words[-1] != END:
            row = likelihoods(decoder, words, memory[i : i + 1], seen[i : i + 1])
            words.append(int(row.argmax()))
        rows.append(words + [PAD] * (length - len(words)))
    return torch.tensor(rows)


def every_report(decoder, memory, seen, length, vocabulary):
    """Log-likelihood of every report of at most ``length`` words, by enumeration."""
    found = {}
    written = [word for word in range(vocabulary) if word not in (PAD, START)]
    for words in product(written, repeat=length - 1):
        report, total = [START], 0.0
        for word in words:
            if report[-1] == END:
                break
            total += float(likelihoods(decoder, report, memory, seen)[word])
            report.append(word)
        found[tuple(report + [PAD] * (length - len(report)))] = total
    return found


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_search_takes_the_likeliest_word_each_time_and_pads_after_the_end(seed, prenorm):
    _, decoder, memory, seen = build(seed, decoder_prenorm=prenorm)
    with torch.no_grad():
        decoder.bias[END] += 1.5
    expected = rewrite(decoder, memory, seen, LENGTH)
    assert torch.equal(greedy(decoder, memory, seen, LENGTH), expected)
    assert torch.equal(beam(decoder, memory, seen, LENGTH, width=1), expected)


@pytest.mark.parametrize("reward", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_wide_enough_finds_the_best_of_all_reports(seed, reward):
    _, decoder, memory, seen = build(seed, words=6)
    with torch.no_grad():
        decoder.bias[END] += 1.0
    mine = beam(decoder, memory[:2], seen[:2], 4, width=60, reward=reward)
    for i in range(2):
        every = every_report(decoder, memory[i : i + 1], seen[i : i + 1], 4, vocabulary=6)
        value = {r: v / (sum(w != PAD for w in r) - 1) ** reward for r, v in every.items()}
        best = max(value, key=value.__getitem__)
        assert tuple(mine[i].tolist()) == best


def test_a_wider_beam_finds_reports_at_least_as_likely_as_greedy_search_here():
    _, decoder, memory, seen = build(3)
    with torch.no_grad():
        decoder.bias[END] += 1.0

    def value(reports):
        total = 0.0
        for i, report in enumerate(reports.tolist()):
            words = [w for w in report if w != PAD]
            for t in range(1, len(words)):
                row = likelihoods(decoder, words[:t], memory[i : i + 1], seen[i : i + 1])
                total += float(row[words[t]])
        return total

    assert value(beam(decoder, memory, seen, LENGTH, width=8)) >= value(
        greedy(decoder, memory, seen, LENGTH)
    )


@pytest.mark.parametrize("search", [greedy, lambda *a: beam(*a, width=2)])
def test_searches_refuse_a_length_that_does_not_fit(search):
    _, decoder, memory, seen = build()
    assert search(decoder, memory, seen, 1).tolist() == [[START]] * 5
    for length in (0, LENGTH + 1):
        with pytest.raises(ValueError, match=r"length must lie in 1\.\.9"):
            search(decoder, memory, seen, length)


def test_a_beam_must_have_a_width():
    _, decoder, memory, seen = build()
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        beam(decoder, memory, seen, 3, width=0)

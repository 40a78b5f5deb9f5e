import numpy as np
import torch

from rfpmss.config import PAD
from rfpmss.loss.language import language
from tests.model.small import WORDS, random_batch, small_config


def draw(readings=1):
    tokens = random_batch(small_config(), size=4).tokens
    torch.manual_seed(1)
    logits = torch.randn(4, readings, tokens.shape[1] - 1, WORDS, dtype=torch.float64)
    return logits, tokens


def by_hand(logits, tokens, pairs):
    logits, total, words = logits.numpy(), 0.0, 0
    for study in range(len(tokens)):
        for reading in range(logits.shape[1]):
            for t in range(1, tokens.shape[1]):
                word = int(tokens[study, t])
                if word == PAD or not pairs[study, reading]:
                    continue
                scores = logits[study, reading, t - 1]
                total += np.log(np.exp(scores).sum()) - scores[word]
                words += 1
    return total / max(words, 1)


def test_language_is_the_mean_surprise_of_the_words_that_count():
    for readings in (1, 3):
        logits, tokens = draw(readings)
        for pairs in (torch.ones(4, readings).bool(), torch.rand(4, readings) > 0.5):
            mine = language(logits, tokens, pairs).item()
            assert abs(mine - by_hand(logits, tokens, pairs)) < 1e-12


def test_the_report_of_a_study_without_one_never_matters():
    logits, tokens = draw()
    pairs = torch.tensor([[True], [False], [True], [True]])
    other = tokens.clone()
    other[1] = torch.arange(3, 3 + tokens.shape[1])
    assert torch.equal(language(logits, tokens, pairs), language(logits, other, pairs))


def test_without_any_report_language_is_exactly_zero_with_zero_gradient():
    logits, tokens = draw()
    logits.requires_grad_()
    loss = language(logits, tokens, torch.zeros(4, 1).bool())
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_the_gradient_of_language_is_its_derivative():
    logits, tokens = draw()
    pairs = torch.tensor([[True], [True], [False], [True]])
    logits = logits[..., :WORDS].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: language(x, tokens, pairs), logits)

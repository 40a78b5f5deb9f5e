import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfpmss.loss.language import language
from rfpmss.model import decoder as module
from rfpmss.model.decoder import EMBEDDING_EPS, ReportDecoder, unlikelihood
from tests.model.small import WORDS, small_config

LENGTH, STUDY = 9, 11


def build(seed=0, words=WORDS, **options):
    torch.manual_seed(seed)
    config = small_config(decoder_depth=2, **options)
    decoder = ReportDecoder(config.model, words, LENGTH, STUDY).double().eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    memory, seen = torch.randn(5, 7, 8).double(), torch.rand(5, 7) > 0.3
    seen[:, 0] = True
    return config.model, decoder, memory, seen, torch.randn(5, STUDY).double()


def torch_layer(layer, config):
    oracle = nn.TransformerDecoderLayer(
        config.decoder_dim,
        config.decoder_heads,
        config.decoder_mlp,
        0.0,
        F.gelu,
        batch_first=True,
        norm_first=config.decoder_prenorm,
    ).double()
    for theirs, mine in ((oracle.self_attn, layer.attend), (oracle.multihead_attn, layer.look)):
        theirs.load_state_dict(
            {
                "in_proj_weight": mine.project.weight,
                "in_proj_bias": mine.project.bias,
                "out_proj.weight": mine.out.weight,
                "out_proj.bias": mine.out.bias,
            }
        )
    oracle.linear1.load_state_dict(layer.perceptron.widen.state_dict())
    oracle.linear2.load_state_dict(layer.perceptron.narrow.state_dict())
    for i, norm in enumerate(layer.norms, start=1):
        getattr(oracle, f"norm{i}").load_state_dict(norm.state_dict())
    return oracle


@pytest.mark.parametrize("prenorm", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_the_decoder_is_the_transformer_decoder_of_torch_with_tied_words(prenorm, told):
    config, decoder, memory, seen, study = build(decoder_prenorm=prenorm, study_words=told)
    words = torch.randint(0, WORDS, (5, 6))
    x = decoder.words.weight[words] + decoder.positions[:6]
    x = F.layer_norm(x, x.shape[-1:], decoder.norm.weight, decoder.norm.bias, EMBEDDING_EPS)
    if told:  # Eq. 4: every word is decoded from the study vector
        x = x + (study @ decoder.study.weight.T + decoder.study.bias)[:, None]
    later = torch.ones(6, 6).triu(1).bool()
    for layer in decoder.layers:
        x = torch_layer(layer, config)(
            x, decoder.see(memory), tgt_mask=later, memory_key_padding_mask=~seen
        )
    expected = decoder.last(x) @ decoder.words.weight.T + decoder.bias
    torch.testing.assert_close(decoder(words, memory, seen, study), expected, rtol=0, atol=1e-11)


def test_a_later_word_never_changes_an_earlier_score():
    _, decoder, memory, seen, study = build()
    words = torch.randint(0, WORDS, (5, 6))
    changed = words.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % WORDS
    a, b = decoder(words, memory, seen, study), decoder(changed, memory, seen, study)
    torch.testing.assert_close(a[:, :4], b[:, :4], rtol=0, atol=1e-13)
    assert not torch.allclose(a[:, 4:], b[:, 4:])


def test_unseen_memory_never_matters():
    _, decoder, memory, seen, study = build()
    words = torch.randint(0, WORDS, (5, 6))
    other = torch.where(seen[..., None], memory, 100.0)
    torch.testing.assert_close(
        decoder(words, memory, seen, study), decoder(words, other, seen, study), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("told", [0, 1, 4, 5])
def test_the_likelihood_without_scores_is_that_of_the_scores(monkeypatch, told):
    monkeypatch.setattr(module, "IN_CACHE", 7 * WORDS)  # several parts, the last one shorter
    _, decoder, memory, seen, study = build()
    words = torch.randint(1, WORDS, (5, 6))
    there = (torch.arange(5) < told)[:, None]
    targets = words[:, 1:].masked_fill((torch.rand(5, 5) < 0.3) | ~there, 0)

    scores = decoder(words[:, :-1], memory, seen, study)
    tokens = torch.cat([words[:, :1], targets], dim=1)
    mean = language(scores[:, None], tokens, there)
    expected = mean * (targets != 0).sum().clamp(min=1)
    mine = decoder(words[:, :-1], memory, seen, study, targets)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-11)

    learning = list(decoder.parameters())
    for own, other in zip(
        torch.autograd.grad(3 * mine, learning),
        torch.autograd.grad(3 * expected, learning),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-10)

    with torch.no_grad():
        torch.testing.assert_close(
            decoder(words[:, :-1], memory, seen, study, targets), expected, rtol=0, atol=1e-11
        )


def test_the_gradient_of_the_likelihood_is_its_derivative(monkeypatch):
    monkeypatch.setattr(module, "IN_CACHE", 10)
    drawn = (torch.randn(*shape).double().requires_grad_() for shape in ((2, 3, 4), (5, 4), (5,)))
    targets = torch.tensor([[1, 4, 0], [2, 0, 3]])
    assert torch.autograd.gradcheck(lambda *x: unlikelihood(*x, targets), tuple(drawn))

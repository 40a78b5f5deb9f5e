import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rfpmss.model import activation as module
from rfpmss.model.activation import mish
from rfpmss.model.block import EPS, Attention, Block, Join, Perceptron
from rfpmss.model.report import ReportEncoder
from tests.model.small import small_config


def torch_attention(attention, dim):
    oracle = nn.MultiheadAttention(dim, attention.heads, batch_first=True).double()
    oracle.load_state_dict(
        {
            "in_proj_weight": attention.project.weight,
            "in_proj_bias": attention.project.bias,
            "out_proj.weight": attention.out.weight,
            "out_proj.bias": attention.out.bias,
        }
    )
    return oracle


def randomise(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double()


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_multihead_attention_of_torch(masked):
    attention, x = randomise(Attention(12, 3)), torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]]).bool() if masked else None
    expected, _ = torch_attention(attention, 12)(
        x, x, x, key_padding_mask=None if mask is None else ~mask
    )
    mine = attention(x, None if mask is None else mask[:, None, None, :])
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-13)


def test_causal_attention_sees_no_later_token():
    attention, x = randomise(Attention(8, 2)), torch.randn(3, 6, 8, dtype=torch.float64)
    hidden = torch.ones(6, 6).triu(1).bool()
    expected, _ = torch_attention(attention, 8)(x, x, x, attn_mask=hidden)
    torch.testing.assert_close(attention(x, causal=True), expected, rtol=0, atol=1e-13)


def test_cross_attention_is_the_multihead_attention_of_torch():
    attention = randomise(Attention(8, 4))
    x, memory = torch.randn(2, 3, 8).double(), torch.randn(2, 7, 8).double()
    seen = torch.rand(2, 7) > 0.4
    seen[:, 0] = True
    expected, _ = torch_attention(attention, 8)(x, memory, memory, key_padding_mask=~seen)
    mine = attention.cross(x, attention.remember(memory), seen[:, None, None, :])
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-13)


def test_growing_attention_token_by_token_is_causal_attention():
    attention, x = randomise(Attention(8, 2)), torch.randn(3, 6, 8, dtype=torch.float64)
    key = value = None
    steps = []
    for t in range(6):
        mixed, key, value = attention.extend(x[:, t : t + 1], key, value)
        steps.append(mixed)
    torch.testing.assert_close(torch.cat(steps, 1), attention(x, causal=True), rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", ["mish", "gelu"])
def test_a_block_is_the_pre_norm_encoder_layer_of_torch(activation):
    block = randomise(Block(12, 3, 20, activation))
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    oracle = nn.TransformerEncoderLayer(
        12, 3, 20, 0.0, getattr(F, activation), EPS, batch_first=True, norm_first=True
    ).double()
    oracle.self_attn = torch_attention(block.attention, 12)
    pairs = {
        "linear1": block.perceptron.widen,
        "linear2": block.perceptron.narrow,
        "norm1": block.norm1,
        "norm2": block.norm2,
    }
    for name, mine in pairs.items():
        getattr(oracle, name).load_state_dict(mine.state_dict())
    torch.testing.assert_close(block(x), oracle(x), rtol=0, atol=1e-12)


def test_a_join_is_a_linear_map_of_the_concatenation():
    join = randomise(Join(6))
    x, y = torch.randn(4, 5, 6).double(), torch.randn(4, 1, 6).double()
    expected = join.linear(torch.cat([x, y.expand(-1, 5, -1)], dim=-1))
    torch.testing.assert_close(join(x, y), expected, rtol=0, atol=1e-13)


def test_a_new_join_adds_to_the_last_bit():
    x, y = torch.randn(4, 5, 64), torch.randn(4, 1, 64)
    assert torch.equal(Join(64)(x, y), x + y)


@given(st.floats(-200, 200, width=32))
def test_mish_is_the_mish_of_torch_everywhere(value):
    x = torch.tensor([value], dtype=torch.float64)
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-12, atol=1e-14)
    single = mish(x.float()).double()
    torch.testing.assert_close(single, F.mish(x), rtol=1e-6, atol=1e-6)


def test_the_gradient_of_mish_is_its_derivative():
    x = torch.randn(40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mish, x)
    extreme = torch.tensor([-1e4, -90.0, 90.0, 1e4], requires_grad=True)
    (slope,) = torch.autograd.grad(mish(extreme).sum(), extreme)
    assert slope.tolist() == [0.0, 0.0, 1.0, 1.0]


@given(st.floats(-200, 200, width=32))
def test_the_slope_of_mish_is_that_of_torch_everywhere(value):
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(F.mish(x), x)
    (double,) = torch.autograd.grad(mish(x), x)
    torch.testing.assert_close(double, expected, rtol=1e-12, atol=1e-13)
    single = x.detach().float().requires_grad_()
    (slope,) = torch.autograd.grad(mish(single), single)
    torch.testing.assert_close(slope.double(), expected, rtol=1e-6, atol=1e-5)


def test_mish_keeps_one_tensor_for_the_backward_pass_and_none_without_one():
    x, kept = torch.randn(64, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        with_gradient = mish(x)
    assert [t.shape for t in kept] == [x.shape]
    with torch.no_grad():
        assert torch.equal(mish(x), with_gradient)


@pytest.mark.parametrize("width", [32, 64, 768])
def test_words_reach_the_first_layer_of_bert_with_the_same_gain_at_every_width(width):
    torch.manual_seed(0)
    config = small_config(text_dim=width, text_heads=4).model
    dense = ReportEncoder(config, 50, 8, 16).bert.encoder.layer[0].intermediate.dense.weight
    assert dense.std().item() * width**0.5 == pytest.approx(0.02 * 768**0.5, rel=0.05)


def test_a_perceptron_some_rows_at_a_time_is_its_three_maps(monkeypatch):
    monkeypatch.setattr(module, "IN_CACHE", 4 * 7)  # four rows, four rows, two rows
    own = randomise(Perceptron(3, 7, "mish"))
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    by_hand = F.linear(F.mish(F.linear(x, own.widen.weight, own.widen.bias)), own.narrow.weight)
    by_hand = by_hand + own.narrow.bias
    pull = torch.randn(2, 5, 3, dtype=torch.float64)
    sources = [x, *own.parameters()]
    torch.testing.assert_close(own(x), by_hand, rtol=0, atol=1e-13)
    for mine, expected in zip(
        torch.autograd.grad(own(x), sources, pull),
        torch.autograd.grad(by_hand, sources, pull),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)

    with torch.no_grad():
        torch.testing.assert_close(own(x), by_hand, rtol=0, atol=1e-13)

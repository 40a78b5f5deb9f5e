import pytest
import torch
from torch import nn

from rfpmss.model.moments import masked_mean
from rfpmss.model.project import Gated, Projection, Projections
from tests.model.small import small_config


def build():
    torch.manual_seed(0)
    config = small_config().model
    return config, Projection(config.dim, config).double()


def test_a_gated_projection_is_the_gated_linear_unit_of_its_two_maps():
    gated = Gated(5, 7).double()
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    y = x @ gated.linear.weight.T + gated.linear.bias
    both = torch.cat([y, y @ gated.gate.weight.T + gated.gate.bias], dim=-1)
    torch.testing.assert_close(gated(x), nn.functional.glu(both), rtol=0, atol=1e-14)


def test_the_input_feature_is_the_mean_of_projected_tokens():
    _, projection = build()
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    inputs, _ = projection(tokens)
    expected = projection.norm(projection.tokens(tokens)).mean(1)
    torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-13)


def test_padding_is_as_good_as_no_token():
    _, projection = build()
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    padded = torch.cat([tokens, torch.randn(3, 2, 8, dtype=torch.float64)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 2]).expand(3, -1)
    for mine, expected in zip(projection(padded, mask), projection(tokens), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-13)


def test_the_order_of_tokens_does_not_matter():
    _, projection = build()
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    for mine, expected in zip(
        projection(tokens[:, torch.randperm(5)]), projection(tokens), strict=True
    ):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
def test_the_mean_of_a_block_is_the_mean_of_its_tokens(masked):
    _, projection = build()
    x = torch.randn(3, 5, 10, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0]]).bool()
    for part in projection.block.parameters():
        nn.init.normal_(part, std=0.4)
    if masked:
        tokens = projection.block(x, mask[:, None, None])
        expected = torch.stack([tokens[i, mask[i]].mean(0) for i in range(3)])
        mine = projection.block.mean(x, mask)
    else:
        expected, mine = projection.block(x).mean(1), projection.block.mean(x)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("standardise", [False, True])
def test_joint_features_have_unit_norm(standardise):
    projections = Projections(small_config(standardise=standardise).model).double()
    present = torch.ones(5, 4, dtype=torch.bool)
    joint = projections.compared(torch.randn(5, 4, 14, dtype=torch.float64), present)
    torch.testing.assert_close(joint.norm(dim=-1), torch.ones(5, 4).double())


def test_a_masked_mean_is_the_mean_of_what_is_kept():
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    mask = torch.rand(4, 6) > 0.5
    mask[:, 2] = True
    expected = torch.stack([x[i, mask[i]].mean(0) for i in range(4)])
    torch.testing.assert_close(masked_mean(x, mask), expected, rtol=0, atol=1e-14)

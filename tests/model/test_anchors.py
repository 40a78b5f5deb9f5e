import numpy as np
import torch

from rfpmss.config import MODALITIES
from rfpmss.model.anchors import Anchors
from tests.model.small import small_config


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_scores_are_the_cosines_of_features_and_anchors():
    torch.manual_seed(0)
    config = small_config().model
    anchors = Anchors(config).double()
    inputs = torch.randn(5, 4, config.token_dim, dtype=torch.float64)
    joint = torch.randn(5, 4, config.joint_dim, dtype=torch.float64)
    scores = anchors(inputs, joint)
    own, cross = scores.own.detach().numpy(), scores.cross.detach().numpy()
    z, z_hat = anchors.inputs.detach().numpy(), anchors.joint.detach().numpy()
    for n in range(5):
        for m in range(len(MODALITIES)):
            for k in range(config.anchors):
                expected = cosine(inputs[n, m].numpy(), z[m, k])
                assert abs(own[n, m, k] - expected) < 1e-14
                for a in range(len(MODALITIES)):
                    expected = cosine(joint[n, a].numpy(), z_hat[m, k])
                    assert abs(cross[n, a, m, k] - expected) < 1e-14


def test_an_absent_modality_scores_zero_with_finite_gradients():
    config = small_config().model
    anchors = Anchors(config)
    inputs = torch.zeros(3, 4, config.token_dim, requires_grad=True)
    joint = torch.zeros(3, 4, config.joint_dim, requires_grad=True)
    scores = anchors(inputs, joint)
    assert not scores.own.any()
    assert not scores.cross.any()
    (scores.own.sum() * 0 + scores.cross.sum() * 0).backward()
    assert all(not x.grad.any() for x in (inputs, joint, anchors.inputs, anchors.joint))


def test_scores_stay_in_single_precision_under_autocast():
    config = small_config().model
    anchors = Anchors(config)
    inputs, joint = torch.randn(3, 4, config.token_dim), torch.randn(3, 4, config.joint_dim)
    plain = anchors(inputs, joint)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = anchors(inputs, joint)
    assert torch.equal(plain.own, cast.own)
    assert torch.equal(plain.cross, cast.cross)

import numpy as np
import pytest
import torch

from rfpmss.model.features import Views
from rfpmss.model.fuse import Fusion
from tests.model.small import small_config


def build(kind="view"):
    torch.manual_seed(0)
    fusion = Fusion(small_config(fusion=kind).model).double()
    views = Views(torch.randn(4, 3, 8).double(), torch.randn(4, 3, 5, 8).double())
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    kept = present[:, :3, None]
    return fusion, Views(views.vectors * kept, views.tokens * kept[..., None]), present


def test_weights_are_a_softmax_over_the_views_that_exist():
    fusion, views, present = build()
    study = fusion(views, present)
    first, _, last = fusion.attend
    for row in range(4):
        flat = views.vectors[row].flatten().numpy()
        hidden = np.tanh(first.weight.detach().numpy() @ flat + first.bias.detach().numpy())
        values = last.weight.detach().numpy() @ hidden + last.bias.detach().numpy()
        exist = present[row, :3].numpy()
        powers = np.where(exist, np.exp(values), 0)
        expected = powers / powers.sum() if exist.any() else powers
        np.testing.assert_allclose(study.weights[row].detach().numpy(), expected, atol=1e-14)
        np.testing.assert_allclose(
            study.readings[row, 0].detach().numpy(),
            (expected[:, None] * views.vectors[row].numpy()).ravel(),
            atol=1e-14,
        )
        np.testing.assert_allclose(
            study.memory[row, 0].detach().numpy(),
            np.concatenate([expected[v] * views.tokens[row, v].numpy() for v in range(3)]),
            atol=1e-14,
        )


def test_memory_of_absent_views_is_not_seen_unless_there_is_nothing_else():
    fusion, views, present = build()
    seen = fusion(views, present).seen[:, 0].reshape(4, 3, 5)
    assert torch.equal(seen[:3], present[:3, :3, None].expand(-1, -1, 5))
    assert seen[3].all()
    assert fusion(views, present).readable.tolist() == [[True], [True], [True], [False]]


def test_token_fusion_gates_each_place_by_a_sigmoid_and_leaves_the_vectors_alone():
    fusion, views, present = build("token")
    study = fusion(views, present)
    assert torch.equal(study.readings[:, 0], views.vectors.flatten(1))
    memory = study.memory[:, 0].reshape(4, 3, 5, 8)
    for row in range(4):
        for place in range(5):
            value = fusion.attend(views.tokens[row, :, place].flatten())
            for view in range(3):
                gate = torch.sigmoid(value[view]) * present[row, view]
                expected = gate * views.tokens[row, view, place]
                torch.testing.assert_close(memory[row, view, place], expected)


def test_without_fusion_each_view_that_exists_faces_the_report():
    fusion, views, present = build("none")
    study = fusion(views, present)
    assert torch.equal(study.readings, views.vectors)
    assert torch.equal(study.memory, views.tokens)
    assert torch.equal(study.readable, present[:, :3])
    vectors, _ = fusion.compared(study.readings, study.readable)
    for row in range(3):
        mean = views.vectors[row, present[row, :3]].mean(0)
        torch.testing.assert_close(vectors[row], mean)
    assert not vectors[3].any()


@pytest.mark.parametrize("kind", ["view", "token", "none"])
def test_gradients_stay_finite_when_a_study_has_no_view(kind):
    fusion, views, present = build(kind)
    vectors, tokens = views.vectors.requires_grad_(), views.tokens.requires_grad_()
    study = fusion(Views(vectors, tokens), present)
    (study.readings.square().sum() + study.memory.square().sum()).backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    assert tokens.grad.isfinite().all()

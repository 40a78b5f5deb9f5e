"""Muon against the singular value decomposition, its formula, and AdamW for the rest."""

import numpy as np
import pytest
import torch

from rfpmss.config import smoke
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.training import muon
from rfpmss.training.build import build
from rfpmss.training.muon import Muon, groups, orthogonal
from tests.training.test_optimiser import by_hand


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 7)])
def test_the_direction_has_the_singular_vectors_of_the_matrix_and_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = orthogonal(matrix[None])[0]
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ found @ right.T
    values = inside.diagonal()
    assert ((values > 0.65) & (values < 1.25)).all()
    torch.testing.assert_close(inside, torch.diag(values), rtol=0, atol=1e-10)


def test_matrices_of_a_stack_do_not_feel_each_other(monkeypatch):
    monkeypatch.setattr(muon, "IN_CACHE", 2 * 4 * 6)
    stack = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    alone = torch.cat([orthogonal(matrix[None]) for matrix in stack])
    torch.testing.assert_close(orthogonal(stack), alone, rtol=0, atol=1e-12)


def test_a_step_is_that_of_torch_but_for_its_rounding_to_bfloat16():
    start = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours = Muon([{"params": [mine], "matrices": True, "rate": 1.0}], 0.1, 0.03)
    oracle = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.03)
    draw = torch.Generator().manual_seed(2)
    for _ in range(4):
        gradient = torch.randn(8, 5, generator=draw)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        oracle.step()
    moved = (theirs - start).norm()
    assert (mine - theirs).norm() < 0.02 * moved


def test_query_key_and_value_are_orthogonalised_apart():
    start = torch.zeros(12, 4)
    stacked = torch.nn.Parameter(start.clone())
    parts = [torch.nn.Parameter(part.clone()) for part in start.chunk(3)]
    gradient = torch.randn(12, 4, generator=torch.Generator().manual_seed(3))
    stacked.grad = gradient
    for part, one in zip(parts, gradient.chunk(3), strict=True):
        part.grad = one
    Muon([{"params": [stacked], "matrices": True}], 0.1, 0.0).step()
    Muon([{"params": parts, "matrices": True}], 0.1, 0.0).step()
    torch.testing.assert_close(stacked.detach(), torch.cat([p.detach() for p in parts]))


def test_tables_and_vectors_are_left_to_adamw_and_every_parameter_moves_once():
    changed = {"optimiser": "muon", "weight_decay": 0.03, "precision": "float64", "lr": 1e-2}
    train = smoke().train.model_copy(update=changed | {"text_rate": 0.5, "matrix_rate": 4.0})
    config = smoke().model_copy(update={"train": train})
    state, _ = build(config, train_tokenizer(["a mass"], 64), 7, "cpu", fresh=True)
    model = state.modules["model"]
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    held = [id(p) for group in state.optimiser.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == learning
    rates = {(g["matrices"], g["rate"]) for g in state.optimiser.param_groups}
    assert rates == {(False, 1.0), (False, 0.5), (True, 4.0), (True, 2.0)}

    (others, matrices) = groups(model, 4.0)
    assert all(p.ndim == 2 for p in matrices["params"])
    words = model.report.bert.embeddings.word_embeddings.weight
    for table in (words, model.decoder.words.weight, model.anchors.joint):
        assert any(p is table for p in others["params"])

    start, gradient = words.detach().numpy().copy(), torch.randn_like(words)
    words.grad = gradient
    state.optimiser.step()
    expected = by_hand(start, [gradient.numpy()], 1e-2, 0.03, decoupled=True)
    np.testing.assert_allclose(words.detach().numpy(), expected, rtol=1e-11, atol=1e-13)

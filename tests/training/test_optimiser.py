"""Adam and AdamW as a run builds them, against their formulas one number at a time."""

import numpy as np
import pytest
import torch

from rfpmss.config import smoke
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.training.build import build


def by_hand(start, gradients, lr, decay, *, decoupled):
    weight, first, second = start, 0.0, 0.0
    for number, gradient in enumerate(gradients, start=1):
        if decoupled:
            weight = weight - lr * decay * weight
        else:
            gradient = gradient + decay * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = np.sqrt(second / (1 - 0.999**number)) + 1e-8
        weight = weight - lr * first / (1 - 0.9**number) / root
    return weight


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_every_weight_takes_the_steps_of_the_formula(name, decay):
    changed = {"optimiser": name, "weight_decay": decay, "precision": "float64", "lr": 1e-2}
    config = smoke().model_copy(update={"train": smoke().train.model_copy(update=changed)})
    state, _ = build(config, train_tokenizer(["a mass"], 64), 7, "cpu", fresh=True)
    draw = torch.Generator().manual_seed(0)
    weights = [p for p in state.modules["model"].parameters() if p.requires_grad]
    starts, given = [w.detach().numpy().copy() for w in weights], [[] for _ in weights]
    for _ in range(3):
        for weight, gradients in zip(weights, given, strict=True):
            weight.grad = torch.randn(weight.shape, dtype=weight.dtype, generator=draw)
            gradients.append(weight.grad.numpy())
        state.optimiser.step()
    for weight, start, gradients in zip(weights, starts, given, strict=True):
        expected = by_hand(start, gradients, 1e-2, decay, decoupled=name == "adamw")
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-11, atol=1e-13)

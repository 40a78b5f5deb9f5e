"""The recipe of REFERS: SGD with Lookahead, the text encoder at a rate of its own."""

import numpy as np
import pytest
import torch

from rfpmss.config import smoke
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.training.build import build
from rfpmss.training.lookahead import Lookahead
from rfpmss.training.schedule import Schedule


def by_hand(start, gradients, lr, momentum, decay, every, share):
    """SGD with momentum and a slow copy, one number at a time."""
    fast = slow = start
    speed = None
    for number, gradient in enumerate(gradients, start=1):
        gradient = gradient + decay * fast
        speed = gradient if speed is None else momentum * speed + gradient
        fast = fast - lr * speed
        if number % every == 0:
            fast = slow = slow + share * (fast - slow)
    return fast


@pytest.mark.parametrize("steps", [1, 4, 5, 12])
def test_lookahead_is_sgd_that_steps_back_to_a_slow_copy(steps):
    draw = np.random.default_rng(0)
    start, gradients = draw.normal(size=3), draw.normal(size=(steps, 3))
    weight = torch.nn.Parameter(torch.tensor(start))
    other = torch.nn.Parameter(torch.ones(2))  # never gets a gradient
    optimiser = Lookahead([weight, other], 0.1, weight_decay=0.01)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimiser.step()
    expected = by_hand(start, gradients, 0.1, 0.9, 0.01, 5, 0.5)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(other, torch.ones(2))


def test_lookahead_goes_on_from_its_saved_state():
    draw = torch.Generator().manual_seed(0)
    gradients = torch.randn(11, 4, generator=draw)

    def run(weight, optimiser, part):
        for gradient in part:
            weight.grad = gradient.clone()
            optimiser.step()

    whole = torch.nn.Parameter(torch.zeros(4))
    run(whole, Lookahead([whole], 0.1), gradients)
    first = torch.nn.Parameter(torch.zeros(4))
    optimiser = Lookahead([first], 0.1)
    run(first, optimiser, gradients[:7])
    second = torch.nn.Parameter(first.detach().clone())
    other = Lookahead([second], 0.1)
    other.load_state_dict(optimiser.state_dict())
    run(second, other, gradients[7:])
    assert torch.equal(second, whole)


def test_the_text_encoder_may_learn_at_a_rate_of_its_own():
    train = smoke().train.model_copy(update={"optimiser": "lookahead", "text_rate": 0.1})
    config = smoke().model_copy(update={"train": train})
    state, _ = build(config, train_tokenizer(["a mass"], 64), 7, "cpu", fresh=True)
    others, text = state.optimiser.param_groups
    assert isinstance(state.optimiser, Lookahead)
    assert (others.get("rate", 1.0), text["rate"]) == (1.0, 0.1)
    model = state.modules["model"]
    assert {id(p) for p in text["params"]} == {
        id(p) for p in model.report.parameters() if p.requires_grad
    }
    every = [id(p) for group in (others, text) for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert len(state.modules["bank"]) == 7  # no more rows than training studies


def test_the_rate_rises_over_the_share_of_steps_that_is_asked_for():
    train = smoke().train.model_copy(update={"warmup": 0.5, "lr": 2.0})
    schedule = Schedule.of(train, seed=0, studies=np.arange(48))
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert np.argmax(rates) == 9
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_schedule_that_is_unknown_is_no_other_one():
    config = smoke().train.model_copy(update={"schedule": "wsd"})
    with pytest.raises(AssertionError, match="wsd"):
        Schedule.of(config, seed=0, studies=np.arange(8)).rate(0)

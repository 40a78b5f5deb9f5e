"""The benchmark of training steps compares like with like and loses no time."""

import time

import pytest
import torch

from benchmarks.common.steps import Clock, published
from benchmarks.training import apply_at_once
from rfpmss.config import AssignmentConfig
from rfpmss.loss.consistency import assign
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.step import step
from tests.model.small import WORDS, random_batch, small_config


def test_the_published_loop_gives_the_assignments_it_is_compared_with():
    torch.manual_seed(0)
    scores, rows = torch.rand(5, 40, 8).double() - 0.5, torch.rand(5, 40) > 0.2
    config = AssignmentConfig(k=4, steps=500)  # enough for the loop to reach the limit
    mine, theirs = assign(scores, rows, config), published(scores, rows, config)
    torch.testing.assert_close(mine[rows], theirs[rows], rtol=0, atol=1e-3)


def test_gradients_applied_as_they_appear_are_adam_to_the_bit():
    config = small_config(recompute=True)
    weights = []
    for at_once in (False, True):
        torch.manual_seed(0)
        model, bank = RFPMSS(config.model, config.data, WORDS), Bank(8, config.model)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        if at_once:
            apply_at_once(model, 1e-2)
        for seed in range(3):
            losses = step(model, bank, random_batch(config, seed=seed), config)
            losses.total(config.loss).backward()
            if not at_once:
                optimiser.step()
                optimiser.zero_grad()
            assert all(p.grad is None for p in model.parameters())
        weights.append(list(model.parameters()))
    assert all(map(torch.equal, *weights))


def test_a_part_is_not_charged_for_the_parts_inside_it():
    clock, ticks = Clock(), iter(range(100))

    def now():
        return float(next(ticks))

    with clock.part("outer", now):  # 0 to 5: it contains 1 to 2 and 3 to 4
        with clock.part("inner", now):
            pass
        with clock.part("inner", now):
            pass
    assert clock.seconds == {"outer": 3.0, "inner": 2.0}


def test_a_charged_function_gives_what_it_gave_and_is_timed():
    clock = Clock()
    slow = clock.charge("work", lambda x, *, plus: sum(range(200_000)) * 0 + x + plus)
    began = time.thread_time()
    assert slow(1, plus=2) == 3
    assert 0 < clock.seconds["work"] <= time.thread_time() - began
    with pytest.raises(ZeroDivisionError):
        clock.charge("work", lambda: 1 / 0)()
    assert clock.inside == []

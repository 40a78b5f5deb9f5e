"""The benchmark of routers: its re-stated peers against their definitions, and its rows."""

import csv

import pytest
import torch

from benchmarks import moe
from benchmarks.peers.routing import Histogram, LossFree, Quantile, quantile_step
from multisk.moe import BalancedRouter


def scores(rows=96, experts=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, experts, generator=generator)
    return torch.sigmoid(x + torch.randn(experts, generator=generator))


def test_a_quantile_step_fills_every_expert_exactly():
    """With the tokens' thresholds held fixed, an expert's share of them lies above its price."""
    x, k = scores(), 2
    bias = 0.1 * torch.randn(8, generator=torch.Generator().manual_seed(1))
    bias -= bias.mean()
    threshold = (x + bias).sort(1, descending=True).values[:, k]
    unshifted = -torch.stack([(one - threshold).sort().values[-25] for one in x.T])
    over, share = x + unshifted - threshold[:, None], 96 * k // 8
    assert ((over > 1e-6).sum(0) <= share).all()
    assert (share < (over > -1e-6).sum(0)).all()  # the next token is just at the threshold
    found = quantile_step(x, k, bias)
    assert torch.allclose(found, unshifted - unshifted.mean(), atol=1e-6)


def test_fine_bins_give_the_quantile_and_coarse_ones_only_nearly():
    x, k = scores(960), 2
    exact = quantile_step(x, k, torch.zeros(8))
    off = []
    for bins in (20, 100_000):
        side = Histogram(8, k, bins)
        side.update(x)
        off.append(float((side.bias - exact).abs().max()))
    assert off[1] < 2e-3 < off[0]


def test_steps_and_the_average_of_quantile_balancing():
    x = scores()
    twice, average = Quantile(8, 2, steps=2), Quantile(8, 2, keep=0.75)
    twice.update(x)
    average.update(x)
    one = quantile_step(x, 2, torch.zeros(8))
    assert torch.equal(twice.bias, quantile_step(x, 2, one))
    assert torch.allclose(average.bias, one / 4)


def test_loss_free_balancing_moves_by_its_rate_towards_the_mean():
    x = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.1, 0.5], [0.8, 0.7, 0.1]])
    side = LossFree(3, 1, 0.25)
    side.update(x)
    assert side.bias.tolist() == [-0.25, 0.25, 0.25]


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(moe, "RESULTS", tmp_path)
    monkeypatch.setattr(moe, "STREAMS", {64: (256, 2, 8, (0.0, 0.01))})
    monkeypatch.setattr(moe, "TIMED", {64: (256, 2)})
    monkeypatch.setattr(moe, "seconds", lambda function, repeats=1: function() is None or 1.0)
    return tmp_path


def test_every_rule_has_its_row(small, capsys):
    moe.main(["stream", "time", "--experts", "64"])
    with (small / "moe_stream.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    still = {row["rule"]: row for row in rows if row["drift"] == "0.0"}
    assert {*moe.rules(64, 2), moe.FLOOR, moe.EXACT} == set(still)
    assert len(rows) == 2 * len(still) - 2  # without the truth and the ten steps while it drifts
    assert float(still[moe.EXACT]["violation"]) == 0  # 8 tokens an expert
    assert float(still["plain top-k"]["value_lost"]) == 0
    assert float(still["plain top-k"]["violation"]) > float(still[moe.OURS]["violation"])
    assert capsys.readouterr().out.count("bar:") == 3 + 2 + 3
    with (small / "moe_time.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8


def test_a_fixed_average_is_that_of_a_router_that_keeps():
    side, router = moe.Ours(8, 2, 0.75), BalancedRouter(8, 2, keep=0.75)
    for seed in range(4):
        logits = scores(seed=seed).logit()
        side.update(torch.sigmoid(logits))
        router(logits)
        router.update()
    assert torch.allclose(side.bias, router.bias, atol=1e-6)


def test_a_training_run_of_each_rule_has_its_row(small, capsys, monkeypatch):
    monkeypatch.setattr(moe, "SEEDS", (0, 1))
    monkeypatch.setattr(moe, "LENGTH", 2)
    monkeypatch.setattr(moe, "EARLY", 0)
    moe.main(["train"])
    with (small / "moe_train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(moe.TRAINED)
    assert all(240_000 < int(row["parameters"]) < 250_000 for row in rows)  # the text is CPython's
    first = [row["held_out"] for row in rows if row["seed"] == "0"]
    assert 3 < min(map(float, first)) <= max(map(float, first)) < 6  # two steps from the start
    printed = capsys.readouterr().out
    assert printed.count("bar:") == 4
    assert printed.count("(95 %)") == 3


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        moe.main(["strem"])
    assert "parts must be 'stream', 'time' or 'train', got 'strem'" in capsys.readouterr().err

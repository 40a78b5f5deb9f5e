"""Routers: the contracts of Megatron's and torchtitan's, restated, and laws of prices."""

import copy
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import multisk
from multisk import moe

E, K = 8, 2


def logits(rows=256, experts=E, seed=0, tilt=1.0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, experts, generator=draw) + tilt * torch.linspace(0, 1, experts)


def trained(router, x, steps=1, **more):
    router.train()
    for _ in range(steps):
        router(x.clone().requires_grad_(), **more)
        router.update()
    return router


def loads_of(indices, experts=E):
    return indices.flatten().bincount(minlength=experts)


# ------------------------------------------------------------------------------------- functions


@given(seed=st.integers(0, 1000), shift=st.floats(-5, 5), factor=st.floats(0.2, 5))
@settings(max_examples=6)
def test_prices_follow_the_scores_units_and_the_order_of_the_experts(seed, shift, factor):
    x = torch.sigmoid(logits(seed=seed))
    order = torch.randperm(E, generator=torch.Generator().manual_seed(seed))
    plain = moe.prices(x, K)
    torch.testing.assert_close(moe.prices(x[:, order], K), plain[order], rtol=0, atol=2e-5)
    torch.testing.assert_close(moe.prices(x + shift, K), plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        moe.prices(factor * x, K), factor * plain, rtol=0, atol=1e-4 * factor
    )
    assert abs(float(plain.mean())) < 1e-6


@pytest.mark.parametrize("capacity", [None, torch.tensor([1.0, 1, 1, 1, 2, 2, 2, 2])])
def test_routes_at_the_prices_have_even_loads_or_the_shares_asked_for(capacity):
    x = torch.sigmoid(logits(rows=8000, tilt=2.0))
    found = moe.prices(x, K, capacity=capacity, temperature=0.004)
    loads = loads_of((x - found).topk(K, -1).indices).double()
    share = torch.ones(E) if capacity is None else capacity
    wanted = share.double() / share.sum() * 8000 * K
    assert float((loads / wanted - 1).abs().max()) < 0.02
    assert float(moe.violation(loads_of(x.topk(K, -1).indices))) > 0.4


def test_tokens_that_do_not_count_change_no_price_even_as_nan():
    x = torch.sigmoid(logits())
    live = torch.arange(256) % 5 != 0
    dead = x.clone()
    dead[~live] = torch.nan
    torch.testing.assert_close(moe.prices(dead, K, live=live), moe.prices(x[live], K))
    nobody = torch.zeros(256, dtype=torch.bool)
    start = torch.linspace(-1, 1, E)
    assert torch.equal(moe.prices(dead, K, live=nobody, start=start), start)


@pytest.mark.parametrize("temperature", [None, 0.02])
def test_a_batch_of_layers_is_each_layer_alone(temperature):
    x = torch.sigmoid(torch.stack([logits(seed=seed) for seed in range(3)]))
    live = torch.rand(3, 256, generator=torch.Generator().manual_seed(0)) < 0.7
    together = moe.prices(x, K, live=live, temperature=temperature)
    for layer, here, found in zip(x, live, together, strict=True):
        alone = moe.prices(layer, K, live=here, temperature=temperature)
        torch.testing.assert_close(alone, found, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 1000), rows=st.integers(9, 60), capacity=st.booleans())
@settings(max_examples=25)
def test_one_step_gives_every_expert_its_share_at_the_tokens_thresholds(seed, rows, capacity):
    """Quantile Balancing by its definition, in float64: sort each expert's margins."""
    draw = torch.Generator().manual_seed(seed)
    x, start = torch.rand(rows, E, generator=draw), 0.1 * torch.randn(E, generator=draw)
    share = torch.rand(E, generator=draw) + 1 if capacity else torch.ones(E)
    found = moe.prices(x, K, start=start, capacity=share if capacity else None, steps=1)
    priced = (x - start).double()
    margins = x.double() - priced.sort(-1, descending=True).values[:, K, None]
    places = (share.double() / share.double().sum() * rows * K).floor().long()
    want = margins.sort(0, descending=True).values.gather(0, places[None])[0]
    torch.testing.assert_close(found.double(), want - want.mean(), rtol=0, atol=1e-4)


@given(
    seed=st.integers(0, 1000), tilt=st.floats(0, 4), score=st.sampled_from(["sigmoid", "softmax"])
)
@settings(max_examples=15)
def test_prices_even_the_batch_they_were_made_of(seed, tilt, score):
    x = logits(rows=2000, seed=seed, tilt=tilt)
    x = torch.sigmoid(x) if score == "sigmoid" else torch.softmax(x, -1)
    loads = loads_of((x - moe.prices(x, K)).topk(K, -1).indices)
    # A batch of as many fair draws has 0.09 of its share on top: prices know this one better.
    assert float(moe.violation(loads)) < 0.05
    exact = moe.balance(x, K)
    value = x.gather(-1, exact.indices).sum()
    at_prices = x.gather(-1, (x - moe.prices(x, K)).topk(K, -1).indices).sum()
    torch.testing.assert_close(at_prices, value, rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"scores": torch.tensor([[0.1, torch.nan, 0.2]])}, "scores must be finite, got 1 that"),
        ({"k": 4}, "k must lie between 1 and the 3 experts, got 4"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        (
            {"k": 2, "capacity": torch.tensor([3.0, 1.0, 1.0])},
            "capacity must give no expert more than every token once, got a share of 1.2 times",
        ),
    ],
)
def test_prices_that_cannot_be_are_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        moe.prices(**{"scores": torch.rand(20, 3), "k": 1} | options)


def test_what_is_kept_is_a_part_of_the_old_prices():
    x, old = torch.sigmoid(logits()), torch.linspace(-0.1, 0.1, E)
    new = moe.prices(x, K, start=old)
    kept = moe.prices(x, K, start=old, keep=0.75)
    torch.testing.assert_close(kept, 0.75 * old + 0.25 * new, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"keep must lie in \[0, 1\), got 1.0"):
        moe.prices(x, K, keep=1.0)


@given(seed=st.integers(0, 1000), rows=st.integers(5, 40))
@settings(max_examples=15)
def test_exact_routes_are_the_best_with_floor_or_ceiling_loads(seed, rows):
    x = torch.sigmoid(logits(rows=rows, seed=seed)).double()
    live = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) > 0.2
    if int(live.sum()) < 4:
        live[:] = True
    found = moe.balance(x, K, live=live)
    mean = int(live.sum()) * K / E
    assert torch.equal(loads_of(found.indices[live]), found.loads)
    assert int(found.loads.min()) >= int(mean)
    assert int(found.loads.max()) <= -int(-mean // 1)
    assert all(len(set(row)) == K for row in found.indices.tolist())
    exact = multisk.solve(
        x[live], multisk.MultiAssignment(k=K, capacity=found.loads.double()), multisk.Exact()
    )
    value = x[live].gather(-1, found.indices[live]).sum()
    torch.testing.assert_close(value, (x[live] * exact.plan).sum(), rtol=1e-9, atol=1e-9)
    assert abs(float(found.gap)) < 1e-9


def test_violation_is_the_largest_load_over_the_mean():
    assert float(moe.violation(torch.tensor([10, 10, 20, 0]))) == 1.0
    assert moe.violation(torch.ones(3, 4)).tolist() == [0.0] * 3


# ---------------------------------------------------------------------------------------- router


@pytest.mark.parametrize("score", ["sigmoid", "softmax", "none"])
def test_contract_weights_come_from_the_unpriced_scores(score):
    x = logits()
    router = trained(moe.BalancedRouter(E, K, score=score, scale=2.5), x)
    weights, indices, scores = router(x)
    truth = {"sigmoid": torch.sigmoid(x), "softmax": torch.softmax(x, -1), "none": x}[score]
    torch.testing.assert_close(scores, truth)
    chosen = truth.gather(-1, indices)
    torch.testing.assert_close(weights, 2.5 * chosen / chosen.sum(-1, keepdim=True))
    wanted = (truth - router.prices).topk(K, -1).indices
    assert torch.equal(indices.sort(-1).values, wanted.sort(-1).values)
    assert all(len(set(row)) == K for row in indices.tolist())
    assert torch.equal(router.bias, -router.prices)
    assert abs(float(router.prices.mean())) < 1e-6


def test_contract_one_update_lowers_the_imbalance_of_a_preferred_expert():
    x = logits()
    x[:, 3] += 2
    router = moe.BalancedRouter(E, K)
    before = moe.violation(loads_of(router(x)[1]))
    trained(router, x)
    after = moe.violation(loads_of(router(x)[1]))
    assert float(before) > 1.0
    assert float(after) < 0.1


def test_contract_evaluation_and_no_grad_move_nothing():
    x = logits()
    router = trained(moe.BalancedRouter(E, K), x)
    state = copy.deepcopy(router.state_dict())
    router.eval()(x)
    with torch.no_grad():
        router.train()(x)
    router.update()  # nobody was seen
    for name, value in router.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_contract_prices_stay_float32_and_buffers_stay_where_they_are():
    router = moe.BalancedRouter(E, K).bfloat16()
    assert router.prices.dtype == router.seen.dtype == router.gain.dtype == torch.float32
    places = {name: value.data_ptr() for name, value in router.named_buffers()}
    trained(router, logits(), steps=3)
    assert {name: value.data_ptr() for name, value in router.named_buffers()} == places


def test_contract_padding_changes_nothing_even_as_nan():
    x = logits()
    live = torch.arange(256) % 3 != 0
    dead = x.clone()
    dead[~live] = torch.nan
    one, two = moe.BalancedRouter(E, K), moe.BalancedRouter(E, K)
    trained(one, dead, live=live)
    trained(two, x[live])
    torch.testing.assert_close(one.prices, two.prices)
    given_x = dead.clone().requires_grad_()
    weights, indices, _ = one(given_x, live)
    assert torch.equal(one.loads, loads_of(indices[live]))
    weights.sum().backward()
    assert given_x.grad[live].isfinite().all()
    assert not given_x.grad[~live].any()


def test_contract_exact_routes_have_exact_counts_in_training_alone():
    x = logits(tilt=3.0)
    router = moe.BalancedRouter(E, K, exact=True).train()
    assert loads_of(router(x)[1]).tolist() == [256 * K // E] * E
    assert float(moe.violation(loads_of(router.eval()(x)[1]))) > 0.5
    shares = moe.BalancedRouter(E, K, exact=True, capacity=torch.tensor([3.0] * 4 + [1.0] * 4))
    assert loads_of(shares.train()(x)[1]).tolist() == [96] * 4 + [32] * 4


def test_accumulate_four_parts_are_one_batch():
    x = logits()
    one, four = moe.BalancedRouter(E, K).train(), moe.BalancedRouter(E, K).train()
    one(x.clone().requires_grad_())
    for part in x.split(64):
        four(part.clone().requires_grad_())
    one.update(), four.update()
    assert torch.equal(one.prices, four.prices)


@pytest.mark.parametrize("reentrant", [True, False])
def test_accumulate_recomputed_activations_change_no_price(reentrant):
    plain, again = moe.BalancedRouter(E, K).train(), moe.BalancedRouter(E, K).train()
    plain(logits().requires_grad_())[0].sum().backward()
    x = logits().requires_grad_()
    checkpoint(lambda y: again(y)[0], x, use_reentrant=reentrant).sum().backward()
    plain.update(), again.update()
    torch.testing.assert_close(again.prices, plain.prices, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 7, 50])
def test_accumulate_a_full_buffer_keeps_every_second_token(parts):
    x = logits(rows=4000)
    router = moe.BalancedRouter(E, K, rows=512).train()
    for part in x.chunk(parts):
        router(part.clone().requires_grad_())
    assert 256 <= router.held <= 512
    assert int(router.loads.sum()) == 4000 * K
    router.update()
    # Prices of 250 to 512 of the tokens: four standard errors of their quantiles.
    torch.testing.assert_close(router.prices, moe.prices(torch.sigmoid(x), K), rtol=0, atol=0.05)


def test_accumulate_a_state_goes_on_bit_for_bit():
    one = trained(moe.BalancedRouter(E, K), logits(), steps=3)
    two = moe.BalancedRouter(E, K)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    trained(one, logits(seed=5)), trained(two, logits(seed=5))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_attach_updates_all_layers_before_the_step_as_one_by_one():
    torch.manual_seed(0)
    gates = nn.ModuleList([nn.Linear(4, E) for _ in range(3)])
    model = nn.ModuleList([gates, nn.ModuleList([moe.BalancedRouter(E, K) for _ in range(3)])])
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = moe.attach(optimizer, model)
    x = torch.randn(200, 4)
    sum(router(gate(x))[0].sum() for gate, router in zip(*model, strict=True)).backward()
    optimizer.step()
    for gate, router, ours in zip(*twin, model[1], strict=True):
        router(gate(x))
        router.update()
        assert int(ours.updates) == 1
        torch.testing.assert_close(ours.prices, router.prices, rtol=0, atol=1e-5)
    handle.remove()
    optimizer.step()
    assert int(model[1][0].updates) == 1


def test_a_batch_that_overflowed_changes_no_price():
    """As with a loss scaler: the step is skipped, and its hook does not run."""
    one = trained(moe.BalancedRouter(E, K), logits())
    two = copy.deepcopy(one)
    one(torch.full((64, E), torch.nan).requires_grad_())
    for router in (one, two):
        router(logits(seed=7).requires_grad_())
        router.update()
    torch.testing.assert_close(one.prices, two.prices, rtol=0, atol=1e-6)


def test_the_gain_grows_with_drift_and_falls_with_noise():
    gains = []
    for speed in (0.0, 0.15):
        router, draw = moe.BalancedRouter(E, K), torch.Generator().manual_seed(0)
        for step in range(26):
            tilt = (speed * step - 1.5) * torch.linspace(-1, 1, E)
            trained(router, torch.randn(256, E, generator=draw) + tilt)
        gains.append(float(router.gain))
    assert gains[0] < 0.5 < 0.9 < gains[1]  # from 0.5


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"top_k": 8}, "top_k must be at least 1 and below num_experts .8., got 8"),
        ({"top_k": True}, "top_k must be an int, got True"),
        ({"keep": 1.5}, r"keep must be 'auto' or lie in \[0, 1\), got 1.5"),
        ({"rows": 1}, "rows must be at least 2, got 1"),
        ({"temperature": -1.0}, "temperature must be above 0, got -1.0"),
    ],
)
def test_options_outside_their_range_are_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        moe.BalancedRouter(**{"num_experts": E, "top_k": K} | options)


def test_a_router_that_nobody_updates_says_so_once(monkeypatch):
    monkeypatch.setattr(moe, "PATIENCE", 256)
    router = moe.BalancedRouter(E, K, rows=64)
    router.train()
    for _ in range(4):  # 128 tokens: every second one is kept
        router(torch.randn(32, E, requires_grad=True))
    with pytest.warns(UserWarning, match="some 256 tokens passed a BalancedRouter .*attach"):
        router(torch.randn(128, E, requires_grad=True))
    for _ in range(20):
        router(torch.randn(32, E, requires_grad=True))


def test_attach_names_its_order_and_a_model_without_routers():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    unchecked = inspect.unwrap(moe.attach)  # tests check annotations before the function does
    with pytest.raises(ValueError, match=r"got Linear: attach\(optimizer, model\)"):
        unchecked(model, optimizer)

    handle = moe.attach(optimizer, model)  # a model may be swapped after this
    with pytest.raises(ValueError, match="model must have a BalancedRouter when its optimiser"):
        optimizer.step()
    handle.remove()
    optimizer.step()


def test_logits_of_another_number_of_experts_are_refused():
    with pytest.raises(ValueError, match=r"logits must have the shape \(T, 8\), got \(3, 7\)"):
        moe.BalancedRouter(E, K)(torch.zeros(3, 7))

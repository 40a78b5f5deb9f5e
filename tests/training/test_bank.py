import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.model.features import Features
from rfpmss.training.bank import Bank
from tests.model.small import small_config

CONFIG = small_config().model


def features(size, seed):
    torch.manual_seed(seed)
    zero = torch.zeros(size, 1)
    return Features(
        inputs=torch.randn(size, 4, CONFIG.token_dim, requires_grad=True),
        joint=torch.randn(size, 4, CONFIG.joint_dim, requires_grad=True),
        study=zero,
        report=zero,
        readings=zero[:, None],
        readable=zero.bool(),
        logits=None,
        present=torch.rand(size, 4) > 0.3,
    )


@given(st.integers(0, 9), st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_a_bank_is_a_queue_that_counts_only_when_full(size, batches):
    bank, past = Bank(size, CONFIG), []
    for seed, rows in enumerate(batches):
        new = features(rows, seed)
        pool = bank.join(new)
        assert len(pool.inputs) == size + rows
        for name in ("inputs", "joint", "present"):
            assert torch.equal(getattr(pool, name)[size:], getattr(new, name))
        kept = past[-size:] if size else []
        if len(past) >= size:
            held = {tuple(row.flatten().tolist()) for row in pool.inputs[:size]}
            assert held == {tuple(one[0].flatten().tolist()) for one in kept}
            for row, joint, present in zip(
                pool.inputs[:size], pool.joint, pool.present, strict=False
            ):
                (match,) = [one for one in kept if torch.equal(one[0], row)]
                assert torch.equal(match[1], joint)
                assert torch.equal(match[2], present)
        else:
            assert not pool.present[:size].any()
        bank.push(new)
        past += [
            (new.inputs[i].detach(), new.joint[i].detach(), new.present[i]) for i in range(rows)
        ]


def test_rows_may_count_from_when_they_are_written():
    bank, new = Bank(7, CONFIG), features(3, 0)
    bank.push(new)
    assert not bank.join(new).present[:7].any()
    pool = bank.join(new, "rows")
    assert torch.equal(pool.present[:3], new.present)
    assert not pool.present[3:7].any()
    assert [bank.join(new, start).ready.item() for start in ("full", "rows", "wait")] == [False] * 3


def test_neither_the_pool_nor_the_bank_carries_a_gradient():
    bank, new = Bank(3, CONFIG), features(3, 0)
    bank.push(new)
    pool = bank.join(new)
    assert not pool.inputs.requires_grad
    assert not pool.joint.requires_grad
    assert not list(bank.parameters())


@pytest.mark.parametrize("pushes", [0, 1, 3, 5])
def test_a_bank_goes_on_from_its_saved_state(pushes):
    bank, other = Bank(7, CONFIG), Bank(7, CONFIG)
    for seed in range(pushes):
        bank.push(features(3, seed))
    other.load_state_dict(bank.state_dict())
    for seed in range(pushes, pushes + 3):
        new = features(3, seed)
        for name in ("inputs", "joint", "present"):
            assert torch.equal(*(getattr(one.join(new), name) for one in (bank, other)))
        bank.push(new)
        other.push(new)

"""What Eq. 6 gives to who knows nothing and to who knows all: against SciPy's minimiser."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from rfpmss.config import LossConfig
from rfpmss.loss.consistency import (
    ALIKE,
    bounds,
    consistency,
    pair_weights,
    read_out,
    reconstruction,
    spread,
    targets,
)
from tests.loss.test_consistency import ASSIGN, K, M, bce, draw

LOSSES = [
    LossConfig(temperature=0.4),
    LossConfig(temperature=0.4, similarity="sum"),
    LossConfig(temperature=0.4, similarity="logit"),
    LossConfig(temperature=0.2, similarity="logit", max_logit=0.5, readout="raw"),
    LossConfig(temperature=0.4, structure="no-sspc", similarity="logit"),
    LossConfig(temperature=0.4, structure="no-cross-modal", readout="guarded"),
]


def known(loss, rows=7):
    own, cross, present = draw(rows)
    return own, cross, targets(own, cross, present, ASSIGN, loss), present


def sim(loss):
    scale = {"sum": 2.0}.get(loss.similarity, 1.0) * loss.temperature
    top = math.inf if loss.max_logit is None else loss.max_logit
    read = (lambda v: v) if loss.similarity == "logit" else math.exp
    return lambda cosine: min(read(cosine / scale), top)


def least(target, loss):
    """The least mean cross-entropy that one cosine for all of ``target`` reaches."""
    value = sim(loss)

    def cost(cosine):
        return bce(value(cosine), target)

    # From the best of a grid: a clamped similarity is flat on one side.
    best = min(np.linspace(-1, 1, 41), key=cost)
    near = (max(-1.0, best - 0.05), min(1.0, best + 0.05))
    found = minimize_scalar(cost, bounds=near, method="bounded", options={"xatol": 1e-9})
    return min(found.fun, cost(best))


def by_hand(loss, own_target, cross_target, present):
    weights, trivial, floor = pair_weights(loss).numpy(), 0.0, 0.0
    own_target, cross_target = own_target.numpy(), cross_target.numpy()
    for a in range(M):
        for m in range(M):
            rows = (present[:, a] & present[:, m]).numpy()
            alpha, beta = cross_target[rows, a, m], own_target[rows, m]
            if loss.structure == "no-sspc":
                alpha, beta = own_target[rows, m] if a == m else None, cross_target[rows, m, m]
            if not rows.any() or (loss.structure == "no-cross-modal" and a != m):
                continue
            for target in (alpha, beta):
                if target is not None:
                    trivial += weights[a, m] * least(target, loss)
                    floor += weights[a, m] * np.mean([least(t, loss) for t in target.ravel()])
    return trivial, floor


@pytest.mark.parametrize("loss", LOSSES)
def test_both_bounds_are_what_one_cosine_for_all_and_one_for_each_entry_reach(loss):
    _, _, told, present = known(loss)
    present[:, 1] = False  # a pair that nobody has costs nothing
    mine = [value.item() for value in bounds(*told, present, loss)]
    np.testing.assert_allclose(mine, by_hand(loss, *told, present), rtol=1e-6)


@given(st.integers(0, 10_000), st.sampled_from(LOSSES))
def test_no_cosines_beat_the_floor_and_the_floor_is_below_the_trivial_value(seed, loss):
    _, _, told, present = known(loss)
    own, cross, _ = draw(7, seed)
    trivial, floor = bounds(*told, present, loss)
    assert consistency(own, cross, *told, present, loss) >= floor - 1e-9
    assert floor <= trivial + 1e-12


def test_as_published_knowing_nothing_gives_ln_2_an_entry_and_no_constant_does_better():
    loss = LossConfig()
    _, _, (own_target, cross_target), present = known(loss)
    present[:] = True
    low = [t * 0.9 for t in (own_target, cross_target)]  # means below one half, as K' = K / 2 has
    trivial, _ = bounds(*low, present, loss)
    nothing = 2 * pair_weights(loss).sum().item() * math.log(2)
    assert trivial.item() == pytest.approx(nothing, rel=1e-3)
    for cosine in (-1.0, -0.5, 0.0, 0.5):
        same = torch.full((7, M, K), cosine).double(), torch.full((7, M, M, K), cosine).double()
        assert consistency(*same, *low, present, loss) >= trivial - 1e-9


def test_of_a_reconstruction_they_are_the_variance_and_zero():
    inputs, _, present = draw()
    trivial, floor = spread(inputs, present)
    weight = present[..., None].double()
    mean = (inputs * weight).sum(0) / weight.sum(0)
    expected = reconstruction(inputs, mean.expand_as(inputs), present)
    assert trivial.item() == pytest.approx(expected.item(), rel=1e-12)
    assert floor.item() == 0


def test_while_scores_are_alike_a_guarded_target_is_the_plan_itself():
    plan = torch.tensor([[0.5, 0.501, 0.499], [0.2, 0.9, 0.4], [0.45, 0.5, 0.55]]).double()
    found = read_out(plan, "guarded")
    torch.testing.assert_close(found[0], plan[0], rtol=0, atol=0.02)
    torch.testing.assert_close(found[1:], read_out(plan[1:], "minmax"))
    assert read_out(plan, "minmax")[0].tolist() == pytest.approx([0.5, 1.0, 0.0])
    half = torch.tensor([0.5, 0.5 + ALIKE / 2]).double()
    torch.testing.assert_close(read_out(half, "guarded"), (half + torch.tensor([0.0, 1.0])) / 2)

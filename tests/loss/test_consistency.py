import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multisk import reference
from rfpmss.config import MODALITIES, AssignmentConfig, LossConfig
from rfpmss.loss.consistency import (
    assign,
    consistency,
    long_tail,
    pair_weights,
    read_out,
    reconstruction,
    similarity,
    targets,
)

M, K = len(MODALITIES), 6
ASSIGN = AssignmentConfig(k=3, eps=0.07, damping=0.25)


def draw(rows=7, seed=0):
    torch.manual_seed(seed)
    own = torch.rand(rows, M, K, dtype=torch.float64) * 2 - 1
    cross = torch.rand(rows, M, M, K, dtype=torch.float64) * 2 - 1
    present = torch.rand(rows, M) > 0.3
    return own, cross, present


def readout(plan):
    low, high = plan.min(1, keepdims=True), plan.max(1, keepdims=True)
    return (plan - low) / (high - low)


def by_hand(scores, exist, solve):
    """Targets of the rows that exist; the others get NaN, which must never be read."""
    found = np.full(scores.shape, np.nan)
    if exist.any():
        found[exist] = readout(solve(scores[exist]))
    return found


def every_target(own, cross, present, solve):
    own, cross, present = own.numpy(), cross.numpy(), present.numpy()
    own_target = np.stack([by_hand(own[:, m], present[:, m], solve) for m in range(M)], 1)
    cross_target = [
        np.stack([by_hand(cross[:, a, m], present[:, a], solve) for m in range(M)], 1)
        for a in range(M)
    ]
    return own_target, np.stack(cross_target, 1)


def bce(logit, target):
    return np.mean(np.logaddexp(0, logit) - logit * target)


def pair_by_pair(own, cross, own_target, cross_target, present, weight, sim):
    """Eq. 5 and 6 as they stand: every ordered pair, both directions, study by study."""
    total = 0.0
    for m in range(M):
        for a in range(M):
            terms = []
            for n in range(len(own)):
                if present[n, m] and present[n, a]:
                    terms.append(
                        bce(sim(own[n, m]), cross_target[n, a, m])
                        + bce(sim(cross[n, a, m]), own_target[n, m])
                    )
            total += weight(a, m) * np.mean(terms) if terms else 0.0
    return total


def solvers():
    def exact(x):
        return reference.multi_assignment(x, 3, 0.07, 0.25)

    def sweeps(order):
        return lambda x: reference.multi_sk(x, 3, 0.07, 0.25, 20, order)

    def modified(order):
        def sweep(x):
            plan = np.exp(x / 0.07)
            for _ in range(20):
                for axis in order:
                    total = 3.0 if axis == 1 else len(x) * 3 / K
                    plan *= total / plan.sum(axis, keepdims=True)
            return plan

        return sweep

    orders = ("row-column-depth", "column-depth-row")
    yield ASSIGN, exact, 1e-5
    for order in orders:
        yield ASSIGN.model_copy(update={"solver": "sinkhorn", "order": order}), sweeps(order), 1e-9
    plain = ASSIGN.model_copy(update={"solver": "modified"})
    yield plain, modified((1, 0)), 1e-9
    yield plain.model_copy(update={"order": orders[1]}), modified((0, 1)), 1e-9
    yield ASSIGN.model_copy(update={"solver": "none"}), lambda x: x, 1e-12


@pytest.mark.parametrize(("config", "solve", "tolerance"), list(solvers()))
@pytest.mark.parametrize("complete", [True, False])
def test_targets_are_assignments_of_the_rows_that_exist(config, solve, tolerance, complete):
    own, cross, present = draw()
    present = present | complete
    mine = targets(own, cross, present, config, LossConfig())
    expected = every_target(own, cross, present, solve)
    for target, oracle in zip(mine, expected, strict=True):
        kept = ~np.isnan(oracle)
        np.testing.assert_allclose(target.numpy()[kept], oracle[kept], atol=tolerance)


@pytest.mark.parametrize("complete", [True, False])
def test_consistency_is_eq_6_pair_by_pair_with_dense_multi_sk(complete):
    own, cross, present = draw()
    present = present | complete
    loss = LossConfig(temperature=0.4, report_weight=0.9, other_weight=0.2)
    config = ASSIGN.model_copy(update={"solver": "sinkhorn"})
    mine = consistency(own, cross, *targets(own, cross, present, config, loss), present, loss)

    def dense(x):
        return reference.multi_sk(x, 3, 0.07, 0.25, 20)

    expected = pair_by_pair(
        own.numpy(),
        cross.numpy(),
        *every_target(own, cross, present, dense),
        present,
        weight=lambda a, m: 0.9 if 3 in (a, m) else 0.2,
        sim=lambda x: np.exp(x / 0.4),
    )
    assert abs(mine.item() - expected) < 1e-8 * expected


def test_a_modality_nobody_has_leaves_no_trace():
    own, cross, present = draw()
    present[:, 1] = False
    loss = LossConfig()
    other_own, other_cross = own.clone(), cross.clone()
    other_own[:, 1], other_cross[:, 1] = 0.9, -0.9
    results = [
        consistency(o, c, *targets(o, c, present, ASSIGN, loss), present, loss)
        for o, c in ((own, cross), (other_own, other_cross))
    ]
    assert torch.equal(*results)
    assert results[0].isfinite()


def test_without_any_pair_consistency_is_exactly_zero_with_zero_gradient():
    own, cross, _ = draw()
    own.requires_grad_()
    cross.requires_grad_()
    nothing = torch.zeros(7, M).bool()
    found = targets(own, cross, nothing, ASSIGN, LossConfig())
    loss = consistency(own, cross, *found, nothing, LossConfig())
    loss.backward()
    assert loss.item() == 0
    assert not own.grad.any()
    assert not cross.grad.any()


def test_no_gradient_flows_through_targets():
    own, cross, present = draw()
    found = targets(own.requires_grad_(), cross.requires_grad_(), present, ASSIGN, LossConfig())
    assert not any(target.requires_grad for target in found)


def test_the_gradient_of_consistency_is_its_derivative():
    own, cross, present = draw(rows=3)
    loss = LossConfig(temperature=0.5)
    found = targets(own, cross, present, ASSIGN, loss)
    assert torch.autograd.gradcheck(
        lambda a, b: consistency(a, b, *found, present, loss),
        (own.requires_grad_(), cross.requires_grad_()),
    )


def test_pairs_that_touch_the_report_weigh_more():
    expected = [[0.1, 0.1, 0.1, 1], [0.1, 0.1, 0.1, 1], [0.1, 0.1, 0.1, 1], [1, 1, 1, 1]]
    torch.testing.assert_close(pair_weights(LossConfig()), torch.tensor(expected).double())


def test_min_max_read_out_reaches_zero_and_one_in_every_row_and_keeps_the_order():
    plan = torch.rand(50, 6)
    target = read_out(plan, "minmax")
    assert torch.equal(target.amin(1), torch.zeros(50))
    assert torch.equal(target.amax(1), torch.ones(50))
    assert torch.equal(target.argsort(1), plan.argsort(1))
    assert not read_out(torch.full((2, 6), 0.5), "minmax").any()


def test_the_other_read_outs_leave_the_plan_or_cut_it():
    plan = torch.tensor([[-0.1, 0.4, 1.2]])
    assert torch.equal(read_out(plan, "raw"), plan)
    assert torch.equal(read_out(plan, "clamp"), torch.tensor([[0.0, 0.4, 1.0]]))


def test_similarities_follow_their_formulas_and_stay_finite_in_single_precision():
    cosines = torch.tensor([-1.0, -0.25, 0.0, 0.25, 0.5, 1.0])
    for kind, expected in {
        "product": np.exp(cosines.numpy() / 0.1),
        "sum": np.exp(cosines.numpy() / 0.2),
        "logit": cosines.numpy() / 0.1,
    }.items():
        for clamp in (None, 3.0):
            config = LossConfig(similarity=kind, max_logit=clamp)
            value = similarity(cosines, config)
            assert value.dtype == torch.float32
            assert value.isfinite().all()
            limit = np.inf if clamp is None else clamp
            np.testing.assert_allclose(value.numpy(), np.minimum(expected, limit), rtol=1e-5)
    assert similarity(cosines.bfloat16(), LossConfig()).dtype == torch.float32


def test_as_written_an_anchor_that_is_not_assigned_costs_at_least_ln_2():
    cosines = torch.linspace(-1, 1, 101, dtype=torch.float64)
    cost = torch.nn.functional.softplus(similarity(cosines, LossConfig()))
    assert cost.min() > np.log(2)
    assert abs(cost[75].item() - 148.4) < 0.1
    assert abs(cost[100].item() - 22026) < 1


def fake_targets(rows=7):
    torch.manual_seed(9)
    own, cross = torch.rand(rows, M, K).double(), torch.rand(rows, M, M, K).double()
    return own, cross


def terms(structure, own, cross, own_target, cross_target, present, weight):
    """Table 4a by hand: which assignment each feature predicts, pair by pair."""
    total = 0.0
    for m in range(M):
        for a in range(M):
            rows = [n for n in range(len(own)) if present[n, m] and present[n, a]]
            values = []
            for n in rows:
                value = 0.0
                if structure == "no-sspc":
                    value += bce(cross[n, a, m], cross_target[n, m, m])
                    if a == m:
                        value += bce(own[n, m], own_target[n, m])
                elif a == m:
                    value += bce(own[n, m], cross_target[n, m, m])
                    value += bce(cross[n, m, m], own_target[n, m])
                values.append(value)
            total += weight(a, m) * np.mean(values) if values else 0.0
    return total


@pytest.mark.parametrize("structure", ["no-sspc", "no-cross-modal"])
def test_ablated_structures_predict_only_the_assignments_they_name(structure):
    own, cross, present = draw()
    found = fake_targets()
    config = LossConfig(similarity="logit", temperature=1.0, structure=structure)
    mine = consistency(own, cross, *found, present, config)
    expected = terms(
        structure,
        own.numpy(),
        cross.numpy(),
        *(x.numpy() for x in found),
        present,
        weight=lambda a, m: 1.0 if 3 in (a, m) else 0.1,
    )
    assert abs(mine.item() - expected) < 1e-12


def test_a_table_of_pair_weights_replaces_the_two_weights():
    own, cross, present = draw()
    found = fake_targets()
    table = torch.rand(M, M, dtype=torch.float64)
    config = LossConfig(pair_weights=tuple(map(tuple, table.tolist())))
    singles = torch.zeros(M, M, dtype=torch.float64)
    for a in range(M):
        for m in range(M):
            one = torch.zeros(M, M)
            one[a, m] = 1
            only = LossConfig(pair_weights=tuple(map(tuple, one.tolist())))
            singles[a, m] = consistency(own, cross, *found, present, only)
    expected = (table * singles).sum()
    torch.testing.assert_close(consistency(own, cross, *found, present, config), expected)


def test_reconstruction_is_the_squared_error_of_what_exists():
    torch.manual_seed(0)
    inputs = torch.randn(5, M, 3, dtype=torch.float64, requires_grad=True)
    rebuilt = torch.randn(5, M, 3, dtype=torch.float64, requires_grad=True)
    present = torch.rand(5, M) > 0.4
    present[:, 2] = False
    loss = reconstruction(inputs, rebuilt, present)
    expected = 0.0
    for m in range(M):
        rows = [n for n in range(5) if present[n, m]]
        errors = [((rebuilt[n, m] - inputs[n, m]) ** 2).mean().item() for n in rows]
        expected += np.mean(errors) if errors else 0.0
    assert abs(loss.item() - expected) < 1e-13
    loss.backward()
    assert inputs.grad is None
    assert rebuilt.grad[present].any(-1).all()
    with pytest.raises(ValueError, match=r"model\.rebuild must be true"):
        reconstruction(inputs, None, present)


@pytest.mark.parametrize("solver", ["newton", "modified"])
def test_loads_of_anchors_follow_their_shares(solver):
    _, cross, present = draw(rows=40)
    shares = (3.0, 2.0, 2.0, 2.0, 2.0, 1.0)
    config = ASSIGN.model_copy(update={"solver": solver, "loads": shares, "steps": 500})
    exist = present[:, 1]
    scores, rows = cross[:, 1].transpose(0, 1).contiguous(), exist.expand(M, -1).contiguous()
    plan = assign(scores, rows, config)
    expected = torch.tensor(shares).double() / 12 * 3 * exist.sum()
    loads = (plan * rows[..., None]).sum(1)
    torch.testing.assert_close(loads, expected.expand(M, -1), rtol=1e-5, atol=1e-5)
    taken = plan.sum(2)[rows]
    torch.testing.assert_close(taken, torch.full_like(taken, 3.0), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 4))
def test_shares_of_a_long_tail_fall_to_the_end_and_leave_room_in_every_anchor(a, b, exponent):
    k, anchors = sorted((a, b))
    shares = long_tail(anchors, k, exponent)
    assert len(shares) == anchors
    assert sum(shares) == pytest.approx(1)
    assert all(x >= y - 1e-12 for x, y in zip(shares, shares[1:], strict=False))
    assert k * shares[0] <= max(0.9, k / anchors) + 1e-9
    free = [j for j, share in enumerate(shares) if k * share < 0.9 - 1e-6]
    for i, j in zip(free, free[1:], strict=False):  # below the bound the law itself holds
        assert shares[i] / shares[j] == pytest.approx(((j + 1) / (i + 1)) ** exponent)
    if exponent == 0:
        assert shares == pytest.approx([1 / anchors] * anchors)


@pytest.mark.parametrize("tail", [0.5, 4.0])
def test_anchors_of_a_long_tail_are_loaded_by_it(tail):
    _, cross, _ = draw(rows=40)
    scores, rows = cross[None, :, 1, 2], torch.ones(1, 40).bool()
    plan = assign(scores, rows, ASSIGN.model_copy(update={"tail": tail}))
    expected = 40 * 3 * torch.tensor(long_tail(K, 3, tail)).double()
    torch.testing.assert_close(plan.sum(1)[0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plan.sum(2), torch.full((1, 40), 3.0).double())


def test_slack_lets_loads_move_within_bounds_towards_what_the_scores_like():
    _, cross, _ = draw(rows=60)
    scores, rows = cross[None, :, 1, 2], torch.ones(1, 60).bool()
    even = 60 * 3 / K
    spread = {}
    for slack in (0.0, 0.1, 0.9):
        plan = assign(scores, rows, ASSIGN.model_copy(update={"slack": slack}))
        loads = plan.sum(1)
        assert (loads >= even * (1 - slack) - 1e-4).all()
        assert (loads <= even * (1 + slack) + 1e-4).all()
        torch.testing.assert_close(plan.sum(2), torch.full((1, 60), 3.0).double())
        spread[slack] = loads.std().item()
    assert spread[0.0] < 1e-4 < spread[0.1] <= spread[0.9] + 1e-9
    free = scores[0].numpy() * 0.75 / 0.07
    alone = [row_plan(row, 3) for row in free]
    assert np.abs(plan[0].numpy() - alone).max() < 1e-5  # no bound of 0.9 is reached


def row_plan(row, k):
    """sigmoid(row + a) with sum k, a found by bisection: a row that no column holds back."""
    low, high = -row.max() - 50, -row.min() + 50
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-row - middle))).sum() < k else (low, middle)
    return 1 / (1 + np.exp(-row - low))

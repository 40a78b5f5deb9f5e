"""Budgets, capacities, masks, scale vectors and transport against independent oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import FEW, scores, shapes, unit_scores

SHARP = Newton(tolerance=1e-11)
SWEPT = Sinkhorn(tolerance=1e-11, max_steps=20000)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, want, tolerance=1e-8):
    return (found - torch.as_tensor(want)).abs().max() <= tolerance


@pytest.mark.parametrize("solver", [SHARP, SWEPT])
def test_uneven_budgets_and_capacities_agree_with_scipy(solver):
    x = 2 * unit_scores(12, 5)
    rows = 0.5 + 3 * random(12)
    share = (1 + random(5, seed=1)) * rows.sum()
    columns = share * rows.sum() / share.sum()
    problem = MultiAssignment(rows, eps=0.3, capacity=columns)
    want = multisk.reference.multi_assignment(
        x.numpy(), rows.numpy(), 0.3, capacity=columns.numpy()
    )
    assert close(solve(x, problem, solver).raise_if_failed().plan, want)


@pytest.mark.parametrize("solver", [SHARP, SWEPT])
def test_masks_agree_with_scipy(solver):
    x = 2 * unit_scores(12, 6)
    mask = random(12, 6) < 0.75
    mask[:, 0] = mask[0] = True
    rows = 0.5 * mask.sum(-1)
    columns = 0.5 * mask.sum(-2)
    problem = MultiAssignment(rows, eps=0.3, capacity=columns, mask=mask)
    want = multisk.reference.multi_assignment(
        x.numpy(), rows.numpy(), 0.3, capacity=columns.numpy(), mask=mask.numpy()
    )
    assert close(solve(x, problem, solver).raise_if_failed().plan, want)


@st.composite
def intervals(draw):
    n, k, budget = draw(shapes())
    x = draw(scores(n, k))
    seed = draw(st.integers(0, 1000))
    load = n * budget / k
    lower = load * random(k, seed=seed)
    upper = torch.minimum(load * (1 + random(k, seed=seed + 1)), torch.tensor(float(n)))
    return x, budget, lower, upper.double()


@FEW
@given(intervals())
def test_interval_plans_satisfy_the_optimality_conditions(case):
    x, k, lower, upper = case
    problem = MultiAssignment(k, eps=0.3, capacity=(lower, upper))
    solution = solve(x, problem, SHARP).raise_if_failed()
    plan, price, load = solution.plan, solution.column_potential, solution.plan.sum(-2)
    assert (plan.sum(-1) - k).abs().max() <= 1e-8
    assert bool(((load >= lower - 1e-8) & (load <= upper + 1e-8)).all())
    # A price pushes a column to a bound, and a column inside its bounds has no price.
    assert (load - lower)[price > 1e-9].abs().amax() <= 1e-8 if (price > 1e-9).any() else True
    assert (load - upper)[price < -1e-9].abs().amax() <= 1e-8 if (price < -1e-9).any() else True
    form = 0.75 * x / 0.3 + solution.row_potential[:, None] + price
    assert (torch.sigmoid(form) - plan).abs().max() <= 1e-10
    assert 0 <= float(solution.gap) <= 1e-7


def test_intervals_that_do_not_bind_and_intervals_that_are_points():
    x = unit_scores(30, 6)
    free = solve(x, MultiAssignment(2, capacity=(torch.zeros(6), torch.full((6,), 30.0))), SHARP)
    assert close(free.plan.sum(-1), torch.full((30,), 2.0, dtype=torch.float64))
    assert float(free.column_potential.abs().max()) == 0.0
    point = torch.full((6,), 10.0)
    exact = solve(x, MultiAssignment(2), SHARP).plan
    assert close(solve(x, MultiAssignment(2, capacity=(point, point)), SHARP).plan, exact)


@pytest.mark.parametrize("order", ["row-column-depth", "column-depth-row"])
def test_a_scale_vector_converges_to_the_limit_of_the_dense_table(order):
    x = unit_scores(10, 5)
    scales = torch.linspace(1, 0.2, 5, dtype=torch.float64)
    problem = MultiAssignment(2, eps=0.2, damping=scales)
    solution = solve(x, problem, Sinkhorn(tolerance=1e-12, max_steps=20000, order=order))
    want = multisk.reference.multi_sk(x.numpy(), 2, 0.2, scales.numpy(), 3000)
    assert close(solution.plan, want, 1e-9)
    table = solution.channels()
    assert close(table.sum(-1), torch.ones(5, 10))
    assert close(table.sum(-3), torch.ones(10, 5))
    assert close(table.sum(-2), torch.full((5, 5), 2.0, dtype=torch.float64))
    assert close(solve(x, problem).plan, want, 1e-9)


def test_the_default_says_which_solver_ran():
    x = unit_scores(20, 6)
    assert solve(x, MultiAssignment(2)).solver == "Newton"
    assert solve(x, MultiAssignment(2), Sinkhorn(steps=2)).solver == "Sinkhorn"
    ramp = torch.linspace(1, 0.2, 6, dtype=torch.float64)
    assert solve(x, MultiAssignment(2, damping=ramp)).solver == "Newton"


@pytest.mark.parametrize("solver", [SHARP, SWEPT, None])
def test_transport_agrees_with_scipy_and_pot(solver):
    x = 2 * unit_scores(9, 7)
    rows, columns = 0.2 + random(9), 0.2 + random(7, seed=1)
    columns = columns * rows.sum() / columns.sum()
    problem = Transport(eps=0.3, rows=rows, columns=columns)
    plan = solve(x, problem, solver).raise_if_failed().plan
    tolerance = 1e-8 if solver is not None else 1e-5
    want = multisk.reference.transport(x.numpy(), 0.3, rows.numpy(), columns.numpy())
    assert close(plan, want, tolerance)
    ot = pytest.importorskip("ot")
    pot = ot.sinkhorn(
        rows.numpy(), columns.numpy(), -x.numpy(), 0.3, stopThr=1e-13, method="sinkhorn_log"
    )
    assert close(plan, pot, tolerance)


@pytest.mark.parametrize("relax", [(0.5, 2.0), (1.0, 1.0), (0.05, 10.0)])
@pytest.mark.parametrize("solver", [SHARP, SWEPT])
def test_relaxed_transport_is_stationary_and_agrees_with_pot(relax, solver):
    x = 2 * unit_scores(9, 7)
    rows, columns = 0.2 + random(9), 0.2 + random(7, seed=1)
    solution = solve(x, Transport(eps=0.3, rows=rows, columns=columns, relax=relax), solver)
    plan = solution.raise_if_failed().plan
    # d/dP of <P, X> - eps P (log P - 1) - rho_r KL(P 1 | r) - rho_c KL(P' 1 | c) vanishes.
    slope = (
        x
        - 0.3 * plan.log()
        - relax[0] * (plan.sum(-1) / rows).log()[:, None]
        - relax[1] * (plan.sum(-2) / columns).log()
    )
    assert slope.abs().max() <= 1e-7
    assert 0 <= float(solution.gap) <= 1e-7
    ot = pytest.importorskip("ot")
    if relax[0] == relax[1]:
        pot = ot.unbalanced.sinkhorn_unbalanced(
            rows.numpy(), columns.numpy(), -x.numpy(), 0.3, relax[0], reg_type="kl",
            c=np.ones(x.shape), numItermax=50000, stopThr=1e-14,
        )  # fmt: skip
        assert close(plan, pot, 1e-6)


@pytest.mark.parametrize("relax", [(0.5, 2.0), (0.05, 10.0), (1.0, 0.3)])
def test_relaxed_transport_and_its_derivative_agree_with_scipy_on_the_primal(relax):
    from scipy.optimize import minimize

    x = 2 * unit_scores(5, 4)
    rows, columns = 0.2 + random(5), 0.2 + random(4, seed=1)
    eps = 0.3

    def lost(z, scores):
        plan = np.exp(z).reshape(scores.shape)
        found, slope = -(plan * (scores - eps * (np.log(plan) - 1))).sum(), eps * np.log(plan)
        slope = slope - scores
        for axis, strength, goal in ((1, relax[0], rows.numpy()), (0, relax[1], columns.numpy())):
            sums = plan.sum(axis)
            found += strength * (sums * np.log(sums / goal) - sums + goal).sum()
            slope = slope + np.expand_dims(strength * np.log(sums / goal), axis)
        return found, (slope * plan).ravel()

    def best(scores):
        options = {"maxiter": 20000, "ftol": 1e-16, "gtol": 1e-11}
        start = np.full(scores.size, -2.0)
        return minimize(lost, start, (scores,), "L-BFGS-B", jac=True, options=options)

    x.requires_grad_()
    problem = Transport(eps=eps, rows=rows, columns=columns, relax=relax)
    solution = solve(x, problem, SHARP).raise_if_failed()
    want = best(x.detach().numpy())
    assert close(solution.plan.detach().flatten(), np.exp(want.x), 1e-5)
    assert abs(float(solution.value.detach()) + want.fun) <= 1e-8
    push = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (by_value,) = torch.autograd.grad(solution.value, x, retain_graph=True)
    (by_plan,) = torch.autograd.grad((solution.plan * push).sum(), x)
    ends = [best((x.detach() + h * push).numpy()) for h in (1e-3, -1e-3)]
    moved = (np.exp(ends[0].x) - np.exp(ends[1].x)) / 2e-3
    assert abs(float((by_value * push).sum()) - (ends[1].fun - ends[0].fun) / 2e-3) <= 1e-5
    assert abs(float((by_plan * push).sum()) - (moved @ push.flatten().numpy())) <= 1e-3


def test_infinite_strengths_are_exact_margins():
    x = unit_scores(9, 7)
    relaxed = solve(x, Transport(eps=0.3, relax=(float("inf"), None)), SHARP)
    assert close(relaxed.plan, solve(x, Transport(eps=0.3), SHARP).plan)


def test_transport_masks_and_empty_margins():
    x = unit_scores(8, 5).clone()
    mask = torch.ones(8, 5, dtype=torch.bool)
    mask[0, 1] = mask[3, 2] = False
    x[0, 1] = float("nan")
    rows = torch.ones(8, dtype=torch.float64)
    rows[5] = 0.0
    for solver in (SHARP, SWEPT):
        plan = solve(x, Transport(eps=0.3, rows=rows, mask=mask), solver).raise_if_failed().plan
        assert close(plan.sum(-1), rows)
        assert close(plan.sum(-2), torch.full((5,), 7 / 5, dtype=torch.float64))
        assert bool((plan[~mask] == 0).all())
        assert bool((plan[5] == 0).all())


@pytest.mark.parametrize("k", [900, 1500])
def test_many_columns_need_no_square_matrix(k, monkeypatch):
    import multisk._semidual.semidual as semidual

    monkeypatch.setattr(semidual, "solve_dense", None)  # must not be called
    x = unit_scores(k + 100, k, dtype=torch.float32)
    solution = solve(x, MultiAssignment(20, eps=0.07), Newton()).raise_if_failed()
    assert float(solution.marginal_error) <= 1e-6
    assert int(solution.steps) <= 8


def test_values_are_the_stated_objectives():
    x, eps = unit_scores(10, 4), 0.2
    solution = solve(x, MultiAssignment(2, eps=eps), SHARP)
    p = solution.plan.numpy()
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p)).sum()
    assert abs(float(solution.value) - (0.75 * (p * x.numpy()).sum() + eps * entropy)) <= 1e-10
    other = solve(x, Transport(eps=eps), SHARP)
    p = other.plan.numpy()
    want = (p * x.numpy()).sum() - eps * (p * (np.log(p) - 1)).sum()
    assert abs(float(other.value) - want) <= 1e-10


def test_batches_may_mix_temperatures_budgets_and_masks():
    x = torch.stack([unit_scores(9, 6, seed=s) for s in range(3)])
    eps = torch.tensor([0.05, 0.2, 1.0], dtype=torch.float64)
    budgets = torch.tensor([1, 2, 3])[:, None].expand(3, 9)
    whole = solve(x, MultiAssignment(budgets, eps=eps), SHARP).raise_if_failed()
    for i in range(3):
        alone = solve(x[i], MultiAssignment(i + 1, eps=float(eps[i])), SHARP)
        assert close(whole.plan[i], alone.plan, 1e-9)
        assert abs(float(whole.value[i] - alone.value)) <= 1e-9


def test_topk_and_statuses():
    solution = solve(unit_scores(9, 6), MultiAssignment(2))
    assert bool((solution.topk() == solution.plan.topk(2, -1).indices).all())
    assert solution.detach().plan.requires_grad is False
    assert all(len(status.value.split()) > 4 for status in multisk.Status)
    with pytest.raises(ValueError, match="k must be the same int"):
        solve(unit_scores(3, 6), MultiAssignment(torch.tensor([1, 2, 1]))).topk()

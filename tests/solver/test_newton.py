"""Newton finds the limit of the sweeps, at any temperature, and never claims what is not so."""

import pytest
import torch

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, solve, use_backend
from multisk._semidual import search
from tests.solver.strategies import unit_scores


def worst(plan, k):
    """The relative violation of the margins, recomputed from the plan alone."""
    plan = plan.double()
    load = k * plan.shape[-2] / plan.shape[-1]
    by_row = (plan.sum(-1) / k - 1).abs().max()
    return float(torch.maximum(by_row, (plan.sum(-2) / load - 1).abs().max()))


@pytest.mark.parametrize(("n", "k", "budget"), [(20, 6, 2), (7, 9, 4), (50, 16, 15), (12, 12, 5)])
def test_newton_is_the_limit_of_the_dense_sweeps(n, k, budget):
    x = unit_scores(n, k, seed=k)
    solution = solve(x, MultiAssignment(k=budget), Newton())
    dense = solve(x, MultiAssignment(k=budget), Sinkhorn(steps=1500, dense=True))
    assert (solution.plan - dense.plan).abs().max() <= 1e-8


@pytest.mark.parametrize(("n", "k", "budget"), [(20, 6, 2), (7, 9, 4), (30, 5, 1)])
def test_newton_agrees_with_scipy_on_the_dual(n, k, budget):
    x = unit_scores(n, k, seed=n)
    want = multisk.reference.multi_assignment(x.numpy(), budget)
    assert (solve(x, MultiAssignment(k=budget)).plan - torch.from_numpy(want)).abs().max() <= 1e-8


@pytest.mark.parametrize("eps", [1.0, 0.3, 0.07, 0.02, 0.005, 0.002])
@pytest.mark.parametrize(("n", "k", "budget"), [(1000, 64, 32), (300, 16, 5), (40, 100, 7)])
def test_marginal_errors_are_small_from_warm_to_cold(n, k, budget, eps):
    x = unit_scores(n, k)
    solution = solve(x, MultiAssignment(k=budget, eps=eps)).raise_if_failed()
    assert float(solution.marginal_error) <= 1e-6
    assert worst(solution.plan, budget) <= 1e-6
    assert bool(((solution.plan >= 0) & (solution.plan <= 1)).all())


@pytest.mark.parametrize("eps", [1.0, 0.07, 0.002, 5e-4, 1e-4])
@pytest.mark.parametrize(
    ("n", "k", "budget"), [(500, 64, 32), (300, 16, 5), (40, 100, 7), (9, 5, 2)]
)
def test_float32_is_finite_and_honest_at_any_temperature(n, k, budget, eps):
    x = unit_scores(n, k, dtype=torch.float32)
    for solver in (Newton(), Sinkhorn(steps=20), Sinkhorn(max_steps=50)):
        solution = solve(x, MultiAssignment(k=budget, eps=eps), solver)
        error = worst(solution.plan, budget)
        assert bool(solution.plan.isfinite().all())
        assert abs(error - float(solution.marginal_error)) <= 1e-6 + 1e-3 * error
        assert bool(solution.converged) == (float(solution.marginal_error) <= 1e-6)
        assert bool(solution.converged) == (solution.status is multisk.Status.CONVERGED)


@pytest.mark.parametrize("eps", [1.0, 0.07, 0.02, 0.005, 0.002])
def test_newton_needs_few_steps_cold_and_at_most_two_after_a_small_change(eps):
    x, problem = unit_scores(5716, 64, dtype=torch.float32), MultiAssignment(k=32, eps=eps)
    cold = solve(x, problem, Newton()).raise_if_failed()
    generator = torch.Generator().manual_seed(3)
    moved = x + 0.02 * x.std() * torch.randn(x.shape, generator=generator)
    warm = solve(moved, problem, Newton(), init=cold).raise_if_failed()
    assert int(cold.steps) <= 6
    assert int(warm.steps) <= 2
    assert worst(warm.plan, 32) <= 1.1e-6


def test_no_pass_follows_the_one_that_reached_the_tolerance(monkeypatch):
    x, visits = unit_scores(800, 16, dtype=torch.float32), []
    visit = search.visit
    monkeypatch.setattr(search, "visit", lambda *given: visits.append(visit(*given)) or visits[-1])
    with use_backend("torch"):
        solution = solve(x, MultiAssignment(k=5, eps=0.005), Newton()).raise_if_failed()
    assert len(visits) == int(solution.steps) + 1
    assert [bool(point.error <= 1e-6) for point in visits] == [False] * (len(visits) - 1) + [True]


def test_the_step_limit_is_reported():
    x = unit_scores(40, 8)
    solution = solve(x, MultiAssignment(k=3, eps=0.01), Newton(max_steps=1))
    assert not bool(solution.converged)
    assert solution.status is multisk.Status.MAX_STEPS
    with pytest.raises(RuntimeError, match=r"Newton failed on problem 0: The step limit"):
        solution.raise_if_failed()


def test_unseen_rows_get_the_plan_that_the_same_rows_had():
    x = unit_scores(50, 8)
    solution = solve(x, MultiAssignment(k=3))
    assert (solution.assign(x) - solution.plan).abs().max() <= 1e-9
    assert solution.assign(x[:7]).shape == (7, 8)

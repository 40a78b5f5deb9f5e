"""Hard assignments: exact counts, loads within floor and ceil, and the optimum of HiGHS."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import Exact, MultiAssignment, solve
from multisk._backends.numba import matching
from tests.solver.strategies import FEW, scores, shapes, unit_scores


def best_score(x, k, low, high, mask=None):
    found = multisk.reference.b_matching(
        x.double().numpy(), k, (low, high), None if mask is None else mask.numpy()
    )
    return float((x.double().numpy() * found).sum())


@st.composite
def cases(draw):
    n, k, budget = draw(shapes(rows=40, columns=10))
    return draw(scores(n, k)), budget, draw(st.sampled_from([0.01, 0.1, 1.0]))


@FEW
@given(cases())
def test_rounding_is_exact_in_counts_and_optimal_in_score(case):
    x, k, eps = case
    n, columns = x.shape
    hard = solve(x, MultiAssignment(k, eps=eps)).round()
    loads = hard.sum(-2).numpy()
    low, high = np.floor(n * k / columns), np.ceil(n * k / columns)
    assert hard.dtype == torch.bool
    assert bool((hard.sum(-1) == k).all())
    assert (loads >= low).all()
    assert (loads <= high).all()
    best = best_score(x, k, np.full(columns, low), np.full(columns, high))
    assert abs(float((x * hard).sum()) - best) <= 1e-7 * max(1.0, abs(best))


@FEW
@given(cases(), st.integers(0, 1000))
def test_rounding_honours_masks_budgets_and_intervals(case, seed):
    x, _, eps = case
    n, columns = x.shape
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, columns, generator=generator) < 0.7
    mask[:, 0] = True
    budgets = (torch.rand(n, generator=generator) * (mask.sum(-1) + 1)).long()
    lower = torch.zeros(columns)
    upper = mask.sum(-2).double()
    problem = MultiAssignment(budgets, eps=eps, capacity=(lower, upper), mask=mask)
    hard = solve(x, problem).round()
    assert bool((hard.sum(-1) == budgets).all())
    assert not bool((hard & ~mask).any())
    best = best_score(x, budgets.numpy(), lower.numpy(), upper.numpy(), mask)
    assert abs(float((x * hard).sum()) - best) <= 1e-7 * max(1.0, abs(best))


@pytest.mark.parametrize(("n", "k", "budget", "eps"), [(300, 12, 1, 0.07), (200, 16, 5, 0.01)])
def test_random_problems_are_rounded_to_the_optimum(n, k, budget, eps):
    x = unit_scores(n, k, seed=n, dtype=torch.float32)
    hard = solve(x, MultiAssignment(budget, eps=eps)).round()
    load = n * budget / k
    best = best_score(x, budget, np.full(k, np.floor(load)), np.full(k, np.ceil(load)))
    assert abs(float((x.double() * hard).sum()) / best - 1) <= 1e-5


def test_a_batch_is_rounded_problem_by_problem():
    x = torch.stack([unit_scores(12, 4, seed=s) for s in range(4)]).view(2, 2, 12, 4)
    hard = solve(x, MultiAssignment(2)).round()
    assert hard.shape == x.shape
    assert bool((hard[1, 0] == solve(x[1, 0], MultiAssignment(2)).round()).all())


def test_plans_that_cannot_be_rounded_are_refused():
    x = unit_scores(4, 3)
    with pytest.raises(ValueError, match="k must be whole numbers"):
        solve(x, MultiAssignment(torch.tensor([0.5, 1.5, 1.0, 1.0]))).round()
    with pytest.raises(ValueError, match="must follow a MultiAssignment"):
        solve(x, multisk.Transport(eps=0.1)).round()


@pytest.mark.parametrize(("n", "k", "budget"), [(30, 6, 2), (20, 5, 2), (7, 9, 4)])
def test_exact_is_a_vertex_with_prices_that_prove_it(n, k, budget):
    x = unit_scores(n, k, seed=n)
    solution = solve(x, MultiAssignment(budget, damping=0.0), Exact()).raise_if_failed()
    plan = solution.plan
    reduced = x / 0.07 + solution.row_potential[:, None] + solution.column_potential
    assert bool((plan[reduced > 1e-7] == 1).all())
    assert bool((plan[reduced < -1e-7] == 0).all())
    assert 0 <= float(solution.gap) <= 1e-9


def interval_case(generator):
    """A mask, budgets of every size and loads that bind on both sides."""
    n, columns = 600, 20
    mask = torch.rand(n, columns, generator=generator) < 0.6
    mask[:, 0] = True
    budgets = (torch.rand(n, generator=generator) * (mask.sum(-1) + 1)).long().clamp(max=8)
    even = float(budgets.sum()) / columns
    lower, upper = torch.full((columns,), 0.8 * even), torch.full((columns,), 1.2 * even)
    return MultiAssignment(budgets, eps=0.005, capacity=(lower.round(), upper.round()), mask=mask)


def uneven_case(generator):
    """Loads from a sixth to a third of what they would be on average twice over."""
    n, columns, k = 400, 16, 5
    loads = torch.multinomial(torch.linspace(1, 3, columns), n * k, True, generator=generator)  # noqa: FBT003
    return MultiAssignment(k, eps=0.005, capacity=loads.bincount(minlength=columns).double())


@pytest.mark.parametrize("case", [interval_case, uneven_case])
def test_middling_problems_at_low_temperature_reach_the_optimum_of_highs(case):
    problem = case(torch.Generator().manual_seed(5))
    given = problem.capacity if isinstance(problem.capacity, tuple) else (problem.capacity,) * 2
    rows = 600 if problem.mask is not None else 400
    x = unit_scores(rows, given[0].numel(), seed=9, dtype=torch.float32)
    hard = solve(x, problem).round()
    budgets = torch.as_tensor(problem.k).expand(rows)
    loads = hard.sum(0)
    assert bool((hard.sum(-1) == budgets).all())
    assert bool(((loads >= given[0]) & (loads <= given[1])).all())
    assert problem.mask is None or not bool((hard & ~problem.mask).any())
    low, high = (part.double().numpy() for part in given)
    best = best_score(x, budgets.numpy(), low, high, problem.mask)
    assert abs(float((x.double() * hard).sum()) / best - 1) <= 1e-6


@pytest.mark.parametrize(
    ("n", "columns", "budget"),
    [(20000, 64, 4), (2000, 128, 8), pytest.param(100_000, 256, 8, marks=pytest.mark.slow)],
)
def test_many_rows_are_rounded_to_within_a_thousandth_of_a_dual_bound(n, columns, budget):
    x = unit_scores(n, columns, width=128, dtype=torch.float32)
    solution = solve(x, MultiAssignment(budget, eps=0.07))
    hard = solution.round()
    load = n * budget / columns
    assert bool((hard.sum(-1) == budget).all())
    assert bool(((hard.sum(-2) - load).abs() < 1).all())
    # Weak duality: whatever the prices, no assignment with these loads is worth more.
    cold = solve(x, MultiAssignment(budget, eps=0.005))
    prices = cold.column_potential.double() * 0.005 / 0.75
    bound = (x + prices).topk(budget, -1).values.sum() - load * prices.sum()
    worth = (x.double() * hard).sum()
    assert worth <= bound + 1e-6 + float((prices.max() - prices.min()) * columns)
    assert worth >= (1 - 1e-3) * bound


def test_equal_scores_are_rounded_to_even_loads():
    hard = solve(torch.zeros(50, 10), MultiAssignment(3)).round()
    assert bool((hard.sum(-1) == 3).all())
    assert bool((hard.sum(-2) == 15).all())


def test_a_linear_assignment_is_rounded_without_compiling_the_flow(monkeypatch):
    optimize = pytest.importorskip("scipy.optimize")
    monkeypatch.setattr(matching, "compiled_flow", lambda: pytest.fail("the flow was loaded"))
    x = unit_scores(24, 24)
    plan = solve(x, MultiAssignment(1, damping=0.0)).round()
    rows, columns = optimize.linear_sum_assignment(x.numpy(), maximize=True)
    assert bool(plan[rows, columns].all())
    assert int(plan.sum()) == 24

"""Laws that hold for every assignment, searched by hypothesis."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import Exact, MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import FEW, scores, shapes, unit_scores

SHARP = Newton(tolerance=1e-11)
SOLVERS = [SHARP, Sinkhorn(steps=4), Sinkhorn(steps=4, order="column-depth-row")]


@st.composite
def cases(draw):
    """Scores, k, a temperature that keeps the problem soft, and a seed."""
    n, k, budget = draw(shapes())
    eps = draw(st.sampled_from([0.3, 1.0, 3.0]))
    return draw(scores(n, k)), budget, eps, draw(st.integers(0, 1000))


@FEW
@given(cases())
def test_permuting_rows_and_columns_permutes_the_plan(case):
    x, k, eps, seed = case
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(x.shape[0], generator=generator)
    columns = torch.randperm(x.shape[1], generator=generator)
    for solver in SOLVERS:
        plan = solve(x, MultiAssignment(k, eps=eps), solver).plan
        moved = solve(x[rows][:, columns], MultiAssignment(k, eps=eps), solver).plan
        assert (moved - plan[rows][:, columns]).abs().max() <= 1e-10


@FEW
@given(cases())
def test_adding_to_a_row_or_a_column_changes_nothing_at_the_limit(case):
    x, k, eps, seed = case
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(x.shape[0], 1, generator=generator, dtype=x.dtype)
    v = torch.randn(1, x.shape[1], generator=generator, dtype=x.dtype)
    for problem in (MultiAssignment(k, eps=eps), Transport(eps=eps)):
        plan = solve(x, problem, SHARP).raise_if_failed().plan
        assert (solve(x + u + v, problem, SHARP).plan - plan).abs().max() <= 1e-9


@FEW
@given(cases())
def test_choosing_k_and_leaving_the_others_are_one_problem(case):
    x, k, eps, _ = case
    plan = solve(x, MultiAssignment(k, eps=eps), SHARP).plan
    rest = solve(-x, MultiAssignment(x.shape[1] - k, eps=eps), SHARP).plan
    assert (plan + rest - 1).abs().max() <= 1e-9


@FEW
@given(cases())
def test_only_the_ratio_of_scores_and_temperature_matters(case):
    x, k, eps, _ = case
    for solver in SOLVERS:
        plan = solve(x, MultiAssignment(k, eps=eps), solver).plan
        scaled = solve(7 * x, MultiAssignment(k, eps=7 * eps), solver).plan
        assert (plan - scaled).abs().max() <= 1e-10


@FEW
@given(cases())
def test_the_plan_is_the_only_one_of_its_form(case):
    x, k, eps, _ = case
    solution = solve(x, MultiAssignment(k, eps=eps), SHARP)
    p = solution.plan
    rest = torch.logit(p) - 0.75 * x / eps
    rest = rest - rest.mean(0) - rest.mean(1, keepdim=True) + rest.mean()
    assert rest.abs().max() <= 1e-7
    assert (p.sum(-1) - k).abs().max() <= 1e-9
    assert (p.sum(-2) - k * x.shape[0] / x.shape[1]).abs().max() <= 1e-8
    form = 0.75 * x / eps + solution.row_potential[:, None] + solution.column_potential
    assert (torch.sigmoid(form) - p).abs().max() <= 1e-12
    assert (solution.log_plan.exp() - p).abs().max() <= 1e-12


@FEW
@given(cases())
def test_a_hot_plan_is_uniform(case):
    x, k, _, _ = case
    plan = solve(x, MultiAssignment(k, eps=1e7), SHARP).plan
    assert (plan - k / x.shape[1]).abs().max() <= 1e-6


@pytest.mark.parametrize(("n", "k", "budget"), [(12, 4, 2), (30, 6, 1), (8, 16, 6), (20, 5, 4)])
def test_a_cold_plan_is_the_optimum_of_the_linear_programme(n, k, budget):
    x = unit_scores(n, k, seed=n)
    load = n * budget / k
    cold = solve(x, MultiAssignment(budget, eps=1e-5, damping=0.0)).raise_if_failed()
    exact = solve(x, MultiAssignment(budget, damping=0.0), Exact()).raise_if_failed()
    assert abs(float(cold.value) - float(exact.value)) <= 1e-3
    assert float(cold.value) >= float(exact.value) - 1e-9  # the entropy only adds
    if load == int(load):
        want = multisk.reference.b_matching(x.numpy(), budget, [load] * k)
        assert abs(float(exact.value) - float((x.numpy() * want).sum())) <= 1e-9
        assert (cold.plan - torch.from_numpy(want)).abs().max() <= 1e-3


@FEW
@given(cases())
def test_a_mask_is_a_slice(case):
    x, k, eps, _ = case
    n, columns = x.shape
    wide = torch.full((n + 2, columns + 3), float("nan"), dtype=x.dtype)
    wide[1:-1, 2:-1] = x
    mask = wide.isfinite()
    budgets = torch.full((n + 2,), k)
    budgets[0] = budgets[-1] = 0
    for solver in (SHARP, Sinkhorn(steps=3), Sinkhorn(steps=3, order="column-depth-row")):
        alone = solve(x, MultiAssignment(k, eps=eps), solver).plan
        inside = solve(wide, MultiAssignment(budgets, eps=eps, mask=mask), solver).plan
        assert (inside[1:-1, 2:-1] - alone).abs().max() <= 1e-9
        assert bool((inside[~mask] == 0).all())


@FEW
@given(cases())
def test_sweeps_converge_to_newton(case):
    x, k, eps, _ = case
    limit = solve(x, MultiAssignment(k, eps=eps), SHARP).plan
    swept = solve(x, MultiAssignment(k, eps=eps), Sinkhorn(tolerance=1e-11, max_steps=5000))
    assert (swept.plan - limit).abs().max() <= 1e-8


@FEW
@given(cases())
def test_the_gap_bounds_the_distance_to_the_optimum(case):
    x, k, eps, _ = case
    best = solve(x, MultiAssignment(k, eps=eps), SHARP)
    for steps in (1, 2, 5):
        for order in ("row-column-depth", "column-depth-row"):
            rough = solve(x, MultiAssignment(k, eps=eps), Sinkhorn(steps=steps, order=order))
            assert 0 <= float(rough.gap) < float("inf")
            assert float(best.value - rough.value) <= float(rough.gap) + 1e-9
    assert 0 <= float(best.gap) <= 1e-7


@FEW
@given(cases())
def test_a_warm_start_ends_at_the_same_plan_in_no_more_steps(case):
    x, k, eps, _ = case
    cold = solve(x, MultiAssignment(k, eps=eps), Newton())
    warm = solve(x, MultiAssignment(k, eps=eps), Newton(), init=cold)
    assert (warm.plan - cold.plan).abs().max() <= 1e-8
    assert int(warm.steps) <= int(cold.steps)
    again = solve(x, MultiAssignment(k, eps=eps), Newton(), init=cold.column_potential)
    assert (again.plan - cold.plan).abs().max() <= 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_input_is_solved_in_float32_and_comes_back_as_it_was(dtype):
    x = unit_scores(50, 8).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        solution = solve(x, MultiAssignment(3))
    want = solve(x.double(), MultiAssignment(3)).plan
    assert solution.plan.dtype == dtype
    assert float(solution.marginal_error) <= 1e-6
    assert (solution.plan.double() - want).abs().max() <= 2 * torch.finfo(dtype).eps


def test_strided_and_expanded_scores_give_the_same_bits():
    x = unit_scores(40, 8, dtype=torch.float32)
    for solver in (Newton(), Sinkhorn(steps=3)):
        plain = solve(x, MultiAssignment(3), solver).plan
        strided = x.t().contiguous().t()
        assert bool((solve(strided, MultiAssignment(3), solver).plan == plain).all())
        batch = solve(x.expand(2, 40, 8), MultiAssignment(3), solver).plan
        assert bool((batch[0] == batch[1]).all())
        assert (batch[0] - plain).abs().max() <= 1e-6


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, Newton(), Sinkhorn(), Sinkhorn(tolerance=1e-4)]),
    st.sampled_from([0.3, 0.1, 0.05]),
    st.sampled_from([(40, 8, 2), (30, 16, 1), (48, 130, 8)]),
)
def test_float32_takes_no_more_steps_than_float64_by_half(seed, solver, eps, shape):
    rows, columns, k = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator).sigmoid()
    for problem in (MultiAssignment(k, eps=eps), Transport(eps=eps)):
        single, double = solve(x, problem, solver), solve(x.double(), problem, solver)
        assert single.converged
        assert int(single.steps) <= 1.5 * int(double.steps) + 1


@st.composite
def drifts(draw):
    """Scores, the same 2 % of their spread off, and a problem; of 8 to 1,100 columns."""
    rows, columns = draw(st.sampled_from([(200, 8), (150, 64), (160, 140), (120, 800), (70, 1100)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    x = torch.randn(rows, columns, generator=generator)
    if draw(st.booleans()):
        x = x.sigmoid()
    else:
        x = unit_scores(rows, columns, seed=rows + draw(st.integers(0, 99)), width=64)
    x = x.to(draw(st.sampled_from([torch.float32, torch.float64])))
    k = draw(st.sampled_from([max(1, columns // 60), max(1, columns // 8), columns // 2]))
    options = {
        "plain": {"k": k},
        "mask": {"k": k, "mask": (torch.arange(rows)[:, None] + torch.arange(columns)) % 5 > 0},
        "k a row": {"k": 1 + torch.arange(rows) % k},
        "loads": {"k": k, "capacity": torch.linspace(0.8, 1.2, columns) * (rows * k / columns)},
    }[draw(st.sampled_from(["plain", "mask", "k a row", "loads"]))]
    moved = x + 0.02 * x.std() * torch.randn(x.shape, generator=generator).to(x)
    return x, moved, MultiAssignment(**options, eps=draw(st.sampled_from([1.0, 0.1, 0.02, 0.005])))


@FEW
@given(drifts())
def test_a_drift_of_two_percent_takes_three_passes_and_an_answer_one(case):
    x, moved, problem = case
    first = solve(x, problem).raise_if_failed()
    assert int(solve(x, problem, init=first).raise_if_failed().steps) <= 1
    found = solve(moved, problem, init=first).raise_if_failed()
    assert int(found.steps) <= 3
    assert found.solver == "Newton"
    best = solve(moved.double(), problem, Newton(tolerance=1e-9)).raise_if_failed()
    assert (found.plan.double() - best.plan).abs().max() < 1e-5

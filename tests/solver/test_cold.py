"""Near zero temperature: few steps, honest margins, and the optimum of the linear programme."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multisk import Exact, MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import FEW, unit_scores

SHAPES = [(100, 40, 4), (40, 100, 7), (300, 16, 5), (50, 50, 10), (64, 64, 1), (9, 5, 2)]


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=["as installed", "without compiled loops"])
def both_paths(request, monkeypatch):
    """The CPU's compiled loops, and plain torch as where numba is missing."""
    if request.param == "without compiled loops":
        monkeypatch.setattr("multisk._backends.numba.available.kernels", lambda: None)


@pytest.mark.usefixtures("both_paths")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n", "k", "budget"), SHAPES)
def test_a_small_problem_takes_few_steps_at_any_temperature(n, k, budget, dtype):
    for eps in (2e-3, 1e-4, 1e-5, 1e-6):
        x = unit_scores(n, k, seed=1, dtype=dtype)
        solution = solve(x, MultiAssignment(budget, eps=eps)).raise_if_failed()
        assert int(solution.steps) <= 30 + 24 * ("Sinkhorn" in solution.solver)  # sweeps are tried
        plan, load = solution.plan.double(), n * budget / k
        assert (plan.sum(-1) / budget - 1).abs().max() <= 1.01e-6
        assert (plan.sum(-2) / load - 1).abs().max() <= 1.01e-6


def check_against_the_programme(x, problem, cells):
    """Near zero temperature the objective is the programme's, up to the entropy and the gap."""
    solution = solve(x, problem).raise_if_failed()
    exact = solve(x, problem, Exact()).raise_if_failed()
    eps = float(problem.eps)
    slack = 1e-6 * float(x.abs().max()) * float(solution.plan.sum()) + 1e-9
    assert float(exact.value) - slack <= float(solution.value) <= float(exact.value) + cells * eps
    assert 0 <= float(solution.gap) <= slack


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_cold_problems_of_every_kind_reach_the_linear_programme(eps, seed):
    x = unit_scores(60, 12, seed=seed)
    mask = random(60, 12, seed=seed) < 0.7
    mask[:, 0] = mask[0] = True
    problem = MultiAssignment(
        0.3 * mask.sum(-1), capacity=0.3 * mask.sum(-2), eps=eps, mask=mask, damping=0
    )
    check_against_the_programme(x, problem, 60 * 12)
    interval = torch.full((12,), 8.0), torch.full((12,), 12.0)
    check_against_the_programme(x, MultiAssignment(2, eps=eps, damping=0, capacity=interval), 720)
    rows, columns = 0.01 + random(60, seed=seed), 0.01 + random(12, seed=seed + 9)
    columns = columns * rows.sum() / columns.sum()
    problem = Transport(eps=eps, rows=rows, columns=columns)
    check_against_the_programme(x, problem, float(rows.sum()) * 10)
    check_against_the_programme(unit_scores(20, 50, seed=seed), Transport(eps=eps), 20 * 10)


@pytest.mark.parametrize("eps", [1.0, 0.1, 0.01, 1e-3, 1e-5])
def test_labels_with_dynamic_k_and_at_most_one_row_a_column(eps):
    # The problem of label assignment in detection: objects choose anchors, an anchor serves one.
    for seed in range(4):
        x = 2 * random(10, 80, seed=seed).log()
        k = torch.randint(1, 6, (10,), generator=torch.Generator().manual_seed(seed))
        problem = MultiAssignment(k, eps=eps, damping=0, capacity=(torch.zeros(80), torch.ones(80)))
        check_against_the_programme(x, problem, 800)


def test_a_cold_relaxed_transport_is_cooled_down():
    x = unit_scores(40, 8)
    solution = solve(x, Transport(eps=1e-3, relax=(1.0, 0.5))).raise_if_failed()
    slope = (
        x
        - 1e-3 * solution.log_plan
        - 1.0 * solution.plan.sum(-1).log()[:, None]
        - 0.5 * (solution.plan.sum(-2) / 5).log()
    )
    assert slope.abs().max() <= 1e-6


@pytest.mark.usefixtures("both_paths")
@pytest.mark.parametrize("relax", [(1.0, None), (None, 1.0), (10.0, 10.0), (2.0, 30.0)])
@pytest.mark.parametrize("range_of_exponents", [100, 1000, 3000])
def test_relaxed_margins_of_a_few_temperatures_are_met_at_any_range(relax, range_of_exponents):
    x = range_of_exponents * unit_scores(30, 12)
    mask = random(30, 12, seed=1) > 0.2
    mask[:, 0] = True
    for problem in (Transport(eps=1.0, relax=relax), Transport(eps=1.0, relax=relax, mask=mask)):
        solution = solve(x, problem).raise_if_failed()
        slope = x - solution.log_plan
        prices = solution.row_potential[:, None], solution.column_potential
        for axis, strength, goal, price in zip((1, 0), relax, (1.0, 30 / 12), prices, strict=True):
            missed = solution.log_plan.logsumexp(axis, keepdim=True) - math.log(goal)
            if strength is None:
                assert missed.abs().max() <= 1e-6
            slope = slope + (price if strength is None else -strength * missed)
        allowed = torch.ones_like(mask) if problem.mask is None else mask
        assert slope[allowed].abs().max() <= 1e-6 * range_of_exponents


@pytest.mark.parametrize("relax", [(1.0, None), (None, 1.0), (10.0, 10.0)])
def test_what_follows_the_sweeps_of_a_cold_relaxed_transport_never_makes_it_worse(relax):
    x = 200 * unit_scores(30, 12, dtype=torch.float32)
    problem = Transport(eps=1.0, relax=relax)
    swept = solve(x, problem, Sinkhorn())
    assert solve(x, problem).marginal_error <= 2 * swept.marginal_error


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_batch_may_mix_problems_that_are_cold_and_warm(dtype):
    x = torch.stack([unit_scores(30, 9, seed=s, dtype=dtype) for s in range(4)])
    for eps in ([1e-5, 1e-4, 1e-6, 1e-3], [1.0, 1e-5, 0.05, 1e-6]):
        eps = torch.tensor(eps, dtype=torch.float64)
        whole = solve(x, MultiAssignment(2, eps=eps)).raise_if_failed()
        assert whole.plan.dtype == whole.row_potential.dtype == dtype
        for i in range(4):
            alone = solve(x[i], MultiAssignment(2, eps=eps[i]))
            assert int(alone.steps) == int(whole.steps[i])
            assert (alone.plan - whole.plan[i]).abs().max() <= 1e-6


def test_a_cold_batch_of_float32_alone_comes_back_in_float32():
    x = torch.stack([unit_scores(30, 9, seed=s, dtype=torch.float32) for s in range(3)])
    problem = MultiAssignment(2, eps=1e-5)
    solution = solve(x.requires_grad_(), problem).raise_if_failed()
    assert solution.plan.dtype == solution.row_potential.dtype == torch.float32
    assert solution.column_potential.dtype == solution.value.dtype == torch.float32
    (solution.plan * x.detach()).sum().backward()
    assert bool(x.grad.isfinite().all())
    relaxed = Transport(eps=1e-3, relax=(1.0, 1.0))
    assert solve(x.detach(), relaxed).raise_if_failed().row_potential.dtype == torch.float32


def test_an_impossible_cold_problem_is_reported():
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:3, 2:] = False
    x = torch.linspace(0, 1, 24).view(6, 4)
    capacity = torch.tensor([1.3, 1.3, 1.7, 1.7])
    solution = solve(x, MultiAssignment(1, eps=1e-5, mask=mask, capacity=capacity))
    assert not bool(solution.converged)
    assert float(solution.marginal_error) > 1e-3
    assert bool(solution.plan.isfinite().all())


def test_the_interior_path_meets_the_margins_and_prices_of_the_programme():
    from multisk._problem.system import prepare
    from multisk._semidual.interior import prices

    x = unit_scores(40, 10)
    system = prepare(x, MultiAssignment(3, eps=1e-6, damping=0))
    b, _, steps = prices(system, torch.tensor([40]))
    exact = solve(x, MultiAssignment(3, eps=1e-6, damping=0), Exact())
    bound = exact.value + 1e-6 * exact.gap
    # Any prices bound the programme from above: sum of b c + sum over rows of their k best.
    best = (x + 1e-6 * b[0]).topk(3, -1).values.sum() - 1e-6 * (b[0] * 12.0).sum()
    assert int(steps) <= 15
    assert -1e-9 <= float(best - bound) <= 1e-4


def test_sweeps_on_a_cold_problem_say_that_they_did_not_arrive():
    solution = solve(unit_scores(40, 8), MultiAssignment(3, eps=1e-5), Sinkhorn(max_steps=50))
    assert not bool(solution.converged)
    assert bool(solution.plan.isfinite().all())
    solve(unit_scores(40, 8), MultiAssignment(3, eps=1e-5), Newton()).raise_if_failed()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns", "budget"), [(600, 512, 8), (1200, 800, 400)])
def test_a_cold_assignment_is_cooled_down_where_passes_would_get_lost(rows, columns, budget, dtype):
    """Both ended in MAX_STEPS, by way of the programme and of temperatures without sweeps."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(columns + budget)
    x = torch.randn(rows, columns, generator=generator)
    if budget > 8:
        x = (x + torch.randn(columns, generator=generator)).sigmoid()
    found = solve(x.to(dtype), MultiAssignment(budget, eps=0.005)).raise_if_failed()
    assert int(found.steps) <= 75
    plan, load = found.plan.double(), rows * budget / columns
    assert (plan.sum(-1) / budget - 1).abs().max() <= 1.01e-6
    assert (plan.sum(-2) / load - 1).abs().max() <= 1.01e-6
    form = plan.logit() - found.row_potential.double()[:, None] - found.column_potential
    cells = (plan > 1e-6) & (plan < 1 - 1e-3)
    assert (form - 0.75 / 0.005 * x.double())[cells].abs().max() <= 1e-2


@st.composite
def frozen(draw):
    """Normal scores whose exponents leave every table, and a problem."""
    rows, columns = draw(st.sampled_from([(40, 6), (30, 50), (60, 64)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    x = torch.randn(rows, columns, generator=generator)
    x = x.to(draw(st.sampled_from([torch.float32, torch.float64])))
    k = draw(st.sampled_from([1, max(1, columns // 8), columns // 2]))
    options = {
        "plain": {"k": k},
        "mask": {"k": k, "mask": (torch.arange(rows)[:, None] + torch.arange(columns)) % 5 > 0},
        "loads": {"k": k, "capacity": torch.linspace(0.8, 1.2, columns) * (rows * k / columns)},
    }[draw(st.sampled_from(["plain", "mask", "loads"]))]
    moved = x + 0.02 * torch.randn(x.shape, generator=generator).to(x)
    return x, moved, MultiAssignment(**options, eps=draw(st.sampled_from([0.01, 0.005, 0.002])))


@FEW
@given(frozen())
def test_cut_tables_give_the_plan_and_the_potentials_of_the_whole(case):
    """The oracle is the definition: margins met by P = sigmoid(T), at the potentials handed out."""
    x, moved, problem = case
    cold = solve(x, problem).raise_if_failed()
    for scores, found in ((x, cold), (moved, solve(moved, problem, init=cold).raise_if_failed())):
        exponent = 0.75 * scores.double() / problem.eps
        exponent += found.row_potential.double()[:, None] + found.column_potential
        plan = torch.sigmoid(exponent)
        if problem.mask is not None:
            plan = plan * problem.mask
        error = (plan - found.plan).abs().max()
        assert error <= (1e-9 if scores.dtype == torch.float64 else 1e-4)


def test_a_start_of_a_cold_problem_stays_in_the_compiled_loops():
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 40, generator=generator)
    problem = MultiAssignment(k=10, eps=0.005)
    cold = solve(x, problem).raise_if_failed()
    moved = x + 0.02 * torch.randn(x.shape, generator=generator)
    warm = solve(moved, problem, init=cold).raise_if_failed()
    assert cold.backend == warm.backend == "numba"
    assert int(warm.steps) < int(cold.steps)

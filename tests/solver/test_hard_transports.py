"""Transports that other suites solve every day and that Newton alone gets lost in: all solved.

Oracle: plain log-domain sweeps in NumPy, float64, written out below.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multisk import (
    Exact,
    MultiAssignment,
    Newton,
    Sinkhorn,
    Status,
    Transport,
    reference,
    solve,
    use_backend,
)
from multisk._problem.system import prepare
from multisk._semidual import anneal, ascent
from multisk._solvers.default import LIMIT
from tests.solver.strategies import FEW

D, F = torch.float64, torch.float32
SOLVERS = {"default": None, "newton": Newton()}
# A seed, by whom, and in which precision.
ASKED = st.integers(0, 2**31 - 1), st.sampled_from(sorted(SOLVERS)), st.sampled_from([F, D])


def swept(x, eps, rows, columns, *, relax=(None, None), mask=None, most=20_000):
    """The plan after log-domain sweeps, and the closed-form shift where margins yield."""
    t = x.double().numpy() / eps
    t = t if mask is None else np.where(mask.numpy(), t, -np.inf)
    r, c = (np.log(m.double().numpy()) for m in (rows, columns))
    yields = [0.0 if rho is None else eps / rho for rho in relax]
    a, b = np.zeros_like(r), np.zeros_like(c)
    lse = np.logaddexp.reduce
    for _ in range(most):
        before = a
        a = (r - lse(t + b, 1)) / (1 + yields[0])
        b = (c - lse(t + a[:, None], 0)) / (1 + yields[1])
        if sum(yields):
            shift = (lse(r - a * yields[0]) - lse(c - b * yields[1])) / sum(yields)
            a, b = a + shift, b - shift
        if np.abs(a - before).max() < 1e-12 * (1 + np.abs(a).max()):
            break
    return torch.from_numpy(np.exp(t + a[:, None] + b))


def grid(n):
    g = torch.linspace(-1, 1, n, dtype=D)
    return g, -((g[:, None] - g) ** 2)


def bell(g, mean, spread=0.2):
    w = torch.exp(-0.5 * ((g - mean) / spread) ** 2)
    return w / w.sum()


def holds(solution, plan, dtype, *, tolerance=None):
    """Converged, by a verdict that agrees with its own numbers, and at the optimum."""
    assert solution.converged.all(), (solution.status, float(solution.marginal_error.max()))
    assert (solution.marginal_error <= 1e-6).all()
    miss = (solution.plan.double() - plan).abs().sum() / plan.sum()
    assert float(miss) < (tolerance or (2e-5 if dtype == F else 1e-6))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("eps", [0.35, 0.1, 0.02])
def test_gaussian_histograms_on_a_grid_are_solved(name, dtype, eps):
    g, x = grid(60)
    a, b = bell(g, -0.1).to(dtype), bell(g, 0.1).to(dtype)
    x = x.to(dtype)
    found = solve(x, Transport(eps=eps, rows=a, columns=b), SOLVERS[name])
    holds(found, swept(x, eps, a, b * (a.double().sum() / b.double().sum())), dtype)


@pytest.mark.parametrize("name", SOLVERS)
def test_cold_narrow_histograms_are_solved(name):
    g, x = grid(60)
    a, b = bell(g, -0.1, 0.1), bell(g, 0.1, 0.1)
    found = solve(x, Transport(eps=0.005, rows=a, columns=b), SOLVERS[name])
    holds(found, swept(x, 0.005, a, b), D)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("eps", [0.35, 0.05])
def test_one_forbidden_cell_changes_nothing_for_the_solver(name, dtype, eps):
    g, x = grid(50)
    mask = torch.ones(50, 50, dtype=torch.bool)
    mask[0, -1] = False
    x, a, b = x.to(dtype), bell(g, -0.1).to(dtype), bell(g, 0.1).to(dtype)
    found = solve(x, Transport(eps=eps, rows=a, columns=b, mask=mask), SOLVERS[name])
    b = b.double() * (a.double().sum() / b.double().sum())
    holds(found, swept(x, eps, a, b, mask=mask), dtype)


@pytest.mark.parametrize("name", SOLVERS)
@FEW
@given(st.integers(0, 2**31 - 1), st.sampled_from([5.0, 37.0, 100.0]), st.sampled_from([0.1, 0.3]))
def test_offsets_of_rows_and_columns_are_absorbed(name, seed, size, eps):
    r = np.random.default_rng(seed)
    x = r.random((12, 15))
    a, b = r.random(12) + 0.05, r.random(15) + 0.05
    a, b = torch.from_numpy(a / a.sum()), torch.from_numpy(b / b.sum())
    offset = size * r.standard_normal(12)[:, None] + size * r.standard_normal(15)
    problem = Transport(eps=eps, rows=a, columns=b)
    found = solve(torch.from_numpy(x + offset), problem, SOLVERS[name])
    holds(found, torch.from_numpy(reference.transport(x, eps, a.numpy(), b.numpy())), D)


@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("name", [*SOLVERS, "sweeps"])
@pytest.mark.parametrize("far", [10.0, 150.0, 1000.0])
def test_one_row_or_one_column_has_one_plan(name, far, dtype):
    solver = SOLVERS.get(name, Sinkhorn())
    x = torch.tensor([[0.0, far / 3, 0.0, -far]], dtype=dtype)
    one, share = torch.ones(1, dtype=dtype), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=dtype)
    row = solve(x, Transport(eps=1.0, rows=one, columns=share), solver)
    column = solve(x.T, Transport(eps=1.0, rows=share, columns=one), solver)
    holds(row, share.double()[None], dtype)
    holds(column, share.double()[:, None], dtype)


@pytest.mark.parametrize("name", SOLVERS)
@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([1e-3, 1 / 50, 7.0, 1e4]),
    st.sampled_from([0.02, 0.2]),
)
def test_plans_scale_with_the_masses(name, seed, factor, eps):
    r = np.random.default_rng(seed)
    x = torch.from_numpy(r.standard_normal((9, 7)))
    a, b = (torch.from_numpy(r.random(n) + 0.1) for n in (9, 7))
    b = b * (a.sum() / b.sum())
    plans = [
        solve(x, Transport(eps=eps, rows=f * a, columns=f * b), SOLVERS[name]) for f in (1, factor)
    ]
    for plan in plans:
        assert bool(plan.converged)
    miss = (plans[1].plan / factor - plans[0].plan).abs().sum() / a.sum()
    assert float(miss) < 1e-5


@pytest.mark.parametrize("dtype", [F, D])
def test_the_default_goes_on_where_fifty_passes_are_too_few(dtype):
    generator = torch.Generator().manual_seed(15)
    x = torch.randn(100, 300, generator=generator).to(dtype)
    a, b = (10 ** (4 * torch.rand(n, generator=generator) - 2) for n in x.shape)
    b = b * (a.sum() / b.sum())
    problem = Transport(eps=0.005, rows=a.to(dtype), columns=b.to(dtype))

    assert not bool(solve(x, problem, Newton()).converged)
    assert bool(solve(x, problem).converged)


@given(*ASKED, st.sampled_from([0.05, 0.02, 0.005]), *(st.integers(2, 12), st.integers(2, 12)))
def test_masses_over_four_decades_are_met(seed, name, dtype, eps, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand(rows, columns, generator=generator, dtype=D) - 1).to(dtype)
    a, b = (10 ** (-4 * torch.rand(n, generator=generator, dtype=D)) for n in (rows, columns))
    a, b = (a / a.sum()).to(dtype), (b / b.sum()).to(dtype)
    found = solve(x, Transport(eps=eps, rows=a, columns=b), SOLVERS[name])
    assert bool(found.converged), found.status
    a, b = a.double(), b.double() * (a.double().sum() / b.double().sum())
    plan = found.plan.double()
    assert float((plan.sum(1) / a - 1).abs().max()) < (5e-6 if dtype == F else 1.1e-6)
    assert float((plan.sum(0) / b - 1).abs().max()) < (5e-6 if dtype == F else 1.1e-6)
    # The one optimum has the form exp((x + u + v) / eps): u + v where nothing underflows.
    seen = plan > 1e-30
    rest = torch.where(seen, eps * plan.log() - x.double(), torch.nan)
    for one in range(1, rows):
        along = rest[one] - rest[0]
        along = along[~along.isnan()]
        spread = float(along.max() - along.min()) if along.numel() else 0.0
        assert spread < (2e-5 if dtype == F else 1e-9)


@given(*ASKED, st.floats(0, 6), *(st.integers(2, 8), st.integers(2, 8)))
def test_strengths_up_to_the_exact_limit_are_solved(seed, name, dtype, power, rows, columns):
    """The condition of the optimum: eps log P - x = -rho (log(P 1 / a) + log(P' 1 / b))."""
    generator = torch.Generator().manual_seed(seed)
    x = -torch.rand(rows, columns, generator=generator, dtype=D).to(dtype)
    a, b = (torch.rand(n, generator=generator, dtype=D).to(dtype) + 0.1 for n in (rows, columns))
    eps, rho = 0.05, 0.05 * 10**power
    found = solve(x, Transport(eps=eps, rows=a, columns=b, relax=(rho, rho)), SOLVERS[name])
    assert bool(found.converged), found.status
    plan = found.plan.double()
    yields = (plan.sum(1) / a.double()).log()[:, None] + (plan.sum(0) / b.double()).log()
    miss = (eps * plan.log() - x.double()) / rho + yields
    assert float(miss[plan > 1e-30].abs().max()) < (2e-5 if dtype == F else 4e-6)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("relax", [(14.0, 14.0), (None, 2.0), (5.0, None)])
def test_relaxed_histograms_are_solved(name, relax):
    g, x = grid(30)
    a, b = bell(g, -0.3, 0.15), 1.5 * bell(g, 0.3, 0.15)
    x = x + 0.02 * torch.log(a[:, None] * b)
    found = solve(x, Transport(eps=0.02, rows=a, columns=b, relax=relax), SOLVERS[name])
    holds(found, swept(x, 0.02, a, b, relax=relax), D)


@FEW  # 300 problems an example
@given(*ASKED, st.sampled_from([0.3, 0.1, 0.03]), *(st.integers(2, 6), st.integers(2, 6)))
def test_every_problem_of_a_large_batch_converges(seed, name, dtype, eps, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, rows, columns, generator=generator, dtype=D).to(dtype)
    a, b = (torch.rand(300, n, generator=generator, dtype=D) + 0.01 for n in (rows, columns))
    a, b = (m / m.sum(1, keepdim=True) for m in (a, b))
    found = solve(x, Transport(eps=eps, rows=a.to(dtype), columns=b.to(dtype)), SOLVERS[name])
    assert found.converged.all(), found.status
    assert (found.plan.double().sum(1) / b - 1).abs().max() < 2e-6


def test_easy_float32_assignments_all_converge():
    x = torch.randn(8192, 8, 8, generator=torch.Generator().manual_seed(0))
    assert solve(x, MultiAssignment(k=2, eps=0.3)).converged.all()


def test_small_budgets_of_a_cold_assignment_are_met():
    i, j = torch.arange(40, dtype=D), torch.arange(8, dtype=D)
    x = torch.cos(3 * i[:, None] + 2 * j + i[:, None] * j)
    k = torch.full((40,), 1e-4, dtype=D)
    solve(x, MultiAssignment(k=k, eps=0.001, damping=0.0)).raise_if_failed()


@pytest.mark.parametrize("eps", [0.03, 0.02])
def test_relaxed_and_masked_problems_are_judged_by_the_tolerance_that_was_asked(eps):
    i, j = torch.arange(30, dtype=D), torch.arange(8, dtype=D)
    x = torch.cos(3 * i[:, None] + 2 * j + i[:, None] * j)
    mask = torch.ones(30, 8, dtype=torch.bool)
    mask[0, 0] = False
    for dtype in (F, D):
        problem = Transport(eps=eps, mask=mask, relax=(1.0, 1.0))
        found = solve(x.to(dtype), problem)
        columns = torch.full((8,), 30 / 8, dtype=D)
        plan = swept(x, eps, torch.ones(30, dtype=D), columns, relax=(1.0, 1.0), mask=mask)
        holds(found, plan, dtype)


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, Newton(max_steps=3), Sinkhorn(max_steps=7), Newton(tolerance=1e-4)]),
    st.sampled_from([F, D]),
    st.sampled_from([0.02, 0.3]),
)
def test_verdicts_follow_from_their_own_numbers(seed, solver, dtype, eps):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 5, 4, generator=generator, dtype=D).to(dtype)
    for problem in (Transport(eps=eps), MultiAssignment(k=2, eps=eps)):
        found = solve(x, problem, solver)
        tolerance, most = getattr(solver, "tolerance", 1e-6), getattr(solver, "max_steps", LIMIT)
        assert torch.equal(found.converged, found.marginal_error <= tolerance)
        limit = found.status_code == Status.MAX_STEPS.code
        assert (found.steps[limit] >= most).all()
        assert torch.equal(found.status_code == Status.CONVERGED.code, found.converged)


@FEW
@given(st.integers(0, 2**31 - 1), st.sampled_from([(None, None), (0.7, 1.1), (None, 2.0)]))
def test_the_documented_objective_is_the_value_and_no_multiple_beats_it(seed, relax):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, generator=generator, dtype=D)
    found = solve(x, Transport(eps=0.3, relax=relax))
    margins = torch.ones(4, dtype=D), torch.full((3,), 4 / 3, dtype=D)

    def stated(p):
        value = (p * x).sum() - 0.3 * (p * (p.log() - 1)).sum()
        for rho, sums, goal in zip(relax, (p.sum(1), p.sum(0)), margins, strict=True):
            if rho is not None:
                value = value - rho * (sums * (sums / goal).log() - sums + goal).sum()
        return float(value)

    assert float(found.value) == pytest.approx(stated(found.plan), rel=1e-12)
    if relax == (0.7, 1.1):
        for factor in (0.9, 0.999, 1.001, 1.1):
            assert stated(factor * found.plan) < float(found.value)


def test_the_solver_that_ran_is_named():
    i, j = torch.arange(200, dtype=D), torch.arange(64, dtype=D)
    x = torch.cos(3 * i[:, None] + 2 * j + i[:, None] * j / 7)
    warm, cold = (solve(x.float(), Transport(eps=eps)) for eps in (0.0325, 0.001))
    assert (warm.solver, warm.backend != "torch") == ("Sinkhorn", True)
    assert (cold.solver, cold.backend) == ("Newton", "torch")
    assert torch.equal(cold.steps, solve(x.float(), Transport(eps=0.001), Newton()).steps)


def test_an_answer_is_its_own_start():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(400, 16, generator=generator), torch.randn(40, 16, generator=generator)
    x = -(torch.cdist(*points) ** 2)
    for solver in (None, Newton()):
        first = solve(x, Transport(eps=5.0), solver)
        again = solve(x, Transport(eps=5.0), solver, init=first)
        assert bool(again.converged)
        assert int(again.steps) <= 1 < int(first.steps)


def test_exact_keeps_the_smallest_masses():
    tiny = 1e-10 * torch.tensor([1.0, 2.0, 3.0], dtype=D)
    x = torch.eye(3, dtype=D)
    found = solve(x, Transport(eps=1.0, rows=tiny, columns=tiny), Exact()).raise_if_failed()
    assert torch.allclose(found.plan, torch.diag(tiny), rtol=1e-12, atol=0)
    third = torch.full((3,), 1 / 3, dtype=D)
    found = solve(x, Transport(eps=1.0, rows=third, columns=third), Exact())
    assert torch.allclose(found.plan, torch.eye(3, dtype=D) / 3, rtol=1e-14, atol=0)


@pytest.mark.parametrize("steps", [{"steps": 3}, {"tolerance": 1e-4}, {"tolerance": 1e-9}])
def test_warm_sweeps_of_an_assignment_are_the_same_in_every_backend(steps):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 90, 12, generator=generator, dtype=D)
    start = torch.randn(12, generator=generator, dtype=D)
    found = {}
    for name in ("torch", "numpy", "numba"):
        if name == "numba":
            pytest.importorskip("numba")
        with use_backend(name):
            found[name] = solve(x, MultiAssignment(k=3, eps=0.3), Sinkhorn(**steps), init=start)
    for name in ("numpy", "numba"):
        assert found[name].backend == name
        assert torch.equal(found[name].steps, found["torch"].steps)
        assert torch.allclose(found[name].plan, found["torch"].plan, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("eps", [0.1, 0.02])
@pytest.mark.parametrize("k", [2, 64])
def test_uneven_assignments_to_many_columns_converge(k, eps):
    generator = torch.Generator().manual_seed(0)
    x = torch.sigmoid(
        torch.randn(600, 128, generator=generator) + torch.randn(128, generator=generator)
    )
    found = solve(x, MultiAssignment(k=k, eps=eps)).raise_if_failed()
    best = solve(x.double(), MultiAssignment(k=k, eps=eps), Newton()).raise_if_failed()
    assert (found.plan.double() - best.plan).abs().max() < 1e-5
    again = solve(x, MultiAssignment(k=k, eps=eps), init=found).raise_if_failed()
    assert int(again.steps) <= 1


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(40, 4, 1), (200, 16, 2), (300, 64, 8), (64, 64, 32)]),
    st.sampled_from([0.1, 0.02, 0.005]),
    st.sampled_from([F, D]),
)
def test_uneven_assignments_to_few_columns_stay_in_the_compiled_loops(seed, shape, eps, dtype):
    pytest.importorskip("numba")
    n, columns, k = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=generator) + torch.randn(columns, generator=generator)
    x, problem = torch.sigmoid(x).to(dtype), MultiAssignment(k=k, eps=eps)
    found = solve(x, problem).raise_if_failed()
    assert found.backend == "numba"
    with use_backend("torch"):
        best = solve(x.double(), problem, Newton()).raise_if_failed()
    assert (found.plan.double() - best.plan).abs().max() < 1e-5


def test_small_problems_sweep_while_that_costs_less_than_the_calls_of_torch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 128, generator=generator) + torch.randn(128, generator=generator)
    found = solve(torch.sigmoid(x), MultiAssignment(k=8, eps=0.02)).raise_if_failed()
    assert found.solver == "Sinkhorn"


@pytest.mark.parametrize("kind", ["even", "uneven"])
@pytest.mark.parametrize("eps", [0.1, 0.02, 0.005])
def test_warm_starts_take_few_passes_to_many_columns(kind, eps):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 200, generator=generator)
    x = torch.sigmoid(x + (kind == "uneven") * torch.randn(200, generator=generator))
    near = x + 0.02 * x.std() * torch.randn(500, 200, generator=generator)
    first = solve(x, MultiAssignment(k=8, eps=eps)).raise_if_failed()
    for scores, most in ((x, 1), (near, 3)):
        found = solve(scores, MultiAssignment(k=8, eps=eps), init=first).raise_if_failed()
        assert int(found.steps) <= most


@pytest.mark.parametrize("name", SOLVERS)
@FEW
@given(st.integers(0, 2**31 - 1), st.sampled_from([F, D]), st.sampled_from([0.04, 0.15]))
def test_wide_cold_scores_are_solved_in_few_passes(name, seed, dtype, eps):
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(96, 48, generator=generator) + 4 * torch.randn(48, generator=generator)
    rows, columns = torch.ones(96, dtype=D), torch.full((48,), 2.0, dtype=D)
    found = solve(x.to(dtype), Transport(eps=eps), SOLVERS[name])
    assert found.converged, found.marginal_error
    best = solve(x.double(), Transport(eps=eps), Newton(tolerance=1e-11, max_steps=200))
    assert (found.plan.double() - best.plan).abs().sum() < 1e-4 * rows.sum()
    sums = best.plan.sum(1) - rows, best.plan.sum(0) - columns
    assert max(float(miss.abs().max()) for miss in sums) < 1e-8
    assert found.solver != "Newton" or int(found.steps) <= 40


@pytest.mark.parametrize("relax", [(None, None), (2.0, None), (1.0, 3.0)])
@pytest.mark.parametrize("cold", [False, True])
def test_a_moved_plan_and_a_sparse_system_are_those_of_a_visit(relax, cold):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(70, 40, generator=generator, dtype=D) * (60 if cold else 1)
    system = prepare(x, Transport(eps=0.5, relax=relax), None)
    system = anneal.widen(system)
    here = ascent.visit(system, torch.zeros(1, 40, dtype=D))
    b = ascent.sweeps(system, here)
    near, far = ascent.moved(system, here, b), ascent.visit(system, b)
    assert torch.allclose(near.plan, far.plan, rtol=1e-9, atol=1e-300)
    assert torch.allclose(near.a, far.a, rtol=1e-11)
    scaled = far.plan * far.row_sums.rsqrt()[..., None] * far.sums.rsqrt()[:, None]
    assert (float((scaled > 1e-10).double().mean()) < 0.05) == cold
    product = ascent.squared(scaled, rough=False)
    assert (product - scaled.mT @ scaled).abs().max() < 1e-8


@pytest.mark.parametrize("relax", [(1.0, 1.0), (1.0, None)])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_relaxed_sweeps_that_will_not_get_there_in_time_are_not_made(relax, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    x = torch.sigmoid(torch.randn(8192, 16, generator=torch.Generator().manual_seed(0)))
    problem = Transport(eps=0.02, relax=relax)
    with use_backend(backend):
        found = solve(x, problem).raise_if_failed()
    assert found.solver == "Sinkhorn, then Newton"
    assert int(found.steps) <= 60  # 24 sweeps and some passes, where the sweeps' budget is 280
    best = solve(x.double(), problem, Newton()).raise_if_failed()
    assert (found.plan.double() - best.plan).abs().max() < 1e-6


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, Newton(), Sinkhorn(tolerance=1e-6)]),
    st.sampled_from([0.005, 0.02]),
    st.floats(0, 40),
)
def test_masses_that_float32_does_not_hold_are_not_called_converged(seed, solver, eps, size):
    """Relaxed margins yield to large scores: the optimum's mass grows as their exponential."""
    x = size * torch.randn(4, 60, generator=torch.Generator().manual_seed(seed))
    found = solve(x, Transport(eps=eps, relax=(0.05, 0.5)), solver)
    finite = bool(found.plan.isfinite().all())
    assert finite or found.status is Status.NONFINITE_PLAN
    assert finite or not found.converged


@settings(FEW, max_examples=max(8, FEW.max_examples // 4))
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(10, 8), (6, 20)]),
    st.sampled_from([10.0, 40.0]),
    st.sampled_from([1.0, 1e2, 1e4, 1e6]),
    st.sampled_from([None, 0.1, 10.0]),
)
def test_wide_relaxed_margins_meet_the_conditions_of_the_optimum(seed, shape, most, first, second):
    """Exponents span 500 to 2,000: P = exp(T), and a potential is what its margin's miss costs."""
    eps, generator = 0.02, torch.Generator().manual_seed(seed)
    cost = most * torch.rand(*shape, generator=generator, dtype=D)
    cost = cost - cost.amin(-1, keepdim=True)
    masses = [torch.rand(n, generator=generator, dtype=D) + 0.1 for n in shape]
    masses[1] *= masses[0].sum() / masses[1].sum()
    relax = (eps * first, second)
    problem = Transport(eps=eps, rows=masses[0], columns=masses[1], relax=relax)
    found = solve(-cost, problem).raise_if_failed()
    a, b = found.row_potential, found.column_potential
    assert ((a[:, None] + b - cost / eps).exp() - found.plan).abs().max() <= 1e-9
    sides = zip((-1, -2), masses, (a, b), relax, strict=True)
    for side, mass, potential, strength in sides:
        miss = (found.plan.sum(side) / mass).log()
        pull = 0.0 if strength is None else potential * eps / strength
        assert (miss + pull).abs().max() <= 2e-6


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(5, 120), (40, 30), (60, 9)]),
    st.sampled_from([0.1, 0.02]),
    st.sampled_from([None, (1.0, None)]),
    st.sampled_from([F, D]),
)
def test_an_answer_starts_a_transport_that_has_moved_and_ends_its_own(
    seed, shape, eps, relax, kind
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator).to(kind)
    moved = x + 0.02 * torch.randn(*shape, generator=generator).to(kind)
    problem = Transport(eps=eps, relax=relax)
    first, want = solve(x, problem).raise_if_failed(), solve(moved, problem).raise_if_failed()
    again = solve(x, problem, init=first).raise_if_failed()
    assert int(again.steps) <= 40
    found = solve(moved, problem, init=first).raise_if_failed()
    assert (found.plan - want.plan).abs().max() <= 1e-5 * want.plan.max()

"""Bounds on rows, columns and the whole mass: certificates, SciPy's programme, derivatives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from multisk import BalancedAssigner, Exact, MultiAssignment, Newton, Transport, hard, solve
from tests.solver.strategies import FEW

SHARP = Newton(tolerance=1e-11)
INF = float("inf")


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def certified(x, problem, solution, mask=None):
    """Dual minus primal objective, and the worst bound that is missed, in NumPy.

    Any potentials give an upper bound on the optimum, so that a small difference proves the plan.
    """
    capped = isinstance(problem, MultiAssignment)
    rows, columns = (problem.k, problem.capacity) if capped else (problem.rows, problem.columns)
    mass = None if capped else problem.mass
    n, k = x.shape
    scale = (1 - problem.damping) if capped else 1.0
    bounds = []
    for given_, size in ((rows, n), (columns, k)):
        pair = given_ if isinstance(given_, tuple) else (given_, given_)
        bounds.append([np.broadcast_to(np.asarray(part, float), (size,)) for part in pair])
    plan, a, b = (
        t.double().numpy()
        for t in (solution.plan, solution.row_potential, solution.column_potential)
    )
    free = np.ones_like(plan, bool) if mask is None else mask.numpy()
    t = np.where(free, scale * x.numpy() / problem.eps + a[:, None] + b, -np.inf)
    sums = (np.logaddexp(0, t) if capped else np.exp(t)).sum()

    def support(potential, low, high):
        felt = np.where(potential < 0, high, 0.0)
        felt = np.where(potential > 0, low, felt)
        return (potential * felt)[potential != 0].sum()

    def dual(level, shift):
        side = support(a - level, *bounds[0]) + support(b + shift, *bounds[1])
        return problem.eps * (sums - side - (level - shift) * (mass or 0.0))

    exact = not isinstance(columns, tuple)  # then only the sums of potentials matter
    if mass is None and isinstance(rows, tuple) and not exact:
        bound = dual(0.0, 0.0)
    else:
        bound = min(dual(level, level if exact else 0.0) for level in [0.0, *a])

    with np.errstate(divide="ignore", invalid="ignore"):
        log, rest = np.log(plan), np.log1p(-plan)
        own = np.where(plan > 0, plan * (log if capped else log - 1), 0.0)
        other = np.where(plan < 1, (1 - plan) * rest, 0.0) if capped else 0.0
    primal = scale * (plan * x.numpy())[free].sum() - problem.eps * (own + other)[free].sum()
    missed = []
    for lines, (low, high) in zip((plan.sum(1), plan.sum(0)), bounds, strict=True):
        missed.append(np.maximum(low - lines, lines - high).max())
    missed.append(0.0 if mass is None else abs(plan.sum() - mass))
    return bound - primal, max(missed)


@st.composite
def transports(draw):
    """Bounds around the sums of a plan that exists, exact on one side or neither."""
    n, k, seed = draw(st.integers(2, 12)), draw(st.integers(2, 8)), draw(st.integers(0, 10**6))
    x = normal(n, k, seed=seed)
    plan = random(n, k, seed=seed + 1) ** 4
    mask = (random(n, k, seed=seed + 2) < 0.8) if draw(st.booleans()) else None
    plan = plan if mask is None else plan * mask
    ways = draw(st.sampled_from(["both", "rows", "columns"]))
    sides = []
    for way, sums, extra in (("rows", plan.sum(1), 3), ("columns", plan.sum(0), 4)):
        low = sums * random(sums.shape[0], seed=seed + extra) if draw(st.booleans()) else 0 * sums
        high = sums * (1 + random(sums.shape[0], seed=seed + extra + 2))
        sides.append((low, high) if ways in {way, "both"} else sums)
    mass = float(plan.sum()) if ways == "both" and draw(st.booleans()) else None
    eps = draw(st.sampled_from([0.1, 0.5, 2.0]))
    return x, Transport(eps=eps, rows=sides[0], columns=sides[1], mass=mass, mask=mask), mask


@FEW
@given(transports())
def test_bounded_transports_are_proved_optimal_by_their_own_potentials(case):
    x, problem, mask = case
    solution = solve(x, problem, Newton(tolerance=1e-9, max_steps=200))
    gap, missed = certified(x, problem, solution, mask)
    assert bool(solution.converged)
    assert missed <= 1e-8 * max(1.0, float(solution.plan.sum()))
    assert gap <= 1e-7
    assert float(solution.gap) <= 1e-7


@st.composite
def assignments(draw):
    n, k, seed = draw(st.integers(2, 12)), draw(st.integers(3, 8)), draw(st.integers(0, 10**6))
    plan = random(n, k, seed=seed + 1)
    rows, columns = plan.sum(1), plan.sum(0)
    low = rows * random(n, seed=seed + 2)
    high = torch.minimum(rows * (1 + random(n, seed=seed + 3)), torch.tensor(k - 0.1))
    loads = columns
    if draw(st.booleans()):
        loads = columns * random(k, seed=seed + 4), columns * (1 + random(k, seed=seed + 5))
        loads = loads[0], loads[1].clamp_max(float(n))
    eps = draw(st.sampled_from([0.1, 0.5, 2.0]))
    return normal(n, k, seed=seed), MultiAssignment((low, high), eps=eps, capacity=loads)


@FEW
@given(assignments())
def test_row_intervals_of_an_assignment_are_proved_optimal_by_their_own_potentials(case):
    x, problem = case
    solution = solve(x, problem, Newton(tolerance=1e-9, max_steps=200))
    gap, missed = certified(x, problem, solution)
    assert bool(solution.converged)
    assert missed <= 1e-7
    assert gap <= 1e-6
    assert float(solution.gap) <= 1e-6


X, R, C = normal(9, 5), random(9) + 0.5, random(5, seed=1) + 1.0
LOW, LEAST = 0.3 * random(9, seed=2), 0.8 * random(5, seed=3)
CASES = {
    "columns": ({"rows": torch.ones(9).double(), "columns": (1.5, 2.2)}, None),
    "rows": ({"rows": (0.5, 1.5), "columns": C}, None),
    "both": ({"rows": (0.2, R), "columns": (0.4, C)}, None),
    "no upper bound": ({"rows": (0.2, INF), "columns": (0.4, C)}, None),
    "partial": ({"rows": (0.0, R), "columns": (0.0, C)}, 4.0),
    "partial, at least": ({"rows": (LOW, R), "columns": (LEAST, C)}, 6.0),
    "mass in even columns": ({"rows": (0.0, R)}, 5.0),
}


def programme(x, sides, mass):
    """The best sum of scores under the bounds, by HiGHS."""
    from scipy.optimize import LinearConstraint, milp

    n, k = x.shape
    columns = sides.get("columns", torch.full((k,), (mass or 0.0) / k))
    parts = []
    for matrix, bound, size in (
        (np.kron(np.eye(n), np.ones(k)), sides["rows"], n),
        (np.kron(np.ones(n), np.eye(k)), columns, k),
        (np.ones((1, n * k)), -INF if mass is None else mass, 1),
    ):
        pair = bound if isinstance(bound, tuple) else (bound, INF if matrix is None else bound)
        low, high = (np.broadcast_to(np.asarray(part, float), (size,)) for part in pair)
        if mass is None and size == 1:
            continue
        parts.append(LinearConstraint(matrix, low, high))
    return -milp(-x.numpy().ravel(), constraints=parts).fun


@pytest.mark.parametrize("name", CASES)
def test_bounded_transports_have_the_programme_as_their_limit(name):
    sides, mass = CASES[name]
    want = programme(X, sides, mass)
    cold = Transport(eps=1e-3, **sides, mass=mass)
    vertex = solve(X, cold, Exact())
    assert bool(vertex.converged)
    assert abs(float((vertex.plan * X).sum()) - want) <= 1e-8
    soft = solve(
        X, Transport(eps=0.02, **sides, mass=mass), Newton(max_steps=200)
    ).raise_if_failed()
    reached = float((soft.plan * X).sum())
    room = 0.02 * float(soft.plan.sum()) * np.log(X.numel())  # what entropy can be worth
    assert want - room <= reached <= want + 1e-5


def test_bounds_that_meet_or_are_not_felt_are_the_exact_problem():
    exact = solve(X, Transport(eps=0.3, rows=R, columns=C * R.sum() / C.sum()), SHARP).plan
    columns = C * R.sum() / C.sum()
    for rows, bounds, mass in (
        ((R, R), columns, None),
        (R, (columns, columns), None),
        ((0.0, R), (0.0, columns), float(R.sum())),
        ((R, INF), (columns, INF), float(R.sum())),
    ):
        problem = Transport(eps=0.3, rows=rows, columns=bounds, mass=mass)
        found = solve(X, problem, SHARP).raise_if_failed().plan
        assert (found - exact).abs().max() <= 1e-8
    free = solve(X, Transport(eps=0.3, rows=(0.0, 1e9), columns=(0.0, 1e9)), SHARP).plan
    assert (free / (X / 0.3).exp() - 1).abs().max() <= 1e-9  # nothing binds: exp(X / eps)
    budget = solve(X, MultiAssignment(2, eps=0.3, capacity=(3.0, 4.0)), SHARP).plan
    pair = solve(X, MultiAssignment((2, 2), eps=0.3, capacity=(3.0, 4.0)), SHARP).plan
    assert (budget - pair).abs().max() <= 1e-8


def test_bounds_in_a_batch_and_in_float32():
    x, top = normal(3, 9, 5, seed=4), torch.stack([C, 1.2 * C, 2 * C])
    mass = torch.tensor([3.0, 4.0, 2.0], dtype=torch.float64)
    problem = Transport(eps=0.2, rows=(0.0, R), columns=(0.0, top), mass=mass)
    found = solve(x, problem, SHARP).raise_if_failed()
    for one in range(3):
        alone = Transport(eps=0.2, rows=(0.0, R), columns=(0.0, top[one]), mass=float(mass[one]))
        assert (found.plan[one] - solve(x[one], alone, SHARP).plan).abs().max() <= 1e-8
    coarse = solve(x.float(), problem)
    assert bool(coarse.converged.all())
    assert (coarse.plan.double() - found.plan).abs().max() <= 2e-6


CHECKED = {
    "columns": lambda eps, lo, r, lc, c, m: Transport(eps=eps, rows=r, columns=(lc, 2 * c)),
    "rows": lambda eps, lo, r, lc, c, m: Transport(eps=eps, rows=(lo, r), columns=0.6 * c),
    "both": lambda eps, lo, r, lc, c, m: Transport(eps=eps, rows=(lo, r), columns=(lc, c)),
    "mass": lambda eps, lo, r, lc, c, m: Transport(eps=eps, rows=(lo, r), columns=(lc, c), mass=m),
    "even": lambda eps, lo, r, lc, c, m: Transport(eps=eps, rows=(0.0, r), mass=m),
    "k": lambda eps, lo, r, lc, c, m: MultiAssignment((lo, r + 1), eps=eps, capacity=2 * c),
    "k, loads": lambda eps, lo, r, lc, c, m: MultiAssignment(
        (lo + 0.5, r + 1), eps=eps, capacity=(lc + 1, 2.3 * c)
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_derivatives_in_scores_temperature_bounds_and_mass(name):
    make = CHECKED[name]

    def call(x, *fields):
        solution = solve(x, make(*fields), SHARP).raise_if_failed()
        return solution.plan, solution.value, solution.log_plan

    fields = torch.tensor(0.3).double(), LOW[:7], R[:7], LEAST[:4], C[:4]
    fields = *fields, torch.tensor(3.0).double()
    x = 0.5 * normal(7, 4, seed=3)
    inputs = tuple(t.clone().requires_grad_() for t in (x, *fields))
    assert gradcheck(call, inputs, fast_mode=True)
    if name in {"both", "mass", "k"}:
        assert gradgradcheck(lambda y: call(y, *fields)[::2], inputs[:1], fast_mode=True)


def test_what_needs_exact_rows_says_so():
    rows = MultiAssignment((1, 2), eps=0.5, capacity=(0.0, 9.0))
    partial = Transport(eps=0.5, rows=(0.0, R), columns=(0.0, C), mass=2.0)
    for call, sentence in (
        (lambda: hard(X, rows), "k must be exact for a hard assignment"),
        (lambda: solve(X, rows).round(), "k must be exact for a hard assignment"),
        (lambda: solve(X, rows).topk(), "k must be the same for every row here"),
        (lambda: solve(X, partial).assign(X), "rows must be the same for every row here"),
        (lambda: solve(X, rows).channels(), "k must be an int for channels"),
        (lambda: BalancedAssigner(5, rows), "k must be exact for an assigner"),
        (lambda: BalancedAssigner(5, partial), "rows must be exact for an assigner"),
        (lambda: Transport(eps=1, rows=(0, 1)), "columns must be given where rows is a pair"),
        (lambda: Transport(eps=1, mass=2.0), r"mass must come with rows=\(lower, upper\)"),
        (lambda: Transport(eps=1, rows=(0, 1), mass=0.0), "mass must be finite and above 0"),
        (
            lambda: Transport(eps=1, rows=(0, 1), columns=(0, 1), relax=(1.0, None)),
            "relax must be None beside bounds",
        ),
        (
            lambda: solve(X, Transport(eps=1, rows=(0, R), columns=(0, C), mass=99.0)),
            "mass must lie between 0 and 6.* got 99",
        ),
        (
            lambda: solve(X, Transport(eps=1, rows=(0.9, 0.5), columns=(0, C))),
            "rows must hold lower <= upper",
        ),
        (
            lambda: solve(X, Transport(eps=1, rows=(2.0, 3.0), columns=(0, C))),
            "columns must allow what rows holds, from 18 to 27",
        ),
        (lambda: MultiAssignment((1, 2)), "capacity must say what the columns carry"),
        (lambda: MultiAssignment((1, 2, 3), capacity=2), "k must be a pair"),
        (
            lambda: solve(X, MultiAssignment((1, 2), capacity=1.0)),
            "capacity must allow what k holds, from 9 to 18 in all, got 5 to 5",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()

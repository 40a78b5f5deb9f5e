"""The CPU targets as pytest-benchmark cases: `make` them quiet, then `pytest benchmarks`.

Run on one thread: `OMP_NUM_THREADS=1 taskset -c 1 python -m pytest benchmarks/test_cpu.py`.
What does not depend on the machine's mood (steps, errors, memory) is asserted here; the times are
for the table.
"""

import pytest
import torch

import multisk
from benchmarks.certificate import bound, judge
from benchmarks.compare import BUDGET, EPS, K, N, cosines
from benchmarks.peers import dense

torch.set_num_threads(1)
PROBLEM = multisk.MultiAssignment(k=BUDGET, eps=EPS)


@pytest.fixture(scope="module")
def scores():
    return cosines(N, K)


@pytest.fixture(scope="module")
def published(scores):
    """Error of the published iteration after 20 sweeps."""
    plan = dense.in_place(scores, BUDGET, EPS, 0.25, 20)
    return judge(plan, bound(scores, PROBLEM))[0]


def test_twenty_sweeps(benchmark, scores, published):
    solver = multisk.Sinkhorn(steps=20)
    solution = benchmark(lambda: multisk.solve(scores, PROBLEM, solver))
    error, gap = judge(solution.plan, bound(scores, PROBLEM))
    assert error <= published
    assert gap <= 1e-8


def test_newton_from_nothing(benchmark, scores, published):
    solution = benchmark(lambda: multisk.solve(scores, PROBLEM, multisk.Newton(tolerance=1e-6)))
    error, gap = judge(solution.raise_if_failed().plan, bound(scores, PROBLEM))
    assert int(solution.steps) <= 6
    assert error <= max(published, 1e-6)
    assert gap <= 1e-8


def test_newton_after_a_small_change(benchmark, scores):
    before = multisk.solve(scores, PROBLEM)
    change = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1))
    moved = scores + 0.02 * scores.std() * change
    solution = benchmark(lambda: multisk.solve(moved, PROBLEM, init=before))
    assert int(solution.raise_if_failed().steps) <= 2


def test_a_small_problem(benchmark):
    x = cosines(64, 8)
    solution = benchmark(lambda: multisk.solve(x, multisk.MultiAssignment(k=3)))
    assert bool(solution.converged)


def test_transport(benchmark):
    x = cosines(2048, 2048)
    problem = multisk.Transport(eps=0.02)
    solver = multisk.Sinkhorn(tolerance=1e-5)
    solution = benchmark(lambda: multisk.solve(x, problem, solver))
    assert bool(solution.converged)


@pytest.mark.slow
def test_the_published_iteration(benchmark, scores):
    benchmark.pedantic(dense.as_published, (scores, BUDGET, EPS, 0.25, 20), rounds=1)

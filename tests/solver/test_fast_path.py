"""The compiled loops give what the plain passes give, whatever the threads, in the same memory."""

import pytest
import torch

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from multisk._backends.numba import available
from multisk._backends.numba import batch as _cpu_batch
from multisk._backends.numba import solve as _cpu
from tests.solver.strategies import unit_scores

pytest.importorskip("numba")

LOADS = torch.linspace(1.0, 3.0, 16, dtype=torch.float64)
CASES = {
    "sweeps": (MultiAssignment(k=5), Sinkhorn(steps=7)),
    "one sweep": (MultiAssignment(k=5), Sinkhorn(steps=1)),
    "sweeps until": (MultiAssignment(k=5), Sinkhorn(tolerance=1e-12)),
    "sweeps, little damping": (MultiAssignment(k=5, damping=0.9), Sinkhorn(steps=7)),
    "newton": (MultiAssignment(k=5), Newton()),
    "newton, no damping": (MultiAssignment(k=1, damping=0.0), Newton()),
    "newton, loads": (MultiAssignment(k=4, capacity=LOADS * 1600 / LOADS.sum()), Newton()),
    "newton, budgets": (MultiAssignment(k=1 + torch.arange(400) % 7), Newton()),
    "sweeps, budgets": (MultiAssignment(k=1 + torch.arange(400) % 7), Sinkhorn(steps=7)),
    "transport": (Transport(eps=0.1), Sinkhorn(steps=7)),
    "transport until": (Transport(eps=0.1), Sinkhorn(tolerance=1e-12)),
    "transport, masses": (
        Transport(eps=0.1, rows=1.0 + torch.arange(400) % 3, columns=LOADS * 799 / LOADS.sum()),
        Sinkhorn(steps=7),
    ),
    "relaxed": (Transport(eps=0.1, relax=(1.0, 2.0)), Sinkhorn(tolerance=1e-12)),
    "one side relaxed": (Transport(eps=0.1, relax=(None, 0.5)), Sinkhorn(tolerance=1e-12)),
}


@pytest.fixture
def plain(monkeypatch):
    """A `solve` by the torch passes alone."""

    def solve_plainly(*given, **named):
        with monkeypatch.context() as patch:
            patch.setattr(available, "kernels", lambda: None)
            return solve(*given, **named)

    return solve_plainly


@pytest.fixture(params=["loops", "arrays"])
def taken(request, monkeypatch):
    """Note which problems the fast path answered itself; without numba in the second run."""
    if request.param == "arrays":
        monkeypatch.setattr(available, "kernels", available.arrays)
    answered = []
    run = _cpu.Batch.run

    def counted(self, *work):
        run(self, *work)
        answered.extend(self.errors[self.errors < float("inf")])

    monkeypatch.setattr(_cpu.Batch, "run", counted)
    return answered


def shift_free(solution):
    """Potentials with the shift taken out that no plan shows."""
    a, b = solution.row_potential, solution.column_potential
    shift = b.mean(-1, keepdim=True)
    return a + shift.to(a), b - shift


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 2e-12), (torch.float32, 3e-6)])
def test_the_loops_give_the_plain_answer(case, dtype, close, plain, taken):
    problem, solver = CASES[case]
    if isinstance(solver, Newton):
        close = max(close, 1e-10)  # the error at which a polished search stops
    elif solver.steps is None:  # both stop within the tolerance, not at the same place
        solver = solver if dtype == torch.float64 else Sinkhorn(tolerance=1e-5)
        close = 20 * solver.tolerance
    x = unit_scores(400, 16, seed=3).to(dtype) + 0.5
    kept = x.clone()
    fast = solve(x, problem, solver)
    assert taken
    want = plain(x, problem, solver)
    assert torch.equal(x, kept)
    assert (fast.plan - want.plan).abs().max() <= close
    assert (fast.marginal_error - want.marginal_error).abs().max() <= close
    assert fast.status is want.status
    for got, expected in zip(shift_free(fast), shift_free(want), strict=True):
        assert (got - expected).abs().max() <= 30 * close


def test_a_problem_out_of_range_goes_to_the_plain_passes_alone(plain, taken):
    x = torch.stack([unit_scores(60, 8), 1e4 * unit_scores(60, 8), unit_scores(60, 8, seed=2)])
    for problem, solver in (
        (MultiAssignment(k=3, eps=1.0), Newton()),
        (MultiAssignment(k=3, eps=1.0), Sinkhorn(steps=4)),
        (Transport(eps=1.0), Sinkhorn(steps=4)),
    ):
        taken.clear()
        fast, want = solve(x, problem, solver), plain(x, problem, solver)
        assert len(taken) == 2
        assert (fast.plan - want.plan).abs().max() <= 1e-9
        assert torch.equal(fast.status_code, want.status_code)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_do_not_depend_on_the_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr(_cpu_batch, "SHARED_CELLS", 1)
    x = unit_scores(5000, 16).to(dtype)
    threads = torch.get_num_threads()
    for problem, solver in CASES.values():
        if isinstance(getattr(problem, "k", None), torch.Tensor) or "masses" in str(problem):
            continue
        if isinstance(problem, MultiAssignment) and problem.capacity is not None:
            continue
        if isinstance(problem, Transport) and problem.rows is not None:
            continue
        answers = []
        try:
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                answers.append(solve(x, problem, solver))
        finally:
            torch.set_num_threads(threads)
        for other in answers[1:]:
            assert torch.equal(answers[0].plan, other.plan)
            assert torch.equal(answers[0].column_potential, other.column_potential)


def test_derivatives_do_not_see_which_passes_found_the_plan(plain):
    x = unit_scores(200, 12).requires_grad_()
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    for solver in (Newton(), Sinkhorn(steps=6), Sinkhorn(tolerance=1e-11)):
        grads = [
            torch.autograd.grad(run(x, MultiAssignment(k=4), solver).plan, x, cotangent)[0]
            for run in (solve, plain)
        ]
        assert (grads[0] - grads[1]).abs().max() <= 1e-9


def test_an_overflow_inside_the_loops_is_caught():
    x = unit_scores(50, 6, dtype=torch.float32)
    start = torch.linspace(-300.0, 300.0, 6)
    for problem in (MultiAssignment(k=2), Transport(eps=0.1)):
        for solver in (None, Sinkhorn()):
            solution = solve(x, problem, solver, init=start)
            assert bool(solution.plan.isfinite().all()) or not bool(solution.converged)
        assert bool(solve(x, problem, init=start).plan.isfinite().all())

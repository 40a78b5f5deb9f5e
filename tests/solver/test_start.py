"""Starts from given potentials: any start ends at the same plan, and none in NaN."""

import pytest
import torch

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import unit_scores

INTERVAL = torch.full((8,), 15.0), torch.full((8,), 25.0)
PROBLEMS = {
    "assignment": MultiAssignment(3),
    "interval": MultiAssignment(3, capacity=INTERVAL),
    "transport": Transport(eps=0.1),
    "relaxed": Transport(eps=0.1, relax=(1.0, None)),
}


def far(size, *, common):
    generator = torch.Generator().manual_seed(1)
    b = torch.randn(8, generator=generator, dtype=torch.float64)
    return size * (torch.ones_like(b) if common else b)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_start_far_off_ends_at_the_same_plan(name, dtype, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr("multisk._backends.numba.available.kernels", lambda: None)
    x, problem = unit_scores(50, 8, dtype=dtype), PROBLEMS[name]
    want = solve(x, problem, Newton()).plan
    solvers = [None, Newton()] if name == "interval" else [None, Newton(), Sinkhorn()]
    for init in (far(100.0, common=False), far(1e6, common=True), far(1e300, common=False)):
        for solver in solvers:
            plan = solve(x, problem, solver, init=init).raise_if_failed().plan
            assert (plan - want).abs().max() <= 1e-4


@pytest.mark.parametrize("order", ["row-column-depth", "column-depth-row"])
@pytest.mark.parametrize("name", ["assignment", "transport"])
def test_a_few_sweeps_from_far_off_are_finite_and_differentiable(name, order):
    x = unit_scores(50, 8, dtype=torch.float32).requires_grad_()
    for size in (30.0, 1e300):
        init = far(size, common=False)
        solution = solve(x, PROBLEMS[name], Sinkhorn(steps=4, order=order), init=init)
        assert bool(solution.plan.isfinite().all())
        (grad,) = torch.autograd.grad(solution.plan.square().sum(), x)
        assert bool(grad.isfinite().all())


def test_unrolled_sweeps_from_a_start_are_differentiated_from_that_start():
    x = unit_scores(6, 8).requires_grad_()
    init = far(1.0, common=False)

    def call(x):
        return solve(x, MultiAssignment(3, eps=0.3), Sinkhorn(steps=2), init=init).plan

    assert torch.autograd.gradcheck(call, (x,), fast_mode=True)


def test_a_start_may_hold_nan_or_be_of_low_precision():
    x = unit_scores(50, 8)
    want = solve(x, MultiAssignment(3)).plan
    for init in (torch.full((8,), float("nan")), torch.zeros(8, dtype=torch.bfloat16)):
        for solver in (Newton(), Sinkhorn()):
            plan = solve(x, MultiAssignment(3), solver, init=init).raise_if_failed().plan
            assert (plan - want).abs().max() <= 1e-4

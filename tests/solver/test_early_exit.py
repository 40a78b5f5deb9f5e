"""Fixed sweeps never read the device; problems of a batch stop when they are solved, one by one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from multisk._backends import choose
from multisk._backends.numba import available
from multisk._problem import cells, margins, problem, status, system
from multisk._solution import gradient
from tests.solver.strategies import unit_scores

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2")


class NoReads(TorchDispatchMode):
    """Refuse every operation whose result the host has to wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in READS, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def device(monkeypatch):
    """Treat CPU tensors as those of a device: what would cost a synchronisation is not read."""
    for module in (problem, system, cells, margins, status, gradient, choose):
        monkeypatch.setattr(module, "readable", lambda _: False)


PROBLEMS = {
    "assignment": MultiAssignment(k=3),
    "loads": MultiAssignment(k=2, capacity=torch.tensor([4.0, 8, 8, 12, 4, 4])),
    "mask": MultiAssignment(k=2, mask=torch.arange(120).view(20, 6) % 7 != 0),
    "many scales": MultiAssignment(k=2, damping=torch.linspace(1.0, 0.0, 6)),
    "transport": Transport(eps=0.1),
    "relaxed": Transport(eps=0.1, relax=(1.0, None)),
}


@pytest.mark.parametrize("order", ["row-column-depth", "column-depth-row"])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_fixed_sweeps_read_nothing(name, order, device):
    x = unit_scores(20, 6, dtype=torch.float32).requires_grad_()
    solver = Sinkhorn(steps=5, order=order)
    with NoReads():
        solution = solve(x, PROBLEMS[name], solver)
        solution.plan.square().sum().backward()
    assert bool(x.grad.isfinite().all())
    again = solve(x.detach(), PROBLEMS[name], solver)
    assert torch.equal(solution.plan.detach(), again.plan)


def test_the_guard_sees_a_read():
    with NoReads(), pytest.raises(AssertionError, match="waits for the device"):
        float(torch.ones(2).sum())


PATHS = {"loops": None, "arrays": available.arrays, "torch": lambda: None}


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize(
    ("problem", "solver"),
    [
        (MultiAssignment(k=3), Newton()),
        (MultiAssignment(k=3), Sinkhorn(tolerance=1e-9, max_steps=5000)),
        (Transport(eps=0.1), Sinkhorn(tolerance=1e-9, max_steps=5000)),
    ],
)
def test_every_problem_of_a_batch_stops_on_its_own(problem, solver, path, monkeypatch):
    if PATHS[path] is not None:
        monkeypatch.setattr(available, "kernels", PATHS[path])
    hard = unit_scores(60, 6, seed=1)
    batch = torch.stack([0.01 * hard, hard, 3 * hard, torch.zeros_like(hard)])
    together = solve(batch, problem, solver).raise_if_failed()
    alone = [solve(x, problem, solver) for x in batch]
    assert together.steps.tolist() == [int(one.steps) for one in alone]
    assert len(set(together.steps.tolist())) >= 3
    for got, one in zip(together.plan, alone, strict=True):
        assert (got - one.plan).abs().max() <= 1e-12


def test_the_default_for_a_transport_says_what_solved_it():
    warm, cold = unit_scores(80, 8, dtype=torch.float32), unit_scores(80, 8, seed=2)
    swept = solve(warm, Transport(eps=0.2))
    assert swept.solver == "Sinkhorn"
    both = solve(cold.float(), Transport(eps=0.02), init=None)
    large = unit_scores(20000, 8, seed=2)  # a small table is swept to the end
    finest = solve(large, Transport(eps=0.008)).raise_if_failed()
    assert finest.solver == "Sinkhorn, then Newton"
    assert float(finest.marginal_error) <= 1e-9
    want = multisk.reference.transport(cold.numpy(), 0.02)
    assert both.raise_if_failed().solver.startswith("Sinkhorn")
    assert (both.plan - torch.from_numpy(want)).abs().max() <= 1e-4
    frozen = solve(cold, Transport(eps=1e-4)).raise_if_failed()
    assert float(frozen.marginal_error) <= 1e-6

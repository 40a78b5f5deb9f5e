"""How often a solve launches: a launch costs the host 20 us and the device 2, whatever it does.

Kernels are replaced by nothing, so that what a solver asks for is counted in milliseconds. What
comes out of a launch is then zero, and flags come out as one, so that a search ends where it may.
"""

import pytest
import torch

from tests.kernels.tools import INTERPRET, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("launches are counted in the interpreter", allow_module_level=True)

from triton.runtime.interpreter import InterpretedFunction  # noqa: E402

import multisk  # noqa: E402

pytestmark = [
    pytest.mark.interpret,
    pytest.mark.filterwarnings("ignore:the implicit derivative"),  # of a solve that did nothing
]
SWEEPS, NEWTON = multisk.Sinkhorn(steps=20), multisk.Newton()
# Of `PASSES` visits each: a visit is a launch and its sums another, a step a third.
BUDGETS = [
    ("resident", (64, 8), SWEEPS, 5, 50),
    ("batch", (3, 2000, 8), SWEEPS, 45, 100),
    ("newton", (700, 64), NEWTON, 25, 30),
    ("newton, 128 columns", (700, 128), NEWTON, 25, 30),
    ("newton, 160 columns", (700, 160), NEWTON, 100, 150),
]


@pytest.fixture
def launches(monkeypatch):
    """The kernels that were launched, none of which ran."""
    made, empty = [], torch.empty

    def run(self, *args, **options):
        made.append(self.fn.__name__)

    def filled(*size, **options):
        x = empty(*size, **options)
        return x.zero_() if x.is_floating_point() else x.fill_(1)

    monkeypatch.setattr(InterpretedFunction, "run", run)
    monkeypatch.setattr(torch, "empty", filled)
    return made


@pytest.mark.parametrize(
    ("shape", "solver", "most", "most_with_backward"),
    [budget[1:] for budget in BUDGETS],
    ids=[budget[0] for budget in BUDGETS],
)
def test_a_solve_keeps_its_budget_of_launches(shape, solver, most, most_with_backward, launches):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plan = multisk.solve(x, multisk.MultiAssignment(k=4), solver).plan
    assert 0 < len(launches) <= most, launches
    plan.sum().backward()
    assert len(launches) <= most_with_backward, launches

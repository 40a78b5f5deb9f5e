"""A solve and a derivative that are captured into a graph ask the host nothing."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("what the host sees is watched in the interpreter", allow_module_level=True)

from multisk import MultiAssignment, Newton, Transport, solve  # noqa: E402
from multisk._operators import implicit, root  # noqa: E402
from tests.kernels.watch import HARMLESS, B, K, N, draw, is_table, mask, watching  # noqa: E402

pytestmark = marks


class Inside(TorchDispatchMode):
    """Within an operator: what torch does with tables, and what the host asks to see."""

    def __init__(self, watch):
        super().__init__()
        self.watch, self.asked, self.operations = watch, set(), set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if not self.watch.inside:
            if name in {"_local_scalar_dense", "is_nonzero", "nonzero", "equal"}:
                self.asked.add(name)
            if any(isinstance(x, torch.Tensor) and is_table(x) for x in args):
                self.operations.add(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("problem", "dtype"),
    [
        (MultiAssignment(k=2, eps=2.0), torch.float32),
        (MultiAssignment(k=2, eps=2.0, mask=mask()), torch.float64),
        (Transport(eps=1.0, relax=(1.0, 2.0)), torch.float32),
    ],
    ids=["dense", "wide, mask", "transport"],
)
def test_a_captured_solve_and_its_derivative_ask_the_host_nothing(problem, dtype, monkeypatch):
    called = []

    def inside(run, watch):
        def wrapped(*args):
            called.append(run.__module__.rpartition(".")[2])
            with Inside(watch) as seen:
                found = run(*args)
            assert not seen.asked
            # The span of the scores, from which the search takes its first temperature.
            assert seen.operations <= HARMLESS | {"amax", "amin"}
            return found

        return wrapped

    monkeypatch.setattr(root, "being_captured", lambda _: True)
    monkeypatch.setattr(implicit, "being_captured", lambda _: True)
    monkeypatch.setattr(implicit, "ROUNDS", 3)
    with watching(monkeypatch) as watch:
        for part in (root, implicit):
            monkeypatch.setattr(part, "in_kernels", inside(part.in_kernels, watch))
        x = draw(B, N, K).to(dtype).requires_grad_()
        plan = solve(x, problem, Newton(tolerance=1e-3, max_steps=3)).plan
        plan.backward(draw(B, N, K, seed=3).to(dtype))
    assert called == ["root", "implicit"]


def test_a_look_of_the_host_is_seen(monkeypatch):
    with watching(monkeypatch) as watch, Inside(watch) as seen:
        assert bool(torch.ones(1).sum() > 0)
        draw(B, N, K).exp()
    assert seen.asked == {"_local_scalar_dense"}
    assert "exp" in seen.operations

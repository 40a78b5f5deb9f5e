"""`python -m multisk.benchmark` launches kernels where they run, and none in its lines without."""

import pytest
import torch

from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("launches are counted in the interpreter", allow_module_level=True)

from triton.runtime.interpreter import InterpretedFunction  # noqa: E402

from multisk import benchmark  # noqa: E402

pytestmark = marks


@pytest.fixture
def launches(monkeypatch):
    made, plain = [], InterpretedFunction.run

    def run(self, *args, **options):
        made.append(self.fn.__module__.rpartition(".")[2])
        return plain(self, *args, **options)

    monkeypatch.setattr(InterpretedFunction, "run", run)
    return made


def test_its_lines_launch_kernels_but_those_without_and_find_the_same_plan(launches):
    assert benchmark.carriers(torch.device("cpu")) == "Triton kernels"
    scores = torch.rand(1, 20, 6, generator=torch.Generator().manual_seed(0))
    plans = {}
    for provider in benchmark.providers(2)[1:]:
        before = len(launches)
        with provider.within():
            plans[provider.name] = provider.run(scores)
        assert (len(launches) == before) == provider.name.endswith("eager torch")
    assert {"newton", "search", "resident", "plan"} <= set(launches)
    for solver in ("Sinkhorn(20)", "Newton"):
        one, two = plans[f"multisk {solver}"], plans[f"multisk {solver}, eager torch"]
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)

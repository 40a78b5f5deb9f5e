"""Partial sums on their way through memory: no more bytes than the scores they come from.

Programs write partial column sums and another launch adds them up. Launchers are run for every case
of the benchmarks on tensors that exist in name only, and what they pass as `part` is measured. Two
exceptions: what stays in the second cache never passes the memory, and a Newton step has two lines
more than columns, which a problem of as many rows as columns cannot avoid.
"""

import contextlib
import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("tiles are those of a GPU", allow_module_level=True)

import torch  # noqa: E402
import triton  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from benchmarks.common.cases import CASES  # noqa: E402
from benchmarks.gpu.predict import CACHE  # noqa: E402
from multisk.kernels.gradient import plan_backward  # noqa: E402
from multisk.kernels.newton import newton_pass  # noqa: E402
from multisk.kernels.plan import write_plan  # noqa: E402
from multisk.kernels.sweep import (
    sweep,  # noqa: E402
    transport_sweep,  # noqa: E402
)
from tests.kernels.launches.compile_only import TARGETS, compile_only  # noqa: E402
from tests.kernels.launches.launchers import Inputs, fake  # noqa: E402

pytestmark = pytest.mark.compile
LAUNCHED = {
    "newton": lambda t: newton_pass(t.x, t.one, t.b_own, t.a, t.one),
    "gradient": lambda t: plan_backward(t.at(), t.x, rounds=1),
    "sweep": lambda t: sweep(t.x, t.scales, t.a, t.b, t.budgets(), first=True),
    "transport": lambda t: transport_sweep(t.x, t.one, t.a, t.b, t.one, t.one),
    "plan": lambda t: write_plan(t.x, t.one, t.a, t.b, t.one),
}


class Sized(Inputs):
    """Arguments of launchers for scores of one shape, in float32."""

    def __init__(self, batch, rows, width):
        super().__init__(torch.float32, width, "aligned")
        self.x = fake(batch, rows, width)
        self.a, self.b_own = fake(batch, rows), fake(batch, width)
        self.b = fake(batch, width, dtype=torch.float64)


@contextlib.contextmanager
def partials():
    """Within it nothing is launched; (kernel, bytes of its `part`) of each launch."""
    found, plain = [], triton.KernelInterface.__getitem__

    def launcher(kernel, grid):
        def launch(*given, **options):
            part = dict(zip(kernel.arg_names, given, strict=False), **options).get("part")
            if part is not None:
                found.append((kernel.fn.__name__, part.numel() * part.element_size()))

        return launch

    with compile_only(TARGETS["sm_90"]):
        triton.KernelInterface.__getitem__ = launcher
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                yield found
        finally:
            triton.KernelInterface.__getitem__ = plain


@pytest.mark.parametrize("case", CASES)
def test_partial_sums_take_no_more_bytes_than_the_scores(case):
    shape = CASES[case].shape
    shape = batch, rows, width = shape if len(shape) == 3 else (1, *shape)
    bound, large = max(CACHE, 4 * batch * width * (rows + 2)), []
    for name, launch in LAUNCHED.items():
        with partials() as found:
            launch(Sized(*shape))
        assert found
        large += [(name, kernel, size / bound) for kernel, size in found if size > bound]
    assert not large

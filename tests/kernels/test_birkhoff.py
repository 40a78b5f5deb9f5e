"""Small doubly stochastic matrices by their kernel, against float64 torch."""

import pytest
import torch

from tests.kernels.tools import DEVICE, guarded, marks, nan_arenas, needs_kernels

needs_kernels()

import multisk  # noqa: E402
from multisk._backends.torch import birkhoff as truth  # noqa: E402
from multisk.birkhoff import birkhoff, check  # noqa: E402
from multisk.kernels.birkhoff import birkhoff_backward, birkhoff_forward  # noqa: E402

pytestmark = marks
F32, F64 = torch.float32, torch.float64


def draw(*shape, dtype, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=F64)).to(dtype).to(DEVICE)


def margin(*shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64) + 0.3


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    ("shape", "scale"), [((35, 4, 4), 4.0), ((3, 5, 3), 1.0), ((2, 1, 16), 2.0), ((9, 4, 4), 30.0)]
)
def test_plan_and_gradient_are_those_of_the_limit(shape, scale, dtype):
    x, check_x = guarded(draw(*shape, dtype=dtype, scale=scale))
    grad, check_grad = guarded(draw(*shape, dtype=dtype, seed=1))
    rows = margin(1, shape[1], seed=2).to(DEVICE)
    columns = margin(shape[0], shape[2], seed=3).to(DEVICE)
    columns = columns * rows.sum() / columns.sum(1, keepdim=True)
    with nan_arenas():
        plan = birkhoff_forward(x, rows, columns, 1e-12)
        found = [birkhoff_backward(plan, grad, weigh=weigh) for weigh in (True, False)]
    check_x()
    check_grad()
    want, error = truth.forward(x, rows, columns, 1e-12, look=True)
    assert error.max() <= 1e-12
    near = 2e-6 if dtype == F32 else 1e-11
    assert (plan.sum(-1) - rows).abs().max() <= near
    assert (plan - want).abs().max() <= near
    assert found[0].isfinite().all()
    gradient = truth.backward(want, grad, weigh=True)
    assert (found[0] - gradient).abs().max() <= (1e-5 if dtype == F32 else 1e-10)
    torch.testing.assert_close(plan * found[1], found[0])


def test_a_matrix_with_a_bad_logit_is_nan_and_harms_no_other():
    x, one = draw(6, 4, 4, dtype=F32), torch.ones(1, 4, dtype=F64, device=DEVICE)
    want = birkhoff_forward(x, one, one, 3e-7)
    x[2, 1, 1], x[4, 0, 3] = torch.nan, -torch.inf
    plan = birkhoff_forward(x, one, one, 3e-7)
    assert plan[[2, 4]].isnan().all()
    torch.testing.assert_close(plan[[0, 1, 3, 5]], want[[0, 1, 3, 5]], rtol=0, atol=1e-6)


def test_margins_without_mass_take_no_part():
    x = draw(2, 3, 4, dtype=F64)
    rows = torch.tensor([[1.0, 0, 2]], dtype=F64, device=DEVICE)
    columns = torch.tensor([[0.5, 1.5, 0, 1]], dtype=F64, device=DEVICE)
    plan = birkhoff_forward(x, rows, columns, 1e-12)
    want, _ = truth.forward(x, rows, columns, 1e-12, look=True)
    torch.testing.assert_close(plan, want, rtol=0, atol=1e-11)
    assert not birkhoff_backward(plan, draw(2, 3, 4, dtype=F64, seed=1), weigh=True)[:, 1].any()


def test_the_layer_runs_on_kernels_and_gives_its_derivatives():
    x = draw(2, 3, 3, dtype=F64).requires_grad_()
    with multisk.use_backend("triton"):
        assert check(birkhoff(x)).max() <= 1e-11
        assert torch.autograd.gradcheck(birkhoff, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(birkhoff, (x,), fast_mode=True)

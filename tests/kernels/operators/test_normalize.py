import pytest
import torch

from tests.kernels.tools import (
    DEVICE,
    INTERPRET,
    assert_near,
    guarded,
    marks,
    nan_arenas,
    needs_kernels,
)

needs_kernels()

from multisk.kernels._tile import tile_for, working_dtype  # noqa: E402
from multisk.kernels.column import column_backward, column_forward  # noqa: E402
from multisk.kernels.depth import depth_backward, depth_forward  # noqa: E402
from multisk.kernels.row import row_backward, row_forward  # noqa: E402

pytestmark = marks
AXES = {
    "row": (-1, row_forward, row_backward),
    "column": (-2, column_forward, column_backward),
    "depth": (-3, depth_forward, depth_backward),
}
SHAPES = [(1, 1, 1), (2, 63, 50), (3, 130, 64), (9, 5, 300), (2, 2, 17, 33)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def sample(shape, dtype, *, log, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    return (2 * x if log else x.exp()).to(dtype).to(DEVICE)


def oracle(x, axis, target, *, log):
    """The formula in float64 torch."""
    x, target = x.double(), target.double()
    if target.numel() > 1:
        target = target.unsqueeze(axis)
    if log:
        return x - x.logsumexp(axis, keepdim=True) + target.log()
    return target * x / x.sum(axis, keepdim=True)


def one(value, x):
    return torch.tensor(value, dtype=working_dtype(x), device=x.device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_normalised_axis_has_the_target_as_its_sum(shape, name, log, dtype):
    axis, forward, _ = AXES[name]
    x, check = guarded(sample(shape, dtype, log=log))
    target = one(1.75, x)
    with nan_arenas():
        y, total = forward(x, target, log=log)
    check()
    assert y.dtype == dtype
    assert total.dtype == working_dtype(x)
    assert_near(y, oracle(x, axis, target, log=log))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", AXES)
def test_a_target_may_differ_along_the_other_axes(name, log):
    axis, forward, backward = AXES[name]
    x = sample((2, 3, 40, 20), torch.float64, log=log)
    want = [size for i, size in enumerate(x.shape) if i - x.dim() != axis]
    target = torch.rand(want, dtype=torch.float64, device=DEVICE) + 0.5
    truth = x.clone().requires_grad_()
    result = oracle(truth, axis, target, log=log)
    grad = torch.randn_like(result)
    result.backward(grad)
    y, total = forward(x, target, log=log)
    assert_near(y, result.detach())
    assert_near(backward(grad, y, total, target, log=log), truth.grad)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", AXES)
def test_a_gradient_is_that_of_the_formula(name, log, dtype):
    axis, forward, backward = AXES[name]
    x = sample((2, 130, 50), dtype, log=log)
    target = one(2.5, x)
    truth = x.double().requires_grad_()
    grad = sample((2, 130, 50), dtype, log=True, seed=1)
    oracle(truth, axis, target, log=log).backward(grad.double())
    y, total = forward(x, target, log=log)
    with nan_arenas():
        below = backward(grad, y, total, target, log=log)
    assert_near(below, truth.grad, scale=4 if dtype == torch.bfloat16 else 1)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", AXES)
def test_strided_scores_give_what_their_copy_gives(name, log):
    _, forward, backward = AXES[name]
    wide = sample((40, 4, 60), torch.float32, log=log)
    x = wide.permute(1, 0, 2)[..., 5:45:2]
    target = one(1.0, x)
    y, total = forward(x, target, log=log)
    assert torch.equal(y, forward(x.contiguous(), target, log=log)[0])
    grad = torch.ones(1, device=DEVICE).expand(y.shape)
    assert torch.equal(
        backward(grad, y, total, target, log=log),
        backward(grad.contiguous(), y, total, target, log=log),
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", ["row", "column"])
def test_the_cut_changes_rounding_only(name, log):
    axis, forward, backward = AXES[name]
    x = sample((2, 150, 70), torch.float64, log=log)
    target = one(3.0, x)
    grad = sample(x.shape, x.dtype, log=True)
    for block in (16, 64):
        tile = tile_for(150, 70, x.dtype, block_rows=block)
        y, total = forward(x, target, log=log, tile=tile)
        assert_near(y, oracle(x, axis, target, log=log))
        plain = backward(grad, y, total, target, log=log)
        assert_near(backward(grad, y, total, target, log=log, tile=tile), plain)


@pytest.mark.parametrize("name", AXES)
def test_an_impossible_entry_stays_impossible_in_logarithms(name):
    axis, forward, _ = AXES[name]
    x = sample((3, 30, 20), torch.float32, log=True)
    x[0, ::3, ::2] = -torch.inf
    y, _ = forward(x, one(1.0, x), log=True)
    assert (y[0, ::3, ::2] == -torch.inf).all()
    assert_near(y.double().exp(), oracle(x, axis, one(1.0, x), log=True).exp(), torch.float32)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", AXES)
def test_gradcheck_in_float64_passes_through_the_kernels(name, log):
    _, forward, backward = AXES[name]

    class Normalise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, target):
            y, total = forward(x, target, log=log)
            ctx.save_for_backward(y, total, target)
            return y

        @staticmethod
        def backward(ctx, grad):
            y, total, target = ctx.saved_tensors
            return backward(grad, y, total, target, log=log), None

    x = sample((2, 3, 4), torch.float64, log=log).requires_grad_()
    target = one(1.5, x)
    assert torch.autograd.gradcheck(lambda z: Normalise.apply(z, target), (x,), fast_mode=True)


@pytest.mark.skipif(INTERPRET, reason="the interpreter runs programs one by one")
@pytest.mark.parametrize("name", AXES)
def test_twenty_runs_agree_bit_for_bit(name):
    _, forward, _ = AXES[name]
    x = sample((2, 5716, 64), torch.float32, log=False)
    first = forward(x, one(1.0, x), log=False)[0]
    assert all(torch.equal(first, forward(x, one(1.0, x), log=False)[0]) for _ in range(20))

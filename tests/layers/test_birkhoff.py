"""Doubly stochastic matrices are exact at any logit scale, and so are their derivatives."""

import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import multisk
from multisk._backends.numba import available
from multisk._warning import MultiskWarning
from multisk.birkhoff import birkhoff, check
from tests import warm

F32, F64 = torch.float32, torch.float64


@pytest.fixture(params=["numba", "torch"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    with multisk.use_backend(request.param):
        yield request.param


def drawn(*shape, seed=0, scale=1.0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=F64)).to(dtype)


def with_gradient(function, x, cotangent):
    x = x.clone().requires_grad_()
    plan = function(x)
    (plan * cotangent.to(plan)).sum().backward()
    return plan.detach(), x.grad


def swept(x, rows, columns, sweeps=3000):
    """The oracle: float64 sweeps in the log domain, differentiated by autograd."""
    for _ in range(sweeps):
        x = x - x.logsumexp(-2, keepdim=True) + columns.log()
        x = x - x.logsumexp(-1, keepdim=True) + rows.log()[:, None]
    return x.exp()


def at_the_limit(x):
    """The oracle where sweeps take too long: the general solver, to 1e-13."""
    tight = multisk.Newton(tolerance=1e-13)
    with multisk.use_backend("torch"):
        return multisk.solve(x, multisk.Transport(eps=1.0), tight).plan


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("size", [2, 3, 4, 8, 16])
def test_plans_and_gradients_are_those_of_the_limit(size, scale, backend):
    x, cotangent = (drawn(60, size, size, seed=seed) for seed in (size, 99))
    x = scale * x
    want, slope = with_gradient(at_the_limit, x, cotangent)
    plan, gradient = with_gradient(birkhoff, x.float(), cotangent)
    assert (plan - want).abs().max() <= 2e-6
    assert (gradient - slope).abs().max() <= 1e-5
    assert check(plan).max() <= 1e-6
    plan, gradient = with_gradient(birkhoff, x, cotangent)
    assert (plan - want).abs().max() <= 1e-10
    assert (gradient - slope).abs().max() <= 1e-9


@pytest.mark.parametrize(("n", "m"), [(3, 5), (6, 2), (1, 4), (4, 1)])
def test_uneven_margins_are_met_and_differentiated(n, m, backend):
    x, cotangent = drawn(7, n, m), drawn(7, n, m, seed=1)
    rows = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=F64) + 0.2
    columns = torch.rand(m, generator=torch.Generator().manual_seed(3), dtype=F64) + 0.2
    columns = columns * rows.sum() / columns.sum()
    want, slope = with_gradient(lambda x: swept(x, rows, columns, 300), x, cotangent)
    plan, gradient = with_gradient(lambda x: birkhoff(x, rows=rows, columns=columns), x, cotangent)
    torch.testing.assert_close(plan, want, rtol=0, atol=1e-11)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-10)
    assert check(plan, rows=rows, columns=columns).max() <= 1e-11


def test_every_matrix_may_have_margins_of_its_own_and_some_none(backend):
    x = drawn(3, 4, 3)
    rows = torch.tensor([[1.0, 1, 1, 1], [2, 0, 1, 1], [0.5, 1, 2, 0]])
    columns = torch.tensor([[1.0, 1, 2], [0, 3, 1], [1, 1, 1.5]])
    plan = birkhoff(x, rows=rows, columns=columns)
    torch.testing.assert_close(plan.sum(-1), rows.double(), rtol=0, atol=1e-11)
    torch.testing.assert_close(plan.sum(-2), columns.double(), rtol=0, atol=1e-11)
    alone = birkhoff(x[1, [0, 2, 3]][:, 1:], rows=rows[1, [0, 2, 3]], columns=columns[1, 1:])
    torch.testing.assert_close(plan[1, [0, 2, 3]][:, 1:], alone, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale", [8.0, 12.0, 20.0, 100.0, 1e4])
def test_cold_logits_have_exact_margins_and_finite_gradients(scale, backend):
    """At scale 8 a system formed by 1 - sum p^2 is singular for 2 of 1,024 matrices."""
    for size, count in ((4, 1024), (8, 60)):
        x, cotangent = (drawn(count, size, size, seed=seed, dtype=F32) for seed in (0, 1))
        plan, gradient = with_gradient(birkhoff, scale * x, cotangent)
        assert check(plan).max() <= 1e-6
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 2 * cotangent.abs().max()
        for axis in (-1, -2):  # a shift of a row or of a column changes no plan
            assert gradient.sum(axis).abs().max() <= 2e-6


def test_the_gradient_vanishes_as_the_plan_becomes_a_permutation(backend):
    order = torch.tensor([2, 0, 3, 1])
    sharp, cotangent = 8 * torch.eye(4)[order], drawn(4, 4, dtype=F32)
    sizes = []
    for cold in (1, 2, 4, 8, 100):
        plan, gradient = with_gradient(birkhoff, cold * sharp, cotangent)
        sizes.append(float(gradient.abs().max()))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 1e-6
    assert torch.equal(plan.argmax(-1), order)


def test_groups_of_columns_that_hardly_touch_keep_their_own_gradient(backend):
    """Two blocks joined by e^-60: each answers as if it were alone."""
    x = torch.full((4, 4), -60.0)
    x[:2, :2], x[2:, 2:] = drawn(2, 2, dtype=F32), drawn(2, 2, seed=1, dtype=F32)
    cotangent = drawn(4, 4, seed=2, dtype=F32)
    _, gradient = with_gradient(birkhoff, x, cotangent)
    for part in (slice(0, 2), slice(2, 4)):
        _, alone = with_gradient(birkhoff, x[part, part], cotangent[part, part])
        torch.testing.assert_close(gradient[part, part], alone, rtol=0, atol=1e-6)


@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    scale=st.sampled_from([0.3, 3.0, 30.0]),
    seed=st.integers(0, 1000),
    name=st.sampled_from(["numba", "torch"]),
)
@settings(max_examples=40)
def test_laws(size, scale, seed, name):
    if name == "numba" and available.matrices() is None:
        name = "torch"
    n, m = size
    x = drawn(2, n, m, seed=seed, scale=scale)
    generator = torch.Generator().manual_seed(seed)
    down, across = (torch.randperm(k, generator=generator) for k in (n, m))
    rows = torch.rand(n, generator=generator, dtype=F64) + 0.1
    columns = torch.rand(m, generator=generator, dtype=F64) + 0.1
    columns = columns * rows.sum() / columns.sum()

    with multisk.use_backend(name):
        plan = birkhoff(x, rows=rows, columns=columns)
        moved = birkhoff(x[:, down][:, :, across], rows=rows[down], columns=columns[across])
        turned = birkhoff(x.mT, rows=columns, columns=rows).mT
        shifted = birkhoff(
            x + drawn(2, n, 1, seed=1, scale=9.0) + drawn(2, 1, m, seed=2, scale=9.0),
            rows=rows,
            columns=columns,
        )
        scaled = birkhoff(x, rows=7 * rows, columns=7 * columns)
        single = birkhoff(x[1], rows=rows, columns=columns)

    assert check(plan, rows=rows, columns=columns).max() <= 1e-11
    near = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(moved, plan[:, down][:, :, across], **near)
    torch.testing.assert_close(turned, plan, **near)
    torch.testing.assert_close(shifted, plan, **near)
    torch.testing.assert_close(scaled, 7 * plan, **near)
    assert torch.equal(single, plan[1])


def test_first_and_second_derivatives_are_those_of_differences(backend):
    x = drawn(2, 3, 3).requires_grad_()
    rows, columns = torch.tensor([1.0, 2.0, 1.5]), torch.tensor([2.0, 2.0, 0.5])
    for function in (birkhoff, lambda x: birkhoff(x, rows=rows, columns=columns)):
        assert torch.autograd.gradcheck(function, (x,))
        assert torch.autograd.gradgradcheck(function, (x,))


def test_a_third_derivative_is_refused_not_wrong():
    x = drawn(2, 2).requires_grad_()
    (first,) = torch.autograd.grad(birkhoff(x)[0, 0], x, create_graph=True)
    (second,) = torch.autograd.grad(first[0, 0], x, create_graph=True)
    with pytest.raises(RuntimeError, match="birkhoff_centred"):
        torch.autograd.grad(second[0, 0], x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_float32_result_rounded(dtype, backend):
    x = drawn(5, 4, 4, scale=3.0).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan = birkhoff(x)
    assert plan.dtype == dtype
    assert torch.equal(plan, birkhoff(x.float()).to(dtype))


def test_strides_threads_and_leading_dimensions_change_no_bit():
    x = drawn(2, 3000, 4, 4, dtype=F32)
    plan = birkhoff(x)
    assert torch.equal(birkhoff(x.transpose(0, 1)).transpose(0, 1), plan)
    assert torch.equal(birkhoff(x.mT.contiguous().mT), plan)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(birkhoff(x), plan)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (3, 4, 0), (0, 0)])
def test_nothing_in_is_nothing_out(shape):
    x = torch.zeros(shape, requires_grad=True)
    plan = birkhoff(x)
    assert plan.shape == shape
    plan.sum().backward()
    assert x.grad is not None


def test_the_operators_keep_torchs_rules():
    x, one = drawn(2, 3, 3).requires_grad_(), torch.ones(1, 3, dtype=F64)
    opcheck(torch.ops.multisk.birkhoff.default, (x, one, one, 1e-9))
    plan = birkhoff(x.detach()).requires_grad_()
    opcheck(torch.ops.multisk.birkhoff_backward.default, (plan, drawn(2, 3, 3, seed=1)))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            (torch.full((1, 2, 2), torch.nan),),
            r"logits must be finite, got nan at index \(0, 0, 0\)",
        ),
        ((torch.tensor([[0.0, -torch.inf], [0, 0]]),), r"logits must be finite, got -inf at index"),
        ((torch.zeros(20, 20).fill_diagonal_(torch.inf),), r"logits must be finite, got inf"),
        ((torch.zeros(4),), r"logits must have the shape \(\*batch, n, m\), got \(4,\)"),
        ((torch.zeros(4, 4).long(),), "logits must have a floating dtype, got torch.int64"),
        (([[0.0]],), "logits must be a tensor, got list"),
        ((torch.zeros(2, 2), {"tolerance": 0.0}), "tolerance must be finite and above 0, got 0.0"),
        (
            (torch.zeros(2, 2), {"rows": torch.ones(3)}),
            r"rows must fit the shape \(2,\), got \(3,\)",
        ),
        ((torch.zeros(2, 2), {"rows": [1, 1]}), "rows must be a tensor, got list"),
        (
            (torch.zeros(2, 2), {"rows": torch.tensor([1.0, -1.0])}),
            r"rows must be finite and at least 0, got -1.0 at index \(1,\)",
        ),
        (
            (torch.zeros(2, 2), {"columns": torch.tensor([1.0, 2.0])}),
            "columns must sum to the rows' total 2, got 3",
        ),
        (
            (torch.zeros(20, 20), {"columns": torch.ones(20) * 2}),
            "columns must sum to the rows' total 20, got 40",
        ),
    ],
    ids=str,
)
def test_what_has_no_answer_is_refused_in_one_sentence(given, sentence, backend):
    logits, options = given[0], given[1] if len(given) > 1 else {}
    with pytest.raises(ValueError, match=sentence):
        birkhoff(logits, **options)


def test_a_backend_that_cannot_serve_is_refused():
    with multisk.use_backend("numpy"), pytest.raises(ValueError, match="got 'numpy' where"):
        birkhoff(torch.zeros(2, 2))


def test_a_tolerance_out_of_reach_is_reported_and_rows_stay_exact(backend):
    x = drawn(50, 4, 4, scale=3.0)
    with pytest.warns(MultiskWarning, match=r"of 50 matrices miss a column sum by up to .*e-1"):
        plan = birkhoff(x, tolerance=1e-30)
    assert (plan.sum(-1) - 1).abs().max() <= 1e-15
    assert check(plan).max() <= 1e-14


def test_larger_matrices_and_margins_with_gradients_go_to_the_general_solver():
    x, cotangent = drawn(2, 20, 17), drawn(2, 20, 17, seed=1)
    rows, columns = torch.ones(20, dtype=F64), torch.full((17,), 20 / 17, dtype=F64)
    want, slope = with_gradient(lambda x: swept(x, rows, columns, 200), x, cotangent)
    plan, gradient = with_gradient(lambda x: birkhoff(x, tolerance=1e-12), x, cotangent)
    torch.testing.assert_close(plan, want, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-9)

    small, masses = drawn(3, 4), torch.tensor([1.0, 2.0, 0.5], dtype=F64).requires_grad_()
    plan = birkhoff(small, rows=masses, tolerance=1e-12)
    loss = (plan * drawn(3, 4, seed=2)).sum()
    (slope,) = torch.autograd.grad(loss, masses)
    step = torch.tensor([1e-5, 0, 0], dtype=F64)
    up, down = (
        (birkhoff(small, rows=(masses + sign * step).detach()) * drawn(3, 4, seed=2)).sum()
        for sign in (1, -1)
    )
    assert abs(float(slope[0]) - float(up - down) / 2e-5) <= 1e-6


def broken(*_):
    raise AttributeError("_garbageconstructor\nand more lines")


def test_a_broken_numba_costs_one_warning_and_no_plan(monkeypatch):
    x, cotangent = drawn(4, 3, 3), drawn(4, 3, 3, seed=1)
    with multisk.use_backend("torch"):
        want = with_gradient(birkhoff, x, cotangent)
    loops = types.ModuleType("loops")
    loops.forward = loops.backward = broken
    monkeypatch.setattr(available, "matrix_loops", lambda: loops)
    try:
        with pytest.warns(MultiskWarning, match="numba is installed but cannot be used") as seen:
            found = with_gradient(birkhoff, x, cotangent)
        assert len(seen) == 1
    finally:
        available.UNUSABLE.clear()
    torch.testing.assert_close(found, want, rtol=0, atol=0)


# In a process of its own: run-time type checks cannot be traced.
ALONE = """
import torch
from multisk.birkhoff import birkhoff
x, cotangent = torch.randn(5, 4, 4, requires_grad=True), torch.randn(5, 4, 4)
compiled = torch.compile(birkhoff, backend='aot_eager', fullgraph=True)
found = []
for function in (birkhoff, compiled):
    plan = function(x)
    found.append((plan, *torch.autograd.grad((plan * cotangent).sum(), x)))
torch.testing.assert_close(*found, rtol=0, atol=1e-6)
"""


def test_a_compiled_function_is_one_graph():
    run = warm.run([sys.executable, "-c", ALONE])
    assert run.returncode == 0, run.stderr

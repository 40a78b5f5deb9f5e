"""Derivatives of plan and value against finite differences, with random cotangents."""

import pytest
import torch
from torch.autograd import gradcheck as full_gradcheck
from torch.autograd import gradgradcheck as full_gradgradcheck

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve, use_backend
from tests.solver.strategies import unit_scores

SHARP = Newton(tolerance=1e-11)
SWEPT = Sinkhorn(tolerance=1e-12, max_steps=20000)
ORDERS = ["row-column-depth", "column-depth-row"]


def gradcheck(call, inputs):
    """Random directions and cotangents; one test below compares every entry."""
    return full_gradcheck(call, inputs, fast_mode=True)


def gradgradcheck(call, inputs):
    return full_gradgradcheck(call, inputs, fast_mode=True)


def random(*shape, seed=0, low=0.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) + low).requires_grad_()


def scores(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def plan_and_value(solution):
    return solution.plan, solution.value


def test_implicit_derivatives_in_scores_and_temperature():
    def call(x, eps):
        return plan_and_value(solve(x, MultiAssignment(2, eps=eps), SHARP))

    eps = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    assert full_gradcheck(call, (scores(2, 3, 3), eps))


@pytest.mark.parametrize("solver", [SHARP, SWEPT])
def test_implicit_derivatives_in_the_margins(solver):
    def call(x, rows, columns):
        problem = MultiAssignment(rows, eps=0.5, capacity=columns)
        return plan_and_value(solve(x, problem, solver))

    rows = torch.tensor([1.0, 2.0, 1.5, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    columns = torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (scores(5, 4), rows, columns))


def test_implicit_derivatives_when_rows_are_fewer_than_columns():
    assert gradcheck(lambda x: solve(x, MultiAssignment(3, eps=0.5), SHARP).plan, (scores(3, 8),))


def test_a_learnt_prior_over_columns_is_differentiable():
    def call(logits):
        x = unit_scores(12, 4)
        problem = MultiAssignment(1, eps=0.2, capacity=12 * logits.softmax(-1))
        return plan_and_value(solve(x, problem, SHARP))

    assert gradcheck(call, (scores(4),))


def test_implicit_derivatives_with_intervals_and_masks():
    lower = torch.tensor([1.0, 2.0, 2.5, 1.0], dtype=torch.float64, requires_grad=True)
    upper = torch.tensor([1.5, 2.5, 4.0, 4.0], dtype=torch.float64, requires_grad=True)

    def interval(x, lower, upper):
        problem = MultiAssignment(2, eps=0.5, capacity=(lower, upper))
        return plan_and_value(solve(x, problem, SHARP).raise_if_failed())

    assert gradcheck(interval, (scores(5, 4), lower, upper))
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[0, 1] = mask[3, 2] = mask[4, 0] = False

    def masked(x):
        problem = MultiAssignment(torch.tensor([1, 2, 4, 0, 1]), eps=0.5, mask=mask)
        return plan_and_value(solve(x, problem, SHARP).raise_if_failed())

    assert gradcheck(masked, (scores(5, 4),))


@pytest.mark.parametrize("relax", [None, (1.0, None), (None, 0.7), (0.5, 2.0)])
@pytest.mark.parametrize("solver", [SHARP, SWEPT])
def test_transport_derivatives_balanced_and_relaxed(relax, solver):
    def call(x, eps, rows, columns):
        if relax is None:
            columns = columns * (rows.sum() / columns.sum())
        problem = Transport(eps=eps, rows=rows, columns=columns, relax=relax)
        return plan_and_value(solve(x, problem, solver))

    eps = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (scores(5, 4), eps, random(5, low=0.5), random(4, seed=1, low=0.5)))


@pytest.mark.parametrize("solver", [SHARP, SWEPT, Sinkhorn(steps=4), None])
def test_transport_derivatives_in_the_strengths(solver):
    def both(x, eps, rows, columns):
        solution = solve(x, Transport(eps=eps, relax=(rows, columns)), solver)
        return *plan_and_value(solution), solution.log_plan

    def one(x, columns):
        return plan_and_value(solve(x, Transport(eps=0.5, relax=(None, columns)), solver))

    rows, columns = (torch.tensor(t, dtype=torch.float64) for t in ([1.0, 0.3], 0.7))
    rows, columns = rows.requires_grad_(), columns.requires_grad_()
    x, eps = scores(2, 5, 4), torch.tensor([0.5, 0.4], dtype=torch.float64, requires_grad=True)
    assert gradcheck(both, (x, eps, rows, columns))
    assert gradcheck(one, (x, columns))
    together = solve(x, Transport(eps=0.5, relax=(rows, 2.0)), SHARP).plan
    for problem, strength in enumerate(rows.tolist()):
        alone = solve(x[problem], Transport(eps=0.5, relax=(strength, 2.0)), SHARP).plan
        assert (together[problem] - alone).abs().max() <= 1e-10


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("scales", [None, [1.0, 0.7, 0.7, 0.1]])
def test_unrolled_derivatives_are_those_of_the_sweeps(order, steps, scales):
    damping = 0.25 if scales is None else torch.tensor(scales, dtype=torch.float64)

    def call(x, eps):
        problem = MultiAssignment(2, eps=eps, damping=damping)
        return solve(x, problem, Sinkhorn(steps=steps, order=order, gradient="unroll")).plan

    assert gradcheck(call, (scores(5, 4), random(low=0.3)))


def test_unrolled_derivatives_are_those_of_the_dense_table():
    from multisk import column_normalize, depth_normalize, row_normalize

    x = scores(6, 4)
    cotangent = torch.randn(6, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    plan = solve(x, MultiAssignment(2, eps=0.3), Sinkhorn(steps=4)).plan
    (merged,) = torch.autograd.grad((plan * cotangent).sum(), x)
    scale = torch.tensor([1.0, 1.0, 0.25, 0.25], dtype=torch.float64)
    table = scale[:, None, None] * x / 0.3
    for _ in range(4):
        table = row_normalize(table, log=True)
        table = column_normalize(table, 6 / 4, log=True)
        table = depth_normalize(table, log=True)
    (dense,) = torch.autograd.grad((table.exp()[:2].sum(0) * cotangent).sum(), x)
    assert (merged - dense).abs().max() <= 1e-12


def test_implicit_derivatives_of_a_scale_vector():
    damping = torch.tensor([1.0, 0.7, 0.7, 0.1], dtype=torch.float64)

    def call(x, eps):
        return plan_and_value(solve(x, MultiAssignment(2, eps=eps, damping=damping), SWEPT))

    assert gradcheck(call, (scores(5, 4), random(low=0.3)))


def test_second_derivatives_are_right_or_refused():
    assert gradgradcheck(
        lambda x: solve(x, MultiAssignment(2, eps=0.5), SHARP).plan, (scores(4, 3),)
    )
    assert gradgradcheck(
        lambda x: solve(x, MultiAssignment(2, eps=0.5), SHARP).value, (scores(4, 3),)
    )
    assert gradgradcheck(
        lambda x: solve(x, MultiAssignment(2, eps=0.5), Sinkhorn(steps=3)).plan, (scores(4, 3),)
    )
    x = scores(4, 3)
    plan = solve(x, Transport(eps=0.5, relax=(1.0, 1.0)), SHARP).plan
    with pytest.raises(NotImplementedError, match="cannot be differentiated twice"):
        torch.autograd.grad((plan**2).sum(), x, create_graph=True)


def test_large_k_needs_no_matrix_and_gives_the_same_derivative(monkeypatch):
    from multisk._backends.choose import Costs

    x = (3 * unit_scores(40, 12)).requires_grad_()
    cotangent = torch.randn(40, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for limit in (768, 0):
        monkeypatch.setattr(Costs, "DENSE_COLUMNS", limit)
        plan = solve(x, MultiAssignment(5), SHARP).raise_if_failed().plan
        found.append((plan.detach(), torch.autograd.grad((plan * cotangent).sum(), x)[0]))
    assert (found[0][0] - found[1][0]).abs().max() <= 1e-9
    assert (found[0][1] - found[1][1]).abs().max() <= 1e-7


def saved_bytes(solver, n):
    """Bytes that the graph keeps between forward and backward."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = unit_scores(n, 16, dtype=torch.float32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        plan = solve(x, MultiAssignment(4), solver).plan
    assert plan.requires_grad
    return sum(kept.values()) / (4 * n * 16)


def test_memory_of_the_derivatives_is_a_few_plans_whatever_the_number_of_sweeps():
    assert saved_bytes(Newton(), 2000) <= 3.0
    few, many = saved_bytes(Sinkhorn(steps=5), 2000), saved_bytes(Sinkhorn(steps=40), 2000)
    # One potential a row and sweep is stored, 1/16 of a plan here, and never a table of cells.
    assert many - few <= 35 * 1.2 / 16
    assert few <= 3.0


def test_gradient_none_detaches_and_an_unconverged_implicit_one_warns():
    x = scores(20, 5)
    assert not solve(x, MultiAssignment(2), Newton(gradient="none")).plan.requires_grad
    with pytest.warns(UserWarning, match="belongs to the limit"):
        solve(x, MultiAssignment(2), Sinkhorn(steps=1, gradient="implicit"))


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_compiled_derivatives_of_sweeps_are_those_of_plain_torch_in_float64(steps):
    weight = torch.rand(3, 30, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    eps = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    inputs = scores(3, 30, 7), eps, random(30, low=1.0), random(7, seed=1, low=1.0)

    def derivatives(make, kind):
        x, heat, rows, part = (t.to(kind) for t in inputs)
        problem = make(heat, rows, part * (rows.sum() / part.sum()))
        plan = solve(x, problem, Sinkhorn(steps=steps)).plan
        return torch.autograd.grad((plan * weight).sum(), inputs)

    for make in (
        lambda heat, rows, loads: MultiAssignment(rows, eps=heat, capacity=loads),
        lambda heat, rows, loads: Transport(eps=heat, rows=rows, columns=loads),
    ):
        with use_backend("torch"):
            want = derivatives(make, torch.float64)
        for kind, bound in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
            for found, exact in zip(derivatives(make, kind), want, strict=True):
                assert (found - exact).abs().max() <= bound * exact.abs().max()


def test_a_plan_that_underflows_has_its_gradient_in_single_precision():
    """Entries below the smallest normal number count as 0; a processor's own mode is kept."""
    x = torch.sigmoid(torch.randn(150, 70, generator=torch.Generator().manual_seed(2)))
    found = []
    for kind in (torch.float32, torch.float64):
        given = x.to(kind).requires_grad_()
        plan = solve(given, Transport(eps=0.006), Newton()).plan
        (gradient,) = torch.autograd.grad(plan.square().sum(), given)
        found.append(gradient.double())
        if kind == torch.float32:
            assert ((plan > 0) & (plan < torch.finfo(kind).tiny)).any()

    torch.testing.assert_close(*found, rtol=0, atol=1e-5 * float(found[1].abs().max()))
    assert float(torch.tensor(torch.finfo(torch.float32).tiny) / 2) > 0

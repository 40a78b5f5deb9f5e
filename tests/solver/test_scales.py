"""More than two channel scales: the multinomial limit, its derivatives, and what it costs."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, solve
from tests.solver.strategies import unit_scores

SHARP = Newton(tolerance=1e-11)


def ramp(k, levels):
    """Descending scales of `levels` levels for k channels."""
    scales = torch.linspace(1, 0.1, levels, dtype=torch.float64)
    return scales.repeat_interleave(-(-k // levels))[:k]


@pytest.mark.parametrize(
    ("n", "k", "budget", "levels"), [(10, 5, 2, 5), (30, 8, 3, 3), (7, 9, 4, 4)]
)
def test_newton_is_the_limit_of_the_dense_sweeps(n, k, budget, levels):
    x, scales = unit_scores(n, k, seed=k), ramp(k, levels)
    solution = solve(x, MultiAssignment(budget, eps=0.1, damping=scales)).raise_if_failed()
    want = multisk.reference.multi_sk(x.numpy(), budget, 0.1, scales.numpy(), 3000)
    assert solution.solver == "Newton"
    assert np.abs(solution.plan.numpy() - want).max() <= 1e-9
    table = solution.channels()
    assert (table.sum(-1) - 1).abs().max() <= 1e-9
    assert (table.sum(-2) - n / k).abs().max() <= 1e-9
    assert (table.sum(-3) - 1).abs().max() <= 1e-12
    assert 0 <= float(solution.gap) <= 1e-8


@pytest.mark.parametrize("eps", [1.0, 0.07, 0.005, 0.001])
def test_few_steps_suffice_where_sweeps_need_thousands(eps):
    x = unit_scores(60, 12)
    problem = MultiAssignment(4, eps=eps, damping=ramp(12, 4))
    solution = solve(x, problem).raise_if_failed()
    assert int(solution.steps) <= 40
    if eps == 0.005:
        swept = solve(x, problem, Sinkhorn(max_steps=int(solution.steps)))
        assert float(swept.marginal_error) >= 1e-4
    plan = solution.plan
    assert (plan.sum(-1) / 4 - 1).abs().max() <= 1e-6
    assert (plan.sum(-2) / 20 - 1).abs().max() <= 1e-6


def test_masks_capacities_batches_and_float32():
    x = torch.stack([unit_scores(12, 6, seed=s) for s in range(3)])
    mask = torch.ones(12, 6, dtype=torch.bool)
    mask[0, 1] = mask[5, 4] = False
    capacity = torch.tensor([3.0, 4.0, 5.0, 5.0, 4.0, 3.0])
    eps = torch.tensor([0.05, 0.3, 1.0], dtype=torch.float64)
    problem = MultiAssignment(2, eps=eps, damping=ramp(6, 3), capacity=capacity, mask=mask)
    whole = solve(x, problem, SHARP).raise_if_failed()
    assert bool((whole.plan[:, ~mask] == 0).all())
    assert (whole.plan.sum(-2) - capacity).abs().max() <= 1e-8
    for i in range(3):
        one = MultiAssignment(
            2, eps=float(eps[i]), damping=ramp(6, 3), capacity=capacity, mask=mask
        )
        swept = solve(x[i], one, Sinkhorn(tolerance=1e-12, max_steps=20000))
        assert (whole.plan[i] - swept.plan).abs().max() <= 1e-8
    single = solve(x.float(), problem).raise_if_failed()
    assert single.plan.dtype == single.row_potential.dtype == torch.float32
    assert (single.plan - whole.plan).abs().max() <= 1e-5


def test_a_warm_start_needs_no_more_steps_and_must_fit():
    x = unit_scores(40, 8)
    problem = MultiAssignment(3, eps=0.02, damping=ramp(8, 8))
    cold = solve(x, problem)
    warm = solve(x + 1e-4 * x.sin(), problem, init=cold).raise_if_failed()
    assert int(warm.steps) <= int(cold.steps)
    with pytest.raises(ValueError, match="init must hold 8 potentials a column"):
        solve(x, problem, init=torch.zeros(8))
    with pytest.raises(ValueError, match="init must hold 1 potentials a column"):
        solve(x, MultiAssignment(3), Sinkhorn(), init=cold)


def differentiable(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("levels", [[1.0, 0.8, 0.5, 0.1], [1.0, 0.3]])
def test_plan_and_value_are_differentiable_in_scores_temperature_and_scales(levels):
    def call(x, eps, levels):
        damping = levels if levels.numel() == 4 else levels.repeat_interleave(2)
        solution = solve(x, MultiAssignment(2, eps=eps, damping=damping), SHARP)
        return solution.plan, solution.value

    eps = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    levels = torch.tensor(levels, dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (differentiable(5, 4), eps, levels), fast_mode=True)


def test_plan_and_value_are_differentiable_in_the_loads():
    damping = torch.tensor([1.0, 0.7, 0.7, 0.1], dtype=torch.float64)

    def call(x, loads):
        loads = 10 * loads / loads.sum()
        solution = solve(x, MultiAssignment(2, eps=0.5, damping=damping, capacity=loads), SHARP)
        return solution.plan, solution.value

    loads = torch.tensor([2.0, 3.0, 2.5, 2.5], dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (differentiable(5, 4), loads), fast_mode=True)


@pytest.mark.parametrize("levels", [[1.0, 0.8, 0.5, 0.1], [1.0, 1.0, 0.3, 0.3]])
def test_unrolled_sweeps_are_differentiable_in_the_scales(levels):
    weight = torch.rand(2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def call(x, t):
        scales = torch.tensor(levels, dtype=torch.float64)
        scales = scales * t[0] + torch.tensor([1.0, 1.0, 0.2, 0.2]).double() * t[1] * weight[0]
        problem = MultiAssignment(2, eps=0.5, damping=scales)
        return solve(x, problem, Sinkhorn(steps=3)).plan

    t = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, (differentiable(5, 4), t), fast_mode=True)


def test_channels_of_one_scale_share_its_derivative():
    damping = torch.tensor([1.0, 0.7, 0.7, 0.1], dtype=torch.float64, requires_grad=True)
    solution = solve(differentiable(5, 4).detach(), MultiAssignment(1, damping=damping), SHARP)
    (grad,) = torch.autograd.grad(solution.value, damping)
    assert float((grad[1] - grad[2]).abs()) <= 1e-12
    assert bool(grad.abs().min() > 1e-3)


def test_what_has_no_derivative_says_so():
    x, damping = differentiable(5, 4), torch.tensor([1.0, 0.7, 0.4, 0.1], dtype=torch.float64)
    problem = MultiAssignment(2, eps=0.5, damping=damping)
    plan = solve(x, problem).plan
    with pytest.raises(NotImplementedError, match="cannot be differentiated twice"):
        torch.autograd.grad(plan.square().sum(), x, create_graph=True)
    value = solve(x, problem).value
    with pytest.raises(NotImplementedError, match="at most two channel scales"):
        torch.autograd.grad(value * x.sum(), x, create_graph=True)
    swept = solve(x, problem, Sinkhorn(steps=3))
    with pytest.raises(NotImplementedError, match="no unrolled derivative"):
        swept.value.backward()
    with pytest.raises(ValueError, match="gradient must be 'unroll' or 'none' for dense"):
        solve(x, problem, Sinkhorn(max_steps=500, dense=True))


def test_the_derivative_keeps_no_table_of_all_channels():
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = unit_scores(500, 16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        solution = solve(x, MultiAssignment(4, eps=0.3, damping=ramp(16, 16)))
    held = sum(kept.values()) + solution.raw.row_potential.nbytes + solution.plan.nbytes
    assert held <= 6 * x.nbytes  # one potential a row and channel is as much as the scores

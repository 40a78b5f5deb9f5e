"""The merged sweeps are the K-channel sweeps, in both orders, for any scales."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import MultiAssignment, Sinkhorn, Transport, solve
from tests.solver.strategies import FEW, unit_scores

SHAPES = [(1, 5, 2), (7, 9, 4), (33, 2, 1), (50, 16, 15), (20, 6, 1), (64, 32, 16)]
ORDERS = ["row-column-depth", "column-depth-row"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize(("n", "k", "budget"), SHAPES)
def test_merged_channels_follow_the_published_sweeps(n, k, budget, steps, order):
    x = 3 * unit_scores(n, k, seed=n)
    problem = MultiAssignment(k=budget)
    merged = solve(x, problem, Sinkhorn(steps=steps, order=order))
    whole = solve(x, problem, Sinkhorn(steps=steps, order=order, dense=True))
    table = multisk.reference.multi_sk_channels(x.numpy(), budget, 0.07, 0.25, steps, order)
    assert (merged.plan - whole.plan).abs().max() <= 1e-12
    assert np.abs(merged.plan.numpy() - np.exp(table)[:budget].sum(0)).max() <= 1e-12
    assert np.abs(merged.channels().numpy() - np.exp(table)).max() <= 1e-12
    assert int(merged.steps) == steps


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "scales",
    [
        [1.0, 1.0, 0.5, 0.5, 0.1],
        [1.0, 0.8, 0.6, 0.4, 0.2],
        [1.0, 1.0, 1.0, 1.0, 0.0],
        [0.5, 0.5, 0.5, 0.5, 0.5],
    ],
)
def test_a_vector_of_scales_follows_the_published_sweeps(scales, order):
    x = unit_scores(11, 5)
    problem = MultiAssignment(k=2, damping=torch.tensor(scales, dtype=torch.float64))
    for steps in (1, 4):
        merged = solve(x, problem, Sinkhorn(steps=steps, order=order)).plan
        want = multisk.reference.multi_sk(x.numpy(), 2, 0.07, np.array(scales), steps, order)
        assert np.abs(merged.numpy() - want).max() <= 1e-12


def test_a_batch_is_a_loop_over_its_problems():
    x = torch.stack([s * unit_scores(9, 6, seed=s) for s in range(1, 7)]).view(2, 3, 9, 6)
    for solver in (Sinkhorn(steps=5), Sinkhorn(), multisk.Newton(tolerance=1e-10)):
        whole = solve(x, MultiAssignment(k=2), solver)
        assert whole.plan.shape == x.shape
        assert whole.steps.shape == whole.converged.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = solve(x[i, j], MultiAssignment(k=2), solver)
                assert (alone.plan - whole.plan[i, j]).abs().max() <= 1e-12
                assert int(alone.steps) == int(whole.steps[i, j])


def test_sweeps_stop_at_the_tolerance_and_say_so():
    x = unit_scores(40, 8)
    solution = solve(x, MultiAssignment(k=3), Sinkhorn(tolerance=1e-4))
    assert bool(solution.converged)
    assert float(solution.marginal_error) <= 1e-4
    short = solve(x, MultiAssignment(k=3), Sinkhorn(steps=int(solution.steps) - 1))
    assert float(short.marginal_error) > 1e-4
    assert short.status is multisk.Status.STEPS_DONE
    assert not bool(short.converged)


@pytest.mark.parametrize("log", [False, True])
def test_the_three_normalisations_are_one_sweep(log):
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(2, 4, 5, 4, generator=generator, dtype=torch.float64) + 0.1
    x = table.log() if log else table
    x = multisk.row_normalize(x, 1.0, log=log)
    x = multisk.column_normalize(x, torch.full((2, 4, 4), 5 / 4), log=log)
    x = multisk.depth_normalize(x, log=log)
    want = table / table.sum(-1, keepdim=True)
    want = want / want.sum(-2, keepdim=True) * 5 / 4
    want = want / want.sum(-3, keepdim=True)
    assert ((x.exp() if log else x) - want).abs().max() <= 1e-14


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", ["row_normalize", "column_normalize", "depth_normalize"])
def test_normalisations_are_differentiable(name, log):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(3, 4, 2, generator=generator, dtype=torch.float64).add(0.2).requires_grad_()
    normalize = getattr(multisk, name)
    assert torch.autograd.gradcheck(lambda t: normalize(t, 1.5, log=log), (x,))


def test_slices_without_mass_stay_without_mass():
    x = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    assert multisk.row_normalize(x).tolist() == [[0.0, 0.0], [0.25, 0.75]]
    assert multisk.row_normalize(x.log(), log=True).exp().tolist() == [[0.0, 0.0], [0.25, 0.75]]


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(40, 8, 2), (70, 20, 4), (30, 30, 1)]),
    st.sampled_from([1e-4, 1e-6]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_every_backend_stops_after_the_same_number_of_sweeps(seed, shape, tolerance, dtype):
    """One rule (`stop_at`); float32 sums differ by their order, near its limit by a sweep."""
    pytest.importorskip("numba")
    rows, columns, k = shape
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).sigmoid()
    for problem in (MultiAssignment(k, eps=0.1), Transport(eps=0.1)):
        steps = []
        for name in ("torch", "numpy", "numba"):
            with multisk.use_backend(name):
                found = solve(x.to(dtype), problem, Sinkhorn(tolerance=tolerance))
            assert found.converged
            steps.append(int(found.steps))
        near = dtype == torch.float32 and tolerance < 1e-5
        assert max(steps) - min(steps) <= near

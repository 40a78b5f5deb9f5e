"""Newton's compiled passes for more than 128 columns."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import MultiAssignment, Newton, solve
from tests.solver.strategies import FEW

pytest.importorskip("numba")

from multisk._backends.numba import wide
from multisk._backends.numba.loops import BLOCK


def normal(*shape, seed=0, spread=0.0):
    """Normal scores, with columns of uneven popularity."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return x + spread * torch.randn(shape[-1], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("k", "dtype"), [(129, "float64"), (200, "float32"), (64, "float64")])
def test_panels_add_the_lower_triangle_of_the_product(k, dtype):
    generator = np.random.default_rng(k)
    rows = generator.random((BLOCK - 3, k)).astype(dtype)
    w, z = wide.panels_of(rows), wide.panels_of(rows)
    for slot, row in enumerate(rows):
        wide.keep(row, row.dtype.type(1), slot, w)
        wide.keep(row, row.dtype.type(0.5), slot, z)
    found = np.full((k, k), 3.0)
    wide.couple_panels(w, z, found)

    want = 3.0 + 0.5 * rows.T.astype(float) @ rows
    lower = np.tril_indices(k)
    np.testing.assert_allclose(found[lower], want[lower], rtol=10 * np.finfo(dtype).eps)
    assert bool((np.triu(found, 1) == np.triu(np.full((k, k), 3.0), 1)).all())


MASK = torch.rand(180, 150, generator=torch.Generator().manual_seed(1)) > 0.3
PROBLEMS = {
    "plain": MultiAssignment(k=8, eps=0.1),
    "cold": MultiAssignment(k=8, eps=0.03),
    "half": MultiAssignment(k=75, eps=0.1),
    "mask": MultiAssignment(k=8, eps=0.1, mask=MASK),
    "k a row": MultiAssignment(k=1 + torch.arange(180) % 9, eps=0.1),
    "damping 0": MultiAssignment(k=8, eps=0.1, damping=0.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PROBLEMS)
def test_many_columns_are_compiled_and_the_plan_is_torchs(name, dtype):
    x, problem = normal(2, 180, 150), PROBLEMS[name]
    found = solve(x.to(dtype), problem, Newton()).raise_if_failed()
    assert found.backend == "numba"
    with multisk.use_backend("torch"):
        want = solve(x, problem, Newton()).plan

    close = 1e-9 if dtype == torch.float64 else 2e-6 * float(problem.eps**-0.5)
    assert (found.plan.double() - want).abs().max() <= close


@pytest.mark.parametrize("k", [256, 300])
def test_columns_of_uneven_popularity_are_no_reason_to_start_anew(k):
    """Steps that go too far, and out of the number format, damp the next ones."""
    x = normal(k, k, spread=1.0).sigmoid()
    found = solve(x, MultiAssignment(k=8, eps=0.02), Newton()).raise_if_failed()
    assert found.backend == "numba"
    assert int(found.steps) <= 25


@FEW
@given(st.integers(0, 2**31 - 1), st.integers(130, 190), st.sampled_from([0.2, 0.05]))
def test_any_number_of_columns_meets_its_margins(seed, k, eps):
    """And its plan is the solution: the logits are the scores, times a number, and potentials."""
    x = normal(k + seed % 90, k, seed=seed)
    found = solve(x, MultiAssignment(k=4, eps=eps), Newton()).raise_if_failed()
    assert (found.plan.sum(-1) - 4).abs().max() <= 1e-9
    assert (found.plan.sum(-2) / (4 * len(x) / k) - 1).abs().max() <= 1e-9
    form = found.plan.logit() - found.row_potential[:, None] - found.column_potential
    cells = (found.plan > 1e-9) & (found.plan < 1 - 1e-6)
    form, x = form[cells], x[cells]
    assert (form - (form @ x) / (x @ x) * x).abs().max() <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_columns_do_not_depend_on_the_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr("multisk._backends.numba.batch.SHARED_CELLS", 1 << 14)
    x, problem = normal(600, 140).to(dtype), MultiAssignment(k=8, eps=0.05)
    before, plans, start = torch.get_num_threads(), [], solve(x + 0.01 * x.cos(), problem)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            cold, warm = solve(x, problem, Newton()), solve(x, problem, init=start)
            plans.append(torch.stack([s.raise_if_failed().plan for s in (cold, warm)]))
    finally:
        torch.set_num_threads(before)

    assert torch.equal(*plans)


def test_the_first_pass_of_a_start_may_be_its_last():
    x, problem = normal(200, 150, spread=0.5).float(), MultiAssignment(k=8, eps=0.1)
    cold = solve(x, problem).raise_if_failed()
    assert int(solve(x, problem, init=cold).raise_if_failed().steps) <= 1


@pytest.mark.parametrize("shape", [(90, 200), (70, 900), (300, 140)])
def test_a_start_is_followed_by_compiled_passes_whatever_the_shape(shape):
    x, problem = normal(*shape).sigmoid(), MultiAssignment(k=8, eps=0.05)
    cold = solve(x, problem).raise_if_failed()
    warm = solve(x + 0.01 * normal(*shape, seed=1), problem, init=cold).raise_if_failed()
    assert (warm.backend, warm.solver) == ("numba", "Newton")


@pytest.mark.parametrize("size", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("shape", [(200, 150), (60, 800)])
def test_a_start_from_anywhere_ends_at_the_solution(shape, size):
    """Where a system that is only applied does not do, the passes that form it go on."""
    x, problem = normal(*shape, spread=0.5).sigmoid(), MultiAssignment(k=8, eps=0.02)
    want = solve(x, problem).raise_if_failed().plan
    start = size * normal(1, shape[1], seed=1)[0]
    for solver in (None, Newton()):
        found = solve(x, problem, solver, init=start).raise_if_failed()
        assert (found.plan - want).abs().max() <= 1e-8

"""Whatever is asked, on tensors that kernels take every visit to the scores is a launch.

Without a GPU the kernels run in Triton's interpreter on CPU tensors; the routing is the same.
"""

import pytest
import torch

from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("the routing is watched in the interpreter", allow_module_level=True)

from multisk import (  # noqa: E402
    BalancedAssigner,
    MultiAssignment,
    Newton,
    Sinkhorn,
    Transport,
    solve,
)
from multisk._backends import choose  # noqa: E402
from tests.kernels.watch import B, K, N, draw, mask, watching  # noqa: E402

pytestmark = marks


def loads():
    load = torch.linspace(1.0, 2.0, K, dtype=torch.float64)
    return load * (2 * N / load.sum())


def masses():
    return 0.5 + draw(N, seed=2).abs()


LOW = torch.tensor([1.0, 1.2, 0.9], dtype=torch.float64)
LEVELS = torch.tensor([1.0, 1.0, 0.6, 0.1, 0.1], dtype=torch.float64)  # three groups
OTHER = "column-depth-row"
# name: (problem, solver, the files, or kernels of a file, that its solve launches)
CASES = {
    "two scales": (MultiAssignment(k=2), Newton(), "newton plan"),
    "row budgets, mask": (
        MultiAssignment(k=torch.full((N,), 2.0), eps=0.5, mask=mask()),
        Newton(),
        "newton plan",
    ),
    "loads": (MultiAssignment(k=2, capacity=loads()), Newton(), "newton plan"),
    "intervals": (
        MultiAssignment(k=2, eps=0.5, capacity=(0.9 * loads(), 1.1 * loads())),
        Newton(),
        "newton plan",
    ),
    "intervals, mask": (
        MultiAssignment(k=2, eps=0.5, mask=mask(), capacity=(0.5 * loads(), 1.5 * loads())),
        Newton(),
        "newton plan",
    ),
    "many scales": (
        MultiAssignment(k=2, eps=10.0, damping=LEVELS),
        Newton(),
        "groups._sweep groups._plan groups._respond",
    ),
    "transport": (Transport(eps=0.3), Newton(), "newton plan"),
    "transport, rows and mask": (
        Transport(eps=0.3, rows=masses(), mask=mask()),
        Newton(),
        "newton plan",
    ),
    "transport, columns free to yield": (
        Transport(eps=0.3, relax=(None, 2.0)),
        Newton(),
        "newton plan",
    ),
    "transport, both relaxed": (Transport(eps=0.3, relax=(1.0, 2.0)), Newton(), "newton plan"),
    "sweeps": (MultiAssignment(k=2), Sinkhorn(steps=3, gradient="none"), "resident plan"),
    "sweeps, other order": (
        MultiAssignment(k=2, mask=mask()),
        Sinkhorn(steps=3, order=OTHER, gradient="none"),
        "resident plan",
    ),
    "sweeps to a tolerance": (
        MultiAssignment(k=2, eps=1.0),
        Sinkhorn(tolerance=1e-8),
        "resident sweep plan",
    ),
    "sweeps of many scales": (
        MultiAssignment(k=2, eps=0.5, mask=mask(), damping=LEVELS),
        Sinkhorn(steps=3, gradient="none"),
        "groups._sweep groups._plan",
    ),
    "sweeps of many scales, other order": (
        MultiAssignment(k=2, eps=0.5, damping=LEVELS),
        Sinkhorn(steps=3, order=OTHER, gradient="none"),
        "groups._sweep groups._plan",
    ),
    "sweeps of a transport": (
        Transport(eps=0.5, mask=mask()),
        Sinkhorn(tolerance=1e-8),
        "sweep._transport plan",
    ),
    "sweeps of a transport, other order": (
        Transport(eps=0.5, relax=(1.0, None)),
        Sinkhorn(steps=5, order=OTHER, gradient="none"),
        "sweep._transport plan",
    ),
}


def answer(problem, solver):
    """The solution, and the cotangent of its scores."""
    x = draw(B, N, K).requires_grad_()
    solution = solve(x, problem, solver)
    if solution.plan.requires_grad:
        solution.plan.backward(draw(B, N, K, seed=3))
    return solution, x.grad


def parts(solution, gradient):
    """What is compared."""
    plan, log = solution.plan.detach(), solution.log_plan.detach()
    found = [plan, solution.column_potential, log]
    return found if gradient is None else [*found, gradient]


@pytest.mark.parametrize("name", CASES)
def test_a_solve_is_made_of_launches_and_is_the_one_of_torch(name, monkeypatch):
    problem, solver, files = CASES[name]
    with watching(monkeypatch) as watch:
        got = answer(problem, solver)
    judged = {"sum"} if name == "many scales" else set()  # the plan, in the scores' own precision
    assert watch.operations <= judged
    assert set(files.split()) <= watch.launched | watch.kernels
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    want = answer(problem, solver)
    assert torch.equal(got[0].converged, want[0].converged)
    exact = isinstance(solver, Sinkhorn) and solver.steps is not None
    near = 1e-12 if exact else 1e-7
    for one, two in zip(parts(*got), parts(*want), strict=True):
        one, two = centred(one), centred(two)
        torch.testing.assert_close(one, two, rtol=0, atol=near * float(top(two)))


def centred(x):
    """Column potentials without what changes no plan: a shift of all, or of a column's groups."""
    if x.shape[-2] == N:
        return x
    x = x - x.mean(-1, keepdim=True)
    return x if x.ndim == 2 else x - x.mean(-2, keepdim=True)


def top(x):
    return x.abs()[x.isfinite()].max().clamp_min(1.0)


@pytest.mark.parametrize(
    "problem", [MultiAssignment(k=2, mask=mask()), Transport(eps=0.3), MultiAssignment(k=2)]
)
def test_unseen_rows_are_assigned_by_a_launch(problem, monkeypatch):
    x, new = draw(B, N, K), draw(B, 7, K, seed=4)
    solution = solve(x, problem)
    with watching(monkeypatch) as watch:
        got = solution.assign(new)
    assert watch.launched == {"plan"}
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    torch.testing.assert_close(got, solution.assign(new), rtol=0, atol=2e-7)  # torch stops at 1e-7


@pytest.mark.parametrize("problem", [MultiAssignment(k=2), Transport(eps=0.3, relax=(1.0, None))])
def test_an_assigner_runs_and_differentiates_by_launches(problem, monkeypatch):
    assigner = BalancedAssigner(K, problem)
    assigner(draw(B, N, K)[0])
    x = draw(N, K, seed=5).requires_grad_()
    grad = draw(N, K, seed=6)
    with watching(monkeypatch) as watch:
        plan = assigner.assign(x)
        plan.backward(grad)
    assert watch.launched == {"plan", "gradient"}
    assert not watch.operations
    got = x.grad.clone()
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    x.grad = None
    other = assigner.assign(x)
    other.backward(grad)
    torch.testing.assert_close(plan, other, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got, x.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("problem", "solver"),
    [
        (MultiAssignment(k=1, eps=2.0), Newton()),
        (MultiAssignment(k=1, eps=2.0, capacity=(LOW, LOW + 0.5)), Newton()),
        (Transport(eps=2.0, relax=(None, 2.0)), Newton()),
        (MultiAssignment(k=1, eps=5.0, damping=LEVELS[1:4]), Sinkhorn(tolerance=1e-11)),
    ],
    ids=["two scales", "intervals", "transport", "many scales"],
)
def test_gradcheck_in_float64_passes_through_the_kernels(problem, solver):
    x = draw(4, 3).requires_grad_()
    weight = draw(4, 3, seed=7)

    def loss(x):
        return (solve(x, problem, solver).plan * weight).sum()

    assert torch.autograd.gradcheck(loss, (x,), fast_mode=True, atol=1e-6)

"""Whatever is asked, on tensors that kernels take every visit to the scores is a launch.

Without a GPU the kernels run in Triton's interpreter on CPU tensors; the routing is the same.
"""

import contextlib
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.kernel_tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("the routing is watched in the interpreter", allow_module_level=True)

from triton.runtime.interpreter import InterpretedFunction  # noqa: E402

from multisk import (  # noqa: E402
    BalancedAssigner,
    MultiAssignment,
    Newton,
    Sinkhorn,
    Transport,
    _ops,
    solve,
)
from multisk._solver import fused  # noqa: E402

pytestmark = marks
B, N, K = 2, 11, 5
# What prepares scores and a mask, copies, and scales a finished cotangent; no visit of a solver.
HARMLESS = {
    *("empty", "empty_like", "new_empty", "zeros", "clone", "copy_", "_to_copy", "detach"),
    *("view", "_unsafe_view", "reshape", "expand", "transpose", "slice", "select", "index"),
    *("permute", "as_strided", "unsqueeze", "alias", "set_", "t", "is_same_size"),
    *("aminmax", "isfinite", "masked_fill", "bitwise_not", "mul", "div", "ones_like"),
    *("zeros_like", "full_like", "fill_", "unbind", "_local_scalar_dense"),
    *("new_full", "new_ones", "new_zeros", "randn"),  # made beside a table, not from it
}
# The budgets of a mask are counted once, before any solver; no scores are read.
COUNTS = {"sum", "all", "any", "bitwise_and", "bitwise_and_", "bitwise_or_", "bitwise_or", "eq"}


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def mask():
    free = draw(B, N, K, seed=1) > -1.0
    free[..., 1:4] = True
    return free


def loads():
    load = torch.linspace(1.0, 2.0, K, dtype=torch.float64)
    return load * (2 * N / load.sum())


def masses():
    return 0.5 + draw(N, seed=2).abs()


LOW = torch.tensor([1.0, 1.2, 0.9], dtype=torch.float64)
LEVELS = torch.tensor([1.0, 1.0, 0.6, 0.1, 0.1], dtype=torch.float64)  # three groups
OTHER = "column-depth-row"
# name: (problem, solver, the kernels' files that its solve launches)
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
    "many scales": (MultiAssignment(k=2, eps=5.0, damping=LEVELS), Newton(), "groups respond"),
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
        "groups respond",
    ),
    "sweeps of many scales, other order": (
        MultiAssignment(k=2, eps=0.5, damping=LEVELS),
        Sinkhorn(steps=3, order=OTHER, gradient="none"),
        "groups respond",
    ),
    "sweeps of a transport": (
        Transport(eps=0.5, mask=mask()),
        Sinkhorn(tolerance=1e-8),
        "transport plan",
    ),
    "sweeps of a transport, other order": (
        Transport(eps=0.5, relax=(1.0, None)),
        Sinkhorn(steps=5, order=OTHER, gradient="none"),
        "transport plan",
    ),
}


class Watch(TorchDispatchMode):
    """Writes down the torch operations on tables of scores' size, and the files launched from."""

    def __init__(self):
        super().__init__()
        self.operations, self.launched, self.inside = set(), set(), False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if not self.inside:
            tables = [x for x in (*args, found) if isinstance(x, torch.Tensor) and is_table(x)]
            if tables and function.namespace == "aten":
                name = function.overloadpacket.__name__
                counted = all(x.dtype == torch.bool for x in args if isinstance(x, torch.Tensor))
                if not (name in HARMLESS or (name in COUNTS and counted)):
                    self.operations.add(name)
        return found


def is_table(x):
    return x.ndim >= 2 and sorted(x.shape[-2:]) == sorted((N, K)) and math.prod(x.shape) >= N * K


@contextlib.contextmanager
def watching(monkeypatch):
    watch, plain = Watch(), InterpretedFunction.run

    def run(self, *args, **options):
        watch.launched.add(self.fn.__module__.rpartition(".")[2])
        watch.inside, before = True, watch.inside
        try:
            return plain(self, *args, **options)
        finally:
            watch.inside = before

    with monkeypatch.context() as patch, watch:
        patch.setattr(InterpretedFunction, "run", run)
        yield watch


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
    assert set(files.split()) <= watch.launched
    monkeypatch.setattr(_ops, "kernels_run", lambda _: False)
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


class Inside(TorchDispatchMode):
    """Within an operator: what torch does with tables, and what the host asks to see."""

    def __init__(self, watch):
        super().__init__()
        self.watch, self.asked, self.operations = watch, set(), set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if not self.watch.inside:
            if name in {"_local_scalar_dense", "is_nonzero", "nonzero", "equal"}:
                self.asked.add(name)
            if any(isinstance(x, torch.Tensor) and is_table(x) for x in args):
                self.operations.add(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("problem", "dtype"),
    [
        (MultiAssignment(k=2, eps=2.0), torch.float32),
        (MultiAssignment(k=2, eps=2.0, mask=mask()), torch.float64),
        (Transport(eps=1.0, relax=(1.0, 2.0)), torch.float32),
    ],
    ids=["dense", "wide, mask", "transport"],
)
def test_a_captured_solve_and_its_derivative_ask_the_host_nothing(problem, dtype, monkeypatch):
    called = []

    def inside(run, watch):
        def wrapped(*args):
            called.append(run.__name__)
            with Inside(watch) as seen:
                found = run(*args)
            assert not seen.asked
            # The span of the scores, from which the search takes its first temperature.
            assert seen.operations <= HARMLESS | {"amax", "amin"}
            return found

        return wrapped

    monkeypatch.setattr(fused, "being_captured", lambda _: True)
    monkeypatch.setattr(fused, "ROUNDS", 3)
    with watching(monkeypatch) as watch:
        for part in ("newton_in_kernels", "gradient_in_kernels"):
            monkeypatch.setattr(fused, part, inside(getattr(fused, part), watch))
        x = draw(B, N, K).to(dtype).requires_grad_()
        plan = solve(x, problem, Newton(tolerance=1e-3, max_steps=3)).plan
        plan.backward(draw(B, N, K, seed=3).to(dtype))
    assert called == ["newton_in_kernels", "gradient_in_kernels"]


def test_a_look_of_the_host_is_seen(monkeypatch):
    with watching(monkeypatch) as watch, Inside(watch) as seen:
        assert bool(torch.ones(1).sum() > 0)
        draw(B, N, K).exp()
    assert seen.asked == {"_local_scalar_dense"}
    assert "exp" in seen.operations


@pytest.mark.parametrize(
    "problem", [MultiAssignment(k=2, mask=mask()), Transport(eps=0.3), MultiAssignment(k=2)]
)
def test_unseen_rows_are_assigned_by_a_launch(problem, monkeypatch):
    x, new = draw(B, N, K), draw(B, 7, K, seed=4)
    solution = solve(x, problem)
    with watching(monkeypatch) as watch:
        got = solution.assign(new)
    assert watch.launched == {"plan", "newton"}
    monkeypatch.setattr(_ops, "kernels_run", lambda _: False)
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
    assert watch.launched == {"plan", "newton", "gradient"}
    assert not watch.operations
    got = x.grad.clone()
    monkeypatch.setattr(_ops, "kernels_run", lambda _: False)
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

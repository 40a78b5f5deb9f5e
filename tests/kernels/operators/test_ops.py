import subprocess
import sys

import pytest
import torch
from torch.library import opcheck

import multisk
from multisk import _operators as _ops
from multisk._backends import choose
from tests.kernels.tools import INTERPRET, needs_kernels, quiet

if INTERPRET:
    needs_kernels()
pytestmark = [pytest.mark.interpret, *quiet] if INTERPRET else quiet


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


def margins(batch, count, width, k, dtype=torch.float64):
    rows = torch.full((batch, count), float(k), dtype=dtype)
    columns = torch.full((batch, width), count * k / width, dtype=torch.float64)
    cells = torch.full_like(rows, float(width)), torch.full_like(columns, float(count))
    return [rows, cells[0], columns, cells[1]]


CALLS = {
    "normalize": lambda: (
        _ops.normalize,
        (draw(2, 5, 4).exp().requires_grad_(), torch.tensor([1.5]).double(), -2, False),
    ),
    "normalize in logarithms": lambda: (
        _ops.normalize,
        (draw(2, 5, 4).requires_grad_(), draw(5, 4).exp().requires_grad_(), -3, True),
    ),
    "normalize_backward": lambda: (
        _ops.normalize_backward,
        (draw(5, 4), draw(5, 4).exp(), draw(5).exp(), torch.ones(1).double(), -1, False),
    ),
    "sweeps": lambda: (
        _ops.sweeps,
        (draw(2, 12, 6), draw(2, 2).exp(), margins(2, 12, 6, 2), None, [], 3, True),
    ),
    "newton": lambda: (
        _ops.newton,
        (
            draw(1, 12, 6, dtype=torch.float32),
            torch.ones(1),
            margins(1, 12, 6, 2, torch.float32),
            None,
            None,
            None,
            1e-6,
            5,
        ),
    ),
    "sweeps_gradient": lambda: (
        _ops.sweeps_gradient,
        (draw(2, 12, 6), draw(2, 2).exp(), margins(2, 12, 6, 2), None, 3, True, draw(2, 12, 6), []),
    ),
    "sweeps_kept": lambda: (
        _ops.sweeps_kept,
        (draw(2, 12, 6), draw(2, 2).exp(), margins(2, 12, 6, 2), None, 3, True),
    ),
    "plan_gradient": lambda: (
        _ops.plan_gradient,
        (
            draw(1, 12, 6),
            torch.ones(1).double(),
            draw(1, 12),
            draw(1, 6),
            draw(1, 12, 6),
            None,
            None,
            None,
        ),
    ),
    "assign": lambda: (
        _ops.assign,
        (
            draw(1, 7, 6).requires_grad_(),
            torch.ones(1).double(),
            draw(1, 6),
            margins(1, 7, 6, 2)[0],
            None,
            None,
        ),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_operator_keeps_the_rules_of_torch_library(name):
    operator, inputs = CALLS[name]()
    assert set(opcheck(operator, inputs).values()) == {"SUCCESS"}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_gradcheck_passes_through_the_normalising_operator(axis, log):
    x = draw(3, 4, 2) if log else draw(3, 4, 2).exp()
    sums = [size for at, size in enumerate(x.shape) if at - 3 != axis]
    target = draw(*sums, seed=1).exp().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, t: _ops.normalize(x, t, axis, log)[0],
        (x.requires_grad_(), target),
        fast_mode=INTERPRET,
    )


@pytest.mark.skipif(INTERPRET, reason="compares the twins with the solvers on the CPU")
def test_the_twins_are_the_solvers():
    x = draw(2, 40, 10)
    problem = multisk.MultiAssignment(k=3, eps=0.5)
    scale = torch.full((2,), 1.5, dtype=torch.float64)
    wanted = margins(2, 40, 10, 3)
    plan, a, b, *_, solved = _ops.newton(x, scale, wanted, None, None, None, 1e-8, 20)
    assert solved.all()
    solution = multisk.solve(x, problem, multisk.Newton(tolerance=1e-8))
    torch.testing.assert_close(plan, solution.plan, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.sigmoid(1.5 * x + a[..., None] + b[:, None]), plan)
    scales = torch.tensor([[2.0, 0.5]], dtype=torch.float64).expand(2, 2)
    for order in ("row-column-depth", "column-depth-row"):
        first = order == "row-column-depth"
        a, b = _ops.sweeps(x, scales, margins(2, 40, 10, 3), None, [], 3, first)
        p = torch.sigmoid(1.5 * x + a[..., None] + b[:, None])
        p = p if first else 3 * p / p.sum(-1, keepdim=True)
        want = multisk.solve(x, problem, multisk.Sinkhorn(steps=3, order=order)).plan
        torch.testing.assert_close(p, want)


@pytest.mark.skipif(INTERPRET, reason="compiles the CPU path")
@pytest.mark.parametrize("log", [False, True])
def test_a_normalisation_compiles_whole_with_its_gradient(log):
    def loss(x):
        t = torch.ones(1, dtype=x.dtype)
        return (_ops.normalize(torch.exp(x), t, -1, log)[0] * 2).square().sum()

    x = draw(5, 8).requires_grad_()
    y = x.detach().clone().requires_grad_()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(x).backward()
    loss(y).backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.skipif(INTERPRET, reason="compiles the CPU path")
def test_whole_solves_compile_as_one_graph_with_their_gradients():
    # In a process of its own: run-time type checks cannot be traced.
    code = """
import torch, multisk
problem = multisk.MultiAssignment(k=2, eps=0.5)
grad = torch.randn(20, 6)
for solver in (multisk.Newton(), multisk.Sinkhorn(steps=3)):
    def loss(x):
        return (multisk.solve(x, problem, solver).plan * grad).sum()
    x = torch.randn(20, 6, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(x).backward()
    loss(y).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(INTERPRET, reason="compiles the CPU path")
def test_compiled_solves_give_the_eager_plan_and_verdict():
    code = """
import torch, multisk
mask = torch.arange(120).view(20, 6) % 7 != 0
for problem, solver in (
    (multisk.MultiAssignment(k=2, eps=0.5), multisk.Newton()),
    (multisk.MultiAssignment(k=2, eps=0.5), multisk.Sinkhorn(steps=3)),
    (multisk.MultiAssignment(k=2, eps=0.5, mask=mask), multisk.Newton()),
    (multisk.Transport(eps=0.5), multisk.Newton()),
    (multisk.Transport(eps=0.5, relax=(1.0, None)), multisk.Sinkhorn(steps=3)),
):
    def fields(x):
        found = multisk.solve(x, problem, solver)
        return found.plan, found.column_potential, found.marginal_error, found.converged
    x = torch.randn(20, 6)
    compiled = torch.compile(fields, fullgraph=True, backend="aot_eager")(x)
    for got, want in zip(compiled, fields(x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(INTERPRET, reason="exports the CPU path")
def test_an_exported_solve_keeps_the_operator_and_gives_the_plan():
    class Assign(torch.nn.Module):
        def forward(self, x):
            return multisk.solve(x, multisk.MultiAssignment(k=2, eps=0.5)).plan

    x = draw(20, 6, dtype=torch.float32)
    program = torch.export.export(Assign(), (x,))
    graphs = [m.graph for m in program.graph_module.modules() if hasattr(m, "graph")]
    names = {str(node.target) for graph in graphs for node in graph.nodes}
    assert "multisk.newton.default" in names
    torch.testing.assert_close(program.module()(x), Assign()(x), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(INTERPRET, reason="starts a process of its own")
def test_solving_on_the_processor_loads_no_triton():
    code = (
        "import sys, torch, multisk\n"
        "x = torch.randn(20, 6, requires_grad=True)\n"
        "multisk.solve(x, multisk.MultiAssignment(k=2)).plan.square().sum().backward()\n"
        "multisk.row_normalize(x.exp())\n"
        "assert not any(name.partition('.')[0] == 'triton' for name in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(not INTERPRET, reason="needs TRITON_INTERPRET=1")
@pytest.mark.parametrize("shape", [(60, 12), (12, 30)])
def test_a_whole_solve_through_the_kernels_is_that_of_the_processor(shape, monkeypatch):
    x = draw(2, *shape, dtype=torch.float32).requires_grad_()
    grad = draw(2, *shape, dtype=torch.float32, seed=1)
    mask = draw(2, *shape, seed=2) > -1.5
    problem = multisk.MultiAssignment(k=4, eps=1.0, mask=mask)
    pieces = []
    for kernels in (True, False):
        if not kernels:
            monkeypatch.setattr(choose, "has_triton", lambda: False)
        solution = multisk.solve(x, problem)
        assert solution.converged.all()
        (below,) = torch.autograd.grad(solution.plan, x, grad)
        swept = multisk.solve(x.detach(), problem, multisk.Sinkhorn(steps=3)).plan
        settled = multisk.solve(x.detach(), problem, multisk.Sinkhorn(tolerance=1e-4))
        assert settled.converged.all()
        pieces.append((solution.plan.detach(), below, swept))
    for got, want in zip(*pieces, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-5)

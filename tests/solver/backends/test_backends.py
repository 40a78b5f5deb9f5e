"""Who reads the scores: chosen in one place, forced by the user, and said by the solution."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, Transport
from multisk._backends import choose
from tests.solver.strategies import unit_scores

ROOT = Path(multisk.__file__).parent
PROBLEMS = {
    "assignment": MultiAssignment(k=2, eps=0.1),
    "loads": MultiAssignment(k=2, eps=0.1, capacity=torch.linspace(8.0, 12.0, 6)),
    "transport": Transport(eps=0.1),
    "relaxed": Transport(eps=0.1, relax=(1.0, None)),
}
SOLVERS = [None, Newton(), Sinkhorn(steps=7), Sinkhorn()]
MASK = torch.arange(180).view(30, 6) % 7 != 0


HOLES = MASK.clone()  # a row without choice, a column without cells, another row without any
HOLES[3] = torch.tensor([True, False, False, True, False, False])
HOLES[:, 5] = False
HOLES[7] = False
BUDGETS = torch.where(torch.arange(30) == 7, 0, 2)
LIVE = torch.tensor([1.0, 1, 1, 1, 1, 0])
MASKED = {
    "assignment": MultiAssignment(k=2, eps=0.1, mask=MASK),
    "settled cells": MultiAssignment(k=BUDGETS, eps=0.1, mask=HOLES),
    "transport": Transport(eps=0.1, mask=MASK),
    "masses of 0": Transport(
        eps=0.1, mask=MASK, rows=BUDGETS.double(), columns=LIVE.double() * 58 / 5
    ),
    "relaxed": Transport(eps=0.1, mask=MASK, relax=(1.0, 2.0)),
}


CASES = [
    (name, solver)
    for name in PROBLEMS
    for solver in SOLVERS
    if name in {"assignment", "loads"} or not isinstance(solver, Newton)  # loops for capped cells
]


@pytest.mark.parametrize(("name", "solver"), CASES, ids=repr)
def test_every_backend_of_the_cpu_gives_the_same_plan_and_says_who_it_was(name, solver):
    x = unit_scores(30, 6)
    plans = []
    for backend in ("torch", "numpy", "numba"):
        with multisk.use_backend(backend):
            found = multisk.solve(x, PROBLEMS[name], solver)
        assert found.backend == backend
        plans.append(found.plan)
    for plan in plans[1:]:
        torch.testing.assert_close(plan, plans[0], rtol=0, atol=2e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MASKED)
def test_masks_are_read_by_the_compiled_loops_as_by_torch(name, dtype):
    pytest.importorskip("numba")
    x = torch.stack([unit_scores(30, 6, dtype=dtype), unit_scores(30, 6, seed=1, dtype=dtype)])
    x = x.masked_fill(~HOLES, 1e3) if name == "settled cells" else x  # what nobody reads
    for solver in (None, Newton(), Sinkhorn(steps=7), Sinkhorn()):
        found = {}
        for backend in ("torch", "numba"):
            if isinstance(solver, Newton) and isinstance(MASKED[name], Transport):
                continue  # loops for capped cells
            with multisk.use_backend(backend):
                found[backend] = multisk.solve(x, MASKED[name], solver)
            assert found[backend].backend == backend
        if found:
            one, two = found["torch"], found["numba"]
            torch.testing.assert_close(two.plan, one.plan, rtol=0, atol=3e-6)
            assert torch.equal(two.converged, one.converged)
            assert (two.plan[:, ~MASKED[name].mask] == 0).all()


def test_the_default_is_the_compiled_loops_and_torch_where_they_do_not_reach():
    pytest.importorskip("numba")
    x = unit_scores(30, 6)
    assert multisk.solve(x, MultiAssignment(k=2)).backend == "numba"
    assert multisk.solve(x, MultiAssignment(k=2, mask=MASK)).backend == "numba"
    assert multisk.solve(x, MultiAssignment(k=2, capacity=(9.0, 11.0))).backend == "torch"
    assert multisk.solve(x, MultiAssignment(k=2), multisk.Exact()).backend == "scipy"
    far = torch.stack([x, 1e4 * x])  # exponents that leave the loops' range
    assert multisk.solve(far, MultiAssignment(k=2)).backend == "numba, then torch"


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_backend_that_cannot_serve_is_refused_by_name(backend):
    problem = MultiAssignment(k=2, capacity=(9.0, 11.0))
    with multisk.use_backend(backend), pytest.raises(ValueError, match=f"got '{backend}'"):
        multisk.solve(unit_scores(30, 6), problem)


def test_a_name_that_is_no_backend_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'cuda'"):
        multisk.use_backend("cuda").__enter__()


def test_a_backend_is_forced_for_this_thread_and_until_the_end_of_the_block():
    x, problem = unit_scores(30, 6), MultiAssignment(k=2)
    before = multisk.solve(x, problem).backend
    with multisk.use_backend("torch"), ThreadPoolExecutor(1) as pool:
        with multisk.use_backend("numpy"):
            assert multisk.solve(x, problem).backend == "numpy"
        assert multisk.solve(x, problem).backend == "torch"
        assert pool.submit(multisk.solve, x, problem).result().backend == before
    assert multisk.solve(x, problem).backend == before


def test_one_file_asks_what_a_device_and_an_installation_can_do():
    asks = {"is_cuda", "find_spec", "TRITON_INTERPRET"}
    allowed = {"choose.py": asks, "available.py": {"find_spec"}}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name == "benchmark.py" or "kernels" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} - {None}
        # Room for a capture and the size of a device are no choice of a backend.
        if path.parent.name == "_operators":
            names -= {"is_cuda"}
        assert not (names & asks) - allowed.get(path.name, set()), path


def test_the_costs_that_decide_are_read_at_the_choice(monkeypatch):
    pytest.importorskip("numba")
    problem = MultiAssignment(k=2)
    x = torch.stack([unit_scores(30, 6)] * 9)  # more than are cooled one by one
    assert multisk.solve(x, problem, Newton()).backend == "numba"
    monkeypatch.setattr(choose.Costs, "DENSE_COLUMNS", 5)
    assert multisk.solve(x, problem, Newton()).backend == "torch"
    with multisk.use_backend("numba"):
        assert multisk.solve(x, problem, Newton()).backend == "numba"

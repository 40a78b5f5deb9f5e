"""Rows spread over ranks, one of them without any, every rank by kernels: the plan of one process.

Run as a script, this file is one rank of such a job.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from multisk._backends import choose
from tests import warm
from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("ranks without a GPU each take the interpreter", allow_module_level=True)

pytestmark = marks
HEIGHTS = (7, 0, 9)
N, K = sum(HEIGHTS), 4
LOADS = torch.linspace(1.0, 2.0, K, dtype=torch.float64) * (2 * N / (1.5 * K))
FREE = torch.rand(N, K, generator=torch.Generator().manual_seed(1)) > 0.3
FREE[:, 1:], FREE[: HEIGHTS[0], 0] = True, False  # a column without a cell on the first rank
LEVELS = torch.linspace(1.0, 0.1, K, dtype=torch.float64)
CASES = {
    "newton": (MultiAssignment(k=2, eps=0.3), Newton()),
    "intervals": (MultiAssignment(k=2, eps=0.3, capacity=(0.9 * LOADS, 1.1 * LOADS)), Newton()),
    "sweeps": (MultiAssignment(k=2, eps=0.5), Sinkhorn(steps=4, gradient="none")),
    "sweeps to a tolerance": (MultiAssignment(k=2, eps=1.0), Sinkhorn(tolerance=1e-9)),
    "many scales": (
        MultiAssignment(k=2, eps=1.0, damping=LEVELS),
        Sinkhorn(steps=3, order="column-depth-row", gradient="none"),
    ),
    "transport": (Transport(eps=0.5), Newton()),
    "masked columns": (Transport(eps=0.5, mask=FREE), Sinkhorn(tolerance=1e-9)),
    "relaxed": (Transport(eps=0.5, relax=(1.0, 2.0)), Sinkhorn(tolerance=1e-9)),
}


def draw(seed):
    return torch.randn(N, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answer(name, part, group):
    """The rows of `part`, their derivative, and the columns' potentials."""
    problem, solver = CASES[name]
    if problem.mask is not None:
        problem = replace(problem, mask=problem.mask[part])
    x = draw(5)[part].clone().requires_grad_()
    solution = solve(x, problem, solver, group=group)
    found = {"plan": solution.plan.detach()}
    if solution.plan.requires_grad:
        solution.plan.backward(draw(6)[part])
        found["gradient"] = x.grad
    b = solution.column_potential
    return found, b - b.mean(-1, keepdim=True) if solution.system.relax == (None, None) else b


def rank_main(folder, rank):
    """Solve every case for the rows of one rank."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(HEIGHTS)
    )
    part = slice(sum(HEIGHTS[:rank]), sum(HEIGHTS[: rank + 1]))
    found = {name: answer(name, part, dist.group.WORLD) for name in CASES}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, __file__, str(folder)]
    processes = [
        warm.start([*command, str(rank)], stderr=warm.PIPE) for rank in range(len(HEIGHTS))
    ]
    outputs = [process.communicate()[1] for process in processes]
    assert not any(process.returncode for process in processes), outputs
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(HEIGHTS))]


@pytest.mark.parametrize("name", CASES)
def test_ranks_with_kernels_find_the_plan_of_one_process_without(ranks, name, monkeypatch):
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    rows, columns = answer(name, slice(None), None)
    for key, want in rows.items():
        got = torch.cat([rank[name][0][key] for rank in ranks])
        torch.testing.assert_close(got, want, rtol=0, atol=1e-8)
    for rank in ranks:
        torch.testing.assert_close(rank[name][1], columns, rtol=0, atol=1e-7)


if __name__ == "__main__":
    rank_main(sys.argv[1], int(sys.argv[2]))

"""A solve needs its inputs, its output and vectors: measured on the process itself."""

import sys
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak memory"
)

CODE = """
import sys, torch, multisk
from benchmarks.common.record import extra_memory
from benchmarks.peers.dense import in_place

torch.set_num_threads(1)
name, rows, passes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
scores = torch.empty(rows, 64).normal_().mul_(0.125)
problem = multisk.MultiAssignment(32)
work = {
    "newton": lambda: multisk.solve(scores, problem, multisk.Newton()),
    "sweeps": lambda: multisk.solve(scores, problem, multisk.Sinkhorn(steps=passes)),
    "dense": lambda: in_place(scores, 32, 0.07, 0.25, steps=1),
}[name]
work()  # loads what is loaded lazily, compiles loops
print(extra_memory(work))
"""


def megabytes(name, rows, passes):
    """What one call needs beside the scores, its plan included: in a process of its own."""
    words = [sys.executable, "-c", CODE, name, str(rows), str(passes)]
    return float(warm.run(words, check=True, cwd=ROOT).stdout)


@pytest.mark.parametrize("solver", ["newton", "sweeps"])
@pytest.mark.parametrize("power", [18, pytest.param(20, marks=pytest.mark.slow)])
def test_a_solve_needs_at_most_a_quarter_more_than_inputs_and_output(solver, power):
    plan = (1 << power) * 64 * 4 / 2**20
    share = (plan + megabytes(solver, 1 << power, 3)) / (2 * plan)
    assert 0.9 <= share <= 1.25


def test_a_solve_needs_a_thirtieth_of_all_channels_at_once():
    # The published passes hold three tables of all channels; this peer, tuned, about two.
    dense = megabytes("dense", 5716, 20)
    assert dense >= 64 * 5716 * 64 * 4 / 2**20  # one table: the measurement sees it
    for name in ("newton", "sweeps"):
        assert 0 < megabytes(name, 5716, 20) <= dense / 30

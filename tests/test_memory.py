"""A solve needs its inputs, its output and vectors: measured on the process itself."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch, multisk
torch.set_num_threads(1)
n, k = int(sys.argv[1]), 64
scores = torch.empty(n, k).normal_().mul_(0.125)
problem = multisk.MultiAssignment(32)
multisk.solve(scores[:1000], problem)  # loads what is loaded lazily
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
solution = multisk.solve(scores, problem, multisk.Newton())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1024, n * k * 4 / 2**20, bool(solution.converged))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize("rows", [1 << 18, pytest.param(1 << 20, marks=pytest.mark.slow)])
def test_newton_needs_at_most_a_quarter_more_than_inputs_and_output(rows):
    command = [sys.executable, "-c", CODE, str(rows)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    extra, plan, converged = run.stdout.split()
    assert converged == "True"
    assert float(plan) + float(extra) <= 1.25 * 2 * float(plan)

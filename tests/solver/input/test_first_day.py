"""What a notebook shows and takes: short lines, loads, plain and NumPy numbers as capacities."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import multisk
from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import unit_scores

X = 2 * unit_scores(40, 5)


def test_a_solution_is_one_line_with_its_verdict():
    shown = repr(solve(X, MultiAssignment(2, eps=0.3)))
    assert shown.startswith("Solution(plan 40 x 5 float64 on cpu, CONVERGED, error ")
    assert "\n" not in shown
    assert len(shown) < 120
    batch = torch.stack([X, X.roll(1, 0)])
    assert "0 of 2 converged" in repr(solve(batch, MultiAssignment(2, eps=0.1), Sinkhorn(steps=1)))
    assert "no problem" in repr(solve(X[None][:0], MultiAssignment(2)))


def test_a_notebook_shows_loads_and_error():
    solution = solve(X, MultiAssignment(2, eps=0.3, capacity=(0, 20)))
    page = solution._repr_html_()
    for column, load in enumerate(solution.plan.sum(0).tolist()):
        assert f"<td>{column}</td><td>{load:.4g}</td>" in page
    assert "The marginals are met within the tolerance." in page
    assert f"{float(solution.marginal_error):.1e}" in page
    wide = solve(torch.zeros(40, 2, 50), Transport(eps=1.0))._repr_html_()
    assert "and 18 more columns" in wide
    assert "and 8 more problems" in wide
    assert "<table>" not in solve(X[None][:0], MultiAssignment(2))._repr_html_()


def test_the_version_is_that_of_the_package():
    root = Path(multisk.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "multisk.__version__"
    assert all(part.isdigit() for part in multisk.__version__.split("."))


@pytest.mark.parametrize(
    ("number", "tensor"),
    [
        ((3, 20), (torch.full((5,), 3.0), torch.full((5,), 20.0))),
        ((0, torch.full((5,), 17.0)), (torch.zeros(5), torch.full((5,), 17.0))),
        ([10.5, float("inf")], (torch.full((5,), 10.5), torch.full((5,), 40.0))),
        (16, torch.full((5,), 16.0)),
        (np.float32(16), None),
    ],
)
def test_numbers_for_capacities_are_the_same_load_in_every_column(number, tensor):
    found = solve(X, MultiAssignment(2, eps=0.3, capacity=number)).raise_if_failed().plan
    want = solve(X, MultiAssignment(2, eps=0.3, capacity=tensor)).raise_if_failed().plan
    assert (found - want).abs().max() <= 1e-9


def test_a_capacity_factor_bounds_every_column_by_its_multiple_of_an_even_share():
    even = 40 * 2 / 5
    solution = solve(X, MultiAssignment(2, eps=0.05, capacity_factor=1.25), Newton(tolerance=1e-10))
    loads = solution.raise_if_failed().plan.sum(0)
    assert loads.max() <= 1.25 * even + 1e-8
    assert loads.max() > even + 1  # some column uses its room
    bounds = torch.zeros(5), torch.full((5,), 1.25 * even)
    want = solve(X, MultiAssignment(2, eps=0.05, capacity=bounds), Newton(tolerance=1e-10)).plan
    assert (solution.plan - want).abs().max() <= 1e-9
    hard = solution.round()
    assert hard.sum(1).tolist() == [2] * 40
    assert hard.sum(0).max() <= 20
    one = solve(X, MultiAssignment(2, eps=0.3, capacity_factor=1)).plan
    assert (one - solve(X, MultiAssignment(2, eps=0.3)).plan).abs().max() <= 1e-9


def test_a_capacity_factor_shares_among_the_columns_that_a_mask_leaves_open():
    mask = torch.ones(40, 5, dtype=torch.bool)
    mask[:, 4] = False
    loads = solve(X, MultiAssignment(1, eps=0.05, mask=mask, capacity_factor=1.1)).plan.sum(0)
    assert loads[4] == 0
    assert loads.max() <= 11 + 1e-4
    narrow = torch.zeros(4, 3, dtype=torch.bool)
    narrow[:, 0] = narrow[0] = True
    with pytest.raises(ValueError, match="capacity_factor must leave room for the sum of k"):
        solve(X[:4, :3], MultiAssignment(1, mask=narrow, capacity_factor=1.2))


def test_numbers_of_numpy_are_taken_wherever_numbers_are():
    found = solve(
        X,
        MultiAssignment(k=np.int64(2), eps=np.float32(0.25), damping=np.float16(0.25)),
        Sinkhorn(steps=np.int32(7), tolerance=np.float32(2**-20)),
    ).plan
    want = solve(X, MultiAssignment(2, eps=0.25), Sinkhorn(steps=7)).plan
    assert (found - want).abs().max() <= 1e-12
    relaxed = Transport(eps=np.float32(0.5), relax=(np.float64(2.0), None))
    assert relaxed.relax == (2.0, None)
    layer = multisk.BalancedAssigner(
        np.int64(5),
        MultiAssignment(np.uint8(2)),
        momentum=np.float32(0.5),
        solver=Newton(max_steps=np.int16(30)),
    )
    assert layer(X).plan.shape == (40, 5)
    assert multisk.reference.multi_sk(X.numpy(), np.int64(2), np.float32(0.25)).shape == (40, 5)


FIRST = """
import json, sys
import multisk, torch
loaded = [[*sys.modules]]

import multisk.birkhoff
loaded.append([*sys.modules])

x = torch.randn(20, 6, requires_grad=True)
found = multisk.solve(x, multisk.Transport(eps=0.1))
loaded.append([*sys.modules])

(found.plan.sum() + found.log_plan.sum()).backward()
for problem in (multisk.MultiAssignment(k=2), multisk.Transport(eps=0.1)):
    solution = multisk.solve(x, problem, multisk.Sinkhorn(steps=3))
    solution.plan.square().sum().backward(retain_graph=True)
    (solution.value + solution.log_plan.sum()).backward()
loaded.append([*sys.modules])
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded():
    """What is loaded after multisk, multisk.birkhoff, a first solve and first derivatives."""
    run = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    return [set(names) for names in json.loads(run.stdout)]


def test_importing_multisk_is_light(loaded):
    heavy = {"rfpmss", "transformers", "nibabel", "scipy", "triton", "numba", "matplotlib"}
    assert "multisk" in loaded[0]
    assert "multisk.birkhoff" in loaded[1] - loaded[0]
    assert not heavy & loaded[1]


def test_numba_is_loaded_by_the_first_solve_and_not_before(loaded):
    assert [("numba" in names) for names in loaded] == [False, False, True, True]


def test_the_first_unrolled_gradient_imports_no_compiler(loaded):
    assert not {"torch._dynamo", "torch._inductor"} & loaded[3]


def test_kernels_without_triton_say_what_is_missing():
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'triton' else find(name, *rest)\n"
        "import multisk\n"
        "for call in (lambda: multisk.kernels.row, lambda: __import__('multisk.kernels.row')):\n"
        "    try:\n"
        "        call()\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = run.stdout.strip().splitlines()
    assert first == second
    assert first.startswith("multisk.kernels needs Triton 3.4 or newer, which is not installed")

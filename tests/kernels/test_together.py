"""The grid barrier of `resident.py` at work: several programs a problem, side by side.

The interpreter runs programs one after the other, where the first would wait for ever. Here they
take turns at every barrier and atomic operation, in an order drawn by a seed.
"""

import pytest
import torch

from tests.kernels.tools import INTERPRET, assert_near, marks, nan_arenas, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("on a GPU programs run side by side by themselves", allow_module_level=True)

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from multisk.kernels import resident  # noqa: E402
from multisk.kernels._tile import Tile  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.sweep import Budgets, sweep  # noqa: E402
from tests.kernels.interpreter import side_by_side  # noqa: E402

pytestmark = marks
ROWS, WIDTH, STEPS = 60, 10, 4


def problem(batch):
    """Scores in [-2, 2], budgets that differ by row and column."""
    draw = torch.Generator().manual_seed(0)
    x = 4 * torch.rand((batch, ROWS, WIDTH), generator=draw, dtype=torch.float64) - 2
    rows = 1 + 3 * torch.rand((batch, ROWS), generator=draw, dtype=torch.float64)
    columns = rows.sum(-1, keepdim=True).expand(batch, WIDTH) / WIDTH
    budgets = Budgets(
        rows=rows,
        row_cells=torch.full_like(rows, WIDTH),
        columns=columns,
        column_cells=torch.full_like(columns, ROWS),
    )
    return x, torch.tensor([[3.0, 0.7]], dtype=torch.float64), budgets


def one_by_one(x, scales, budgets):
    """The same sweeps, a launch each."""
    a, b = torch.empty_like(budgets.rows), torch.zeros_like(budgets.columns).contiguous()
    for step in range(STEPS):
        a, b = sweep(x, scales, a, b, budgets, first=step == 0)
    return a, b


def side_by_side_sweeps(given, programs, seed):
    """What `programs` programs a problem find, and how often one handed over to another."""
    block = triton.next_power_of_2(-(-ROWS // programs))
    tile = Tile(rows=block, columns=16, warps=4, programs=-(-ROWS // block), steps=1)
    with side_by_side(seed) as together, nan_arenas():
        found = resident_sweeps(*given, STEPS, tile=tile)
    assert together.handed >= STEPS * len(given[0]) * tile.programs
    return found


@pytest.mark.parametrize(("batch", "programs"), [(1, 2), (2, 4)])
def test_programs_that_wait_for_each_other_find_the_sweeps_of_several_launches(batch, programs):
    given = problem(batch)
    want = one_by_one(*given)
    first = side_by_side_sweeps(given, programs, seed=0)
    for got, wanted in zip(first, want, strict=True):
        assert_near(got, wanted)
    again = side_by_side_sweeps(given, programs, seed=1)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


@triton.jit
def open_at_once(arrived, target):
    """A barrier that waits for nobody."""
    tl.atomic_add(arrived, 1, sem="acq_rel", scope="gpu")


def test_without_the_barrier_sums_are_read_before_they_are_written(monkeypatch):
    given = problem(1)
    monkeypatch.setattr(resident, "_wait", open_at_once)
    a, _ = side_by_side_sweeps(given, 4, seed=0)
    assert not torch.allclose(a, one_by_one(*given)[0], rtol=1e-6)

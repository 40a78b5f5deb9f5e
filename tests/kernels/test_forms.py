"""Dtypes, cuts and widths that the tests of single kernels leave out."""

import pytest
import torch

from tests.kernels.tools import DEVICE, assert_near, marks, nan_arenas, needs_kernels

needs_kernels()

from multisk import _operators as _ops  # noqa: E402
from multisk._backends import choose  # noqa: E402
from multisk.kernels.depth import depth_backward, depth_forward  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.search import search  # noqa: E402
from multisk.kernels.sweep import Budgets  # noqa: E402
from multisk.kernels.wide import apply_schur  # noqa: E402
from tests.kernels.calls import CALLS, Given, draw, tables  # noqa: E402

pytestmark = marks
F64, F32, F16, B16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
WIDEST = 4096


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("resident", F16),
        ("bend", F16),
        *(("wide", dtype) for dtype in (F32, F16, B16)),
        *((name, dtype) for name in ("gradient", "assign's gradient") for dtype in (F16, B16)),
    ],
)
def test_narrow_scores_give_what_the_same_numbers_give_in_float64(name, dtype):
    x, free, grad = tables(2, 21, 10, dtype)
    with nan_arenas():
        got = CALLS[name](Given(2, 21, 10), x, free, grad)
        want = CALLS[name](Given(2, 21, 10, F64), x.double(), free, grad.double())
    if name == "gradient":  # rows and columns share their total: only sums of both are determined
        got, want = ((z, u[..., None] + v[:, None]) for z, u, v in (got, want))
    for one, two in zip(got, want, strict=True):
        assert_near(one, two, F32, scale=10)


@pytest.mark.parametrize("dtype", [F64, F32])
def test_the_system_is_applied_with_forbidden_cells(dtype):
    x, free, _ = tables(2, 21, 10, dtype)
    t = Given(2, 21, 10, dtype)
    with nan_arenas():
        got = apply_schur(t.at(x, free), t.b)
    p = torch.sigmoid(x.double() + t.a.double()[..., None] + t.b.double()[:, None])
    w = (p * (1 - p)).masked_fill(~free, 0.0)
    mean = torch.einsum("bij,bj->bi", w, t.b.double()) / w.sum(-1)
    want = torch.einsum("bij,bij->bj", w, t.b.double()[:, None] - mean[..., None])
    assert_near(got, want, dtype, scale=10)


@pytest.mark.parametrize("dtype", [F64, F32, F16])
def test_the_search_takes_masks_and_strides(dtype):
    count, width, k = 24, 9, 2.0
    x, free, _ = tables(2, count, width, dtype)
    kind = F64 if dtype == F64 else F32
    one = torch.ones((1, 1), dtype=kind, device=DEVICE)
    cells = free.sum(-1).to(kind), free.sum(-2).to(kind)
    goal = cells[1] * (count * k / cells[1].sum(-1, keepdim=True))
    turned = [table.mT.contiguous().mT for table in (x, free)]
    found = []
    for scores, mask in ((x, free), turned):
        budgets = Budgets(
            rows=k * one, row_cells=cells[0], columns=goal, column_cells=cells[1], free=mask
        )
        with nan_arenas():
            found.append(search(scores, 3 * one[0], None, budgets, passes=6))
    assert torch.equal(found[0].column_potential, found[1].column_potential)
    a, b = (y.double() for y in (found[0].row_potential, found[0].column_potential))
    p = torch.sigmoid(3 * x.double() + a[..., None] + b[:, None]).masked_fill(~free, 0.0)
    assert found[0].solved.all()
    torch.testing.assert_close(p.sum(-1), torch.full_like(a, k), rtol=5e-6, atol=0)
    torch.testing.assert_close(p.sum(-2), goal.double(), rtol=5e-6, atol=0)


def test_another_cut_of_a_resident_problem_changes_rounding_only():
    from multisk.kernels.resident import resident_tile

    x, free, _ = tables(2, 21, 10, F64)
    budgets = Given(2, 21, 10, F64).budgets(free)
    scales = Given(2, 21, 10, F64).scales
    cuts = [resident_tile(rows, 10, F64) for rows in (21, 64, 128)]
    assert all(cut.programs == 1 for cut in cuts)
    first, *others = (resident_sweeps(x, scales, budgets, 3, tile=cut) for cut in cuts)
    for other in others:
        for one, two in zip(other, first, strict=True):
            assert_near(one, two)


@pytest.mark.parametrize("log", [False, True])
def test_another_cut_of_a_depth_step_changes_nothing(log):
    x, _, grad = tables(5, 7, 9, F64)
    one = torch.ones(1, dtype=F64, device=DEVICE)
    y, total = depth_forward(x, one, log=log)
    below = depth_backward(grad, y, total, one, log=log)
    for block in (16, 32):
        again = depth_forward(x, one, log=log, block=block)
        assert torch.equal(again[0], y)
        assert torch.equal(again[1], total)
        assert torch.equal(depth_backward(grad, y, total, one, log=log, block=block), below)


def margins(count, width, k):
    rows = torch.full((1, count), float(k), dtype=F64, device=DEVICE)
    columns = torch.full((1, width), count * k / width, dtype=F64, device=DEVICE)
    return [rows, torch.full_like(rows, width), columns, torch.full_like(columns, count)]


def widest(name):
    """An operator on two rows of 4096 columns."""
    x, _, grad = tables(1, 2, WIDEST, F64)
    a, b = draw(1, 2, seed=1, dtype=F64), draw(1, WIDEST, seed=2, dtype=F64)
    one, two = torch.ones(1, dtype=F64, device=DEVICE), draw(1, 2, seed=3, dtype=F64)
    sums = margins(2, WIDEST, 100)
    calls = {
        "sweep, resident": lambda: _ops.sweeps(x, two, sums, None, [], 2, True),
        "unroll": lambda: _ops.sweeps_gradient(x, two, sums, None, 1, True, grad, []),
        "gradient": lambda: _ops.plan_gradient(x, one, a, b, grad, None, None, None)[:1],
        "plan": lambda: _ops.assign(x, one, b, sums[0], None, None),
        "assign's gradient": lambda: [_ops.assign_backward(x, one, a, b, grad, None, None)],
        "row": lambda: _ops.normalize(x, one, -1, True),
        "column": lambda: _ops.normalize(x, one, -2, True),
        "depth": lambda: _ops.normalize(x, one, -3, True),
    }
    return calls[name]()


@pytest.mark.parametrize(
    "name",
    [
        *("sweep, resident", "unroll", "gradient", "plan", "assign's gradient"),
        *("row", "column", "depth"),
    ],
)
def test_rows_of_4096_columns_are_those_of_torch(name, monkeypatch):
    got = widest(name)
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    for one, two in zip(got, widest(name), strict=True):
        assert_near(one, two, scale=1e6 if name == "plan" else 1e3)  # torch's root stops at 1e-7

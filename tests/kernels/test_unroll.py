import pytest
import torch

from tests.kernels.tools import DEVICE, assert_near, guarded, marks, nan_arenas, needs_kernels

needs_kernels()

import multisk  # noqa: E402
from multisk import _operators as _ops  # noqa: E402
from multisk._backends import choose  # noqa: E402
from multisk._operators import sweep as sweeping  # noqa: E402
from multisk._operators.asked import Asked  # noqa: E402
from multisk._operators.unroll import in_torch  # noqa: E402
from multisk._solution import gradient  # noqa: E402
from multisk.kernels import unroll  # noqa: E402
from multisk.kernels._tile import tile_for  # noqa: E402
from multisk.kernels.sweep import Budgets  # noqa: E402
from multisk.kernels.unroll import sweeps_backward  # noqa: E402

pytestmark = marks
ORDERS = {"rows first": True, "columns first": False}


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator).to(DEVICE)


def problem(count, width, *, masked, dtype=torch.float64):
    """Scores in [-1, 1], budgets that differ by row and column, cotangent and temperatures."""
    x = (2 * draw(2, count, width) - 1).to(dtype)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    free = draw(2, count, width, seed=1) > 0.1 if masked else None
    full = torch.ones(x.shape, device=DEVICE) if free is None else free
    cells = full.sum(-1).to(kind), full.sum(-2).double()
    rows = (0.1 + 0.5 * draw(2, count, seed=2)).to(kind) * cells[0]
    columns = (0.2 + 0.3 * draw(2, width, seed=3)) * cells[1]
    budgets = Budgets(
        rows=rows, row_cells=cells[0], columns=columns, column_cells=cells[1], free=free
    )
    scales = torch.tensor([[3.0, 0.7], [5.0, -1.0]], dtype=kind, device=DEVICE)
    return x, scales, budgets, draw(2, count, width, seed=4).to(kind) - 0.5


def plan_of(x, scales, rows, columns, budgets, steps, *, rows_first):
    """Algorithm 1 on the logarithms of both groups' tables, in differentiable float64 torch."""
    log_rows = torch.stack([rows, budgets.row_cells - rows], 1).log()[..., None]
    log_columns = torch.stack([columns, budgets.column_cells - columns], 1).log()[..., None, :]
    t = x[:, None] * scales[:, :, None, None] + log_rows
    blocked = torch.zeros_like(t, dtype=torch.bool)
    if budgets.free is not None:
        blocked = (~budgets.free)[:, None].expand_as(t)
    t = t.masked_fill(blocked, -torch.inf)
    order = ("row", "column", "depth") if rows_first else ("column", "depth", "row")
    for step in order * steps:
        if step == "row":
            t = t - t.logsumexp(-1, keepdim=True) + log_rows
        elif step == "column":
            t = t - t.logsumexp(-2, keepdim=True) + log_columns
        else:
            t = t.masked_fill(blocked, 0.0)
            t = (t - t.logsumexp(1, keepdim=True)).masked_fill(blocked, -torch.inf)
    return t[:, 0].exp()


def truth(x, scales, budgets, grad, steps, *, rows_first):
    """The four cotangents by autograd."""
    inputs = [
        part.detach().double().requires_grad_()
        for part in (x, scales, budgets.rows, budgets.columns)
    ]
    plan = plan_of(*inputs, budgets, steps, rows_first=rows_first)
    return torch.autograd.grad(plan, inputs, grad.double())


# All four kinds on a small table; on larger ones every pair of a size with an order or a mask.
@pytest.mark.parametrize(
    ("count", "width", "steps", "order", "masked"),
    [
        *((2, 3, 3, order, masked) for order in ORDERS for masked in (False, True)),
        *((63, 50, 2, *kind) for kind in (("rows first", True), ("columns first", False))),
        *((40, 130, 1, *kind) for kind in (("rows first", False), ("columns first", True))),
    ],
)
def test_the_unrolled_gradient_is_that_of_autograd(count, width, steps, order, masked):
    x, scales, budgets, grad = problem(count, width, masked=masked)
    x_, check = guarded(x)
    with nan_arenas():
        got = sweeps_backward(x_, scales, budgets, None, steps, grad, rows_first=ORDERS[order])
    check()
    want = truth(x, scales, budgets, grad, steps, rows_first=ORDERS[order])
    for ours, theirs in zip(got, want, strict=True):
        assert_near(ours, theirs, scale=100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sixteen_bit_scores_have_float32_cotangents_inside(dtype):
    x, scales, budgets, grad = problem(70, 33, masked=True, dtype=dtype)
    got = sweeps_backward(x, scales, budgets, None, 2, grad)
    want = truth(x, scales, budgets, grad, 2, rows_first=True)
    assert [part.dtype for part in got] == [dtype] + 3 * [torch.float32]
    for ours, theirs, scale in zip(got, want, (20, 200, 20, 20), strict=True):
        assert_near(ours, theirs, ours.dtype, scale=scale)


def test_strided_scores_and_another_cut_change_rounding_only():
    x, scales, budgets, grad = problem(50, 24, masked=True)
    want = sweeps_backward(x, scales, budgets, None, 2, grad)
    turned = [part.mT.contiguous().mT for part in (x, grad)]
    for rows in (16, 64):
        tile = tile_for(50, 24, torch.float64, block_rows=rows, programs=2)
        got = sweeps_backward(turned[0], scales, budgets, None, 2, turned[1], tile=tile)
        for ours, theirs in zip(got, want, strict=True):
            assert_near(ours, theirs)


def test_sweeps_from_given_potentials_hold_those_fixed():
    x, scales, budgets, grad = problem(30, 12, masked=False)
    start = draw(2, 30, seed=5), draw(2, 12, seed=6)
    got = sweeps_backward(x, scales, budgets, start, 2, grad)
    inputs = [part.clone().requires_grad_() for part in (x, scales, budgets.rows, budgets.columns)]
    t = (inputs[1][:, :1] - inputs[1][:, 1:])[..., None] * inputs[0]
    a, b = start
    for _ in range(2):
        la = torch.nn.functional.logsigmoid(t + a[..., None] + b[:, None])
        lb = torch.nn.functional.logsigmoid(-t - a[..., None] - b[:, None])
        grow = inputs[2].log() - la.logsumexp(-1)
        shrink = (budgets.row_cells - inputs[2]).log() - lb.logsumexp(-1)
        b = b + inputs[3].log() - (la + grow[..., None]).logsumexp(-2)
        b = b - (budgets.column_cells - inputs[3]).log() + (lb + shrink[..., None]).logsumexp(-2)
        a = a + grow - shrink
    plan = torch.sigmoid(t + a[..., None] + b[:, None])
    for ours, theirs in zip(got, torch.autograd.grad(plan, inputs, grad), strict=True):
        assert_near(ours, theirs, scale=100)


def test_rows_and_columns_without_budget_pass_nothing_on():
    x, scales, budgets, grad = problem(20, 6, masked=False)
    rows, columns = budgets.rows.clone(), budgets.columns.clone()
    free = torch.ones_like(x, dtype=torch.bool)
    rows[:, 3], columns[:, 2] = 0.0, 0.0
    free[:, 3], free[:, :, 2] = False, False
    held = Budgets(
        rows=rows,
        row_cells=free.sum(-1).double(),
        columns=columns,
        column_cells=free.sum(-2).double(),
        free=free,
    )
    got = sweeps_backward(x, scales, held, None, 3, grad)
    assert all(part.isfinite().all() for part in got)
    assert not got[0][:, 3].any()
    assert not got[0][:, :, 2].any()
    keep_rows, keep_columns = [i for i in range(20) if i != 3], [0, 1, 3, 4, 5]
    part = Budgets(
        rows=rows[:, keep_rows],
        row_cells=held.row_cells[:, keep_rows],
        columns=columns[:, keep_columns],
        column_cells=held.column_cells[:, keep_columns],
    )
    cut = x[:, keep_rows][:, :, keep_columns], grad[:, keep_rows][:, :, keep_columns]
    want = sweeps_backward(cut[0], scales, part, None, 3, cut[1])
    assert_near(got[0][:, keep_rows][:, :, keep_columns], want[0])
    assert_near(got[2][:, keep_rows], want[2])
    assert_near(got[3][:, keep_columns], want[3])


def leaves(dtype=torch.float64):
    """Scores, temperatures, row budgets and loads of three problems, to be differentiated."""
    x = (2 * draw(3, 12, 6, seed=7) - 1).to(dtype)
    eps = (0.3 + draw(3, seed=8)).to(dtype)
    rows = (1.5 + draw(3, 12, seed=9)).to(dtype)
    loads = rows.double().sum(-1, keepdim=True) * torch.softmax(0.3 * draw(3, 6, seed=10), -1)
    return [part.requires_grad_() for part in (x, eps, rows, loads)]


def solved(x, eps, rows, loads, order="row-column-depth"):
    # Loads are brought to the rows' total inside, so that a step along either stays feasible.
    total = rows.double().sum(-1, keepdim=True)
    even = loads * (total / loads.sum(-1, keepdim=True))
    problem = multisk.MultiAssignment(k=rows, eps=eps, damping=0.25, capacity=even)
    return multisk.solve(x, problem, multisk.Sinkhorn(steps=3, order=order)).plan


@pytest.mark.parametrize("order", ["row-column-depth", "column-depth-row"])
def test_a_solve_on_kernels_has_the_gradient_of_the_replayed_sweeps(order, monkeypatch):
    inputs = leaves()
    grad = draw(3, 12, 6, seed=11)
    launched = []
    plain = unroll.sweeps_backward

    def watched(*given, **named):
        launched.append(1)
        return plain(*given, **named)

    monkeypatch.setattr(unroll, "sweeps_backward", watched)
    got = torch.autograd.grad(solved(*inputs, order), inputs, grad)
    assert launched
    monkeypatch.setattr(gradient, "operator_unrolls", lambda *_: False)
    want = torch.autograd.grad(solved(*inputs, order), inputs, grad)
    for ours, theirs in zip(got, want, strict=True):
        assert_near(ours, theirs, scale=100)


def test_gradcheck_passes_through_the_kernels():
    x, eps, rows, loads = leaves()
    x, eps, rows, loads = (
        part.detach()[:1, ...] if part is eps else part.detach()[:1, ..., :]
        for part in (x, eps, rows, loads)
    )
    inputs = [part.clone().requires_grad_() for part in (x[:, :4], eps, rows[:, :4], loads)]
    assert torch.autograd.gradcheck(solved, inputs, fast_mode=True)


def test_a_second_derivative_replays_the_sweeps(monkeypatch):
    grad, twice = draw(3, 12, 6, seed=11), draw(3, 12, 6, seed=12)

    def second():
        inputs = leaves()
        below = torch.autograd.grad(solved(*inputs), inputs[0], grad, create_graph=True)[0]
        return torch.autograd.grad(below, inputs, twice)

    got = second()
    monkeypatch.setattr(gradient, "operator_unrolls", lambda *_: False)
    for ours, theirs in zip(got, second(), strict=True):
        assert_near(ours, theirs, scale=100)


@pytest.mark.parametrize("rows_first", [True, False])
def test_the_twin_in_torch_means_the_same(rows_first):
    x, scales, budgets, grad = problem(30, 12, masked=True)
    margins = [budgets.rows, budgets.row_cells, budgets.columns, budgets.column_cells]
    want = sweeps_backward(x, scales, budgets, None, 3, grad, rows_first=rows_first)
    got = in_torch(Asked(x, scales, margins, budgets.free), 3, grad, rows_first=rows_first)
    for ours, theirs in zip(got, want, strict=True):
        assert_near(ours, theirs, scale=10)


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("resident", [True, False])
def test_what_the_forward_keeps_gives_the_gradient_of_sweeps_made_again(
    resident, rows_first, monkeypatch
):
    monkeypatch.setattr(sweeping, "stays_resident", lambda _: resident)
    x, scales, budgets, grad = problem(30, 12, masked=True)
    margins = [budgets.rows, budgets.row_cells, budgets.columns, budgets.column_cells]
    with nan_arenas():
        kept = _ops.sweeps_kept(x, scales, margins, budgets.free, 3, rows_first)
    a, b = _ops.sweeps(x, scales, margins, budgets.free, [], 3, rows_first)
    assert torch.equal(kept[0][-1], a)
    assert torch.equal(kept[1][-1], b)
    common = x, scales, margins, budgets.free, 3, rows_first, grad
    got = _ops.sweeps_gradient(*common, list(kept))
    for ours, theirs in zip(got, _ops.sweeps_gradient(*common, []), strict=True):
        assert_near(ours, theirs)
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    want = _ops.sweeps_kept(x, scales, margins, budgets.free, 3, rows_first)
    for ours, theirs in zip(kept, want, strict=True):
        assert_near(ours, theirs, scale=10)


def test_a_backward_pass_makes_no_sweep_again(monkeypatch):
    x = leaves()[0]
    plan = multisk.solve(x, multisk.MultiAssignment(k=2), multisk.Sinkhorn(steps=3)).plan
    monkeypatch.setattr(unroll, "_retrace", None)
    plan.backward(draw(3, 12, 6, seed=11))
    assert x.grad is not None

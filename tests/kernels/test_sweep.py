import itertools

import pytest
import torch

from tests.kernels.tools import (
    DEVICE,
    INTERPRET,
    assert_near,
    guarded,
    marks,
    nan_arenas,
    needs_kernels,
)

needs_kernels()

from multisk.kernels._tile import tile_for  # noqa: E402
from multisk.kernels.groups import group_sweep  # noqa: E402
from multisk.kernels.resident import fits, resident_sweeps, resident_tile  # noqa: E402
from multisk.kernels.sweep import Budgets, sweep, sweep_sums  # noqa: E402

pytestmark = marks


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator).to(DEVICE)


def problem(count, width, *, masked, dtype=torch.float64):
    """Scores in [-1, 1], budgets that differ by row and column, and their masks."""
    x = (2 * draw(2, count, width) - 1).to(dtype)
    free = draw(2, count, width, seed=1) > 0.1 if masked else None
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    full = torch.ones(x.shape, device=DEVICE) if free is None else free
    row_cells, column_cells = full.sum(-1).to(kind), full.sum(-2).double()
    rows = (0.1 + 0.5 * draw(2, count, seed=2)).to(kind) * row_cells
    columns = (0.2 + 0.3 * draw(2, width, seed=3)) * column_cells
    return x, Budgets(
        rows=rows, row_cells=row_cells, columns=columns, column_cells=column_cells, free=free
    )


def tables(x, scales, rows, columns, free, steps, order):
    """Algorithm 1 on the groups' log masses, in float64: (B, C, N, K)."""
    t = torch.stack([x.double() * s for s in scales], 1)
    blocked = torch.zeros_like(t, dtype=torch.bool) if free is None else (~free)[:, None]
    t = (t + rows.double().log()[..., None]).masked_fill(blocked, -torch.inf)
    for step in order * steps:
        if step == "row":
            t = t - t.logsumexp(-1, keepdim=True) + rows.double().log()[..., None]
        elif step == "column":
            t = t - t.logsumexp(-2, keepdim=True) + columns.double().log()[..., None, :]
        else:
            t = (t - t.logsumexp(1, keepdim=True)).masked_fill(blocked, -torch.inf)
    return t


def both(budget, cells):
    return torch.stack([budget, cells - budget], 1)


ROWS, COLUMNS = ("row", "column", "depth"), ("column", "depth", "row")
KINDS = [*itertools.product((ROWS, COLUMNS), (False, True), (0.07, 0.002))]  # order, mask, eps
# Every pair of two of them is in either half.
HALVES = (
    [kind for kind in KINDS if (kind[0] == ROWS) ^ kind[1] ^ (kind[2] == 0.07)],
    [kind for kind in KINDS if not (kind[0] == ROWS) ^ kind[1] ^ (kind[2] == 0.07)],
)


@pytest.mark.parametrize(
    ("count", "width", "order", "masked", "eps"),
    [
        *((2, 3, *kind) for kind in KINDS),
        *((63, 50, *kind) for kind in HALVES[0]),
        *((40, 130, *kind) for kind in HALVES[1]),
    ],
)
def test_sweeps_of_potentials_are_the_sweeps_of_the_table(count, width, order, masked, eps):
    x, budgets = problem(count, width, masked=masked)
    scales = torch.tensor([[1 / eps, 0.25 / eps]], dtype=torch.float64, device=DEVICE)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    for step in range(3):
        x_, check = guarded(x)
        with nan_arenas():
            plain = order[0] == "row" or step > 0
            a, b = sweep(x_, scales, a, b, budgets, first=step == 0, row_step=plain)
        check()
        p = torch.sigmoid((scales[0, 0] - scales[0, 1]) * x + a[..., None] + b[:, None])
        p = p if budgets.free is None else p.masked_fill(~budgets.free, 0.0)
        if order[0] != "row":
            p = budgets.rows[..., None] * p / p.sum(-1, keepdim=True)
        rows, columns = (
            both(budgets.rows, budgets.row_cells),
            both(budgets.columns, budgets.column_cells),
        )
        t = tables(x, scales[0], rows, columns, budgets.free, step + 1, order)
        assert_near(p, t[:, 0].exp(), scale=100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sixteen_bit_scores_are_swept_in_float32(dtype):
    x, budgets = problem(70, 33, masked=False, dtype=dtype)
    scales = torch.tensor([[14.0, 3.5]], device=DEVICE)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    double = Budgets(**{**vars(budgets), "rows": budgets.rows.double()})
    a_, b_ = torch.empty_like(double.rows), b
    for step in range(3):
        a, b = sweep(x, scales, a, b, budgets, first=step == 0)
        a_, b_ = sweep(x.double(), scales.double(), a_, b_, double, first=step == 0)
    assert a.dtype == torch.float32
    assert_near(a, a_, torch.float32)
    assert_near(b, b_, torch.float32)


def test_rows_on_two_machines_sum_to_the_sweep_of_all():
    x, budgets = problem(70, 20, masked=False)
    scales = torch.tensor([[14.0, 3.5]], dtype=torch.float64, device=DEVICE)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    for step in range(2):
        parts = []
        for part in (slice(0, 30), slice(30, 70)):
            shard = Budgets(
                rows=budgets.rows[:, part],
                row_cells=budgets.row_cells[:, part],
                columns=budgets.columns,
                column_cells=budgets.column_cells,
            )
            parts.append(
                sweep_sums(x[:, part], scales, a[:, part].contiguous(), b, shard, first=step == 0)
            )
        sums = torch.logaddexp(parts[0][1], parts[1][1])
        a, whole = sweep(x, scales, a, b, budgets, first=step == 0)
        moved = (budgets.columns / (budgets.column_cells - budgets.columns)).log()
        moved = moved - sums[0] + sums[1]
        b = moved if step == 0 else b + moved
        assert_near(b, whole)
        assert_near(torch.cat([part[0] for part in parts], 1), a)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("order", [("row", "column", "depth"), ("column", "depth", "row")])
def test_sweeps_of_four_groups_are_the_sweeps_of_the_table(order, masked):
    x, budgets = problem(45, 20, masked=masked)
    scales = torch.tensor([[14.0, 9.0, 6.0, 3.0]], dtype=torch.float64, device=DEVICE)
    share = torch.tensor([0.3, 0.7], dtype=torch.float64, device=DEVICE)[None, :, None]
    rows = both(budgets.rows, budgets.row_cells).repeat_interleave(2, 1) * share.repeat(1, 2, 1)
    columns = both(budgets.columns, budgets.column_cells)
    columns = columns.repeat_interleave(2, 1) * share.repeat(1, 2, 1)
    u, v = torch.empty_like(rows), torch.empty_like(columns)
    for step in range(3):
        with nan_arenas():
            u, sums = group_sweep(
                x,
                scales,
                u,
                v,
                rows,
                free=budgets.free,
                first=step == 0,
                row_step=order[0] == "row" or step > 0,
            )
        v = columns.log() - sums + (v if step else 0.0)
        t = torch.stack([x * s for s in scales[0]], 1) + u[..., None] + v[..., None, :]
        t = t.log_softmax(1)
        if budgets.free is not None:
            t = t.masked_fill(~budgets.free[:, None], -torch.inf)
        if order[0] != "row":
            t = t - t.logsumexp(-1, keepdim=True) + rows.log()[..., None]
        want = tables(x, scales[0], rows, columns, budgets.free, step + 1, order)
        assert_near(t.exp(), want.exp(), scale=10)


def test_another_cut_changes_rounding_only():
    x, budgets = problem(150, 20, masked=True)
    scales = torch.tensor([[14.0, 3.5]], dtype=torch.float64, device=DEVICE)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    plain = sweep(x, scales, a, b, budgets, first=True)
    for block, programs in ((16, 3), (64, 2)):
        tile = tile_for(150, 20, x.dtype, block_rows=block, programs=programs)
        cut = sweep(x, scales, a, b, budgets, first=True, tile=tile)
        assert_near(cut[0], plain[0])
        assert_near(cut[1], plain[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_strided_scores_are_swept_like_their_copy(dtype):
    x, budgets = problem(40, 9, masked=True, dtype=dtype)
    odd = torch.empty(40, 2, 18, dtype=dtype, device=DEVICE).transpose(0, 1)[..., ::2].copy_(x)
    kind = budgets.rows.dtype
    scales = torch.tensor([[14.0, 7.0, 3.5]], dtype=kind, device=DEVICE)
    two = scales[:, ::2].contiguous()
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    rows = torch.stack([budgets.rows / 3] * 3, 1)
    u, v = 0 * rows, torch.zeros(2, 3, 9, dtype=kind, device=DEVICE)
    found = []
    for scores in (x, odd):
        one = sweep(scores, two, a, b, budgets, first=True)
        all_of_them = resident_sweeps(scores, two, budgets, 2)
        tiles = [tile_for(40, 9, kind, block_rows=block, programs=2) for block in (0, 16)]
        sums = [group_sweep(scores, scales, u, v, rows, free=budgets.free, tile=t) for t in tiles]
        found.append([*one, *all_of_them, *sums[0]])
        assert_near(sums[1][1], sums[0][1], kind)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_rows_and_columns_without_a_share_stay_out():
    x, budgets = problem(20, 8, masked=False)
    free = torch.ones(2, 20, 8, dtype=torch.bool, device=DEVICE)
    free[:, 3], free[:, :, 5] = False, False
    rows, columns = budgets.rows.clone(), budgets.columns.clone()
    rows[:, 3], columns[:, 5] = 0.0, 0.0
    cells = free.sum(-1).double(), free.sum(-2).double()
    rows = torch.minimum(rows, 0.9 * cells[0])
    margins = Budgets(
        rows=rows, row_cells=cells[0], columns=columns, column_cells=cells[1], free=free
    )
    scales = torch.tensor([[14.0, 3.5]], dtype=torch.float64, device=DEVICE)
    a, b = sweep(x, scales, torch.empty_like(rows), torch.empty_like(columns), margins, first=True)
    a, b = sweep(x, scales, a, b, margins)
    assert a.isfinite().all()
    assert b.isfinite().all()
    assert (a[:, 3] == 0).all()
    assert (b[:, 5] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize(("count", "width"), [(1, 3), (50, 16), (63, 20)])
def test_resident_sweeps_are_the_sweeps_of_several_launches(
    count, width, rows_first, masked, dtype
):
    x, budgets = problem(count, width, masked=masked, dtype=dtype)
    scales = torch.tensor([[14.0, 3.5]], device=DEVICE).to(budgets.rows)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    for step in range(4):
        plain = rows_first or step > 0
        a, b = sweep(x, scales, a, b, budgets, first=step == 0, row_step=plain)
    x, check = guarded(x)
    with nan_arenas():
        whole = resident_sweeps(x, scales, budgets, 4, rows_first=rows_first)
    check()
    kind = budgets.rows.dtype
    assert_near(whole[0], a, kind, scale=10)
    assert_near(whole[1], b, kind, scale=10)


def test_what_does_not_fit_is_not_made_resident():
    small, large = resident_tile(64, 64, torch.float32), resident_tile(5716, 64, torch.float32)
    assert small.programs == 1
    assert fits(4096, small, 0)
    assert large.programs == 179
    assert fits(1, large, 132)
    assert not fits(2, large, 132)


def test_a_share_of_a_resident_launch_waits_for_the_others_on_a_gpu():
    if INTERPRET:
        pytest.skip("the interpreter runs programs one by one: a barrier would never open")
    x, budgets = problem(2000, 64, masked=False, dtype=torch.float32)
    scales = torch.tensor([[14.0, 3.5]], device=DEVICE)
    a, b = torch.empty_like(budgets.rows), torch.empty_like(budgets.columns)
    for step in range(20):
        a, b = sweep(x, scales, a, b, budgets, first=step == 0)
    first = resident_sweeps(x, scales, budgets, 20)
    assert_near(first[0], a, scale=10)
    assert_near(first[1], b, torch.float32, scale=10)
    for _ in range(20):
        again = resident_sweeps(x, scales, budgets, 20)
        assert torch.equal(again[0], first[0])
        assert torch.equal(again[1], first[1])

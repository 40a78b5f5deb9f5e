"""The kernels of transports and of many channel groups, against formulas in float64."""

import pytest
import torch

from tests.kernels.tools import DEVICE, assert_near, guarded, marks, nan_arenas, needs_kernels

needs_kernels()

from multisk.kernels._tile import tile_for  # noqa: E402
from multisk.kernels.gradient import assign_backward, plan_backward  # noqa: E402
from multisk.kernels.groups import (  # noqa: E402
    Shares,
    curvature,
    group_plan,
    masses,
    respond,
    scores_gradient,
)
from multisk.kernels.newton import newton_pass  # noqa: E402
from multisk.kernels.plan import assign, write_plan  # noqa: E402
from multisk.kernels.search import search  # noqa: E402
from multisk.kernels.sweep import (  # noqa: E402
    Budgets,
    sweep,
    transport_sweep,  # noqa: E402
)
from multisk.kernels.wide import (  # noqa: E402
    At,
    apply_schur,
    couple_columns,  # noqa: E402
    solve_wide,
)

pytestmark = marks
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(1, 5), (63, 17), (20, 150)]
TAU = torch.tensor([[0.0, 0.3], [0.7, 0.0]], dtype=torch.float64)  # rows, columns of two problems


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).to(DEVICE)


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def mask_of(*shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(3)) > 0.2
    mask[..., :2] = True
    return mask.to(DEVICE)


def hidden(t, free):
    return t if free is None else t.masked_fill(~free, -torch.inf)


class Truth:
    """P = exp(scale X + a + b), with rows that answer to b, in float64."""

    def __init__(self, x, scale, b, rows, tau, free):
        y = hidden(scale.double().view(-1, 1, 1) * x.double() + b.double()[:, None], free)
        self.give = 1 + tau.double()[:, None]
        self.a = (rows.double().log() - y.logsumexp(-1)) / self.give
        self.p = (y + self.a[..., None]).exp()
        self.h = self.p.sum(-1) * self.give
        self.bend = torch.einsum("bij,bi,bil->bjl", self.p, 1 / self.h, self.p)


def transport(count, width, dtype, *, masked):
    kind = wide(dtype)
    x = draw(2, count, width, dtype=dtype)
    scale = torch.tensor([0.5, 3.0], dtype=kind, device=DEVICE)
    rows = (0.5 + draw(2, count, seed=2).abs()).to(kind)
    free = mask_of(2, count, width) if masked else None
    return x, scale, rows, TAU[:, 0].to(kind).to(DEVICE), free


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "width"), SHAPES)
def test_a_visit_of_a_transport_gives_rows_and_column_sums(count, width, masked, dtype):
    x, scale, rows, tau, free = transport(count, width, dtype, masked=masked)
    x, check = guarded(x)
    b = draw(2, width, seed=1, dtype=wide(dtype))
    truth = Truth(x, scale, b, rows, tau, free)
    empty = torch.full((2, count), torch.nan, dtype=wide(dtype), device=DEVICE)
    with nan_arenas():
        a, sums = transport_sweep(x, scale, empty, b, rows, tau, free=free)
        again, same = transport_sweep(x, scale, a, b, rows, tau, free=free, row_step=False)
        found = newton_pass(x, scale, b, empty, rows, mask=free, yields=tau, row_sums=True)
        got, table = assign(x, scale, b, rows, free=free, yields=tau)
        written = write_plan(x, scale, a, b, rows, free=free, capped=False)
    check()
    assert torch.equal(again, a)
    assert torch.equal(same, sums)
    for one in (a, found.row_potential, got):
        assert_near(one, truth.a, wide(dtype), scale=10)
    column = truth.p.sum(-2)
    assert_near(sums, column.log() - b.double(), wide(dtype), scale=10)
    assert_near(found.load, column, scale=10)
    assert_near(found.weight, column, scale=10)
    for total in (found.row_sums, table.row_sums):
        assert_near(total, truth.p.sum(-1), wide(dtype), scale=10)
    if found.bend is not None:
        assert_near(found.bend, truth.bend, scale=10)
    for plan in (table, written):
        assert_near(plan.plan, truth.p, dtype, scale=2)
        assert_near(plan.column_sums, column, wide(dtype), scale=10)


@pytest.mark.parametrize("tau", [[[0.0, 0.0]] * 2, TAU.tolist(), [[0.5, 0.2]] * 2])
@pytest.mark.parametrize(("dtype", "sharp"), [(torch.float32, 3.0), (torch.bfloat16, 60.0)])
def test_the_search_finds_transports_with_exact_and_with_yielding_margins(dtype, sharp, tau):
    count, width = 40, 12
    x = torch.nn.functional.normalize(draw(2, count, width), dim=-1).to(dtype)
    one = torch.ones((1, 1), device=DEVICE)
    goal = one * count / width
    budgets = Budgets(rows=one, row_cells=one * width, columns=goal, column_cells=one * count)
    scale = torch.tensor([sharp], device=DEVICE)
    yields = torch.tensor(tau, device=DEVICE)
    with nan_arenas():
        found = search(x, scale, None, budgets, yields=yields, passes=24)
    assert found.solved.all()
    a, b = found.row_potential.double(), found.column_potential.double()
    p = (sharp * x.double() + a[..., None] + b[:, None]).exp()
    wanted = (-yields[:, :1] * a).exp(), goal * (-yields[:, 1:] * b).exp()
    for got, want in zip((p.sum(-1), p.sum(-2)), wanted, strict=True):
        torch.testing.assert_close(got, want.double(), rtol=2e-5, atol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_of_yielding_transports_solve_the_whole_system(masked):
    x, scale, rows, tau, free = transport(9, 5, torch.float64, masked=masked)
    b, grad, column_tau = draw(2, 5, seed=1), draw(2, 9, 5, seed=4), TAU[:, 1].to(DEVICE)
    truth = Truth(x, scale, b, rows, tau, free)
    at = At(scores=x, scale=scale, row_potential=truth.a, column_potential=b, free=free, yields=tau)
    p, gauge = truth.p, torch.zeros(2, dtype=torch.float64, device=DEVICE)
    with nan_arenas():
        z, alpha, beta = plan_backward(at, grad, column_yields=column_tau, gauge=gauge, rounds=20)
        rows_only = assign_backward(at, grad)
    top = torch.cat([torch.diag_embed(truth.h), p], -1)
    column = torch.diag_embed(p.sum(-2) * (1 + column_tau[:, None]))
    whole = torch.cat([top, torch.cat([p.mT, column], -1)], -2)
    right = torch.cat([(p * grad).sum(-1), (p * grad).sum(-2)], -1)
    both = torch.linalg.solve(whole, right)
    want = p * (grad - both[:, :9, None] - both[:, None, 9:])
    assert_near(z, want, scale=1e3)
    assert_near(alpha, both[:, :9], scale=1e3)
    assert_near(beta, both[:, 9:], scale=1e3)
    tilt = (p * grad).sum(-1) / truth.h
    assert_near(rows_only, p * (grad - tilt[..., None]))


def test_columns_that_do_not_answer_keep_zero_and_the_others_solve_their_part():
    x, scale, rows, tau, _ = transport(30, 8, torch.float64, masked=False)
    b, right = draw(2, 8, seed=1), draw(2, 8, seed=2)
    truth = Truth(x, scale, b, rows, tau, None)
    still = torch.zeros(2, 8, dtype=torch.bool, device=DEVICE)
    still[0, [1, 4]], still[1, 6] = True, True
    weight = truth.p.sum(-2)
    at = At(scores=x, scale=scale, row_potential=truth.a, column_potential=b, yields=tau)
    none = torch.zeros(2, dtype=torch.float64, device=DEVICE)
    idle = torch.tensor([0, 1], dtype=torch.int32, device=DEVICE)
    with nan_arenas():
        found = solve_wide(at, weight, 1.5 * weight, right, still=still, gauge=none)
        half = solve_wide(at, weight, 1.5 * weight, right, still=still, gauge=none, idle=idle)
        answer = apply_schur(at, right, answer=True)
    assert found.done.all()
    assert (found.x[still] == 0).all()
    assert torch.equal(half.x[0], found.x[0])
    assert (half.x[1] == 0).all()
    assert_near(answer, torch.einsum("bjl,bl->bj", truth.bend, right))
    s = torch.diag_embed(1.5 * weight) - truth.bend
    for problem in range(2):
        live = ~still[problem]
        part = torch.linalg.solve(s[problem][live][:, live], right[problem][live])
        assert_near(found.x[problem][live], part, scale=1e3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "width", "masked"), [(37, 12, True), (9, 70, False)])
def test_the_square_part_is_formed_in_blocks(count, width, masked, dtype):
    x, scale, rows, tau, free = transport(count, width, dtype, masked=masked)
    b = draw(2, width, seed=1, dtype=wide(dtype))
    truth = Truth(x, scale, b, rows, tau, free)
    a, height = truth.a.to(wide(dtype)), truth.h.to(wide(dtype))
    at = At(scores=x, scale=scale, row_potential=a, column_potential=b, free=free, yields=tau)
    for programs in (None, 2):
        with nan_arenas():
            assert_near(couple_columns(at, height, programs=programs), truth.bend, scale=10)
    at = At(scores=x, scale=scale, row_potential=a, column_potential=b, free=free)
    t = scale.double().view(-1, 1, 1) * x.double() + a.double()[..., None] + b.double()[:, None]
    w = hidden(t, free).sigmoid() * torch.sigmoid(-t)
    want = torch.einsum("bij,bi,bil->bjl", w, 1 / w.sum(-1), w)
    assert_near(couple_columns(at, w.sum(-1).to(height)), want, scale=10)


def groups(count, width, dtype, *, masked):
    kind = wide(dtype)
    x = draw(2, count, width, dtype=dtype)
    scales = torch.tensor([[3.0, 1.5, 0.5]], dtype=kind, device=DEVICE)
    u, v = draw(2, 3, count, seed=1, dtype=kind), draw(2, 3, width, seed=2, dtype=kind)
    free = mask_of(2, count, width) if masked else None
    return Shares(scores=x, scales=scales, row_potential=u, column_potential=v, top=2, free=free)


def shares(at):
    """q in float64, as a function of the scores' and potentials' tensors."""
    t = at.scales.double()[..., None, None] * at.scores.double()[:, None]
    t = t + at.row_potential.double()[..., None] + at.column_potential.double()[..., None, :]
    q = t.softmax(1)
    return q if at.free is None else q * at.free[:, None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "width"), [(1, 3), (45, 20), (6, 150)])
def test_groups_answer_as_the_derivative_of_their_shares(count, width, masked, dtype):
    at = groups(count, width, dtype, masked=masked)
    x, check = guarded(at.scores)
    at = Shares(**{**vars(at), "scores": x})
    grad = draw(2, count, width, seed=5, dtype=wide(dtype))
    alpha = draw(2, 3, count, seed=6, dtype=wide(dtype))
    beta = draw(2, 3, width, seed=7, dtype=wide(dtype))
    with nan_arenas():
        mass, curve = masses(at), curvature(at)
        pulled, moved = respond(at, grad, None, None), respond(at, None, alpha, beta)
        z, by_scale = scores_gradient(at, grad, alpha, beta)
        table = group_plan(at)
        stepped = group_plan(at, torch.tensor(1.5, dtype=wide(dtype), device=DEVICE))
    check()
    q = shares(at)
    inside = torch.tensor([1.0, 1.0, 0.0], device=DEVICE).double()[:, None, None]
    wish = grad.double()[:, None] * inside
    change = alpha.double()[..., None] + beta.double()[..., None, :]

    def slope(d):
        return q * (d - (q * d).sum(1, keepdim=True))

    bent = slope(wish - change)
    for got, want in (
        (mass, q),
        (curve, q * (1 - q)),
        (pulled, slope(wish)),
        (moved, -slope(change)),
    ):
        size = want.abs()
        for side, (one, axis) in enumerate(zip(got, (-1, -2), strict=True)):
            floor = 30 * torch.finfo(wide(dtype)).eps * size.sum(axis).max()
            assert (one.double() - want.sum(axis)).abs().max() <= floor, side
    assert_near(z, torch.einsum("c,bcnk->bnk", at.scales[0].double(), bent), scale=10)
    by_group = torch.einsum("bnk,bcnk->bc", x.double(), bent)
    assert_near(by_scale, by_group, scale=100)
    plan = q[:, :2].sum(1)
    assert_near(table.plan, plan, scale=10)
    assert_near(table.row_sums, plan.sum(-1), scale=10)
    assert_near(table.column_sums, plan.sum(-2), wide(dtype), scale=10)
    factor = 1.5 / q.sum(-1)
    assert_near(stepped.moves, factor.log(), scale=10)
    assert_near(stepped.plan, (q * factor[..., None])[:, :2].sum(1), scale=10)


def test_strides_and_another_cut_change_rounding_only():
    x, scale, rows, tau, _ = transport(70, 12, torch.float64, masked=False)
    at = groups(70, 12, torch.float64, masked=False)
    b, beta, alpha = draw(2, 12, seed=1), draw(2, 3, 12, seed=7), draw(2, 3, 70, seed=6)
    plain = None
    for block, programs in ((0, 64), (16, 3), (64, 1)):
        tile = tile_for(70, 12, x.dtype, block_rows=block, programs=programs)
        for scores in (x, x.mT.contiguous().mT):
            empty = torch.full((2, 70), torch.nan, dtype=x.dtype, device=DEVICE)
            here = At(
                scores=scores, scale=scale, row_potential=rows, column_potential=b, yields=tau
            )
            place = Shares(**{**vars(at), "scores": scores})
            found = [
                *transport_sweep(scores, scale, empty, b, rows, tau, tile=tile),
                apply_schur(here, b, tile=tile),
                assign_backward(here, scores, tile=tile),
                *respond(place, scores, alpha, beta, tile=tile),
                *scores_gradient(place, scores, alpha, beta, tile=tile),
                group_plan(place, tile=tile).column_sums,
                write_plan(scores, scale, rows, b, rows, capped=False, tile=tile).column_sums,
            ]
            plain = plain or found
            for one, two in zip(found, plain, strict=True):
                assert_near(one, two, scale=10)


def test_rows_of_4096_columns_are_tiles_of_their_own():
    count, width = 2, 4096
    x, b = draw(1, count, width), draw(1, width, seed=1)
    one = torch.ones((1, 1), dtype=torch.float64, device=DEVICE)
    scale, scales = 2 * one[0], torch.tensor([[2.5, 0.5]], dtype=torch.float64, device=DEVICE)
    budgets = Budgets(
        rows=100 * one, row_cells=width * one, columns=one / 20, column_cells=count * one
    )
    empty = torch.full((1, count), torch.nan, dtype=x.dtype, device=DEVICE)
    with nan_arenas():
        found = newton_pass(x, scale, b, empty, budgets.rows, row_sums=True)
        a, _ = sweep(x, scales, empty, b, budgets, first=True)
        moved, sums = transport_sweep(x, scale, empty, b, one, 0 * one[0])
        at = Shares(
            scores=x,
            scales=scales,
            row_potential=torch.stack([a, 0 * a], 1),
            column_potential=torch.stack([b, 0 * b], 1),
            top=1,
        )
        table = group_plan(at)
    p = torch.sigmoid(2 * x + found.row_potential[..., None] + b[:, None])
    assert_near(p.sum(-1), budgets.rows.expand(1, count))
    assert_near(found.load, p.sum(-2), scale=10)
    share = torch.tensor(100 / 3996, dtype=torch.float64, device=DEVICE).log()
    assert_near(a, share - (2.5 * x).logsumexp(-1) + (0.5 * x).logsumexp(-1), scale=10)
    truth = Truth(x, scale, b, one.expand(1, count), 0 * one[0], None)
    assert_near(moved, truth.a, scale=10)
    assert_near(sums, truth.p.sum(-2).log() - b, scale=10)
    assert_near(table.plan, shares(at)[:, 0], scale=10)

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
from multisk.kernels.gradient import plan_backward  # noqa: E402
from multisk.kernels.newton import newton_pass, solve_schur  # noqa: E402
from multisk.kernels.plan import assign, write_plan  # noqa: E402
from multisk.kernels.search import search  # noqa: E402
from multisk.kernels.sweep import Budgets  # noqa: E402
from multisk.kernels.wide import At, apply_schur, solve_wide  # noqa: E402

pytestmark = marks
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).to(DEVICE)


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def mask_of(*shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) > 0.15
    mask[..., :4] = True
    return mask.to(DEVICE)


def oracle(x, scale, b, a, free):
    """P, W and h in float64."""
    t = scale.double().view(-1, 1, 1) * x.double() + b.double()[:, None] + a.double()[..., None]
    p = torch.sigmoid(t if free is None else t.masked_fill(~free, -torch.inf))
    w = p * torch.sigmoid(-t if free is None else -t.masked_fill(~free, -torch.inf))
    return p, w, w.sum(-1)


def place(x, scale, a, b, free=None, yields=None):
    return At(scores=x, scale=scale, row_potential=a, column_potential=b, free=free, yields=yields)


def even(count, width, k, dtype, free=None):
    full = {"dtype": wide(dtype), "device": DEVICE}
    cells = (torch.full((1, 1), float(width), **full), torch.full((1, 1), float(count), **full))
    if free is not None:
        cells = free.sum(-1).to(**full), free.sum(-2).to(**full)
    columns = torch.full((1, 1), count * k / width, **full)
    rows = torch.full((1, 1), float(k), **full)
    return Budgets(rows=rows, row_cells=cells[0], columns=columns, column_cells=cells[1], free=free)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "width"), [(1, 5), (63, 50), (130, 64), (20, 150)])
def test_a_newton_pass_gives_roots_sums_and_the_square_part(count, width, masked, dtype):
    x, check = guarded(draw(2, count, width, dtype=dtype))
    b = draw(2, width, dtype=wide(dtype), seed=1)
    scale = torch.tensor([3.0, 11.0], dtype=wide(dtype), device=DEVICE)
    free = mask_of(2, count, width) if masked else None
    rows = torch.tensor([[2.5]], dtype=wide(dtype), device=DEVICE)
    none = torch.full((2, count), torch.nan, dtype=wide(dtype), device=DEVICE)
    with nan_arenas():
        found = newton_pass(x, scale, b, none, rows, mask=free, dense=width <= 128)
    check()
    p, w, h = oracle(x, scale, b, found.row_potential, free)
    rough = 1e-12 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(p.sum(-1), torch.full_like(h, 2.5), rtol=rough, atol=0)
    assert_near(found.load, p.sum(-2), scale=10)
    assert_near(found.weight, w.sum(-2), scale=10)
    if width <= 128:
        assert_near(found.bend, torch.einsum("bij,bi,bil->bjl", w, 1 / h, w), scale=10)


@pytest.mark.parametrize("eps", [1.0, 0.01, 0.0003])
@pytest.mark.parametrize("k", [1, 8, 15])
def test_a_row_root_is_found_from_any_guess_at_any_temperature(k, eps):
    x = draw(1, 40, 16)
    b, scale = draw(1, 16, seed=1), torch.tensor([1 / eps], dtype=torch.float64, device=DEVICE)
    rows = torch.tensor([[float(k)]], dtype=torch.float64, device=DEVICE)
    roots = []
    for first in (torch.nan, 0.0, 1e6, -1e6):
        guess = torch.full((1, 40), first, dtype=torch.float64, device=DEVICE)
        plan = assign(x, scale, b, rows, guess=guess)[1].plan
        assert ((plan.sum(-1) - k).abs() <= 1e-9 * k).all()
        roots.append(plan)
    for other in roots[1:]:
        torch.testing.assert_close(other, roots[0], rtol=0, atol=1e-8)


def test_unseen_rows_get_what_they_would_get_in_the_solution():
    x, budgets = draw(1, 60, 12), even(60, 12, 3, torch.float64)
    scale = torch.tensor([4.0], dtype=torch.float64, device=DEVICE)
    found = search(x, scale, None, budgets, tolerance=1e-10, passes=8)
    a, table = assign(x[:, 20:50], scale, found.column_potential, budgets.rows)
    p, _, _ = oracle(x, scale, found.column_potential, found.row_potential, None)
    assert_near(table.plan, p[:, 20:50], scale=1e3)
    assert_near(a, found.row_potential[:, 20:50], scale=1e3)


@pytest.mark.parametrize(
    ("count", "width", "k", "sharp", "passes", "dtype"),
    [
        (90, 20, 5, 5.0, 6, torch.float32),
        (64, 16, 1, 40.0, 10, torch.bfloat16),
        (130, 50, 25, 10.0, 6, torch.bfloat16),
        (50, 17, 3, 300.0, 24, torch.float32),
    ],
)
def test_the_search_meets_both_margins(count, width, k, sharp, passes, dtype):
    unit = torch.nn.functional.normalize
    x = (unit(draw(2, count, 8), dim=-1) @ unit(draw(2, 8, width, seed=1), dim=1)).to(dtype)
    budgets = even(count, width, k, dtype)
    scale = torch.tensor([sharp], dtype=torch.float32, device=DEVICE)
    with nan_arenas():
        found = search(x, scale, None, budgets, passes=passes)
        plan = assign(x.float(), scale, found.column_potential, budgets.rows)[1].plan
    assert found.solved.all()
    assert (found.error <= 1e-6).all()
    torch.testing.assert_close(plan.sum(-1), torch.full_like(plan[..., 0], k), rtol=5e-6, atol=0)
    assert ((plan.sum(-2) / (count * k / width) - 1).abs() <= 5e-6).all()


def test_the_search_goes_on_from_where_it_stopped():
    x, budgets = draw(2, 60, 12, dtype=torch.float32), even(60, 12, 3, torch.float32)
    scale = torch.tensor([6.0, 0.5], device=DEVICE)
    whole = search(x, scale, None, budgets, passes=9)
    part = search(x, scale, None, budgets, passes=2)
    assert not part.solved.all()
    part = search(x, scale, None, budgets, passes=7, resume=part)
    assert torch.equal(part.column_potential, whole.column_potential)
    assert part.solved.all()


def test_the_search_needs_two_passes_from_the_neighbouring_solution():
    x, budgets = draw(1, 100, 16, dtype=torch.float32), even(100, 16, 4, torch.float32)
    scale = torch.tensor([2.0], device=DEVICE)
    cold = search(x, scale, None, budgets, passes=8)
    moved = x + 0.02 * draw(1, 100, 16, dtype=torch.float32, seed=5)
    warm = search(moved, scale, cold.column_potential, budgets, passes=3)
    assert warm.solved.all()


def test_many_columns_are_searched_without_the_square_part():
    x, budgets = draw(1, 40, 140, dtype=torch.float32), even(40, 140, 30, torch.float32)
    found = search(x, torch.tensor([1.0], device=DEVICE), None, budgets, passes=5)
    assert found.solved.all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("count", "width"), [(30, 12), (70, 33)])
def test_the_backward_pass_solves_the_implicit_system(count, width, masked):
    x, grad = draw(2, count, width), draw(2, count, width, seed=2)
    a, b = draw(2, count, seed=3), draw(2, width, seed=4)
    scale = torch.tensor([1.0, 2.0], dtype=torch.float64, device=DEVICE)
    free = mask_of(2, count, width) if masked else None
    with nan_arenas():
        z, alpha, beta = plan_backward(place(x, scale, a, b, free=free), grad)
    _, w, _ = oracle(x, scale, b, a, free)
    assert_near(z, w * (grad - alpha[..., None] - beta[:, None]))
    size = (w * grad).abs().sum()
    assert z.sum(-1).abs().max() <= 1e-13 * size
    assert z.sum(-2).abs().max() <= 1e-10 * size


def test_float32_gradients_agree_with_float64_through_the_square_part():
    x, grad = draw(2, 100, 40, dtype=torch.float32), draw(2, 100, 40, seed=2, dtype=torch.float32)
    a, b = draw(2, 100, seed=3, dtype=torch.float32), draw(2, 40, seed=4, dtype=torch.float32)
    scale = torch.tensor([1.0, 2.0], device=DEVICE)
    got = plan_backward(place(x, scale, a, b), grad)
    wide = (x.double(), scale.double(), a.double(), b.double())
    want = plan_backward(place(*wide), grad.double())
    assert_near(got[0], want[0], torch.float32, scale=10)
    # Rows and columns share their total: only sums alpha_i + beta_j are determined.
    one, two = (alpha[..., None] + beta[:, None] for _, alpha, beta in (got, want))
    assert_near(one, two, torch.float32, scale=10)


def test_the_small_system_is_solved_up_to_a_constant():
    w = torch.rand(3, 50, 20, dtype=torch.float32).to(DEVICE) * 0.25
    weight, bend = w.sum(1), torch.einsum("bij,bi,bil->bjl", w, 1 / w.sum(-1), w)
    right = draw(3, 20, dtype=torch.float32)
    right -= right.mean(-1, keepdim=True)
    with nan_arenas():
        x = solve_schur(weight, bend, right)
    assert x.sum(-1).abs().max() < 1e-4
    back = weight * x - (bend @ x[..., None]).squeeze(-1)
    assert_near(back, right.double(), torch.float32, scale=10)


def test_the_system_is_applied_without_being_formed():
    x, a, b, v = draw(2, 50, 30), draw(2, 50, seed=1), draw(2, 30, seed=2), draw(2, 30, seed=3)
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64, device=DEVICE)
    with nan_arenas():
        image = apply_schur(place(x, scale, a, b), v)
    _, w, h = oracle(x, scale, b, a, None)
    want = w.sum(-2) * v - torch.einsum("bij,bi,bil,bl->bj", w, 1 / h, w, v)
    assert_near(image, want)
    right = want - want.mean(-1, keepdim=True)
    weight = w.sum(-2)
    solved = solve_wide(place(x, scale, a, b), weight, weight, right)
    assert solved.done.all()
    got = solved.x - solved.x.mean(-1, keepdim=True)
    assert_near(got, v - v.mean(-1, keepdim=True), scale=1e3)


@pytest.mark.parametrize("masked", [False, True])
def test_a_written_plan_is_the_sigmoid_with_or_without_a_row_step(masked):
    x, a, b = draw(2, 45, 20), draw(2, 45, seed=1), draw(2, 20, seed=2)
    scale = torch.tensor([2.0], dtype=torch.float64, device=DEVICE)
    rows = torch.tensor([[3.0]], dtype=torch.float64, device=DEVICE)
    free = mask_of(2, 45, 20) if masked else None
    p, _, _ = oracle(x, scale, b, a, free)
    size = torch.full((2, 45), 20.0, dtype=torch.float64, device=DEVICE)
    size = size if free is None else free.sum(-1).double()
    with nan_arenas():
        plain = write_plan(x, scale, a, b, rows, free=free)
        got = write_plan(x, scale, a, b, rows, row_cells=size, free=free)
    for table, want in ((plain, p), (got, 3 * p / p.sum(-1, keepdim=True))):
        assert_near(table.plan, want)
        assert_near(table.row_sums, want.sum(-1))
        assert_near(table.column_sums, want.sum(-2))
    rest = (1 - p) if free is None else (1 - p) * free
    assert_near(got.moves[:, 0], (3 / p.sum(-1)).log(), scale=10)
    assert_near(got.moves[:, 1], ((size - 3) / rest.sum(-1)).log(), scale=10)


def test_transposed_scores_and_another_cut_change_rounding_only():
    x, b = draw(2, 30, 80).mT, draw(2, 30, seed=1)
    scale = torch.tensor([2.0], dtype=torch.float64, device=DEVICE)
    rows = torch.tensor([[7.0]], dtype=torch.float64, device=DEVICE)
    plain = None
    for block in (0, 16, 64):
        for scores in (x, x.contiguous()):
            tile = tile_for(80, 30, x.dtype, block_rows=block, programs=2)
            none = torch.full((2, 80), torch.nan, dtype=x.dtype, device=DEVICE)
            found = newton_pass(scores, scale, b, none, rows, dense=True, tile=tile)
            plain = found if plain is None else plain
            assert_near(found.bend, plain.bend)
            assert_near(found.load, plain.load)


def test_a_problem_without_numbers_stands_still_unsolved_and_harms_no_other():
    x, budgets = draw(3, 40, 12, dtype=torch.float32), even(40, 12, 3, torch.float32)
    x[1, 5, 3] = torch.nan
    scale = torch.tensor([3.0], device=DEVICE)
    found = search(x, scale, None, budgets, passes=7)
    assert found.solved.tolist() == [1, 1, 1]  # nothing waits for it
    assert found.error.isnan().tolist() == [False, True, False]
    assert found.steps[1] == 0
    alone = search(x[::2], scale, None, budgets, passes=7)
    assert torch.equal(found.column_potential[::2], alone.column_potential)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_without_a_budget_are_settled_at_once(dtype, monkeypatch):
    from multisk.kernels import _walk

    x, b = draw(1, 16, 9, dtype=dtype), draw(1, 9, dtype=dtype, seed=1)
    free, seen, plain = mask_of(1, 16, 9), [], _walk.sigmoid
    rows = torch.zeros(1, 16, dtype=dtype, device=DEVICE)
    if INTERPRET:  # how often the root's loop looks at the tile
        monkeypatch.setattr(_walk, "sigmoid", lambda t: seen.append(1) or plain(t))
    plan = assign(x, torch.ones_like(rows[:, 0]), b, rows, free=free)[1].plan
    assert plan.abs().max() <= 1e-30
    assert len(seen) <= 2  # a look of the loop, and the plan
    rows[:, 3] = 2.0
    plan = assign(x, torch.ones_like(rows[:, 0]), b, rows, free=free)[1].plan
    assert_near(plan.sum(-1), rows)

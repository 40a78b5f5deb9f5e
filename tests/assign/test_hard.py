"""`hard` is the optimum of HiGHS, with prices that decide it and prove it."""

import functools
import importlib
import inspect
import sys
import types
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import multisk
from multisk import MultiAssignment, hard
from multisk._backends.numba import available, matching
from tests.solver.strategies import FEW, unit_scores

TIED = "tied"


@pytest.fixture(params=["numba", "numpy"])
def backend(request, monkeypatch):
    """Both forms of the flow; SciPy's assignment solver stays out of their way."""
    if request.param == "numba" and not available.compiled(available.kernels()):
        pytest.skip("numba is not installed")
    monkeypatch.setattr(matching, "assigned", nothing_assigned)
    with multisk.use_backend(request.param):
        yield request.param


def nothing_assigned(x, *_):
    return np.zeros(x.shape, bool), np.zeros(x.shape[0], bool)


@functools.cache
def case_of(seed):
    return Case(seed)


class Case:
    """A random problem: budgets of rows, loads or bounds or even shares, a mask or none."""

    def __init__(self, seed):
        draw = np.random.default_rng(seed)
        self.n, self.columns = int(draw.integers(1, 22)), int(draw.integers(1, 11))
        shape = self.n, self.columns
        self.kind = draw.choice(["plain", TIED, "offsets"], p=[0.5, 0.2, 0.3])
        self.x = draw.standard_normal(shape)
        if self.kind == TIED:
            self.x = np.round(2 * self.x) / 2
        if self.kind == "offsets":
            self.x += 9 * draw.standard_normal((self.n, 1)) + 5 * draw.standard_normal(shape[1])
        self.mask = draw.random(shape) < draw.choice([0.3, 0.6, 0.9, 2.0])
        allowed = self.mask.sum(1)
        if draw.random() < 0.5:
            self.k = self.budgets = draw.integers(0, allowed + 1)
        else:
            self.k = int(draw.integers(0, allowed.min() + 1))
            self.budgets = np.full(self.n, self.k)
        self.capacity, self.low, self.high = self.bounds(draw)

    def bounds(self, draw):
        form = draw.choice(["even", "interval", "exact"])
        cells = self.mask.sum(0)
        if form == "interval":
            low = draw.integers(0, cells // 3 + 1)
            high = low + draw.integers(0, self.n + 2, cells.size)
            return (low, high), low, high
        if form == "exact":
            plan = np.zeros_like(self.mask)
            for row, line in enumerate(self.mask):
                plan[row, draw.permutation(np.flatnonzero(line))[: self.budgets[row]]] = True
            load = plan.sum(0)
            if draw.random() < 0.4 and load.max(initial=0) > 0:  # perhaps no plan has these
                load[load.argmax()] -= 1
                load[draw.integers(cells.size)] += 1
            return load, load, load
        share = np.where(cells > 0, self.budgets.sum() / max(1, (cells > 0).sum()), 0.0)
        return None, np.floor(share + 1e-9), np.ceil(share - 1e-9)

    @property
    def problem(self):
        k = self.k if isinstance(self.k, int) else torch.tensor(self.k)
        capacity = self.capacity
        if capacity is not None:
            pair = isinstance(capacity, tuple)
            capacity = tuple(map(torch.tensor, capacity)) if pair else torch.tensor(capacity)
        return MultiAssignment(k, capacity=capacity, mask=torch.tensor(self.mask))

    @property
    def scores(self):
        """Scores where no pair is forbidden, NaN elsewhere."""
        return torch.tensor(np.where(self.mask, self.x, np.nan))

    @cached_property
    def best(self):
        """The optimum of HiGHS, None where there is no plan."""
        try:
            bounds = self.low, self.high
            plan = multisk.reference.b_matching(self.x, self.budgets, bounds, self.mask)
        except RuntimeError:
            return None
        return float((plan * self.x).sum())

    def dual(self, prices):
        """The dual objective, from its definition."""
        worth = -np.sort(-np.where(self.mask, self.x - prices, -np.inf), 1)
        rows = sum(line[:k].sum() for line, k in zip(worth, self.budgets, strict=True))
        return rows + np.maximum(prices * self.low, prices * self.high).sum()

    def by_prices(self, prices):
        """Every row's best columns after the prices."""
        order = np.argsort(-np.where(self.mask, self.x - prices, -np.inf), 1)
        plan = np.zeros_like(self.mask)
        np.put_along_axis(plan, order, np.arange(self.columns) < self.budgets[:, None], 1)
        return plan


def test_values_are_those_of_highs_and_prices_decide_and_prove_them(backend):
    counts = dict.fromkeys(["solved", "decided", "refused"], 0)
    step = 1 if backend == "numba" else 3
    for seed in range(0, 340, step):
        case = case_of(seed)
        best = case.best
        if best is None:
            with pytest.raises(ValueError, match=r"^(k|capacity)[\[01\] ]* ?must"):
                hard(case.scores, case.problem)
            counts["refused"] += 1
            continue
        found = hard(case.scores, case.problem)
        plan, prices = found.plan.numpy(), found.prices.numpy()
        assert (plan.sum(1) == case.budgets).all(), seed
        assert (plan.sum(0) >= case.low).all(), seed
        assert (plan.sum(0) <= case.high).all(), seed
        assert not (plan & ~case.mask).any(), seed
        assert abs(float(found.value) - best) <= 1e-9 * max(1.0, abs(best)), seed
        assert abs(case.dual(prices) - best) <= 1e-9 * max(1.0, abs(best)), seed
        assert 0.0 <= float(found.gap) <= 1e-9, seed
        counts["solved"] += 1
        if case.kind != TIED:
            assert (case.by_prices(prices) == plan).all(), seed
            counts["decided"] += 1
    assert counts["solved"] >= 280 // step
    assert counts["decided"] >= 200 // step
    assert counts["refused"] >= 40 // step


@pytest.mark.parametrize("seed", range(12))
def test_compiled_loops_and_arrays_give_the_same_plan_and_prices(seed):
    x = unit_scores(60, 14, seed=seed)
    upper = torch.full((14,), 18.0 + seed % 3)
    problem = MultiAssignment(4, capacity=(torch.full((14,), 12.0), upper) if seed % 2 else None)
    one = hard(x, problem)
    with multisk.use_backend("numpy"):
        two = hard(x, problem)
    assert bool((one.plan == two.plan).all())
    torch.testing.assert_close(one.prices, two.prices, rtol=0, atol=1e-10)
    torch.testing.assert_close(one.value, two.value, rtol=1e-14, atol=0)


def test_scipys_assignment_and_the_flow_are_the_same_optimum(monkeypatch):
    square, wide = torch.rand(3, 30, 30, dtype=torch.float64), torch.rand(3, 9, 40)
    single = MultiAssignment(torch.tensor([1, 0, 1] * 3))
    for x, problem in ((square, MultiAssignment(1)), (wide, MultiAssignment(1)), (wide, single)):
        one = hard(x, problem)
        with monkeypatch.context() as patch:
            patch.setattr(matching, "assigned", nothing_assigned)
            two = hard(x, problem)
        assert bool((one.plan == two.plan).all())
        torch.testing.assert_close(one.prices, two.prices, rtol=0, atol=1e-10)
        assert float(one.gap.max()) <= 1e-9


def test_without_scipy_an_assignment_is_a_flow_like_all_others(monkeypatch):
    x = torch.rand(2, 15, 15, generator=torch.Generator().manual_seed(3))
    truth = hard(x, MultiAssignment(1))
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)  # importing it raises
    found = hard(x, MultiAssignment(1))
    assert torch.equal(found.plan, truth.plan)
    torch.testing.assert_close(found.prices, truth.prices, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("n", "columns", "k", "spread"),
    [(1024, 128, 8, 0.5), (512, 200, 4, 3.0), (60, 300, 5, 1.0), (3000, 24, 12, 0.5)],
)
def test_larger_problems_are_proved_by_their_prices(n, columns, k, spread):
    draw = np.random.default_rng(n)
    x = draw.standard_normal((n, columns)) + spread * draw.standard_normal(columns)
    found = hard(torch.tensor(x), MultiAssignment(k))
    prices, load = found.prices.numpy(), n * k / columns
    low, high = np.floor(load), np.ceil(load)
    loads = found.loads.numpy()
    assert loads.sum() == n * k
    assert low <= loads.min() <= loads.max() <= high
    dual = -np.sort(-(x - prices), 1)[:, :k].sum() + np.maximum(prices * low, prices * high).sum()
    assert abs(dual - float(found.value)) <= 1e-9 * abs(dual)
    chosen = (torch.tensor(x) - found.prices).topk(k, -1).indices
    assert bool((chosen == found.indices).all())


def test_equal_scores_and_few_levels_are_solved():
    for x in (torch.zeros(50, 10), torch.randint(0, 2, (50, 10)).float()):
        found = hard(x, MultiAssignment(3))
        assert bool((found.plan.sum(-1) == 3).all())
        assert bool((found.loads == 15).all())
        assert float(found.gap) <= 1e-9


@st.composite
def unmasked(draw):
    """Scores without ties, and a problem with exact loads or bounds."""
    case = Case(draw(st.integers(0, 10**6)))
    x = torch.tensor(np.random.default_rng(case.n).standard_normal(case.x.shape))
    k = draw(st.integers(0, case.columns))
    share, slack = case.n * k / case.columns, draw(st.integers(0, 3))
    if slack == 0:
        return x, MultiAssignment(k), k
    bounds = max(0.0, np.floor(share) - slack), min(case.n, np.ceil(share) + slack)
    capacity = tuple(torch.full((case.columns,), bound) for bound in bounds)
    return x, MultiAssignment(k, capacity=capacity), k


@FEW
@given(unmasked(), st.integers(0, 1000))
def test_rows_and_columns_may_come_in_any_order(case, seed):
    x, problem, _ = case
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(size, generator=generator) for size in x.shape)
    one, two = hard(x, problem), hard(x[rows][:, columns], problem)
    assert bool((two.plan == one.plan[rows][:, columns]).all())
    torch.testing.assert_close(two.prices, one.prices[columns], rtol=0, atol=1e-9)


@FEW
@given(unmasked(), st.integers(0, 1000))
def test_a_shift_of_rows_changes_nothing_and_one_of_columns_the_prices(case, seed):
    x, problem, k = case
    generator = torch.Generator().manual_seed(seed)
    by_row = 10 * torch.randn(x.shape[0], 1, generator=generator, dtype=torch.float64)
    by_column = 10 * torch.randn(x.shape[1], generator=generator, dtype=torch.float64)
    one, two = hard(x, problem), hard(x + by_row, problem)
    assert bool((two.plan == one.plan).all())
    torch.testing.assert_close(two.prices, one.prices, rtol=0, atol=1e-9)
    if x.shape[0] * k % x.shape[1] == 0 and problem.capacity is None:  # exact loads
        shifted = hard(x + by_column, problem)
        assert bool((shifted.plan == one.plan).all())
        if not 0 < k < x.shape[1]:  # no exchange that prices would decide
            return
        moved = one.prices + by_column - by_column.mean()
        torch.testing.assert_close(shifted.prices, moved, rtol=0, atol=1e-8)


def test_large_offsets_of_rows_cost_no_digits():
    x = torch.rand(80, 16, dtype=torch.float64)
    offsets = 2.0**20 * torch.randint(-8, 9, (80, 1))
    moved = x + offsets
    one, two = hard(moved - offsets, MultiAssignment(3)), hard(moved, MultiAssignment(3))
    assert torch.equal(two.plan, one.plan)
    assert torch.equal(two.prices, one.prices)
    assert float(two.gap) <= 1e-12


@FEW
@given(unmasked(), st.sampled_from([1e-6, 0.3, 1e9]))
def test_prices_have_the_unit_of_the_scores(case, factor):
    x, problem, _ = case
    one, two = hard(x, problem), hard(factor * x, problem)
    assert bool((two.plan == one.plan).all())
    torch.testing.assert_close(two.prices / factor, one.prices, rtol=0, atol=1e-9)
    torch.testing.assert_close(two.value / factor, one.value, rtol=1e-12, atol=1e-12)


@FEW
@given(unmasked(), st.integers(0, 1000))
def test_the_start_changes_nothing_but_the_time(case, seed):
    x, problem, _ = case
    generator = torch.Generator().manual_seed(seed)
    start = 3 * torch.randn(x.shape[1], generator=generator)
    start[0] = torch.nan
    one, two = hard(x, problem), hard(x, problem, prices=start)
    again = hard(x, problem, prices=one.prices)
    for other in (two, again):
        assert bool((other.plan == one.plan).all())
        torch.testing.assert_close(other.prices, one.prices, rtol=0, atol=1e-9)


def test_a_batch_is_its_problems_side_by_side():
    x = torch.rand(2, 3, 20, 6)
    k = torch.randint(0, 7, (2, 3, 20))
    for problem in (MultiAssignment(2), MultiAssignment(k)):
        many = hard(x, problem)
        for at in ((0, 1), (1, 2)):
            one = hard(x[at], MultiAssignment(2 if problem.k is not k else k[at]))
            for name in ("plan", "loads", "prices", "value", "gap"):
                assert torch.equal(getattr(many, name)[at], getattr(one, name)), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_is_solved_for_the_numbers_it_holds(dtype):
    x = torch.rand(20, 8).to(dtype)
    found = hard(x, MultiAssignment(2))
    exact = hard(x.double(), MultiAssignment(2))
    assert torch.equal(found.plan, exact.plan)
    assert torch.equal(found.value, exact.value)
    assert (found.prices.dtype, found.value.dtype) == (torch.float64, torch.float64)


def test_the_value_has_the_plan_as_its_derivative_and_nothing_is_changed():
    x = torch.rand(12, 5, requires_grad=True)
    before = x.detach().clone()
    found = hard(x, MultiAssignment(2))
    found.value.backward()
    assert x.grad is not None
    assert torch.equal(x.grad, found.plan.float())
    assert torch.equal(x, before)
    assert not found.prices.requires_grad


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 3), (2, 0, 3), (3, 1)])
def test_problems_without_cells_have_an_answer(shape):
    found = hard(torch.zeros(shape), MultiAssignment(1))
    assert found.plan.shape == shape
    assert found.prices.shape == (*shape[:-2], shape[-1])
    assert found.indices.shape == (*shape[:-1], 1) or 0 in shape
    assert bool((found.gap == 0).all())


X = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
TWO = torch.tensor([[True, False, False]] * 2 + [[True, True, True]] * 2)
REFUSED = [
    (X, multisk.Transport(eps=0.1), {}, "problem must be a MultiAssignment"),
    (X.numpy(), MultiAssignment(1), {}, "scores must be a tensor"),
    (X * torch.nan, MultiAssignment(1), {}, "scores must be finite"),
    (X, MultiAssignment(5), {}, "k must not exceed the number of columns"),
    (X, MultiAssignment(torch.full((4,), 0.5)), {}, "k must be whole numbers"),
    (X, MultiAssignment(1, capacity=torch.tensor([1, 1, 1])), {}, "capacity must sum to"),
    (X, MultiAssignment(2, mask=TWO), {}, "k must lie between 0 and the row's 1 allowed columns"),
    (X, MultiAssignment(1), {"prices": torch.zeros(4)}, "prices must fit the shape"),
    (X, MultiAssignment(1), {"prices": [0.0] * 3}, "prices must be a floating-point tensor"),
]


@pytest.mark.parametrize(("x", "problem", "options", "text"), REFUSED)
def test_what_has_no_answer_is_refused_with_the_rule(x, problem, options, text):
    with pytest.raises(ValueError, match=text):
        inspect.unwrap(hard)(x, problem, **options)  # as without a type checker


def test_loads_that_a_mask_forbids_are_refused_by_the_columns_that_clash(backend):
    mask = torch.tensor([[1, 1, 0, 0]] * 3 + [[0, 0, 1, 1]] * 3).bool()
    x = torch.rand(6, 4)
    with pytest.raises(ValueError, match=r"upper loads of 2 for columns \[0, 1\] where 3 are"):
        hard(
            x, MultiAssignment(1, capacity=(torch.zeros(4), torch.tensor([1, 1, 2, 2])), mask=mask)
        )
    with pytest.raises(ValueError, match=r"lower loads of 4 for columns \[0, 1\] that 3 rows can"):
        hard(
            x,
            MultiAssignment(
                1, capacity=(torch.tensor([2, 2, 0, 0]), torch.full((4,), 6.0)), mask=mask
            ),
        )


def test_even_shares_that_a_mask_forbids_may_do_in_whole_numbers():
    mask = torch.tensor([[1, 0], [0, 1], [0, 1]]).bool()
    found = hard(torch.rand(3, 2), MultiAssignment(1, mask=mask))
    assert found.loads.tolist() == [1, 2]


def test_indices_need_equal_budgets():
    found = hard(X, MultiAssignment(torch.tensor([1, 2, 1, 0])))
    with pytest.raises(ValueError, match="k must be the same for every row"):
        _ = found.indices


def test_a_solution_is_rounded_to_the_same_plan_and_prices():
    x = unit_scores(40, 7)
    mask = torch.rand(40, 7, generator=torch.Generator().manual_seed(2)) < 0.8
    mask[:, :2] = True
    for problem in (
        MultiAssignment(2),
        MultiAssignment(2, mask=mask),
        MultiAssignment(2, eps=0.01),
    ):
        solution, found = multisk.solve(x, problem), hard(x, problem)
        assert torch.equal(solution.round(), found.plan)
        torch.testing.assert_close(solution.prices(), found.prices, rtol=0, atol=1e-9)


def test_a_solution_of_what_cannot_be_met_has_no_hard_plan():
    """Three rows share two columns of one place each: no soft plan either, only its status."""
    mask = torch.tensor([[1, 1, 0, 0]] * 3 + [[0, 0, 1, 1]] * 3).bool()
    bounds = torch.zeros(4), torch.tensor([1.0, 1.0, 2.0, 2.0])
    solution = multisk.solve(torch.rand(6, 4), MultiAssignment(1, capacity=bounds, mask=mask))
    assert not solution.converged
    with pytest.raises(RuntimeError, match="no hard assignment meets the budgets.* where 3 are"):
        solution.round()


class Broken:
    """A function whose compiler fails when it is called."""

    def __init__(self, function):
        self.__wrapped__ = function

    def __call__(self, *given):
        raise AttributeError("_garbageconstructor\nand more lines")


def test_a_numba_that_does_not_work_leaves_the_flow_to_arrays(monkeypatch):
    truth = hard(X, MultiAssignment(2, capacity=torch.tensor([3, 3, 2])))
    names = [f"multisk._backends.numba.{name}" for name in ("loops", "newton", "whole", "flow")]
    package = sys.modules["multisk._backends.numba"]
    fake = types.ModuleType("numba")
    fake.__spec__ = importlib.machinery.ModuleSpec("numba", None)
    fake.njit = lambda **options: Broken
    with monkeypatch.context() as patch:
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
            patch.delattr(package, name.rpartition(".")[2], raising=False)
        patch.setitem(sys.modules, "numba", fake)
        available.whole_loops.cache_clear()
        with pytest.warns(multisk._warning.MultiskWarning, match="numba is installed but cannot"):
            found = hard(X, MultiAssignment(2, capacity=torch.tensor([3, 3, 2])))
        for name in names:
            sys.modules.pop(name, None)
            vars(package).pop(name.rpartition(".")[2], None)
    available.whole_loops.cache_clear()
    available.UNUSABLE.clear()
    assert torch.equal(found.plan, truth.plan)
    torch.testing.assert_close(found.prices, truth.prices, rtol=0, atol=1e-10)

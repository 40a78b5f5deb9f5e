"""No input ends in a silently wrong plan: it raises, or the status says what happened."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multisk import (
    BalancedAssigner,
    Exact,
    MultiAssignment,
    Newton,
    Sinkhorn,
    Status,
    Transport,
    solve,
)

NAN, INF = float("nan"), float("inf")
RAMP = torch.tensor([1.0, 0.5, 0.1])
X = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.1, 0.0], [0.3, 0.3, 0.9], [0.2, 0.8, 0.4]])
POOR = torch.ones(4, 3, dtype=torch.bool).index_fill(0, torch.tensor([1]), False)


def spoiled(value):
    x = X.clone()
    x[2, 1] = value
    return x


REFUSED = {
    "NaN score": (lambda: solve(spoiled(NAN), MultiAssignment(1)), r"finite, got nan at \(2, 1\)"),
    "infinite score": (lambda: solve(spoiled(INF), MultiAssignment(1)), r"got inf at \(2, 1\)"),
    "minus infinite score": (lambda: solve(spoiled(-INF), Transport(eps=1)), r"got -inf at"),
    "half overflows": (lambda: solve(spoiled(1e9).half(), MultiAssignment(1)), "got inf"),
    "integer scores": (lambda: solve(X.long(), MultiAssignment(1)), "scores must be a dense"),
    "boolean scores": (lambda: solve(X > 0, MultiAssignment(1)), "scores must be a dense"),
    "complex scores": (lambda: solve(X + 0j, MultiAssignment(1)), "scores must be a dense"),
    "sparse scores": (lambda: solve(X.to_sparse(), MultiAssignment(1)), "scores must be a dense"),
    "one dimension": (lambda: solve(X[0], MultiAssignment(1)), r"shape \(\*batch, N, K\)"),
    "too wide a range": (lambda: solve(spoiled(3e38), MultiAssignment(1)), "eps must be large"),
    "k negative": (lambda: MultiAssignment(-1), "k must be at least 0, got -1"),
    "k fractional": (lambda: MultiAssignment(1.5), "k must be an int"),
    "k too large": (lambda: solve(X, MultiAssignment(4)), r"k must not exceed .*\(3\), got 4"),
    "k above a mask": (
        lambda: solve(X, MultiAssignment(2, mask=POOR)),
        "k must lie between 0 and the row's 0 allowed columns .*got 2 in row 1",
    ),
    "k per row negative": (
        lambda: solve(X, MultiAssignment(torch.tensor([1, 1, -1, 1]))),
        "k must lie between .*got -1 in row 2",
    ),
    "k per row NaN": (lambda: solve(X, MultiAssignment(torch.full((4,), NAN))), "k must lie"),
    "k of a wrong shape": (
        lambda: solve(X, MultiAssignment(torch.ones(3))),
        r"k must fit .*\(4,\)",
    ),
    "k boolean": (lambda: MultiAssignment(torch.ones(4, dtype=torch.bool)), "k must be an int or"),
    "eps zero": (lambda: MultiAssignment(1, eps=0), "eps must be finite and above 0, got 0"),
    "eps negative": (lambda: Transport(eps=-0.1), "eps must be finite and above 0"),
    "eps NaN": (lambda: Transport(eps=NAN), "eps must be finite and above 0, got nan"),
    "eps infinite": (lambda: MultiAssignment(1, eps=INF), "eps must be finite"),
    "eps of a wrong shape": (
        lambda: solve(X, MultiAssignment(1, eps=torch.ones(2))),
        "eps must fit the batch shape",
    ),
    "damping above one": (lambda: MultiAssignment(1, damping=1.5), "between 0 and 1, got 1.5"),
    "damping ascending": (
        lambda: MultiAssignment(1, damping=torch.tensor([0.1, 0.5, 1.0])),
        "descending order",
    ),
    "damping of a wrong length": (
        lambda: solve(X, MultiAssignment(1, damping=torch.tensor([1.0, 0.5]))),
        r"one scale a column \(3\), got 2",
    ),
    "capacity negative": (
        lambda: solve(X, MultiAssignment(1, capacity=torch.tensor([-1.0, 2.0, 3.0]))),
        "capacity must lie between 0 and .*got -1 in column 0",
    ),
    "capacity above the rows": (
        lambda: solve(X, MultiAssignment(2, capacity=torch.tensor([5.0, 2.0, 1.0]))),
        "got 5 in column 0",
    ),
    "capacity of a wrong total": (
        lambda: solve(X, MultiAssignment(1, capacity=torch.tensor([1.0, 1.0, 1.0]))),
        "capacity must sum to the rows' total 4, got 3",
    ),
    "capacity crossed": (
        lambda: solve(X, MultiAssignment(1, capacity=(torch.full((3,), 2.0), torch.ones(3)))),
        "lower <= upper",
    ),
    "intervals too narrow": (
        lambda: solve(X, MultiAssignment(1, capacity=(torch.zeros(3), torch.ones(3)))),
        "capacity must allow the sum of k",
    ),
    "capacity of a wrong shape": (
        lambda: solve(X, MultiAssignment(1, capacity=torch.ones(4))),
        "capacity must fit",
    ),
    "mask not boolean": (lambda: MultiAssignment(1, mask=torch.ones(4, 3)), "mask must be a bool"),
    "mask of a wrong shape": (
        lambda: solve(X, MultiAssignment(1, mask=torch.ones(3, 3, dtype=torch.bool))),
        "mask must fit",
    ),
    "impossible mix": (
        lambda: solve(
            X, MultiAssignment(1, mask=POOR | ~POOR, capacity=torch.tensor([4.0, 0.0, 1.0]))
        ),
        "capacity must sum",
    ),
    "rows negative": (
        lambda: solve(X, Transport(eps=1, rows=torch.tensor([1.0, -1.0, 1.0, 1.0]))),
        "rows must be finite and at least 0, got -1 at 1",
    ),
    "columns of a wrong total": (
        lambda: solve(X, Transport(eps=1, columns=torch.ones(3))),
        "columns must sum to the rows' total 4, got 3",
    ),
    "mass in a masked row": (lambda: solve(X, Transport(eps=1, mask=POOR)), "rows must be 0 where"),
    "relax negative": (lambda: Transport(eps=1, relax=(-1.0, None)), "relax must hold strengths"),
    "relax tensor": (
        lambda: Transport(eps=1, relax=(torch.tensor([1.0, -2.0]), None)),
        r"relax must hold tensors that are finite and above 0, got -2.0 at index \(1,\)",
    ),
    "not a solver": (lambda: solve(X, MultiAssignment(1), "newton"), "solver must be"),
    "a solver's class": (
        lambda: solve(X, MultiAssignment(1), Newton),
        r"solver must be an instance, e.g. Newton\(\), got the class Newton",
    ),
    "another class": (lambda: solve(X, MultiAssignment(1), dict), "solver must be Newton"),
    "a layer's solver class": (
        lambda: BalancedAssigner(3, MultiAssignment(1), solver=Exact),
        r"e.g. Exact\(\), got the class Exact",
    ),
    "a problem's class": (
        lambda: solve(X, MultiAssignment),
        r"problem must be an instance, e.g. MultiAssignment\(k=2\)",
    ),
    "minus infinity for a mask": (
        lambda: solve(spoiled(-INF), MultiAssignment(1)),
        r"finite, got -inf at \(2, 1\) \(to forbid a pair pass mask=",
    ),
    "half's minus infinity for a mask": (
        lambda: solve(spoiled(-INF).half(), Transport(eps=1)),
        "to forbid a pair pass mask=",
    ),
    "the least float for a mask": (
        lambda: solve(spoiled(torch.finfo(torch.float32).min), MultiAssignment(1)),
        r"eps must be large enough .*\(to forbid a pair pass mask=",
    ),
    "a capacity that is a word": (lambda: MultiAssignment(1, capacity="4"), "a number or a tensor"),
    "a negative load": (lambda: MultiAssignment(1, capacity=(-1, 2)), r"capacity\[0\] must be at"),
    "a load that is not a number": (
        lambda: MultiAssignment(1, capacity=NAN),
        "0, got nan",
    ),
    "a load for all of a wrong total": (
        lambda: solve(X, MultiAssignment(1, capacity=1)),
        r"capacity must sum to the rows' total 4, got 3 \(a pair \(lower, upper\) gives bounds\)",
    ),
    "a factor below one": (
        lambda: MultiAssignment(1, capacity_factor=0.5),
        "capacity_factor must be a finite number of at least 1, got 0.5",
    ),
    "a factor beside a capacity": (
        lambda: MultiAssignment(1, capacity=(0, 2), capacity_factor=1.25),
        "capacity_factor must stand alone",
    ),
    "a NumPy number that breaks the rule": (
        lambda: MultiAssignment(np.int64(-1)),
        "0, got -1",
    ),
    "bad steps": (lambda: Sinkhorn(steps=0), "steps must be an int of at least 1"),
    "bad order": (lambda: Sinkhorn(order="depth"), "order must be one of"),
    "bad tolerance": (lambda: Newton(tolerance=0), "tolerance must be finite and above 0"),
    "bad gradient": (lambda: Newton(gradient="unroll"), "gradient must be one of"),
    "bad init": (lambda: solve(X, MultiAssignment(1), init=torch.ones(5)), "init must fit"),
    "init of other channel scales": (
        lambda: solve(X, MultiAssignment(1), init=solve(X, MultiAssignment(1, damping=RAMP))),
        "init must hold 1 potentials a column",
    ),
    "interval for sweeps": (
        lambda: solve(X, MultiAssignment(1, capacity=(X[0] * 0, X[0] + 3)), Sinkhorn()),
        "capacity must be exact for Sinkhorn, .*use Newton",
    ),
    "jit.trace": (
        lambda: torch.jit.trace(lambda x: solve(x, MultiAssignment(1)).plan, (X,)),
        "scores must not be recorded by torch.jit.trace",
    ),
    "vmap over the channels' scales": (
        lambda: torch.func.vmap(lambda d: solve(X, MultiAssignment(1, damping=d)).plan)(RAMP[None]),
        "damping must not be wrapped by torch.func",
    ),
    "a status inside vmap": (
        lambda: torch.func.vmap(lambda x: solve(x, MultiAssignment(1)).raise_if_failed().plan)(
            X[None]
        ),
        "status must have values that the host can read",
    ),
    "rounding inside vmap": (
        lambda: torch.func.vmap(lambda x: solve(x, MultiAssignment(1)).round())(X[None]),
        "plan must have values that the host can read",
    ),
    "unseen rows inside vmap": (
        lambda: torch.func.vmap(lambda x: solve(x, MultiAssignment(1)).assign(x))(X[None]),
        "new_scores must not be wrapped by torch.func",
    ),
    "a layer inside vmap": (
        lambda: torch.func.vmap(BalancedAssigner(3, MultiAssignment(1)))(X[None]),
        "scores must not be wrapped by torch.func",
    ),
    "the status of a meta tensor": (
        lambda: solve(X.to("meta"), MultiAssignment(1)).status,
        "status must have values that the host can read",
    ),
    "totals that differ": (
        lambda: solve(X, Transport(eps=1, rows=torch.ones(4), columns=2 * torch.ones(3))),
        "columns must sum to the rows' total 4, got 6",
    ),
    "a row of infinities": (
        lambda: solve(X.index_fill(0, torch.tensor([1]), -INF), MultiAssignment(1)),
        r"scores must be finite, got -inf at \(1, 0\)",
    ),
    "exact with gradient": (lambda: Exact(gradient="implicit"), "gradient must be 'none'"),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated")
@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_by_name_rule_and_value(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (0, 4, 3), (0, 0)])
def test_empty_problems_return_empty_plans(shape):
    k = min(1, shape[-1])
    for solver in (None, Sinkhorn(steps=3), Newton()):
        solution = solve(torch.zeros(shape, dtype=torch.float16), MultiAssignment(k), solver)
        assert solution.plan.shape == shape
        assert solution.plan.dtype == torch.float16
        assert solution.marginal_error.shape == shape[:-2]


def test_boundary_budgets_are_settled_exactly():
    for solver in (Newton(), Sinkhorn(), Sinkhorn(steps=2), Sinkhorn(steps=2, dense=True)):
        assert bool((solve(X, MultiAssignment(0), solver).plan == 0).all())
        assert bool((solve(X, MultiAssignment(3), solver).plan == 1).all())
    mixed = solve(X, MultiAssignment(torch.tensor([0, 1, 3, 2]))).raise_if_failed().plan
    assert mixed[0].tolist() == [0, 0, 0]
    assert mixed[2].tolist() == [1, 1, 1]
    forced = solve(X, MultiAssignment(1, capacity=torch.tensor([4.0, 0.0, 0.0])))
    assert forced.raise_if_failed().plan.tolist() == [[1.0, 0.0, 0.0]] * 4


def test_an_infeasible_mask_is_reported_not_hidden():
    # Three rows may only use two columns that hold less than three rows together.
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:3, 2:] = False
    x = torch.linspace(0, 1, 24).view(6, 4)
    capacity = torch.tensor([1.3, 1.3, 1.7, 1.7])
    for solver in (Newton(), Sinkhorn(), Sinkhorn(steps=50), Exact()):
        solution = solve(x, MultiAssignment(1, mask=mask, capacity=capacity), solver)
        assert not bool(solution.converged)
        assert solution.status is not Status.CONVERGED
        assert bool(solution.plan.isfinite().all())
        with pytest.raises(RuntimeError, match="failed on problem 0"):
            solution.raise_if_failed()


def test_inputs_are_never_changed():
    k, capacity = torch.tensor([1.0, 1, 2, 2]), torch.tensor([2.0, 2, 2])
    mask = torch.ones(4, 3, dtype=torch.bool)
    before = [t.clone() for t in (X, k, capacity, mask)]
    solve(X, MultiAssignment(k, capacity=capacity, mask=mask)).round()
    solve(X, MultiAssignment(k, capacity=capacity, mask=mask), Sinkhorn(steps=3))
    for old, new in zip(before, (X, k, capacity, mask), strict=True):
        assert bool((old == new).all())


ANYTHING = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "n": st.integers(0, 7),
        "k": st.integers(0, 6),
        "batch": st.sampled_from([(), (2,), (0,), (2, 1)]),
        "dtype": st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
        "power": st.one_of(st.just(0), st.integers(-30, 30)),
        "layout": st.sampled_from(["plain", "strided", "expanded", "graph"]),
        "fill": st.sampled_from([None, None, None, None, NAN, INF, -INF]),
        "eps": st.floats(-6, 6),
        "density": st.sampled_from([None, None, 0.3, 0.8, 1.0]),
        "solver": st.sampled_from(
            [None, Newton(max_steps=20), Sinkhorn(steps=3), Sinkhorn(max_steps=30)]
        ),
        "transport": st.booleans(),
        "budget": st.one_of(st.none(), st.integers(0, 7)),
        "capacity": st.sampled_from([None, "exact", "wrong", "interval"]),
        "damping": st.sampled_from([0.0, 0.25, 1.0, "ramp"]),
        "relax": st.sampled_from([None, (1.0, 2.0), (None, 0.5)]),
        "shift": st.sampled_from([0.1, 0.0, -0.1]),
    }
)


def build(case):
    """Scores and the fields of a problem, sane or not."""
    n, k, batch = case["n"], case["k"], case["batch"]
    generator = torch.Generator().manual_seed(case["seed"])
    x = torch.randn(*batch, n, k, generator=generator, dtype=torch.float64)
    x = (x * 10.0 ** case["power"]).to(case["dtype"])
    if case["layout"] == "strided":
        x = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    elif case["layout"] == "expanded" and n:
        x = x[..., :1, :].expand(*batch, n, k)
    if case["fill"] is not None and x.numel():
        x = x.clone().index_fill(-1, torch.tensor([0]), case["fill"])
    x.requires_grad_(case["layout"] == "graph")
    mask = None
    if case["density"] is not None:
        mask = torch.rand(*batch, n, k, generator=generator) < case["density"]
    make = transport if case["transport"] else assignment
    return x, {"eps": 10.0 ** case["eps"], "mask": mask, **make(case, generator)}


def transport(case, generator):
    rows = torch.rand(*case["batch"], case["n"], generator=generator) + case["shift"]
    columns = None
    if case["capacity"] is not None:
        columns = torch.rand(*case["batch"], case["k"], generator=generator)
        if case["capacity"] != "wrong":
            columns = columns * (rows.sum(-1, keepdim=True) / columns.sum(-1, keepdim=True))
    return {"kind": "transport", "rows": rows, "columns": columns, "relax": case["relax"]}


def assignment(case, generator):
    n, k, batch, budget = case["n"], case["k"], case["batch"], case["budget"]
    if budget is None:
        budget = torch.randint(0, k + 1, (*batch, n), generator=generator)
    capacity = case["capacity"]
    if capacity == "wrong":
        capacity = torch.randn(*batch, k, generator=generator)
    elif capacity is not None:
        whole = budget.sum(-1, keepdim=True) if isinstance(budget, torch.Tensor) else budget * n
        share = torch.rand(*batch, k, generator=generator).softmax(-1) * whole
        capacity = share if capacity == "exact" else (0.5 * share, 1.5 * share)
    damping = torch.linspace(1, 0, k) if case["damping"] == "ramp" else case["damping"]
    return {"kind": "assignment", "k": budget, "damping": damping, "capacity": capacity}


def ask(x, fields, solver):
    fields = dict(fields)
    kind = fields.pop("kind")
    problem = Transport(**fields) if kind == "transport" else MultiAssignment(**fields)
    return solve(x, problem, solver)


@given(ANYTHING)
def test_every_answer_is_an_error_or_an_honest_plan(case):
    x, fields = build(case)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # implicit derivative before the limit
            solution = ask(x, fields, case["solver"])
    except ValueError as error:
        name = str(error).split()[0].split("[")[0]
        known = {"scores", "k", "eps", "capacity", "rows", "columns", "mask", "damping"}
        assert name in known, error  # noqa: PT017
        return
    plan = solution.plan.detach().double()
    assert solution.plan.shape == x.shape
    assert solution.plan.dtype == x.dtype
    assert bool((plan >= 0).all())
    assert fields["kind"] == "transport" or bool((plan <= 1).all())
    failed = ~solution.converged
    assert bool((solution.status_code[failed] != Status.CONVERGED.code).all())
    assert bool((solution.status_code[~failed] == Status.CONVERGED.code).all())
    nonfinite = ~plan.isfinite().flatten(-2).all(-1) if plan.numel() else torch.zeros_like(failed)
    assert not bool((nonfinite & ~failed).any())
    if fields["mask"] is not None:
        assert bool((plan[~fields["mask"]] == 0).all())
    if plan.numel():
        check_margins(solution, plan, fields, x)


def check_margins(solution, plan, fields, x):
    """Recompute the violation that the solution claims, from the plan and the request alone."""
    rounding = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 2e-5}.get(x.dtype, 1e-9)
    least = torch.finfo(x.dtype).tiny * torch.finfo(x.dtype).eps  # all that a cell loses below it
    violation = torch.zeros(x.shape[:-2], dtype=torch.float64)
    for sums, low, high, unit, size in lines_of(solution, plan, fields, x):
        miss = torch.maximum(low - sums, sums - high)
        miss = (
            miss - rounding * (sums + size * unit) - plan[..., 0].numel() * plan.shape[-1] * least
        )
        violation = torch.maximum(violation, (miss / unit).amax(-1))
    claimed = solution.marginal_error.double()
    assert bool(((violation <= claimed + rounding) | ~claimed.isfinite()).all())
    assert bool(((solution.marginal_error <= 1e-6) | ~solution.converged).all())


def lines_of(solution, plan, fields, x):
    """Of rows and of columns: sums, least and largest demand, unit, and size of the exponents."""
    (n, k), batch = x.shape[-2:], x.shape[:-2]
    everyone = torch.ones(x.shape, dtype=torch.bool)
    cells = (everyone if fields["mask"] is None else fields["mask"]).sum(-2)
    transport = fields["kind"] == "transport"
    rows = torch.as_tensor(fields["rows" if transport else "k"]).double().expand(*batch, n)
    loads = fields["columns" if transport else "capacity"]
    total, relax = rows.sum(-1, keepdim=True), fields.get("relax") or (None, None)
    if loads is None:
        shared = torch.ones_like(cells) if transport else (cells > 0).long()
        loads = total * shared / shared.sum(-1, keepdim=True).clamp_min(1)
    exact = relax == (None, None) and not isinstance(loads, tuple)
    low, high = loads if isinstance(loads, tuple) else (loads, loads)
    low, high = low.double().expand(*batch, k), high.double().expand(*batch, k)
    high = torch.minimum(high, cells) if not exact and relax == (None, None) else high
    if exact:  # given in low precision, totals differ by rounding
        low = high = low * (total / low.sum(-1, keepdim=True).clamp_min(1e-300))
    lines = []
    for sums, least, most, strength, potential in (
        (plan.sum(-1), rows, rows, relax[0], solution.row_potential),
        (plan.sum(-2), low, high, relax[1], solution.column_potential),
    ):
        size = torch.zeros_like(sums)
        if strength is not None:  # the penalty's slope moves a margin along with its potential
            size = potential.double() * (fields["eps"] / strength)
            least = most = least * (-size).exp()
        lines.append((sums, least, most, torch.where(most > 0, most, 1.0), size.abs()))
    return lines

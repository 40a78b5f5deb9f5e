"""The law of the map of costs, of any problem: what an alternative solves, the default solves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests.solver.strategies import FEW

SHAPES = [(1, 6), (9, 1), (40, 7), (64, 16), (12, 30), (160, 130), (130, 150), (300, 20)]
KINDS = {
    "normal": lambda x, shift: x,
    "sigmoid": lambda x, shift: x.sigmoid(),
    "uneven": lambda x, shift: (x + 2 * shift).sigmoid(),
}


def masses(generator, count, decades):
    """Positive masses over so many decades, 1 in all."""
    found = 10 ** (-decades * torch.rand(count, generator=generator, dtype=torch.float64))
    return found / found.sum()


@st.composite
def problems(draw):
    """Scores of any kind and temperature, and one of the forms that a problem may have."""
    n, k = draw(st.sampled_from(SHAPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    x, shift = torch.randn(n, k, generator=generator), torch.randn(k, generator=generator)
    x = KINDS[draw(st.sampled_from(sorted(KINDS)))](x, shift)
    x = x.to(draw(st.sampled_from([torch.float32, torch.float64])))
    eps = draw(st.sampled_from([0.3, 0.1, 0.03]))
    few = max(1, min(8, k // 3))
    forms = {
        "transport": lambda: Transport(eps=eps),
        "masses": lambda: Transport(
            eps=eps,
            rows=masses(generator, n, draw(st.sampled_from([0.5, 4.0]))).to(x),
            columns=masses(generator, k, draw(st.sampled_from([0.5, 4.0]))).to(x),
        ),
        "relaxed": lambda: Transport(
            eps=eps, relax=(eps * draw(st.sampled_from([1.0, 1e2, 1e6])), draw(strengths()))
        ),
    }
    if k > few:
        forms |= {
            "assignment": lambda: MultiAssignment(k=few, eps=eps),
            "k a row": lambda: MultiAssignment(k=1 + torch.arange(n) % few, eps=eps),
            "mask": lambda: MultiAssignment(k=few, eps=eps, mask=diagonal(n, k)),
        }
    return x, forms[draw(st.sampled_from(sorted(forms)))]()


def strengths():
    """Of a margin: exact, or yielding."""
    return st.sampled_from([None, 0.1, 10.0])


def diagonal(n, k):
    """Every fifth diagonal forbidden: rows and columns keep more than half of their cells."""
    i, j = torch.arange(n)[:, None], torch.arange(k)
    return (i + j) % 5 != 0 if min(n, k) > 20 else torch.ones(n, k, dtype=torch.bool)


@FEW
@given(problems())
def test_the_default_converges_where_an_alternative_does(case):
    x, problem = case
    found = solve(x, problem)
    for other in (Sinkhorn(tolerance=1e-6), Newton()):
        assert found.converged or not solve(x, problem, other).converged, (found, other)
    assert not found.converged or float(found.marginal_error) <= 1e-6


@FEW
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([30.0, 1e3]),
    st.sampled_from([(30, 40), (40, 9), (20, 150)]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_offsets_of_rows_and_columns_do_not_leave_the_compiled_loops(seed, size, shape, one, dtype):
    """The oracle is the default on the scores without them."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    x = torch.rand(*shape, **draw)
    offsets = size * (torch.randn(shape[0], 1, **draw) + torch.randn(shape[1], **draw))
    moved = (x + offsets).to(dtype)
    x = moved.double() - offsets  # with the rounding of the sum
    problem = MultiAssignment(k=3, eps=0.1) if one else Transport(eps=0.1)
    want, found = solve(x, problem), solve(moved, problem).raise_if_failed()
    assert found.backend == "numba"
    assert (found.plan.double() - want.plan).abs().max() <= (
        1e-5 if dtype == torch.float32 else 1e-6
    )
    again = solve(moved, problem, init=found).raise_if_failed()
    assert int(again.steps) <= 1
    exact = 0.75 / 0.1 * moved.double() if one else moved.double() / 0.1
    form = exact + found.row_potential.double()[:, None] + found.column_potential
    link = form.sigmoid() if one else form.exp()
    assert dtype == torch.float32 or (link - found.plan).abs().max() <= 1e-6


@FEW
@given(st.integers(0, 2**31 - 1), st.sampled_from([(17, 23), (9, 100)]), st.booleans())
def test_fewer_rows_than_columns_are_swept_first(seed, shape, cold):
    """A pass of torch's takes the time of hundreds of sweeps of so small a table."""
    pytest.importorskip("numba")
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).sigmoid()
    found = solve(x, MultiAssignment(k=3, eps=0.02 if cold else 0.1)).raise_if_failed()
    assert found.backend == "numba"

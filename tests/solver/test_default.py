"""The law of the map of costs, of any problem: what an alternative solves, the default solves."""

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

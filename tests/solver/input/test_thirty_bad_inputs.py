"""Ten inputs that solvers are known to answer with nonsense, asked in three ways: thirty outcomes.

Beside each input stands what a widely used solver (POT 0.9.7) does with it today.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import multisk
from multisk import MultiAssignment, Sinkhorn, Status, Transport, solve

NAN, INF = float("nan"), float("inf")
X = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.1, 0.0], [0.3, 0.3, 0.9], [0.2, 0.8, 0.4]])
SQUARE = X[:3]
OPEN = torch.tensor([True, False, True, True])[:, None].expand(4, 3)  # row 1 is all masked
NAN_SCORE = X.index_put((torch.tensor([2]), torch.tensor([1])), torch.tensor(NAN))
INFINITE_ROW = X.index_fill(0, torch.tensor([1]), -INF)
NEGATIVE = torch.tensor([-1.0, 2.0, 3.0])
TOO_MUCH = torch.full((3,), 2.0)
WAYS = ("default", "sweeps", "transport")


def ask(way, x, *, rows=None, loads=None, mask=None, eps=0.1):
    """One question in three ways: rows of mass or budget 1, loads of the columns."""
    if way == "transport":
        return solve(x, Transport(eps=eps, rows=rows, columns=loads, mask=mask))
    problem = MultiAssignment(1 if rows is None else rows, eps=eps, capacity=loads, mask=mask)
    return solve(x, problem, Sinkhorn() if way == "sweeps" else None)


def is_the_plan_of_the_other_rows(way):
    """A masked row whose budget is 0 takes nothing, and the others do not notice."""
    budgets = torch.tensor([1, 0, 1, 1])
    solution = ask(way, X, rows=budgets.float() if way == "transport" else budgets, mask=OPEN)
    solution.raise_if_failed()
    others = X[[0, 2, 3]].double().numpy()
    if way == "transport":
        want = multisk.reference.transport(others, 0.1)
    else:
        want = multisk.reference.multi_assignment(others, 1, 0.1, 0.25)
    assert not bool(solution.plan[1].any())
    assert np.abs(solution.plan[[0, 2, 3]].numpy() - want).max() <= 1e-5


def is_the_permutation_or_says_that_it_is_not(way):
    """At eps = 1e-6 the plan is a permutation; sweeps do not arrive there, and say so."""
    solution = ask(way, SQUARE, eps=1e-6)
    want = np.zeros((3, 3))
    want[linear_sum_assignment(SQUARE.numpy(), maximize=True)] = 1
    if way == "sweeps":
        assert solution.status is Status.MAX_STEPS
        assert float(solution.marginal_error) > 1e-6
        with pytest.raises(RuntimeError, match=r"Sinkhorn failed on problem 0: The step limit was"):
            solution.raise_if_failed()
    else:
        solution.raise_if_failed()
        assert np.abs(solution.plan.numpy() - want).max() <= 1e-5


def is_empty(way):
    """Nothing in, nothing out, of the right shape and dtype."""
    solution = ask(way, X[:0].half())
    assert solution.plan.shape == (0, 3)
    assert solution.plan.dtype == torch.float16
    assert bool(solution.converged)


def refused(message, transport=None, **question):
    """The sentence, and the one for transports where the argument has another name."""

    def check(way):
        sentence = transport if way == "transport" and transport else message
        with pytest.raises(ValueError, match=sentence):
            ask(way, **question)

    return check


INPUTS = {
    # a plan of NaN
    "a NaN score": refused(r"^scores must be finite, got nan at \(2, 1\)$", x=NAN_SCORE),
    # a plan of NaN, or a finite one of total 0.124
    "a row of infinities": refused(
        r"^scores must be finite, got -inf at \(1, 0\) \(to forbid a pair pass mask=, ",
        x=INFINITE_ROW,
    ),
    # the same: it knows no masks
    "a masked row without a budget": is_the_plan_of_the_other_rows,
    "a masked row with a budget": refused(
        r"^k must lie between 0 and the row's 0 allowed columns .*, got 1 in row 1$",
        r"^rows must be 0 where every pair is masked, got mass in a masked line$",
        x=X,
        mask=OPEN,
    ),
    # a plan of zeros
    "eps = 1e-6": is_the_permutation_or_says_that_it_is_not,
    # a plan of infinities
    "eps = 0": refused(r"^eps must be finite and above 0, got 0", x=X, eps=0.0),
    # a finite plan without a warning
    "eps below 0": refused(r"^eps must be finite and above 0, got -0.1$", x=X, eps=-0.1),
    # a plan of the larger total
    "totals that differ": refused(
        r"^capacity must sum to the rows' total 4, got 6 \(a pair",
        r"^columns must sum to the rows' total 4, got 6$",
        x=X,
        loads=TOO_MUCH,
    ),
    # a finite plan of total 0.733, or of NaN
    "a negative margin": refused(
        r"^capacity must lie between 0 and the column's 4 allowed rows \(.*\), got -1 in column 0$",
        r"^columns must be finite and at least 0, got -1 at 0$",
        x=X,
        loads=NEGATIVE,
    ),
    # ZeroDivisionError
    "no rows": is_empty,
}
CASES = [(name, way) for name in INPUTS for way in WAYS]
IDS = [f"{number:02} {name}, {way}" for number, (name, way) in enumerate(CASES, 1)]


def test_there_are_thirty():
    assert len(CASES) == 30


@pytest.mark.parametrize(("name", "way"), CASES, ids=IDS)
def test_a_bad_input_has_the_one_outcome_that_is_right(name, way):
    INPUTS[name](way)

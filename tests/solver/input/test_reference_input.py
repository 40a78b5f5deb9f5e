"""The reference refuses what it cannot answer, by name, rule and value."""

import numpy as np
import pytest

from multisk import reference

X = np.linspace(0, 1, 12).reshape(4, 3)
MASK = np.ones((4, 3), bool)
MASK[1] = False
REFUSED = {
    "k above K": (lambda: reference.multi_sk(X, 4), "k must be an int .* at most 3, got 4"),
    "k negative": (lambda: reference.multi_sk(X, -1), "k must be an int"),
    "k fractional": (lambda: reference.multi_sk(X, 1.5), "k must be an int"),
    "eps 0": (lambda: reference.multi_sk(X, 1, eps=0), "eps must be finite and above 0, got 0"),
    "no sweep": (lambda: reference.multi_sk(X, 1, steps=0), "steps must be an int of at least 1"),
    "order": (lambda: reference.multi_sk(X, 1, order="depth"), "order must be one of"),
    "scales": (lambda: reference.multi_sk(X, 1, damping=np.ones(2)), r"have the shape \(3,\)"),
    "NaN": (lambda: reference.multi_sk(X * np.nan, 1), "scores must be finite, got nan"),
    "one axis": (lambda: reference.multi_sk(X[0], 1), r"scores must have the shape \(N, K\)"),
    "limit, eps 0": (lambda: reference.multi_assignment(X, 1, eps=0), "eps must be finite"),
    "limit, k above K": (lambda: reference.multi_assignment(X, 5), "3 allowed columns, got 5"),
    "limit, k of a row": (
        lambda: reference.multi_assignment(X, [1, 4, 1, 1]),
        "allowed columns, got 4 in row 1",
    ),
    "limit, a masked row": (lambda: reference.multi_assignment(X, 1, mask=MASK), "0 allowed"),
    "limit, total": (
        lambda: reference.multi_assignment(X, 1, capacity=[1, 1, 1]),
        "capacity must sum to the total of k 4, got 3",
    ),
    "limit, load": (
        lambda: reference.multi_assignment(X, 1, capacity=[5, 0, -1]),
        "capacity must be finite and at least 0",
    ),
    "matching, k": (lambda: reference.b_matching(X, 4, 4), "3 allowed columns, got 4"),
    "matching, loads": (lambda: reference.b_matching(X, 1, [1, 3]), r"have the shape \(3,\)"),
    "transport, eps": (lambda: reference.transport(X, -1.0), "eps must be finite and above 0"),
    "transport, total": (lambda: reference.transport(X, 1.0, columns=[1, 1, 1]), "sum to the tot"),
    "transport, rows": (lambda: reference.transport(X, 1.0, rows=[1, 1]), r"the shape \(4,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reference_refuses_by_name_rule_and_value(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()

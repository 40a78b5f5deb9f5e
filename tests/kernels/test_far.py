"""Scores whose rows, columns or problems lie more than 2^31 values apart.

Only pages that are written take memory: a table of a few values may span gigabytes of addresses.
"""

import functools

import pytest
import torch

from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip(
        "on a GPU every address takes memory; there a table is filled", allow_module_level=True
    )

from tests.kernels.calls import CALLS, Given, tables  # noqa: E402

pytestmark = marks
B, N, K = 2, 3, 4
AXES = {"problems": 0, "rows": 1, "columns": 2}


def far(x, axis):
    """x, with its last slice along `axis` more than 2^31 values after its first."""
    sizes = [size for at, size in enumerate(x.shape) if at != axis]
    near = [sizes[1], 1]
    jump = (1 << 31) // (x.shape[axis] - 1) + 7
    near.insert(axis, jump)
    arena = torch.empty(jump * (x.shape[axis] - 1) + sizes[0] * sizes[1], dtype=x.dtype)
    return arena.as_strided(x.shape, near).copy_(x)


@functools.cache
def near(name):
    """What a launcher gives for compact tables."""
    return list(CALLS[name](Given(B, N, K), *tables(B, N, K, torch.bfloat16)))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", CALLS)
def test_tables_beyond_two_to_the_31_are_read_where_they_are(name, axis):
    apart = [far(table, AXES[axis]) for table in tables(B, N, K, torch.bfloat16)]
    got = CALLS[name](Given(B, N, K), *apart)
    for one, two in zip(got, near(name), strict=True):
        assert (one is None and two is None) or torch.equal(one, two)

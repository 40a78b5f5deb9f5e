"""Scores whose rows, columns or problems lie more than 2^31 values apart.

Only pages that are written take memory: a table of a few values may span gigabytes of addresses.
"""

import functools

import pytest
import torch

from tests.kernel_tools import DEVICE, INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip(
        "on a GPU every address takes memory; there a table is filled", allow_module_level=True
    )

from multisk.kernels.bend import couple_columns  # noqa: E402
from multisk.kernels.column import column_backward, column_forward  # noqa: E402
from multisk.kernels.depth import depth_backward, depth_forward  # noqa: E402
from multisk.kernels.gradient import assign_backward, plan_backward  # noqa: E402
from multisk.kernels.groups import group_sweep  # noqa: E402
from multisk.kernels.newton import newton_pass  # noqa: E402
from multisk.kernels.plan import assign, write_plan  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.respond import Shares, group_plan, respond, scores_gradient  # noqa: E402
from multisk.kernels.row import row_backward, row_forward  # noqa: E402
from multisk.kernels.sweep import Budgets, sweep  # noqa: E402
from multisk.kernels.transport import transport_sweep  # noqa: E402
from multisk.kernels.unroll import sweeps_backward  # noqa: E402
from multisk.kernels.wide import At, apply_schur  # noqa: E402

pytestmark = marks
B, N, K = 2, 3, 4
AXES = {"problems": 0, "rows": 1, "columns": 2}


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator).to(dtype).to(DEVICE)


def far(x, axis):
    """x, with its last slice along `axis` more than 2^31 values after its first."""
    sizes = [size for at, size in enumerate(x.shape) if at != axis]
    near = [sizes[1], 1]
    jump = (1 << 31) // (x.shape[axis] - 1) + 7
    near.insert(axis, jump)
    arena = torch.empty(jump * (x.shape[axis] - 1) + sizes[0] * sizes[1], dtype=x.dtype)
    return arena.as_strided(x.shape, near).copy_(x)


class Given:
    """What every launcher takes besides the tables."""

    def __init__(self):
        self.one = torch.ones(1)
        self.a, self.b = draw(B, N, seed=1), draw(B, K, seed=2)
        self.u, self.v = draw(B, 3, N, seed=3), draw(B, 3, K, seed=4)
        self.scales = torch.tensor([[2.0, 0.5]])
        self.three = torch.tensor([[2.0, 1.0, 0.5]])

    def budgets(self, free):
        one = torch.ones((1, 1))
        return Budgets(
            rows=one, row_cells=K * one, columns=N / K * one, column_cells=N * one, free=free
        )

    def at(self, x, free):
        return At(
            scores=x, scale=self.one, row_potential=self.a, column_potential=self.b, free=free
        )

    def shares(self, x, free):
        place = {"row_potential": self.u, "column_potential": self.v}
        return Shares(scores=x, scales=self.three, top=1, free=free, **place)


def normalised(forward, backward, axis):
    def run(t, x, free, grad):
        y, total = forward(x, t.one, log=True)
        return y, total, backward(grad, y, total, t.one, log=True)

    return run


LAUNCHERS = {
    "row": normalised(row_forward, row_backward, -1),
    "column": normalised(column_forward, column_backward, -2),
    "depth": normalised(depth_forward, depth_backward, -3),
    "sweep": lambda t, x, free, grad: sweep(x, t.scales, t.a, t.b, t.budgets(free)),
    "resident": lambda t, x, free, grad: resident_sweeps(x, t.scales, t.budgets(free), 2),
    "groups": lambda t, x, free, grad: group_sweep(x, t.three, t.u, t.v, t.one, free=free),
    "transport": lambda t, x, free, grad: transport_sweep(
        x, t.one, t.a, t.b, t.one, t.one, free=free
    ),
    "newton": lambda t, x, free, grad: vars(
        newton_pass(x, t.one, t.b, t.a.clone(), t.one, mask=free)
    ).values(),
    "bend": lambda t, x, free, grad: [couple_columns(t.at(x, free), t.a)],
    "wide": lambda t, x, free, grad: [apply_schur(t.at(x, free), t.b)],
    "gradient": lambda t, x, free, grad: plan_backward(t.at(x, free), grad),
    "assign's gradient": lambda t, x, free, grad: [assign_backward(t.at(x, free), grad)],
    "assign": lambda t, x, free, grad: vars(assign(x, t.one, t.b, t.one, free=free)[1]).values(),
    "plan": lambda t, x, free, grad: vars(
        write_plan(x, t.one, t.a, t.b, t.one, free=free)
    ).values(),
    "groups' plan": lambda t, x, free, grad: vars(group_plan(t.shares(x, free))).values(),
    "respond": lambda t, x, free, grad: respond(t.shares(x, free), grad, t.u, t.v),
    "groups' gradient": lambda t, x, free, grad: scores_gradient(t.shares(x, free), grad, t.u, t.v),
    "unroll": lambda t, x, free, grad: sweeps_backward(x, t.scales, t.budgets(free), None, 1, grad),
}


def tables():
    """Scores, mask and cotangent."""
    free = draw(B, N, K, seed=7) > 0.2
    free[..., :2] = True
    x, grad = (draw(B, N, K, seed=seed, dtype=torch.bfloat16) for seed in (0, 6))
    return x, free, grad


@functools.cache
def near(name):
    """What a launcher gives for compact tables."""
    return list(LAUNCHERS[name](Given(), *tables()))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", LAUNCHERS)
def test_tables_beyond_two_to_the_31_are_read_where_they_are(name, axis):
    got = LAUNCHERS[name](Given(), *(far(table, AXES[axis]) for table in tables()))
    for one, two in zip(got, near(name), strict=True):
        assert (one is None and two is None) or torch.equal(one, two)

"""One call of every launcher that reads a table, so that laws of layout can be asked of all."""

import torch

from multisk.kernels.column import column_backward, column_forward
from multisk.kernels.depth import depth_backward, depth_forward
from multisk.kernels.gradient import assign_backward, plan_backward
from multisk.kernels.groups import Shares, group_plan, group_sweep, respond, scores_gradient
from multisk.kernels.newton import newton_pass
from multisk.kernels.plan import assign, write_plan
from multisk.kernels.resident import resident_sweeps
from multisk.kernels.row import row_backward, row_forward
from multisk.kernels.sweep import Budgets, sweep, transport_sweep
from multisk.kernels.unroll import sweeps_backward
from multisk.kernels.wide import At, apply_schur, couple_columns
from tests.kernels.tools import DEVICE


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator).to(dtype).to(DEVICE)


def tables(batch, count, width, dtype):
    """Scores, mask and cotangent."""
    free = draw(batch, count, width, seed=7) > 0.2
    free[..., :2] = True
    return (
        draw(batch, count, width, dtype=dtype),
        free,
        draw(batch, count, width, seed=6, dtype=dtype),
    )


class Given:
    """What every launcher takes besides its tables of scores, of free cells, of a cotangent."""

    def __init__(self, batch, count, width, kind=torch.float32):
        self.count, self.width = count, width
        self.one = torch.ones(1, dtype=kind, device=DEVICE)
        self.a = draw(batch, count, seed=1, dtype=kind)
        self.b = draw(batch, width, seed=2, dtype=kind)
        self.u = draw(batch, 3, count, seed=3, dtype=kind)
        self.v = draw(batch, 3, width, seed=4, dtype=kind)
        self.three = torch.tensor([[2.0, 1.0, 0.5]], dtype=kind, device=DEVICE)
        self.scales = self.three[:, ::2].contiguous()

    def budgets(self, free):
        one, count, width = self.one.view(1, 1), self.count, self.width
        cells = width * one, count * one
        return Budgets(
            rows=one,
            row_cells=cells[0],
            columns=count / width * one,
            column_cells=cells[1],
            free=free,
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


CALLS = {
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

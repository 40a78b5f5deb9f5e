"""The plan after a number of sweeps as one differentiable step, which keeps no table of cells.

Eq. (34) of docs/multisk/mathematics.md, by whoever serves: compiled loops, an operator, or autograd
sweep by sweep.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.numba import solve as loops
from multisk._backends.operators import Three
from multisk._backends.torch import passes
from multisk._backends.torch.sweeps import ORDERS, Sweeps, TwoGroupSweeps, sweeps_of
from multisk._problem.problem import wrapped
from multisk._problem.start import centred, settled
from multisk._problem.system import System
from multisk._solution.composed import log_link

Inputs = tuple[Tensor | None, ...]  # scores, eps, strengths (two), rows, columns, levels
COUNT = 7


@dataclass(frozen=True, eq=False)
class Replay:
    """The sweeps that were made, to be made again in plain differentiable operations."""

    order: str
    most: int  # sweeps of the slowest problem
    steps: Tensor  # (b,) sweeps of each
    start: Tensor | None
    uneven: bool  # whether problems took different numbers of sweeps

    def plan(self, system: System) -> Tensor:
        """The plan as a function of the system's tensors."""
        sweeps = sweeps_of(system, self.order)
        return sweeps.finish(*self.last(sweeps))[0]

    def log_plan(self, system: System) -> Tensor:
        """Its logarithm, exact where the plan underflows."""
        sweeps = sweeps_of(system, self.order)
        a, b = self.last(sweeps)
        if not system.two_groups:
            return group_logs(system, a, b, sweeps.finish(a, b)[3])

        t = passes.exponent(system.scores, system.scale, a, b, system.margins.free)
        log, scale = log_link(system, t), sweeps.finish(a, b)[3]
        return log if scale is None else log + scale[0][..., None]

    def last(self, sweeps: Sweeps) -> tuple[Tensor, Tensor]:
        """The potentials after all sweeps."""
        *_, (a, b) = self.potentials(sweeps)
        return a, b

    def potentials(self, sweeps: Sweeps) -> Iterator[tuple[Tensor, Tensor]]:
        """Those after the first sweep, or at the start, and after every further one."""
        a, b = self.begin(sweeps)
        yield a, b
        for sweep in self.further():
            a, b = self.sweep(sweeps, sweep, a, b)
            yield a, b

    def begin(self, sweeps: Sweeps) -> tuple[Tensor, Tensor]:
        """The first sweep, or the potentials that were given."""
        start = settled(sweeps.system.detach(), self.start)
        return sweeps.first() if start is None else sweeps.warm(start)

    def further(self) -> range:
        """The numbers of the sweeps after it."""
        return range(0 if self.start is not None else 1, self.most)

    def sweep(self, sweeps: Sweeps, number: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """One more sweep of the problems that are not done."""
        if self.start is not None:
            a, b = centred(sweeps.system, a, b)

        new_a, new_b, _ = sweeps.next(a, b, measure=False)
        if not self.uneven:
            return new_a, new_b

        going = (self.steps > number).view(-1, *[1] * (a.ndim - 1))
        return torch.where(going, new_a, a), torch.where(going, new_b, b)


def group_logs(system: System, a: Tensor, b: Tensor, scale: Any) -> Tensor:
    """The log plan of more than two channel groups at their potentials."""
    assert system.groups is not None
    shares = passes.log_shares(system.scores, list(system.group_scales), a, b, None)
    shares = shares if scale is None else shares + scale[0][..., None]
    log, free = shares[:, : system.groups.top].logsumexp(1), system.margins.free

    return log if free is None else log.masked_fill(~free, -torch.inf)


def unrolled_plan(
    system: System, plan: Tensor, replay: Replay, *, by_operator: bool, kept: Three | None
) -> Tensor:
    """The solver's plan with the derivative of its sweeps.

    `kept` is what the sweeps left; None makes them once more in the backward pass.
    """
    given = [x if isinstance(x, Tensor) else None for x in (system.eps, *system.relax)]
    what = Unrolled(system.detach(), replay, by_operator)
    inputs = system.scores, *given, system.margins.rows, system.margins.columns, system.levels
    return UnrolledPlan.apply(plan, what, *inputs, *(kept or ()))  # pyright: ignore[reportReturnType]


@dataclass(eq=False)
class Unrolled:
    """What the backward pass needs besides its tensors."""

    system: System
    replay: Replay
    by_operator: bool

    def at(self, inputs: Inputs) -> System:
        """The system as a function of the inputs."""
        scores, *given, rows, columns, levels = inputs
        assert scores is not None
        margins = replace(self.system.margins, rows=rows, columns=columns)
        plain = self.system.eps, *self.system.relax
        eps, *relax = (old if new is None else new for old, new in zip(plain, given, strict=True))
        strengths = relax[0], relax[1]
        parts: dict[str, Any] = {"eps": eps, "relax": strengths, "levels": levels}

        return replace(self.system, scores=scores, budgets=margins, **parts)


class UnrolledPlan(torch.autograd.Function):
    """The plan of a number of sweeps as a function of scores, temperature, margins and scales."""

    @staticmethod
    def forward(ctx: Any, plan: Tensor, what: Unrolled, *inputs: Tensor | None) -> Tensor:
        """Hand out the plan that the solver found."""
        ctx.what = what
        ctx.save_for_backward(*inputs)
        return plan.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of every input; by the replay where they are differentiated themselves."""
        what: Unrolled = ctx.what
        inputs, kept = ctx.saved_tensors[:COUNT], ctx.saved_tensors[COUNT:]
        if torch.is_grad_enabled() or wrapped(grad):
            found = again_cotangents(what, inputs, grad)
        elif what.by_operator:
            found = operator_cotangents(what, inputs, kept, grad)
        else:
            found = loop_cotangents(what, inputs, grad) or stepwise_cotangents(what, inputs, grad)

        return None, None, *found, *(None for _ in kept)


def stepwise_cotangents(what: Unrolled, inputs: Inputs, grad: Tensor) -> Inputs:
    """Sweep by sweep backwards: the potentials are kept, one sweep's cells at a time."""
    replay = what.replay
    model = sweeps_of(what.system, replay.order)
    kept = list(replay.potentials(model))
    wanted = [x is not None and x.requires_grad for x in inputs]
    sums: list[Tensor | None] = [None] * len(inputs)

    def back(step: Any, potentials: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]) -> Any:
        """Add to `sums`; give the cotangents of the potentials before."""
        with torch.enable_grad():
            before = [x.detach().requires_grad_() for x in potentials]
            leaves = [
                x.detach().requires_grad_() if x is not None and on else x
                for x, on in zip(inputs, wanted, strict=True)
            ]
            sweeps = sweeps_of(what.at(tuple(leaves)), replay.order)
            if isinstance(sweeps, TwoGroupSweeps) and isinstance(model, TwoGroupSweeps):
                sweeps.linear = model.linear  # a start that is far off forbids exponentials
            after = step(sweeps, *before)
            asked = [x for x, on in zip(leaves, wanted, strict=True) if on and x is not None]
            pairs = [(y, g) for y, g in zip(after, cotangents, strict=True) if y.requires_grad]
            inputs_here = [*before, *asked]
            found = torch.autograd.grad(
                [y for y, _ in pairs], inputs_here, [g for _, g in pairs], allow_unused=True
            )

        rest = iter(found[len(before) :])
        for index, on in enumerate(wanted):
            part = next(rest) if on else None
            if part is not None:
                old = sums[index]
                sums[index] = part if old is None else old + part

        return [
            torch.zeros_like(x) if g is None else g
            for x, g in zip(before, found[: len(before)], strict=True)
        ]

    pulled = back(lambda sweeps, a, b: sweeps.finish(a, b)[:1], kept[-1], (grad,))
    for number, potentials in zip(reversed(replay.further()), reversed(kept[:-1]), strict=True):
        pulled = back(
            lambda sweeps, a, b, number=number: replay.sweep(sweeps, number, a, b),
            potentials,
            tuple(pulled),
        )

    back(lambda sweeps: replay.begin(sweeps), (), tuple(pulled))
    return tuple(sums)


def operator_cotangents(what: Unrolled, inputs: Inputs, kept: Any, grad: Tensor) -> Inputs:
    """By the operator."""
    scores, eps, _, _, rows, columns, _ = inputs
    assert scores is not None
    assert rows is not None
    assert columns is not None
    groups, margins = what.system.groups, what.system.margins
    assert groups is not None
    # Filled on the device: a copy from the host could not be captured in a graph.
    ends = torch.cat([scores.new_full((1,), groups.scales[end]) for end in (0, -1)])
    heat = what.system.eps if eps is None else eps.reshape(-1, 1)
    scales = (ends / heat).expand(scores.shape[0], 2).contiguous()
    parts = rows, margins.row_cells, columns, margins.column_cells
    x, scale, row, column = torch.ops.multisk.sweeps_gradient(
        scores,
        scales,
        [part.contiguous() for part in parts],
        margins.free,
        what.replay.most,
        what.replay.order == ORDERS[0],
        grad,
        list(kept),
    )
    if eps is None:
        return x, None, None, None, row, column, None

    # Scales are s / eps.
    heat = -(scale * scales).sum(-1).view_as(eps) / eps
    return x, heat, None, None, row, column, None


def loop_cotangents(what: Unrolled, inputs: Inputs, grad: Tensor) -> Inputs | None:
    """By the compiled loops, problem by problem; None where they do not cover the sweeps.

    The plan depends on scores over temperature alone, which gives the temperature's cotangent.
    """
    replay, columns, heat = what.replay, inputs[5], inputs[1]
    if replay.order != ORDERS[0] or replay.uneven or replay.start is not None:
        return None

    found = loops.unroll(what.system, replay.most, grad) if inputs[6] is None else None
    if found is None:
        return None

    assert columns is not None
    x, (x_bar, row_bar, column_bar) = what.system.scores, found
    if heat is not None:
        pulled = (x_bar.double() * x).sum((-2, -1), keepdim=True)
        heat = (-pulled / heat.detach()).to(heat.dtype)

    return x_bar, heat, None, None, row_bar.to(x), column_bar.to(columns), None


def again_cotangents(what: Unrolled, inputs: Inputs, grad: Tensor) -> Inputs:
    """In plain differentiable operations, for a second derivative."""
    with torch.enable_grad():
        plan = what.replay.plan(what.at(inputs))

    wanted = [x for x in inputs if x is not None and x.requires_grad]
    again = torch.is_grad_enabled()
    found = iter(torch.autograd.grad(plan, wanted, grad, create_graph=again, allow_unused=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)

"""Who is measured: every way to a plan behind one signature, ours and those of others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import multisk
from benchmarks.common.cases import REACHED, Case
from benchmarks.peers import dense, eager
from benchmarks.peers import transport as peers

Work = Callable[[], Any]


@dataclass(frozen=True)
class Provider:
    """`prepare(scores, case)` gives the call that is timed.

    With `counted`, it gives a function of the number of iterations instead, and the number that
    reaches the common error is found beforehand. `dense` tables hold K times the cells.
    """

    name: str
    prepare: Callable[[Tensor, Case], Any]
    package: str = "torch"
    counted: bool = False
    dense: bool = False
    cases: tuple[str, ...] = ()  # empty: all of its kind


def by(solver: Any) -> Callable[[Tensor, Case], Work]:
    """A solve by one of our solvers."""
    return lambda x, case: lambda: multisk.solve(x, case.problem, solver)


def without_numba(prepare: Callable[[Tensor, Case], Work]) -> Callable[[Tensor, Case], Work]:
    """The same as where numba is not installed."""

    def prepared(x: Tensor, case: Case) -> Work:
        work = prepare(x, case)

        def run() -> Any:
            with multisk.use_backend("numpy"):
                return work()

        return run

    return prepared


def warm(x: Tensor, case: Case) -> Work:
    """From the solution before a 2 % change of the scores."""
    before = multisk.solve(x, case.problem)
    change = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x.add_(0.02 * x.std() * change)
    return lambda: multisk.solve(x, case.problem, init=before)


def derivative(solver: Any) -> Callable[[Tensor, Case], Work]:
    """Plan and the derivative of a random functional of it."""

    def prepare(x: Tensor, case: Case) -> Work:
        leaf = x.clone().requires_grad_()
        cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

        def run() -> Any:
            leaf.grad = None
            solution = multisk.solve(leaf, case.problem, solver)
            solution.plan.backward(cotangent)
            return solution.detach()

        return run

    return prepare


def sweeps(iterate: Callable[..., Tensor]) -> Callable[[Tensor, Case], Work]:
    """Twenty sweeps of the published iteration by somebody's loop."""
    return lambda x, case: lambda: iterate(x, case.budget, case.eps, 0.25, 20)


def theirs(prepare: Callable[[Tensor, float], peers.Run]) -> Callable[[Tensor, Case], peers.Run]:
    """A function of the number of iterations, by another library."""
    return lambda x, case: prepare(x, case.eps)


NEWTON, SINKHORN = multisk.Newton(tolerance=1e-6), multisk.Sinkhorn(steps=20)
UNTIL = multisk.Sinkhorn(tolerance=REACHED)
NO_NUMBA = ("small", "paper", "step", "many")
FEW = ("paper", "step")
COMPILED = ("paper", "step", "many")
ASSIGNMENT = [
    Provider("multisk Newton", by(NEWTON)),
    Provider("multisk Sinkhorn(steps=20)", by(SINKHORN)),
    Provider("multisk Newton, no numba", without_numba(by(NEWTON)), cases=NO_NUMBA),
    Provider("multisk Sinkhorn(steps=20), no numba", without_numba(by(SINKHORN)), cases=NO_NUMBA),
    Provider(
        "multisk Newton, warm after a 2 % change",
        warm,
        cases=("paper", "paper, eps 0.02", "paper, eps 0.005", "paper, eps 0.002"),
    ),
    Provider("multisk Newton, with derivative", derivative(NEWTON), cases=FEW),
    Provider("multisk Sinkhorn(steps=20), with derivative", derivative(SINKHORN), cases=FEW),
    Provider("two matrices, eager torch", sweeps(eager.sweeps)),
    Provider("two matrices, torch.compile", sweeps(eager.compiled()), cases=COMPILED),
    Provider("dense channels, as published", sweeps(dense.as_published), dense=True),
    Provider("dense channels, in place", sweeps(dense.in_place), dense=True),
]
TRANSPORT = [
    Provider("multisk", by(None)),
    Provider("multisk Sinkhorn", by(UNTIL)),
    Provider("multisk Sinkhorn, no numba", without_numba(by(UNTIL))),
    Provider("multisk Newton", by(multisk.Newton(tolerance=REACHED)), cases=("transport",)),
    Provider("SwAV loop", theirs(peers.swav), counted=True),
    Provider("POT sinkhorn", theirs(peers.pot), "POT", counted=True),
    Provider("POT batch", theirs(peers.pot_batch), "POT", counted=True, cases=("transports",)),
    Provider("GeomLoss", theirs(peers.geomloss), "geomloss", counted=True),
    Provider("OTT-JAX log", theirs(peers.ott_log), "ott-jax", counted=True),
    Provider("OTT-JAX kernel", theirs(peers.ott_kernel), "ott-jax", counted=True),
]
SMALL = ("rows 2^12", "rows 2^14", "rows 2^16", "rows 2^18")


def providers_of(name: str, case: Case) -> list[Provider]:
    """Everybody who takes part in a case."""
    kind = ASSIGNMENT if case.budget else TRANSPORT
    ours = name in SMALL or "eps" in name  # the same peers again would say nothing new
    return [
        one
        for one in kind
        if (not one.cases or name in one.cases)
        and not (ours and not one.name.startswith("multisk"))
        and not ("eps" in name and "Sinkhorn" in one.name)
    ]

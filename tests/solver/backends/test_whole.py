"""A solver behind one operator is the solver that was given, whatever its options."""

from dataclasses import dataclass, fields, replace

import pytest
import torch

import multisk
from multisk._backends import choose, operators
from multisk._operators.whole import SOLVERS, made
from multisk._problem.system import prepare
from multisk.solver import Raw, System

OTHER = {
    "tolerance": 3e-5,
    "finest": 1e-9,
    "max_steps": 7,
    "steps": 3,
    "order": "column-depth-row",
    "dense": True,
    "gradient": "none",
}
PROBLEM = multisk.MultiAssignment(2, eps=0.1)
X = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_solvers_are_those_that_are_hidden() -> None:
    assert tuple(SOLVERS) == choose.WHOLE


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, field.name) for kind in SOLVERS.values() for field in fields(kind)]
)
def test_every_option_is_carried(kind: type, name: str) -> None:
    solver = kind(**{name: OTHER[name]})
    assert made(*operators.options_of(solver)) == solver


@pytest.mark.parametrize(
    "solver",
    [
        multisk.Exact(tolerance=1e-30),
        multisk.Newton(max_steps=1),
        multisk.Sinkhorn(steps=3, order="column-depth-row"),
        SOLVERS["Blend"](tolerance=1e-2, finest=1e-3),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_the_operator_answers_as_the_solver(solver: multisk.Solver) -> None:
    system = prepare(X, PROBLEM)
    found, want = operators.whole(system, None, solver), solver.run(system, None)
    for name in ("plan", "error", "steps", "converged", "code"):
        assert torch.equal(getattr(found, name), getattr(want, name)), name


def test_a_solver_of_the_same_name_is_not_taken_for_ours() -> None:
    @dataclass(frozen=True)
    class Newton:
        gradient: str | None = None

        def run(self, system: System, init: torch.Tensor | None) -> Raw:
            raise NotImplementedError

    system = replace(prepare(X, PROBLEM), scores=X[None].to("meta"))
    assert choose.hidden(system, multisk.Newton())
    assert not choose.hidden(system, Newton())


@dataclass(frozen=True)
class Own:
    """What the protocol asks for, an option called `steps`, and nothing else."""

    steps: int = 3
    gradient: str | None = None

    def run(self, system: System, init: torch.Tensor | None) -> Raw:
        """Solve."""
        return multisk.Newton().run(system, init)


@pytest.mark.parametrize("problem", [PROBLEM, multisk.Transport(eps=0.1)])
def test_the_protocol_is_enough_for_a_derivative(
    problem: multisk.MultiAssignment | multisk.Transport,
) -> None:
    gradients = []
    for solver in (Own(), multisk.Newton()):
        x = X.clone().requires_grad_()
        multisk.solve(x, problem, solver).plan.square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)

    def value(x: torch.Tensor) -> torch.Tensor:
        return multisk.solve(x, problem, Own()).plan.square().sum()

    torch.testing.assert_close(torch.func.grad(value)(X), gradients[0])
    with pytest.raises(ValueError, match="gradient must be 'implicit', 'none' or None for Own"):
        multisk.solve(X.clone().requires_grad_(), problem, Own(gradient="unroll"))

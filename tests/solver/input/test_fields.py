"""No copy of a problem or of its margins loses a field, also one that is added later."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from multisk import MultiAssignment, Transport, hard
from multisk._hard import on_cpu
from multisk._problem.frame import taken_apart
from multisk._problem.margins import BY_COLUMN, BY_ROW, Margins
from multisk._problem.system import System, prepare, transpose, widen

B, N, K = 2, 4, 3
X = torch.randn(B, N, K, generator=torch.Generator().manual_seed(0))
NAMES = [field.name for field in fields(Margins)]


def value_of(name: str, number: int) -> Tensor:
    """A value of its own for a field of the margins; one of a new kind has to be added here."""
    draw = torch.rand(B, N, K, generator=torch.Generator().manual_seed(number))
    if name in BY_ROW:
        return draw[..., 0].clone()
    if name in BY_COLUMN:
        return draw[:, 0].double()
    if name == "mass":
        return draw[:, :1, 0].double()
    assert name in {"free", "ones", "mask"}
    return draw > 0.5


@pytest.fixture(scope="module")
def system() -> System:
    """One in which every field of the margins is set."""
    margins = Margins(**{name: value_of(name, number) for number, name in enumerate(NAMES)})  # type: ignore
    return replace(
        prepare(X, Transport(eps=0.1)), budgets=margins, relax=(0.5, torch.ones(B, 1, 1))
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_the_margins_survives(name: str, system: System) -> None:
    before = getattr(system.margins, name)
    wide = getattr(widen(system).margins, name)
    assert torch.equal(wide, before.to(wide))
    assert wide.dtype == (torch.float64 if before.is_floating_point() else before.dtype)

    frame, tensors = taken_apart(system, None)
    assert torch.equal(getattr(frame.system(tensors)[0].margins, name), before)
    assert torch.equal(getattr(system.take(torch.tensor([1])).margins, name), before[1:])

    there = transpose(system)
    turned = {(N,): (K,), (K,): (N,), (N, K): (K, N), (1,): (1,)}
    assert getattr(there.margins, name).shape[1:] == turned[tuple(before.shape[1:])]
    back = getattr(transpose(there).margins, name)
    assert back.dtype == before.dtype
    assert torch.equal(back, before)


def test_the_rest_of_a_system_survives_or_is_known_not_to(system: System) -> None:
    frame, tensors = taken_apart(system, None)
    back = frame.system(tensors)[0]
    # Ranks are refused inside operators and transforms; derivatives are taken of what is outside.
    left = {"ranks", "levels", "traced", "code", "budget"}
    for field in fields(System):
        if field.name not in {*left, "budgets"}:
            old, new = getattr(system, field.name), getattr(back, field.name)
            assert torch.equal(old, new) if isinstance(old, Tensor) else str(old) == str(new)


GIVEN = {
    "k": (1, torch.tensor(2.0)),
    "capacity": (0.0, torch.full((K,), 9.0)),
    "capacity_factor": 1.5,
    "mask": torch.ones(N, K, dtype=torch.bool),
}


@pytest.mark.parametrize("name", [field.name for field in fields(MultiAssignment)])
def test_every_field_of_a_problem_survives_without_temperature(name: str) -> None:
    if name in {"eps", "damping"}:
        return  # not read at zero temperature
    others = {"capacity": (0.0, 9.0)} if name == "k" else {"k": 1}
    problem = MultiAssignment(**others, **{name: GIVEN[name]})
    found = getattr(on_cpu(problem), name)
    assert str(found) == str(GIVEN[name])


def test_a_hard_assignment_keeps_to_the_capacity_factor() -> None:
    x = X[0].repeat(2, 1) + torch.tensor([3.0, 0.0, 0.0])  # 8 rows, all of which want column 0
    found = hard(x, MultiAssignment(1, capacity_factor=1.5))
    want = hard(x, MultiAssignment(1, capacity=(0, 4)))
    assert torch.equal(found.plan, want.plan)
    assert found.loads[0] == 4
    exact = MultiAssignment(1, capacity_factor=1, mask=torch.ones(8, K, dtype=torch.bool))
    assert hard(x, exact).loads.max() == 3


def test_a_new_field_is_decided_on_by_all_who_choose_a_way() -> None:
    """Each asks for the fields that it knows, and would serve a problem with another in silence.

    Decide for a new field in every place that the row "a constraint" of docs/architecture.md lists;
    then name it here.
    """
    common = {"eps", "mask"}
    known = {
        MultiAssignment: common | {"k", "damping", "capacity", "capacity_factor"},
        Transport: common | {"rows", "columns", "mass", "relax"},
    }
    for kind, names in known.items():
        assert {field.name for field in fields(kind)} == names

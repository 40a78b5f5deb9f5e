"""The assigner remembers what the next batch can use, and assigns rows it has never seen."""

import io

import pytest
import torch

from multisk import MultiAssignment, Newton, Sinkhorn, Transport, solve
from multisk.assigner import BalancedAssigner
from tests.solver.strategies import unit_scores


def drifting(batches, n=400, k=16, *, change=0.02):
    """Scores of the same rows while their encoder moves a little from batch to batch."""
    x = unit_scores(n, k)
    generator = torch.Generator().manual_seed(7)
    for _ in range(batches):
        yield x
        x = x + change * x.std() * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize("problem", [MultiAssignment(k=5), Transport(eps=0.1)])
def test_every_forward_is_the_solution_of_its_own_batch(problem):
    assigner = BalancedAssigner(16, problem)
    for x in drifting(3):
        assert (assigner(x).plan - solve(x, problem).plan).abs().max() <= 1e-9


def test_the_second_batch_needs_at_most_two_steps():
    assigner = BalancedAssigner(64, MultiAssignment(k=32))
    x, moved = (part.float() for part in drifting(2, 5716, 64))
    cold = int(assigner(x).raise_if_failed().steps)
    assert int(assigner(moved).raise_if_failed().steps) <= min(2, cold - 1)


def test_evaluation_solves_but_does_not_remember():
    assigner = BalancedAssigner(16, MultiAssignment(k=5))
    first, second = drifting(2)
    assigner(first)
    kept = assigner.column_potential.clone()
    assigner.eval()(second)
    assert torch.equal(assigner.column_potential, kept)
    assert int(assigner.updates) == 1


def test_momentum_is_a_moving_average_of_centred_potentials():
    problem = MultiAssignment(k=5)
    assigner = BalancedAssigner(16, problem, momentum=0.75)
    want = None
    for x in drifting(4, change=0.5):
        b = solve(x, problem).column_potential
        b = b - b.mean()
        want = b if want is None else 0.75 * want + 0.25 * b
        assigner(x)
    assert (assigner.column_potential - want).abs().max() <= 1e-8


@pytest.mark.parametrize(
    "problem",
    [
        MultiAssignment(k=5),
        MultiAssignment(k=3, capacity=torch.linspace(30, 120, 16).double()),
        Transport(eps=0.1),
    ],
)
def test_rows_of_the_batch_are_assigned_as_they_were_solved(problem):
    assigner = BalancedAssigner(16, problem)
    (x,) = drifting(1)
    if isinstance(problem, MultiAssignment) and problem.capacity is not None:
        problem = assigner.problem = MultiAssignment(
            k=3, capacity=problem.capacity * (3 * len(x) / problem.capacity.sum())
        )
    plan = assigner(x).plan
    assert (assigner.assign(x) - plan).abs().max() <= 1e-9
    assert (assigner.assign(x[:7]) - plan[:7]).abs().max() <= 1e-9


def test_unseen_rows_from_the_same_population_stay_balanced():
    x = unit_scores(6000, 16) + torch.linspace(-0.2, 0.2, 16)  # some columns please everybody
    assigner = BalancedAssigner(16, MultiAssignment(k=4))
    assigner(x[:3000])
    rest = assigner.assign(x[3000:])
    assert (rest.sum(-1) - 4).abs().max() <= 1e-6
    even = 3000 * 4 / 16
    assert (rest.sum(0) / even - 1).abs().max() <= 0.1
    alone = x[3000:].topk(4, -1).indices.flatten().bincount(minlength=16)
    assert (rest.sum(0) - even).abs().max() < 0.1 * (alone - even).abs().max()


def test_assignment_of_masked_rows_leaves_the_forbidden_pairs_empty():
    x = unit_scores(60, 8)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.2
    mask[:, :3] = True
    assigner = BalancedAssigner(8, MultiAssignment(k=2))
    plan = assigner(x, MultiAssignment(k=2, mask=mask)).plan
    again = assigner.assign(x, MultiAssignment(k=2, mask=mask))
    assert not bool(again[~mask].any())
    assert (again - plan).abs().max() <= 1e-9


def test_a_closed_column_stays_closed_for_unseen_rows():
    loads = torch.tensor([0.0, 40.0, 40.0, 40.0])
    assigner = BalancedAssigner(4, MultiAssignment(k=2, capacity=loads))
    x = unit_scores(60, 4)
    assigner(x)
    assert not bool(assigner.assign(x[:9])[:, 0].any())


@pytest.mark.parametrize("problem", [MultiAssignment(k=3), Transport(eps=0.3)])
def test_the_derivative_of_assigned_rows_is_that_of_the_row_roots(problem):
    assigner = BalancedAssigner(6, problem)
    assigner(unit_scores(40, 6))
    x = unit_scores(5, 6, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(assigner.assign, (x,), atol=1e-6)


@pytest.mark.parametrize("solver", [None, Newton(), Sinkhorn(tolerance=1e-8)])
def test_a_saved_assigner_continues_where_it_was(solver):
    first, second = drifting(2)
    one = BalancedAssigner(16, MultiAssignment(k=5), momentum=0.5, solver=solver)
    one(first)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two = BalancedAssigner(16, MultiAssignment(k=5), momentum=0.5, solver=solver)
    two.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(one(second).plan, two(second).plan)
    assert torch.equal(one.column_potential, two.column_potential)
    assert torch.equal(one.assign(first), two.assign(first))


def test_casting_the_model_does_not_round_the_potentials():
    assigner = BalancedAssigner(16, MultiAssignment(k=5))
    (x,) = drifting(1)
    assigner(x)
    kept = assigner.column_potential.clone()
    torch.nn.Sequential(assigner).to(torch.bfloat16)
    assert assigner.column_potential.dtype == torch.float64
    assert torch.equal(assigner.column_potential, kept)
    assert assigner.assign(x.to(torch.bfloat16)).dtype == torch.bfloat16


def test_a_batch_of_problems_keeps_potentials_of_its_own():
    problem = MultiAssignment(k=3)
    assigner = BalancedAssigner(6, problem, batch=(2,))
    x = torch.stack([unit_scores(30, 6, seed=seed) for seed in (1, 2)])
    plan = assigner(x).plan
    for part in range(2):
        assert (plan[part] - solve(x[part], problem).plan).abs().max() <= 1e-9
    assert (assigner.assign(x) - plan).abs().max() <= 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_columns": 0}, "num_columns must be an int of at least 1, got 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        (
            {"problem": MultiAssignment(k=1, damping=torch.tensor([1.0, 0.5, 0.2, 0.0]))},
            "damping must have at most two levels",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    given = {"num_columns": 4, "problem": MultiAssignment(k=1), **options}
    with pytest.raises(ValueError, match=message):
        BalancedAssigner(given.pop("num_columns"), given.pop("problem"), **given)


def test_scores_with_other_columns_are_refused():
    assigner = BalancedAssigner(4, MultiAssignment(k=1))
    for call in (assigner, assigner.assign):
        with pytest.raises(ValueError, match=r"scores must have 4 columns, got the shape \(3, 5\)"):
            call(torch.zeros(3, 5))

"""Derivatives and tracers: every yes of docs/multisk/tracers.md, and a sentence for every no."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jvp, vmap

import multisk
from multisk import Exact, MultiAssignment, Newton, Sinkhorn, Transport, solve
from multisk._problem.collapse import Groups
from tests import warm

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
SHARP = Newton(tolerance=1e-12)
SWEPT = Sinkhorn(tolerance=1e-12, max_steps=20000)
MASK = torch.arange(24).view(6, 4) % 7 != 0
LEVELS = torch.tensor([1.0, 0.7, 0.7, 0.1], dtype=torch.float64)
PROBLEMS = {
    "assignment": MultiAssignment(2, eps=0.4),
    "budgets": MultiAssignment(torch.tensor([1, 2, 1, 2, 3, 1]), eps=0.4),
    "interval": MultiAssignment(2, eps=0.4, capacity=(2.0, 4.0)),
    "factor": MultiAssignment(2, eps=0.2, capacity_factor=1.25),
    "mask": MultiAssignment(2, eps=0.4, mask=MASK),
    "transport": Transport(eps=0.4),
    "masked transport": Transport(eps=0.4, mask=MASK),
    "relaxed": Transport(eps=0.4, relax=(1.0, 0.5)),
    "one side relaxed": Transport(eps=0.4, relax=(None, 0.5)),
    "row interval": MultiAssignment((1, 2), eps=0.4, capacity=torch.full((4,), 2.3)),
    "both intervals": MultiAssignment((1, 3), eps=0.4, capacity=(2.0, 3.0)),
    "bounded columns": Transport(eps=0.4, columns=(1.0, 2.0)),
    "partial transport": Transport(eps=0.4, rows=(0.0, 1.0), columns=(0.0, 1.2), mass=3.0),
    "free mass": Transport(eps=0.4, rows=(0.0, 1.0), columns=(0.5, 1.2)),
}
BOUNDED = {
    "interval",
    "factor",
    "row interval",
    "both intervals",
    "bounded columns",
    "partial transport",
    "free mass",
}
SOLVERS = {"Newton": SHARP, "Sinkhorn": SWEPT, "Sinkhorn(steps)": Sinkhorn(steps=3)}
FIELDS = ("plan", "log_plan", "value", "gap", "marginal_error", "converged", "column_potential")
EVERY = tuple(dict.fromkeys((*FIELDS, "row_potential", "steps", "status_code")))
UNEVEN = {"budgets", "row interval", "both intervals", "partial transport", "free mass"}
CASES = [
    (problem, solver)
    for problem in PROBLEMS
    for solver in SOLVERS
    if solver == "Newton" or problem not in BOUNDED
]


def scores(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def field_of(name, problem, solver):
    """A field as a function of the scores; what is minus infinity whatever they are is left out."""

    def call(x):
        found = getattr(solve(x, problem, solver), name)
        return torch.where(found == -torch.inf, 0.0, found)

    return call


X, V = scores(6, 4), scores(6, 4, seed=1)


@pytest.mark.parametrize(("problem", "solver"), CASES)
def test_log_plan_is_differentiable_once_and_twice(problem, solver):
    call = field_of("log_plan", PROBLEMS[problem], SOLVERS[solver])
    x = X.clone().requires_grad_()
    assert gradcheck(call, (x,), fast_mode=True)
    assert gradgradcheck(call, (x,), fast_mode=True)


def test_log_plan_is_differentiable_in_temperature_and_margins():
    def call(x, eps, rows, columns, lower, upper):
        columns = columns * (rows.sum() / columns.sum())
        transport = Transport(eps=eps, rows=rows, columns=columns)
        bounded = MultiAssignment(2, eps=eps, capacity=(lower, upper))
        relaxed = Transport(eps=eps, rows=rows, columns=columns, relax=(1.0, None))
        return tuple(solve(x, each, SHARP).log_plan for each in (transport, bounded, relaxed))

    inputs = X, torch.tensor(0.5).double(), 0.5 + scores(6).sigmoid(), 1 + scores(4).sigmoid()
    inputs += torch.tensor([2.0, 3.4, 1, 1]).double(), torch.tensor([2.5, 4, 3.5, 6]).double()
    assert gradcheck(call, tuple(x.clone().requires_grad_() for x in inputs), fast_mode=True)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (Transport(eps=0.004), torch.float32),
        (Transport(eps=0.02, relax=(1.0, 0.5)), torch.float32),
        (MultiAssignment(2, eps=0.02), torch.float64),  # float32 knows such prices too coarsely
    ],
)
def test_log_plan_and_its_derivative_are_exact_where_the_plan_underflows(problem, kind):
    x = X.clone().to(kind).requires_grad_()
    solution = solve(x, problem, SHARP if kind == torch.float64 else None)
    least = int(solution.log_plan.argmin())
    assert solution.plan.flatten()[least] < 1e-30
    (found,) = torch.autograd.grad(solution.log_plan.flatten()[least], x)
    y, step = X.to(kind).double(), 1e-6 * V
    ends = [solve(y + sign * step, problem, SHARP).log_plan.flatten()[least] for sign in (1, -1)]
    want = (ends[0] - ends[1]) / 2e-6
    assert abs(float((found.double() * V).sum() / want - 1)) <= 1e-3


def test_log_plan_refuses_by_name_what_it_cannot_differentiate():
    x = X.clone().requires_grad_()
    solution = solve(x, MultiAssignment(2, damping=LEVELS, eps=0.4))
    assert (solution.log_plan - solution.plan.log()).abs().max() <= 1e-12
    swept = solve(x, MultiAssignment(2, damping=LEVELS, eps=0.4), Sinkhorn(steps=3))
    torch.testing.assert_close(swept.log_plan, swept.plan.log())
    with pytest.raises(NotImplementedError, match="log_plan has no derivative with more than two"):
        solution.log_plan.sum().backward()


def test_log_plan_of_a_vertex_is_its_logarithm():
    solution = solve(X, MultiAssignment(2), Exact())
    assert torch.equal(solution.log_plan, solution.plan.log())


@pytest.mark.parametrize(("problem", "solver"), CASES)
@pytest.mark.parametrize("field", ["plan", "log_plan", "value"])
def test_transforms_and_batches_of_cotangents_give_what_autograd_gives(problem, solver, field):
    call = field_of(field, PROBLEMS[problem], SOLVERS[solver])
    batch = scores(2, 6, 4, seed=2)
    torch.testing.assert_close(vmap(call)(batch), call(batch), rtol=1e-9, atol=1e-9)

    x = X.clone().requires_grad_()
    y = call(x)
    cotangent = scores(*y.shape, seed=3)
    (want,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
    many = torch.stack([cotangent, 2 * cotangent])
    (found,) = torch.autograd.grad(y, x, many, is_grads_batched=True)
    torch.testing.assert_close(found, torch.stack([want, 2 * want]), rtol=1e-8, atol=1e-8)

    def loss(x):
        return (call(x) * cotangent).sum()

    torch.testing.assert_close(grad(loss)(X), want, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(vmap(grad(loss))(X[None])[0], want, rtol=1e-8, atol=1e-8)
    # Forward mode against reverse mode: <u, J v> = <J^T u, v>.
    slope = jvp(loss, (X,), (V,))[1]
    torch.testing.assert_close(slope, (want * V).sum(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_field_maps_as_problem_by_problem(problem):
    """Steps and errors may differ: inside a transform no problem is solved by the loops."""
    batch = scores(2, 6, 4, seed=2)

    def fields(x):
        solution = solve(x, PROBLEMS[problem], SHARP)
        parts = [getattr(solution, name) for name in EVERY]
        return parts if problem in UNEVEN else [*parts, solution.topk(), *channels_of(solution)]

    found, want = vmap(fields)(batch), fields(batch)
    names = [*EVERY, "topk", "channels"][: len(found)]
    for name, one, two in zip(names, found, want, strict=True):
        if name in {"steps", "marginal_error", "gap"}:  # of another way there
            assert one.shape == two.shape
            assert bool((one <= (SHARP.max_steps if name == "steps" else 1e-9)).all())
        else:
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8, msg=name)


def channels_of(solution):
    """The channels, which a transport lacks."""
    return [solution.channels()] if isinstance(solution.system.groups, Groups) else []


def test_a_vertex_maps():
    def call(x):
        return solve(x, MultiAssignment(2), Exact()).plan

    batch = scores(2, 6, 4, seed=2)
    assert torch.equal(vmap(call)(batch), call(batch))


def test_forward_mode_by_dual_numbers_and_second_derivatives_by_transforms():
    def call(x):
        return solve(x, PROBLEMS["relaxed"], SHARP).plan

    tangent = jvp(call, (X,), (V,))[1]
    with forward_ad.dual_level():
        dual = call(forward_ad.make_dual(X, V))
        found = forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(found, tangent)
    ends = [call(X + sign * 1e-5 * V) for sign in (1, -1)]
    torch.testing.assert_close(tangent, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-7)

    def value(x):
        return solve(x, PROBLEMS["assignment"], SHARP).value

    want = torch.autograd.functional.hessian(value, X)
    torch.testing.assert_close(hessian(value)(X), want, rtol=1e-8, atol=1e-8)


def test_vmap_over_temperatures_budgets_and_loads():
    def warm(eps):
        return solve(X, MultiAssignment(2, eps=eps), SHARP).plan

    temperatures = torch.tensor([0.3, 0.5], dtype=torch.float64)
    want = torch.stack([warm(0.3), warm(0.5)])
    torch.testing.assert_close(vmap(warm)(temperatures), want)

    def slope(eps):
        return jvp(warm, (eps,), (torch.ones_like(eps),))[1]

    ends = [warm(0.3 + step) for step in (1e-6, -1e-6)]
    want = (ends[0] - ends[1]) / 2e-6
    torch.testing.assert_close(vmap(slope)(temperatures)[0], want, rtol=1e-5, atol=1e-7)

    budgets = torch.tensor([[1, 2, 1, 2, 1, 2], [1, 1, 4, 1, 1, 0]])
    plans = vmap(lambda k: solve(X, MultiAssignment(k), SHARP).plan)(budgets)
    torch.testing.assert_close(plans.sum(-1), budgets.double(), rtol=1e-9, atol=1e-9)
    masks = torch.stack([MASK, ~MASK | MASK])
    plans = vmap(lambda mask: solve(X, MultiAssignment(1, mask=mask), SHARP).plan)(masks)
    assert bool((plans[0][~MASK] == 0).all())
    torch.testing.assert_close(plans[1], solve(X, MultiAssignment(1), SHARP).plan)


def test_vmap_and_forward_mode_over_strengths():
    def call(strength):
        solution = solve(X, Transport(eps=0.4, relax=(strength, 0.5)), SHARP)
        return solution.plan, solution.value

    strengths = torch.tensor([0.3, 2.0], dtype=torch.float64)
    alone = [call(strength) for strength in strengths]
    for found, want in zip(vmap(call)(strengths), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(want))

    one = torch.ones_like(strengths[0])
    tangents = jvp(call, (strengths[0],), (one,))[1]
    with forward_ad.dual_level():
        dual = call(forward_ad.make_dual(strengths[0], one))
        twins = [forward_ad.unpack_dual(x).tangent for x in dual]
    above, below = call(0.3 + 1e-5), call(0.3 - 1e-5)
    for found, twin, high, low in zip(tangents, twins, above, below, strict=True):
        torch.testing.assert_close(found, (high - low) / 2e-5, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(twin, found)


def test_more_than_two_channel_scales_map_but_have_no_derivative_in_transforms():
    problem = MultiAssignment(2, eps=0.4, damping=LEVELS)
    batch = scores(2, 6, 4)

    def call(x):
        return solve(x, problem).plan

    torch.testing.assert_close(vmap(call)(batch), call(batch))
    with pytest.raises(NotImplementedError, match="damping must have at most two levels"):
        grad(lambda x: call(x).sum())(X)
    with pytest.raises(NotImplementedError, match="damping must have at most two levels"):
        jvp(call, (X,), (V,))
    with pytest.raises(ValueError, match="damping must have at most two levels for value"):
        vmap(lambda x: solve(x, problem).value)(batch)


def test_bad_values_inside_a_transform_come_back_as_a_status():
    batch = torch.stack([X, X.clone().index_fill(0, torch.tensor(1), torch.nan)])
    codes = vmap(lambda x: solve(x, MultiAssignment(2, eps=0.4)).status_code)(batch)
    assert codes.tolist() == [
        multisk.Status.CONVERGED.code,
        multisk.Status.NONFINITE_SCORES.code,
    ]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_meta_tensors_have_the_shapes_and_dtypes_of_the_answer(problem):
    names = ("plan", "log_plan", "value", "gap", "converged", "steps", "column_potential")
    for x in (X.float().expand(2, 6, 4), X):
        real = solve(x, PROBLEMS[problem])
        meta = solve(x.to("meta"), on_meta(PROBLEMS[problem]))
        for name in names:
            found, want = getattr(meta, name), getattr(real, name)
            assert found.device.type == "meta"
            assert (found.shape, found.dtype) == (want.shape, want.dtype), name
    assert repr(meta).startswith("Solution(plan 6 x 4 float64 on meta")


def on_meta(problem):
    """The problem with its tensors beside the scores."""
    fields = {name: value for name, value in vars(problem).items() if torch.is_tensor(value)}
    return replace(problem, **{name: value.to("meta") for name, value in fields.items()})


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sixteen_bit_scores_give_every_field_in_their_format(kind):
    x = X.clone().to(kind).requires_grad_()
    y = x.detach().float().requires_grad_()
    for problem in PROBLEMS:
        coarse, fine = solve(x, PROBLEMS[problem]), solve(y, PROBLEMS[problem])
        for name in EVERY:
            found, want = getattr(coarse, name), getattr(fine, name)
            assert found.dtype == (kind if name in {"plan", "log_plan"} else want.dtype), name
            torch.testing.assert_close(found.to(want.dtype), want, rtol=2e-2, atol=2e-2, msg=name)
        for name in ("plan", "log_plan", "value"):
            pulled, exact = (pull(getattr(of, name), at) for of, at in ((coarse, x), (fine, y)))
            assert pulled.dtype == kind
            torch.testing.assert_close(pulled.float(), exact, rtol=5e-2, atol=5e-2)
        assert coarse.raise_if_failed().status == multisk.Status.CONVERGED


def pull(y, x):
    """The derivative of the sum of what is finite."""
    finite = torch.where(y == -torch.inf, 0.0, y.float())
    return torch.autograd.grad(finite.sum(), x, retain_graph=True)[0]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sixteen_bit_scores_are_rounded_and_assigned_as_in_float32(kind):
    problem, new = PROBLEMS["assignment"], scores(3, 4, seed=5).to(kind)
    coarse, fine = (solve(x, problem) for x in (X.to(kind), X.to(kind).float()))
    assert torch.equal(coarse.topk(), fine.topk())
    assert torch.equal(coarse.round(), fine.round())
    torch.testing.assert_close(coarse.prices(), fine.prices(), rtol=1e-5, atol=1e-5)
    for found, want in (
        (coarse.channels(), fine.channels()),
        (coarse.assign(new), fine.assign(new.float())),
    ):
        assert found.dtype == kind
        torch.testing.assert_close(found.float(), want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("problem", "solver"),
    [
        (PROBLEMS["assignment"], Sinkhorn()),
        (PROBLEMS["assignment"], Sinkhorn(gradient="unroll")),
        (PROBLEMS["assignment"], Sinkhorn(steps=3)),
        (PROBLEMS["assignment"], Sinkhorn(steps=3, dense=True)),
        (MultiAssignment(2), Exact()),
        (MultiAssignment(2, eps=0.4, damping=LEVELS.float()), Newton()),
    ],
    ids=repr,
)
def test_sixteen_bit_scores_are_solved_in_float32_by_every_solver(problem, solver):
    x = X.to(torch.bfloat16)
    coarse, fine = solve(x, problem, solver), solve(x.float(), problem, solver)
    assert coarse.plan.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.plan.float(), fine.plan, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "solver",
    [
        Sinkhorn(tolerance=1e-12, gradient="unroll"),
        Sinkhorn(steps=3, dense=True),
        Sinkhorn(tolerance=1e-12, max_steps=300, dense=True),
        Sinkhorn(steps=3, order="column-depth-row"),
    ],
    ids=repr,
)
def test_every_way_to_sweep_is_differentiable(solver):
    def call(x):
        return solve(x, PROBLEMS["assignment"], solver).plan

    assert gradcheck(call, (X.clone().requires_grad_(),), fast_mode=True)
    batch = scores(2, 6, 4, seed=2)
    if solver.steps is not None:
        torch.testing.assert_close(vmap(call)(batch), call(batch))


def test_sweeps_from_a_start_are_differentiable():
    start = solve(X, MultiAssignment(2, eps=0.5), SHARP).column_potential

    def call(x):
        return solve(x, PROBLEMS["assignment"], Sinkhorn(steps=2), init=start).plan

    assert gradcheck(call, (X.clone().requires_grad_(),), fast_mode=True)


COMPILED = """
import sys, torch, multisk
sys.path.insert(0, {root!r})
from tests.solver.test_tracers import EVERY, PROBLEMS, Sinkhorn, scores, solve
x = scores(2, 6, 4).float()
weight = scores(2, 6, 4, seed=1).float()
for name in {names!r}:
    problem, swept = PROBLEMS[name], "capacity" not in name
    for solver in {solvers}:
        def fields(x):
            found = solve(x, problem, solver)
            parts = [getattr(found, field) for field in EVERY]
            return parts if name in {apart!r} else [*parts, found.assign(x[:, :2]), found.topk()]
        torch._dynamo.reset()
        compiled = torch.compile(fields, fullgraph=True, backend="aot_eager")
        slopes = []
        for function in (fields, compiled):
            y = x.clone().requires_grad_()
            found = function(y)
            parts = dict(zip(EVERY, found))
            log = torch.where(parts["log_plan"] == -torch.inf, 0.0, parts["log_plan"])
            loss = ((parts["plan"] + log) * weight).sum() + parts["value"].sum()
            slopes.append((found, torch.autograd.grad(loss, y)[0]))
        (plain, want), (traced, got) = slopes
        for field, one, two in zip((*EVERY, "assign", "topk"), traced, plain):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-5, check_dtype=False, msg=field)
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
"""


def compile_all(names, solvers):
    root = str(Path(__file__).parents[2])
    code = COMPILED.format(root=root, names=names, solvers=solvers, apart=UNEVEN)
    run_plainly(code)


def run_plainly(code):
    """In a process of its own: run-time type checks cannot be traced."""
    run = warm.run([sys.executable, "-c", code])
    assert run.returncode == 0, run.stderr[-3000:]


def test_fields_and_gradients_of_a_relaxed_transport_compile_whole():
    compile_all(["relaxed"], "[None]")


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_fields_and_gradients_compile_whole(problem):
    bounded = problem in BOUNDED
    compile_all([problem], "[None]" if bounded else "[None, Sinkhorn(), Sinkhorn(steps=3)]")


INDUCTED = """
import sys, torch
sys.path.insert(0, {root!r})
from tests.solver.test_tracers import PROBLEMS, scores, solve
x = scores(2, 6, 4).float()
def loss(x):
    found = solve(x, PROBLEMS[{name!r}])
    return (found.plan * torch.arange(4.0)).sum() + found.value.sum() + found.gap.sum()
y, z = (x.clone().requires_grad_() for _ in range(2))
found, want = torch.compile(loss, fullgraph=True)(y), loss(z)
torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
found.backward(), want.backward()
torch.testing.assert_close(y.grad, z.grad, rtol=1e-3, atol=1e-4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_default_backend_of_compile_takes_every_problem(problem):
    """Inductor itself, which did not end where it saw the passes that settle bounds on loads."""
    run_plainly(INDUCTED.format(root=str(Path(__file__).parents[2]), name=problem))


SETTLED = """
import torch
from multisk import MultiAssignment, solve
found = []
def backend(graph, _):
    found.extend(str(node.target) for node in graph.graph.nodes)
    return graph
problem = MultiAssignment(k=2, eps=0.4, capacity=(0.0, 6.0))
x = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
plan = torch.compile(lambda x: solve(x, problem).plan, fullgraph=True, backend=backend)(x)
assert sum("decide" in name for name in found) == 1, found
torch.testing.assert_close(plan, solve(x, problem).plan)
"""


def test_bounds_are_settled_by_one_node_of_a_graph():
    run_plainly(SETTLED)


MODULES = """
import copy, torch
from multisk import BalancedAssigner, MultiAssignment
from multisk.moe import BalancedRouter
from multisk.ssl import SinkhornCentering, targets
x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
y = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
router, centering = BalancedRouter(8, 2), SinkhornCentering(8, sweeps=3)
assigner = BalancedAssigner(8, MultiAssignment(k=2, eps=0.1))
assigner(x)
calls = [
    (router, lambda module, x: module(x)),
    (router.eval(), lambda module, x: module(x)),
    (centering, lambda module, x: module(x, 0.1)),
    (centering, lambda module, x: targets(x, 0.1, sweeps=3)),
    (assigner, lambda module, x: module(x).plan),
    (assigner, lambda module, x: module.assign(x)),
]
for module, call in calls:
    torch._dynamo.reset()
    plain = copy.deepcopy(module)
    found = torch.compile(call, fullgraph=True, backend="aot_eager")(module, y)
    torch.testing.assert_close(found, call(plain, y), rtol=1e-4, atol=1e-5)
    for one, two in zip(module.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
z, w = (y.clone().requires_grad_() for _ in range(2))
loss = torch.compile(lambda z: (assigner.assign(z) * x).sum(), fullgraph=True, backend="aot_eager")
loss(z).backward()
(assigner.assign(w) * x).sum().backward()
torch.testing.assert_close(z.grad, w.grad, rtol=1e-4, atol=1e-5)
"""


def test_modules_compile_whole_and_keep_the_same_buffers():
    run_plainly(MODULES)


EXPORTED = """
import sys, torch
from dataclasses import replace
sys.path.insert(0, {root!r})
from tests.solver.test_tracers import EVERY, PROBLEMS, UNEVEN, MultiAssignment, Sinkhorn, scores
from tests.solver.test_tracers import solve
class Assign(torch.nn.Module):
    def __init__(self, name, solver):
        super().__init__()
        self.problem, self.solver = {{**PROBLEMS, "wide": WIDE}}[name], solver
        self.uneven = name in UNEVEN
    def forward(self, x, mask=None):
        problem = self.problem if mask is None else replace(self.problem, mask=mask)
        found = solve(x, problem, self.solver)
        parts = [getattr(found, name) for name in EVERY]
        return parts if self.uneven else [*parts, found.topk(), found.assign(x[:, :3])]
WIDE = MultiAssignment(2, eps=0.4, capacity=(0.0, 25.0))
free = {{0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("rows", min=6, max=4096)}}
y = scores(5, 31, 6, seed=4).float()
for name, solver in {cases}:
    module = Assign(name, solver)
    x = scores(2, 24, 6).float()
    masks = [z > -1.5 for z in (x, y)] if "mask" in name else []
    shapes, other = (free, free)[: 1 + len(masks[:1])], (y, *masks[1:])
    program = torch.export.export(module, (x, *masks[:1]), dynamic_shapes=shapes).module()
    for part, found, want in zip((*EVERY, "topk", "assign"), program(*other), module(*other)):
        torch.testing.assert_close(found, want, rtol=1e-3, atol=5e-5, msg=f"{{name}} {{part}}")
"""


def export_all(cases):
    run_plainly(EXPORTED.format(root=str(Path(__file__).parents[2]), cases=cases))


def test_an_exported_solve_takes_any_number_of_rows_and_problems():
    export_all('[("wide", None), ("transport", Sinkhorn(steps=3)), ("assignment", Sinkhorn())]')


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem",
    ["assignment", "factor", "mask", "transport", "masked transport", "relaxed", "free mass"],
)
def test_exported_problems_take_any_number_of_rows_and_problems(problem):
    export_all(f'[("{problem}", None)]')


def test_every_yes_of_the_table_names_a_test_and_every_no_a_sentence():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "multisk" / "tracers.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(test_\w+)`", page))
    texts = [path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")]
    missing = {name for name in names if not any(f"def {name}(" in text for text in texts)}
    assert len(names) >= 8
    assert not missing
    sources = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for path in (root / "multisk").rglob("*.py")
    )
    said = re.findall(r"^\| \d+ \| `([^`…]+)", page, re.MULTILINE)
    assert len(said) >= 6
    assert not [sentence for sentence in said if sentence.strip() not in sources]
    public = {name for name in vars(multisk.Solution) if not name.startswith("_")}
    public |= {name for name in vars(multisk.Solution.__mro__[1]) if not name.startswith("_")}
    internal = {"mode", "system", "raw", "flat_plan", "exponent"}
    assert not {name for name in public - internal if f"`{name}`" not in page}

"""Every launcher of the kernels with every flag it has, on tensors that exist in name only.

A new launcher belongs into `LAUNCHERS`; `unseen` finds the kernels and flag values that none of
them reaches.
"""

import ast
import contextlib
import importlib
import inspect
import pkgutil

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensorMode

import multisk.kernels
from multisk.kernels._tile import square_in_program
from multisk.kernels.birkhoff import birkhoff_backward, birkhoff_forward
from multisk.kernels.column import column_backward, column_forward
from multisk.kernels.depth import depth_backward, depth_forward
from multisk.kernels.gradient import assign_backward, plan_backward
from multisk.kernels.groups import (
    Shares,
    curvature,
    group_plan,
    group_sweep,
    masses,
    respond,
    scores_gradient,
)
from multisk.kernels.newton import newton_pass, solve_schur
from multisk.kernels.plan import assign, write_plan
from multisk.kernels.resident import resident_sweeps
from multisk.kernels.row import row_backward, row_forward
from multisk.kernels.search import search
from multisk.kernels.sweep import Budgets, room_for, sweep, sweep_sums, transport_sweep
from multisk.kernels.unroll import sweeps_backward
from multisk.kernels.wide import At, apply_schur, couple_columns, solve_wide

B, N = 2, 5716
DEVICE = "cuda"


class Inputs:
    """Arguments of every launcher: tensors of one dtype, width and layout."""

    def __init__(self, dtype, width, layout):
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        self.width, self.kind = width, kind
        self.x = fake(B, N, width, dtype=dtype)
        if layout == "odd":  # one value off the start: no address is a multiple of 16 bytes
            self.x = fake(B * N * width + 1, dtype=dtype).narrow(0, 1, B * N * width)
            self.x = self.x.view(B, N, width)
        self.one, self.scales = fake(1, dtype=kind), fake(1, 2, dtype=kind)
        self.a, self.b = fake(B, N, dtype=kind), fake(B, width, dtype=torch.float64)
        self.b_own = fake(B, width, dtype=kind)
        self.free = fake(B, N, width, dtype=torch.bool)
        self.idle = fake(B, dtype=torch.int32)

    def at(self, **options):
        place = {"scores": self.x, "scale": self.one, "row_potential": self.a}
        return At(**place, column_potential=self.b, **options)

    def budgets(self, free=None):
        one = self.one
        return Budgets(rows=one, row_cells=one, columns=one, column_cells=one, free=free)


def fake(*shape, dtype=torch.float32):
    """A CUDA tensor that exists in name only; inside a fake tensor mode."""
    return torch.empty(shape, dtype=dtype, device=DEVICE)


def normalise(t, forward, backward):
    for log in (False, True):
        y, total = forward(t.x, t.one, log=log)
        backward(t.x, y, total, t.one, log=log)


def sweeps(t):
    sweep(t.x, t.scales, t.a, t.b, t.budgets(), first=True)
    sweep(t.x, t.scales, t.a, t.b, t.budgets(t.free), first=True, row_step=False)
    sweep(t.x, t.scales, t.a, t.b, t.budgets())
    sweep_sums(t.x, t.scales, t.a, t.b, t.budgets())


def resident(t):
    resident_sweeps(t.x, t.scales, t.budgets(), 20)
    kept = room_for(t.x, t.budgets(), 20)
    resident_sweeps(t.x, t.scales, t.budgets(), 20, kept=kept)
    resident_sweeps(t.x.narrow(1, 0, 40), t.scales, t.budgets(t.free), 20, rows_first=False)


def groups(t):
    u, v = fake(B, 3, N, dtype=t.kind), fake(B, 3, t.width, dtype=t.kind)
    scales = fake(1, 3, dtype=t.kind)
    group_sweep(t.x, scales, u, v, t.one, first=True, row_step=False)
    group_sweep(t.x, scales, u, v, t.one, free=t.free)
    place = {"row_potential": u, "column_potential": v, "top": 1}
    plain = Shares(scores=t.x, scales=scales, **place)
    masked = Shares(scores=t.x, scales=scales, free=t.free, **place)
    group_plan(plain)
    group_plan(masked, t.one)
    masses(plain)
    curvature(masked)
    respond(masked, t.x, None, None)
    respond(plain, None, u, v)
    scores_gradient(plain, t.x, u, v)
    scores_gradient(masked, t.x, u, v)


def transports(t):
    transport_sweep(t.x, t.one, t.a, t.b, t.one, t.one)
    transport_sweep(t.x, t.one, t.a, t.b, t.one, t.one, free=t.free, row_step=False)


def newton(t):
    newton_pass(t.x, t.one, t.b_own, t.a, t.one, idle=t.idle)
    newton_pass(t.x, t.one, t.b_own, t.a, t.one, mask=t.free)
    newton_pass(t.x, t.one, t.b_own, t.a, t.one, yields=t.one, row_sums=True)
    if square_in_program(t.width, t.kind):
        bend = fake(B, t.width, t.width, dtype=t.kind)
        solve_schur(t.b_own, bend, t.b_own)
        still = fake(B, t.width, dtype=torch.bool)
        solve_schur(t.b_own, bend, t.b_own, still=still, gauge=t.one)


def wide(t):
    still = fake(B, t.width, dtype=torch.bool)
    at, other = t.at(), t.at(free=t.free, yields=t.one)
    couple_columns(at, t.a)
    couple_columns(other, t.a)
    apply_schur(at, t.b_own)
    apply_schur(other, t.b_own, idle=t.idle, answer=True)
    solve_wide(at, t.b_own, t.b_own, t.b_own, rounds=1)
    more = {"still": still, "gauge": t.one, "idle": t.idle}
    solve_wide(other, t.b_own, t.b_own, t.b_own, rounds=1, **more)


def searches(t):
    search(t.x, t.one, None, t.budgets(), passes=1)
    search(t.x, t.one, t.b, t.budgets(t.free), passes=1)
    search(t.x, t.one, None, t.budgets(), yields=fake(B, 2, dtype=t.kind), passes=1)


def gradients(t):
    plan_backward(t.at(), t.x, rounds=1)
    plan_backward(t.at(free=t.free, yields=t.one), t.x, column_yields=t.one, rounds=1)
    assign_backward(t.at(), t.x)


def plans(t):
    assign(t.x, t.one, t.b, t.one)
    write_plan(t.x, t.one, t.a, t.b, t.one, free=t.free, capped=False)
    write_plan(t.x, t.one, t.a, t.b, t.one, row_cells=t.one)


def unroll(t):
    sweeps_backward(t.x, t.scales, t.budgets(), None, 2, t.x)
    free = t.budgets(t.free)
    sweeps_backward(t.x, t.scales, free, None, 2, t.x, rows_first=False)


def birkhoff(t):
    for size in (4, 8) if t.width == 64 else (5,):  # 16-bit logits are widened before
        x, one = fake(N, size, size, dtype=t.kind), fake(1, size, dtype=t.kind)
        birkhoff_forward(x, one, one, 3e-7)
        birkhoff_backward(x, x, weigh=True)
        birkhoff_backward(x, x, weigh=False)


LAUNCHERS = {
    "row": lambda t: normalise(t, row_forward, row_backward),
    "column": lambda t: normalise(t, column_forward, column_backward),
    "depth": lambda t: normalise(t, depth_forward, depth_backward),
    "sweep": sweeps,
    "resident": resident,
    "groups": groups,
    "newton": newton,
    "search": searches,
    "wide": wide,
    "transport": transports,
    "gradient": gradients,
    "plan": plans,
    "unroll": unroll,
    "birkhoff": birkhoff,
}


@contextlib.contextmanager
def dry_launches():
    """Within it launches are only written down: (module, kernel) -> constants they were given."""
    seen, plain = {}, triton.KernelInterface.__getitem__

    def launcher(kernel, grid):
        constants = seen.setdefault((kernel.fn.__module__, kernel.fn.__name__), [])
        return lambda *args, **options: constants.append(flags_of(kernel, options))

    triton.KernelInterface.__getitem__ = launcher
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield seen
    finally:
        triton.KernelInterface.__getitem__ = plain


def flags_of(kernel, options):
    """The compile-time constants of a launch and its warps, as values that print."""
    names = {parameter.name for parameter in kernel.params if parameter.is_constexpr}
    names.add("num_warps")
    return {name: value for name, value in options.items() if name in names}


def kernels_in_source():
    """(module, kernel) -> {flag: values its source distinguishes} of all that carries `@kernel`."""
    found = {}
    for info in pkgutil.iter_modules(multisk.kernels.__path__, "multisk.kernels."):
        module = importlib.import_module(info.name)
        for node in ast.parse(inspect.getsource(module)).body:
            if any(
                getattr(mark, "id", None) == "kernel"
                for mark in getattr(node, "decorator_list", ())
            ):
                found[info.name, node.name] = branches(node)
    return found


def branches(function):
    """Flags that a kernel branches on, with the values it compares them to (else True, False)."""
    constants = {
        argument.arg
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation is not None and "constexpr" in ast.unparse(argument.annotation)
    }
    tests = [node.test for node in ast.walk(function) if isinstance(node, ast.If | ast.IfExp)]
    values = {}
    for node in (node for test in tests for node in ast.walk(test)):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
            right = node.comparators[0]
            if node.left.id in constants and isinstance(right, ast.Constant):
                values.setdefault(node.left.id, set()).add(right.value)
    compared = {
        name.id
        for test in tests
        for node in ast.walk(test)
        if isinstance(node, ast.Compare)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    for node in (node for test in tests for node in ast.walk(test)):
        if isinstance(node, ast.Name) and node.id in constants - compared:
            values[node.id] = {True, False}
    return values


def unseen(seen):
    """What no launcher reached: whole kernels, and values of flags."""
    missing = []
    for kernel, wanted in kernels_in_source().items():
        launches = seen.get(kernel, [])
        if not launches:
            missing.append(kernel)
        switches = {flag for launch in launches for flag, value in launch.items() if is_bool(value)}
        for flag, values in (dict.fromkeys(switches, {True, False}) | wanted).items():
            met = {launch.get(flag) for launch in launches}
            missing += [(*kernel, flag, value) for value in values - met]
    return missing


def is_bool(value):
    return isinstance(value, bool)

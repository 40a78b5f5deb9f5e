import os

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels compile in a process without the interpreter", allow_module_level=True)

from pathlib import Path  # noqa: E402

import triton  # noqa: E402

from multisk.kernels.column import column_backward, column_forward  # noqa: E402
from multisk.kernels.depth import depth_backward, depth_forward  # noqa: E402
from multisk.kernels.gradient import plan_backward  # noqa: E402
from multisk.kernels.groups import group_sweep  # noqa: E402
from multisk.kernels.newton import newton_pass  # noqa: E402
from multisk.kernels.plan import assign, write_plan  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.row import row_backward, row_forward  # noqa: E402
from multisk.kernels.schur import apply_schur, solve_schur  # noqa: E402
from multisk.kernels.search import search  # noqa: E402
from multisk.kernels.sweep import Budgets, sweep, sweep_sums  # noqa: E402
from tests.compile_only import TARGETS, compile_only, fake, resources, upsert  # noqa: E402

TABLE = Path(__file__).parent.parent / "benchmarks" / "results" / "static.csv"
KEYS = ("launcher", "kernel", "variant", "columns", "layout", "dtype", "target", "triton")
READS_SCORES = (
    "_forward",
    "_backward",
    "_apply",
    "_partials",
    "_sweep",
    "_resident",
    "_pass",
    "_gather",
)
READS_SCORES += ("_spread", "_plan")
B, N = 2, 5716


class Inputs:
    """Arguments of every launcher: tensors in name only, of one dtype, width and layout."""

    def __init__(self, dtype, width, layout):
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        self.width, self.kind = width, kind
        # One value off the start, no address is a multiple of 16 bytes any more.
        odd = layout == "odd"
        self.x = fake(B, N, width, dtype=dtype)
        if odd:
            self.x = fake(B * N * width + 1, dtype=dtype).narrow(0, 1, B * N * width)
            self.x = self.x.view(B, N, width)
        self.one, self.scales = fake(1, dtype=kind), fake(1, 2, dtype=kind)
        self.a, self.b = fake(B, N, dtype=kind), fake(B, width, dtype=torch.float64)
        self.b_own = fake(B, width, dtype=kind)
        self.free = fake(B, N, width, dtype=torch.bool)
        self.idle = fake(B, dtype=torch.int32)

    def budgets(self, free=None):
        one = self.one
        return Budgets(rows=one, row_cells=one, columns=one, column_cells=one, free=free)


def normalise(t, forward, backward):
    for log in (False, True):
        y, total = forward(t.x, t.one, log=log)
        backward(t.x, y, total, t.one, log=log)


def sweeps(t):
    sweep(t.x, t.scales, t.a, t.b, t.budgets(), first=True)
    sweep(t.x, t.scales, t.a, t.b, t.budgets())
    sweep(t.x, t.scales, t.a, t.b, t.budgets(t.free))
    sweep_sums(t.x, t.scales, t.a, t.b, t.budgets())


def resident(t):
    resident_sweeps(t.x, t.scales, t.budgets(), 20)
    resident_sweeps(t.x.narrow(1, 0, 40), t.scales, t.budgets(), 20, rows_first=False)


def groups(t):
    u, v = fake(B, 3, N, dtype=t.kind), fake(B, 3, t.width, dtype=t.kind)
    scales = fake(1, 3, dtype=t.kind)
    group_sweep(t.x, scales, u, v, t.one, first=True)
    group_sweep(t.x, scales, u, v, t.one, free=t.free)


def newton(t):
    newton_pass(t.x, t.one, t.b_own, t.a, t.one, idle=t.idle)
    newton_pass(t.x, t.one, t.b_own, t.a, t.one, mask=t.free)


def schur(t):
    if t.width <= 128 and t.kind == torch.float32:
        solve_schur(t.b_own, fake(B, t.width, t.width, dtype=t.kind), t.b_own)
    apply_schur(t.x, t.one, t.a, t.b_own, t.b_own)


def plans(t):
    assign(t.x, t.one, t.b, t.one)
    write_plan(t.x, t.one, t.a, t.b, t.one, free=t.free)
    write_plan(t.x, t.one, t.a, t.b, t.one, row_step=True)


LAUNCHERS = {
    "row": lambda t: normalise(t, row_forward, row_backward),
    "column": lambda t: normalise(t, column_forward, column_backward),
    "depth": lambda t: normalise(t, depth_forward, depth_backward),
    "sweep": sweeps,
    "resident": resident,
    "groups": groups,
    "newton": newton,
    "search": lambda t: search(t.x, t.one, None, t.budgets(), passes=1),
    "schur": schur,
    "gradient": lambda t: plan_backward(t.x, t.one, t.a, t.b, t.x),
    "plan": plans,
}
F32, F64, B16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
PLAIN = [(target, F32, 64, "aligned") for target in TARGETS]
PLAIN += [("sm_90", dtype, 64, "aligned") for dtype in (F64, B16)]
PLAIN += [("sm_90", F32, 64, "odd"), ("sm_90", F32, 50, "aligned"), ("sm_90", F32, 1024, "aligned")]
EVERY = [
    (target, dtype, width, layout)
    for target in TARGETS
    for dtype in (F32, F64, B16, F16)
    for width in (16, 50, 64, 128, 256, 1024, 4096)
    for layout in ("aligned", "odd")
    if (target, dtype, width, layout) not in PLAIN
]


def name_of(case):
    return "-".join(str(part).removeprefix("torch.") for part in case)


def check(launcher, case):
    """Compile what a launcher launches, keep the figures, and hold them to the rules."""
    target, dtype, width, layout = case
    with compile_only(TARGETS[target]) as found:
        LAUNCHERS[launcher](Inputs(dtype, width, layout))
    rows, bad = [], []
    for variant, record in enumerate(found):
        figures = resources(record)
        where = dict(
            zip(
                KEYS,
                (
                    launcher,
                    record["kernel"],
                    variant,
                    width,
                    layout,
                    str(dtype).removeprefix("torch."),
                    target,
                    triton.__version__,
                ),
                strict=True,
            )
        )
        rows.append(where | figures)
        aligned = layout == "aligned" and width % 16 == 0
        narrow = record["kernel"] in READS_SCORES and figures["widest_load"] < 128
        if figures["spills"] or figures["stack"] or figures["shared"] > 65536:
            bad.append(rows[-1])
        if aligned and narrow:
            bad.append(rows[-1])
    assert rows, "nothing was compiled"
    upsert(TABLE, rows, KEYS)
    assert not bad


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Compile anew: a test that reads yesterday's result shows nothing."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")


@pytest.mark.compile
@pytest.mark.parametrize("case", PLAIN, ids=name_of)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_compiles_without_spills_and_with_wide_loads(launcher, case):
    check(launcher, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=name_of)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_compiles_in_every_configuration(launcher, case):
    check(launcher, case)

"""Every kernel compiled ahead of time for four GPUs; figures go to benchmarks/results/static.csv.

Continuous integration compiles a covering part: each launcher in each configuration, each launcher
for each GPU, each configuration for each GPU. `make static` compiles all of it.
"""

import os

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels compile in a process without the interpreter", allow_module_level=True)

from pathlib import Path  # noqa: E402

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from multisk.kernels.row import row_forward  # noqa: E402
from tests.compile_only import (  # noqa: E402
    TARGETS,
    compile_only,
    disassembled,
    replace_rows,
    resources,
)
from tests.launchers import LAUNCHERS, Inputs, dry_launches, fake, unseen  # noqa: E402

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "benchmarks" / "results" / "static.csv"
CASE = ("launcher", "columns", "layout", "dtype", "target", "triton")
ORDER = ("module", "kernel", *CASE[1:], "tile", "constants")
SHARED = 65536  # bytes; the smallest of the four GPUs
CROWDED = 256  # words: a row of more than 2048 float64 values outgrows a program's registers
BLOCKS = ("BLOCK_N", "BLOCK_P", "BLOCK_K")  # rows of the scores, lines of partial sums, columns
F32, F64, B16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
CONFIGURATIONS = [
    (F32, 64, "aligned"),
    (F64, 64, "aligned"),
    (B16, 64, "aligned"),
    (F16, 256, "aligned"),
    (F32, 64, "odd"),
    (F32, 50, "aligned"),
    (F32, 1024, "aligned"),
    (F32, 4096, "aligned"),
]
PART = [
    (launcher, (list(TARGETS)[(first + second) % len(TARGETS)], *configuration))
    for first, launcher in enumerate(LAUNCHERS)
    for second, configuration in enumerate(CONFIGURATIONS)
]
ALL = [
    (launcher, (target, dtype, width, layout))
    for width, layout in [
        *((width, "aligned") for width in (64, 16, 50, 128, 256, 1024, 4096)),
        *((width, "odd") for width in (64, 1024)),
    ]
    for dtype in (F32, F64, B16, F16)
    for target in TARGETS
    for launcher in LAUNCHERS
]


def name_of(value):
    if isinstance(value, str):
        return value
    return "-".join(str(part).removeprefix("torch.") for part in value)


def check(launcher, case):
    """Compile what a launcher launches, keep the figures, and hold them to the rules."""
    target, dtype, width, layout = case
    with compile_only(TARGETS[target]) as found:
        LAUNCHERS[launcher](Inputs(dtype, width, layout))
    assert found, "nothing was compiled"
    kind = str(dtype).removeprefix("torch.")
    where = (launcher, width, layout, kind, target, triton.__version__)
    rows = [row_of(record) | dict(zip(CASE, where, strict=True)) for record in found]
    replace_rows(TABLE, rows, CASE, ORDER)
    wide = layout == "aligned" and width % 16 == 0
    allowed = CROWDED if dtype == torch.float64 and width > 2048 else 0
    bad = [row for row in rows if row["spills"] > allowed or row["shared"] > SHARED]
    for record, row in zip(found, rows, strict=True):
        if wide and "BLOCK_N" in record["constants"] and row["widest_load"] < 128:
            bad.append(row)
    assert not bad


def row_of(record):
    """What is kept of a compiled kernel."""
    constants = record["constants"]
    tile = [constants[name] for name in BLOCKS if name in constants]
    flags = {name: value for name, value in constants.items() if not name.startswith("BLOCK")}
    named = sorted(
        name if value is True else f"{name}={value}"
        for name, value in flags.items()
        if value is not False and name not in {"K", "ACC"}
    )
    return {
        "module": record["module"].rsplit(".", 1)[1],
        "kernel": record["kernel"],
        "constants": " ".join(named),
        "tile": "x".join(str(size) for size in tile),
        "warps": record["options"]["num_warps"],
        **resources(record),
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, request):
    """Compile anew; the whole matrix, which takes an hour, may go on where it was stopped.

    Triton's cache is keyed by the source of a kernel and of all it calls, and holds only what
    compiled; the figures are read again from what it holds.
    """
    slow = request.node.get_closest_marker("slow") is not None
    folder = ROOT / "build" / f"triton-{triton.__version__}" if slow else tmp_path
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")


@pytest.mark.compile
@pytest.mark.parametrize(("launcher", "case"), PART, ids=name_of)
def test_every_launcher_compiles_without_spills_and_with_wide_loads(launcher, case):
    check(launcher, case)


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "case"), ALL, ids=name_of)
def test_every_launcher_compiles_in_every_configuration(launcher, case):
    check(launcher, case)


@pytest.mark.compile
def test_every_kernel_and_every_flag_is_reached_by_a_launcher():
    with compile_only(TARGETS["sm_90"]), dry_launches() as seen:
        for dtype, width, layout in CONFIGURATIONS:
            for launch in LAUNCHERS.values():
                launch(Inputs(dtype, width, layout))
    assert not unseen(seen)


@pytest.mark.compile
def test_the_part_covers_launchers_configurations_and_targets_pair_by_pair():
    configurations = {case[1:] for _, case in PART}
    assert {(launcher, case[0]) for launcher, case in PART} == {
        (launcher, target) for launcher in LAUNCHERS for target in TARGETS
    }
    assert {(launcher, case[1:]) for launcher, case in PART} == {
        (launcher, configuration) for launcher in LAUNCHERS for configuration in configurations
    }
    assert {case for _, case in PART} == {
        (target, *configuration) for target in TARGETS for configuration in configurations
    }


@triton.jit
def crowded(x, y, BLOCK: tl.constexpr):
    """A program that needs more values at once than it has registers."""
    at = tl.arange(0, BLOCK)
    value = tl.load(x + at)
    for _ in range(0, 4):
        value = value * tl.sum(value, axis=0) + 1.0
    tl.store(y + at, value)


@pytest.mark.compile
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
def test_a_kernel_that_spills_is_found_out(target):
    with compile_only(TARGETS[target]) as found:
        limit = {"maxnreg": 32} if target != "gfx942" else {"waves_per_eu": 8}
        crowded[(1,)](fake(1 << 15), fake(1 << 15), BLOCK=1 << 13, num_warps=1, **limit)
    figures = resources(found[0])
    assert figures["spills"] > 0
    if target != "gfx942":
        assert disassembled(found[0])["spills"] > 0


@pytest.mark.compile
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize(("layout", "bits"), [("aligned", 128), ("odd", 32)])
def test_loads_and_spills_are_those_of_the_machine_code(target, layout, bits):
    with compile_only(TARGETS[target]) as found:
        row_forward(Inputs(F32, 64, layout).x, fake(1), log=False)
    machine, figures = disassembled(found[0]), resources(found[0])
    assert machine["spills"] == figures["spills"] == 0
    assert machine["widest_load"] == figures["widest_load"] == bits

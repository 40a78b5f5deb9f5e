"""Every kernel compiled ahead of time for four GPUs; figures go to benchmarks/results/static.csv.

Continuous integration answers for a covering part: each launcher in each dtype and for each GPU,
each dtype for each GPU, each width and layout with some. `make static` compiles what of the whole
the table does not hold yet. A row carries a digest of its kernel's source and leaves with it: no
figure of an older kernel stays.

What a compiler makes of a source does not change: where the table holds a case as the kernels and
Triton are now, its rows are judged. One case of each launcher is compiled all the same, and has to
give the table's figures; and all that the table does not hold.
"""

import importlib
import importlib.util
import os

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels compile in a process without the interpreter", allow_module_level=True)

from pathlib import Path  # noqa: E402

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from multisk.kernels import row as row_module  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.row import row_forward  # noqa: E402
from tests.kernels.launches.compile_only import (  # noqa: E402
    TARGETS,
    compile_only,
    digest,
    disassembled,
    float_atomics,
    read_rows,
    replace_rows,
    resources,
)
from tests.kernels.launches.launchers import LAUNCHERS, Inputs, dry_launches, fake, unseen  # noqa: E402
from tests.kernels.launches.ptx import barrier_faults, instructions, ptx_of, races  # noqa: E402

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "benchmarks" / "results" / "static.csv"
CASE = ("launcher", "columns", "layout", "dtype", "target", "triton")
ORDER = ("module", "kernel", *CASE[1:], "tile", "constants")
SHARED = 65536  # bytes; the smallest of the four GPUs
CROWDED = 256  # words: a row of more than 2048 float64 values outgrows a program's registers
BLOCKS = ("BLOCK_N", "BLOCK_P", "BLOCK_K")  # rows of the scores, lines of partial sums, columns
F32, F64, B16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
KINDS = [
    (F32, 64, "aligned"),
    (F64, 64, "aligned"),
    (B16, 64, "aligned"),
    (F16, 256, "aligned"),
]
LAYOUTS = [(F32, 64, "odd"), (F32, 50, "aligned"), (F32, 1024, "aligned"), (F32, 4096, "aligned")]
CONFIGURATIONS = [*KINDS, *LAYOUTS]
# Launchers that share kernels meet them on the same GPU, where they are compiled once.
FAMILIES = [
    *(("row",), ("column",), ("depth",), ("sweep",), ("resident",), ("groups",)),
    ("newton", "search", "wide", "gradient", "plan"),
    ("transport", "unroll", "birkhoff"),
]


def part_of(family, turn):
    """Every dtype once, every GPU once, and one more width or layout."""
    first, lap = turn % len(TARGETS), turn // len(TARGETS)
    targets = [*TARGETS][first:] + [*TARGETS][:first]
    pairs = [*zip(targets, KINDS, strict=True), (targets[lap], LAYOUTS[first])]
    return [(launcher, (target, *rest)) for target, rest in pairs for launcher in family]


PART = [case for turn, family in enumerate(FAMILIES) for case in part_of(family, turn)]
# Of each launcher one case, each time another GPU and dtype.
SAMPLE = {
    launcher: [case for name, case in PART if name == launcher][turn % 4]
    for turn, launcher in enumerate(LAUNCHERS)
}
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
    """Compile what a launcher launches, hold it to the rules, and keep the figures."""
    target, dtype, width, layout = case
    with compile_only(TARGETS[target]) as found:
        LAUNCHERS[launcher](Inputs(dtype, width, layout))
    assert found, "nothing was compiled"
    where = place(launcher, case)
    rows = [row_of(record) | dict(zip(CASE, where, strict=True)) for record in found]
    judge(rows, case)
    # The barrier of `resident` counts arrivals, in whole numbers.
    assert not [line for record in found for line in float_atomics(record)]
    assert not [(record["kernel"], races_of(record)) for record in found if races_of(record)]
    replace_rows(TABLE, rows, CASE, ORDER, is_current)
    return rows


def judge(rows, case):
    """Hold the rows of a case to the rules on spills, shared memory and loads."""
    _, dtype, width, layout = case
    wide = layout == "aligned" and width % 16 == 0
    allowed = CROWDED if dtype == torch.float64 and width > 2048 else 0
    bad = [row for row in rows if int(row["spills"]) > allowed or int(row["shared"]) > SHARED]
    for row in rows:
        if wide and "BLOCK_N" in kernel_of(row).arg_names and int(row["widest_load"]) < 128:
            bad.append(row)
    assert not bad


def races_of(record):
    """What one warp of a kernel reads and another may have written by then; NVIDIA alone."""
    is_nvidia = any(path.endswith(".ptx") for path in record["files"].values())
    return races(instructions(ptx_of(record))) if is_nvidia else []


def place(launcher, case):
    """A case, as the table names it."""
    target, dtype, width, layout = case
    kind = str(dtype).removeprefix("torch.")
    return launcher, str(width), layout, kind, target, triton.__version__


def is_current(row):
    """Whether a row tells of a kernel as it is now."""
    kernel = kernel_of(row)
    return kernel is not None and row["source"] == digest(kernel)


def kernel_of(row):
    """The kernel of that name; None where there is none any more."""
    name = f"multisk.kernels.{row['module']}"
    if importlib.util.find_spec(name) is None:
        return None
    return vars(importlib.import_module(name)).get(row["kernel"])


def launched(launcher, case):
    """What a launcher would launch, in the table's words: no tile of another day passes for it."""
    target, dtype, width, layout = case
    with compile_only(TARGETS[target]), dry_launches() as seen:
        LAUNCHERS[launcher](Inputs(dtype, width, layout))
    return {
        (module.rsplit(".", 1)[1], kernel, *words_of(constants))
        for (module, kernel), launches in seen.items()
        for constants in launches
    }


def is_held(launcher, case, table):
    """Whether the table has every kernel of a case."""
    rows = table.get(place(launcher, case), [])
    return launched(launcher, case) == {
        (row["module"], row["kernel"], row["constants"], row["tile"], row["warps"]) for row in rows
    }


def current_rows():
    """The table's rows that are true of the present kernels, by case."""
    table = {}
    for row in filter(is_current, read_rows(TABLE)):
        table.setdefault(tuple(row[key] for key in CASE), []).append(row)
    return table


def row_of(record):
    """What is kept of a compiled kernel."""
    constants, tile, warps = words_of(record["constants"])
    return {
        "module": record["module"].rsplit(".", 1)[1],
        "kernel": record["kernel"],
        "source": record["source"],
        "constants": constants,
        "tile": tile,
        "warps": warps,
        **resources(record),
    }


def words_of(constants):
    """Flags, block shape and warps of a launch."""
    tile = [constants[name] for name in BLOCKS if name in constants]
    flags = {name: value for name, value in constants.items() if not name.startswith("BLOCK")}
    named = sorted(
        name if value is True else f"{name}={value}"
        for name, value in flags.items()
        if value is not False and name not in {"K", "ACC", "num_warps"}
    )
    return " ".join(named), "x".join(str(size) for size in tile), str(constants["num_warps"])


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Triton's cache of this run: keyed by the source of a kernel and of all it calls."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all workers
        base = base.parent
    return base / "triton"


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """Compile anew, but nothing twice in one run."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")


@pytest.mark.compile
@pytest.mark.parametrize(("launcher", "case"), PART, ids=name_of)
def test_every_launcher_compiles_without_spills_and_with_wide_loads(launcher, case, held):
    known = is_held(launcher, case, held)
    rows = held[place(launcher, case)] if known else check(launcher, case)
    judge(rows, case)
    if known and case == SAMPLE[launcher]:
        found = [{key: str(value) for key, value in row.items()} for row in check(launcher, case)]
        assert sorted(map(list_of, found)) == sorted(map(list_of, rows))


def list_of(row):
    return list(row.items())


@pytest.mark.compile
def test_the_samples_meet_every_target_and_every_dtype():
    assert {case[0] for case in SAMPLE.values()} == set(TARGETS)
    assert {case[1] for case in SAMPLE.values()} == {F32, F64, B16, F16}


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "case"), ALL, ids=name_of)
def test_every_launcher_compiles_in_every_configuration(launcher, case, held):
    if not is_held(launcher, case, held):  # the whole takes more than an hour: go on with the rest
        check(launcher, case)


@pytest.fixture(scope="module")
def held():
    return current_rows()


@pytest.mark.slow
def test_the_table_holds_every_configuration_as_the_kernels_are_now():
    """After `make static`; comes last, and fails with what is missing."""
    table = current_rows()
    assert not [(launcher, case) for launcher, case in ALL if not is_held(launcher, case, table)]


@pytest.mark.compile
def test_every_kernel_and_every_flag_is_reached_by_a_launcher():
    with compile_only(TARGETS["sm_90"]), dry_launches() as seen:
        for dtype, width, layout in CONFIGURATIONS:
            for launch in LAUNCHERS.values():
                launch(Inputs(dtype, width, layout))
    assert not unseen(seen)


@pytest.mark.compile
def test_the_part_has_each_launcher_for_each_target_and_in_each_dtype_and_every_layout():
    assert {launcher for family in FAMILIES for launcher in family} == set(LAUNCHERS)
    for launcher in LAUNCHERS:
        cases = [case for name, case in PART if name == launcher]
        assert {case[0] for case in cases} == set(TARGETS)
        assert {case[1:] for case in cases} > set(KINDS)
    for kind in KINDS:
        assert {case[0] for _, case in PART if case[1:] == kind} == set(TARGETS)
    for layout in LAYOUTS:
        assert len({case[0] for _, case in PART if case[1:] == layout}) == 2


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


@triton.jit
def step_of(x):
    return x * 1.0


@triton.jit
def scattered(x, y):
    """What no kernel here may do: add floats in the order in which programs happen to come."""
    at = tl.arange(0, 64)
    tl.atomic_add(y + at % 8, step_of(tl.load(x + at)))


@pytest.mark.compile
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_sum_in_no_fixed_order_is_found_out(target, dtype):
    with compile_only(TARGETS[target]) as found:
        scattered[(1,)](fake(64, dtype=dtype), fake(8, dtype=dtype), num_warps=1)
    assert float_atomics(found[0])


@triton.jit
def late(numbers, y, BARRIER: tl.constexpr):
    """What all warps read and one thread then writes: a late warp reads what was written."""
    at = tl.arange(0, 256)
    warmth = tl.load(numbers + 4)
    if BARRIER:
        tl.debug_barrier()
    tl.store(numbers + 4, warmth * 0.5)
    tl.store(numbers + 3, tl.load(numbers + 3) + 1.0)  # a counter: no other thread uses it
    tl.store(y + at, at * warmth)


@pytest.mark.compile
@pytest.mark.parametrize("barrier", [False, True])
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_a_value_that_one_thread_writes_while_others_read_is_found_out(target, barrier):
    with compile_only(TARGETS[target]) as found:
        late[(1,)](fake(8), fake(256), BARRIER=barrier, num_warps=4)
    places = races_of(found[0])
    assert [offset for _, offset in places] == ([] if barrier else [16])


@pytest.mark.compile
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_the_grid_barrier_publishes_and_reads_all_partial_sums(target):
    with compile_only(TARGETS[target]) as found:
        inputs = Inputs(F32, 64, "aligned")
        resident_sweeps(inputs.x, inputs.scales, inputs.budgets(), 20)
    ptx = ptx_of(found[0])
    assert barrier_faults(instructions(ptx)) == []
    for words, others in [
        ("ld.global.cg.", "ld.global."),
        (".acq_rel.", ".relaxed."),
        (".gpu.acq_rel.", ".cta.acq_rel."),
        (".gpu.acquire.", ".gpu.relaxed."),
        ("bar.sync", "nop"),
    ]:
        assert words in ptx
        assert barrier_faults(instructions(ptx.replace(words, others))), words


@pytest.mark.compile
def test_a_row_leaves_the_table_when_the_source_of_a_callee_changes(tmp_path, monkeypatch):
    before = digest(scattered)
    digest.cache_clear()
    assert digest(scattered) == before
    digest.cache_clear()
    monkeypatch.setitem(scattered.fn.__globals__, "step_of", crowded)
    assert digest(scattered) != before
    digest.cache_clear()
    table = tmp_path / "table.csv"
    rows = [{"case": str(case), "source": source} for case, source in enumerate(("old", "new"))]
    replace_rows(table, rows, ("case",), ("case",))
    replace_rows(table, [{"case": "2", "source": "new"}], ("case",), ("case",), is_new)
    assert [row["case"] for row in read_rows(table)] == ["1", "2"]


@pytest.mark.compile
def test_a_row_leaves_the_table_when_its_kernel_or_module_is_gone():
    row = {"module": "row", "kernel": "_forward", "source": digest(row_module._forward)}
    assert is_current(row)
    assert not is_current(row | {"kernel": "_elsewhere"})
    assert not is_current(row | {"module": "elsewhere"})


def is_new(row):
    return row["source"] == "new"

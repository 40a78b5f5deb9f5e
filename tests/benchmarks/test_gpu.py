"""The GPU benchmark where there is no GPU: its motions, its limits, its table, its predictions."""

import csv
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

import multisk
from benchmarks.common.cases import CASES, Case, cosines, points
from benchmarks.common.meter import DryMeter
from benchmarks.common.table import RESULTS, read, upsert
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import checks, host, poisoned, predict, sanitizer, suite, times
from benchmarks.gpu.supervise import BROKEN, Outcome, Step, supervise
from benchmarks.peers import flash
from multisk import benchmark

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu"]


def run(*arguments, **setting):
    return subprocess.run(
        [*MODULE, *arguments],
        cwd=ROOT,
        env=os.environ | setting,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_dry_run_goes_through_every_provider_and_mode(tmp_path):
    done = run("--dry", "--time", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.match(r"time: ended after \d+ s, \d+ rows$", done.stdout.splitlines()[-1])
    with (tmp_path / "gpu.csv").open(newline="") as file:
        rows = {(row["case"], row["provider"], row["mode"]): row for row in csv.DictReader(file)}
    ours = {(name, mode) for name in ("newton", "sinkhorn") for mode in ("graph", "backward")}
    assert {("paper", *way) for way in ours} <= rows.keys()
    assert {("paper", "dense channels", "eager"), ("transports", "newton", "eager")} <= rows.keys()
    assert "Error" not in done.stdout
    for (_, provider, _), row in rows.items():
        assert (row["device"], row["tests"]) == ("dry run", suite.NO_REPORT)
        assert provider != "newton" or float(row["error"]) < 1e-5
    one, many = (rows["paper", name, "eager"] for name in ("sinkhorn", times.LAUNCHED))
    assert float(one["launches"]) < float(many["launches"])  # both paths were taken
    kernels = {row["kernel"] for row in read(tmp_path / "kernels.csv")}
    assert {"_resident", "_pass", "_step"} <= kernels
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_rows_of_another_commit_stay_in_the_table_and_are_not_judged(tmp_path):
    mine, other = ({"device": "dry run", "commit": name, "case": "paper"} for name in "ab")
    upsert(tmp_path / "gpu.csv", [mine, other], ("commit",))
    asked = command.Run(tmp_path, dry=True, limit=1.0, report=tmp_path / "tests.xml")
    assert command.own_rows(asked) == []
    (tmp_path / "machine.json").write_text(json.dumps(mine))
    assert command.own_rows(asked) == [mine]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_gpu_nothing_is_measured_and_that_is_said(tmp_path):
    done = run("--out", str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.startswith("no CUDA device: nothing measured")


CHILD = """
import os, sys, time
from benchmarks.gpu.supervise import BrokenDeviceError, Step, work

def broken():
    print("broken")
    raise BrokenDeviceError

def one():
    print("one")

deeds = [one, broken, lambda: time.sleep(60), lambda: os._exit(7), lambda: print("five")]
sys.exit(work([Step("", deed, 1.0) for deed in deeds], int(sys.argv[1])))
"""
NAMES = ("one", "broken", "hangs", "dies", "five")


def supervised(code, seconds):
    """Follow a child made of `code`; gives what became of its steps, and what was said."""
    steps = [Step(name, lambda: None, 3.0) for name in NAMES]
    said, environment = [], os.environ | {"PYTHONPATH": str(ROOT)}
    until = time.monotonic() + seconds
    command = [sys.executable, "-c", code]
    return supervise(command, steps, until, said.append, environment), said


def test_a_step_that_hangs_or_dies_or_breaks_the_device_costs_itself_alone():
    outcome, said = supervised(CHILD, 100.0)
    assert outcome == Outcome(lost=("broken", "hangs", "dies"))
    assert said == [
        "one",
        "broken",
        f"LOST broken: its process ended with status {BROKEN}",
        "LOST hangs: it took too long",
        "LOST dies: its process ended with status 7",
        "five",
    ]


def test_what_the_time_does_not_suffice_for_is_named():
    slow = CHILD.replace('print("one")', "time.sleep(60)")
    outcome, _ = supervised(slow, 2.0)
    assert outcome == Outcome(lost=("one",), left=NAMES[1:])


def test_a_child_that_cannot_begin_ends_the_half():
    outcome, said = supervised("import nothing_of_that_name", 100.0)
    assert outcome == Outcome(left=NAMES)
    assert said[-1] == "no step could be begun: its process ended with status 1"


@pytest.mark.parametrize(
    ("worst", "status"),
    [(lambda: 1e-3, "ok"), (lambda: 1e-1, "BAD"), (lambda: float("nan"), "BAD")],
)
def test_a_check_is_held_to_its_bound(tmp_path, worst, status):
    checks.carry_out(checks.Check("some", 1e-2, worst), tmp_path / "check.csv", stamp())
    assert [row["status"] for row in read(tmp_path / "check.csv")] == [status]


def stamp():
    return {"device": "none", "torch": "1", "triton": "1", "commit": "c", "date": "d"}


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("Triton Error [CUDA]: an illegal instruction was encountered", True),
        ("CUDA out of memory. Tried to allocate 2 GiB", False),
    ],
)
def test_a_check_that_fails_leaves_its_trace_and_says_when_the_device_is_gone(
    tmp_path, words, broken
):
    def worst():
        raise RuntimeError(words)

    def carry_out():
        checks.carry_out(checks.Check("some", 1e-2, worst), tmp_path / "check.csv", stamp())

    if broken:
        with pytest.raises(checks.BrokenDeviceError):
            carry_out()
    else:
        carry_out()
    [row] = read(tmp_path / "check.csv")
    assert row["status"] == "FAILED"
    assert words in row["detail"]


def test_checks_find_a_wrong_plan(monkeypatch):
    found = {check.name: check for check in checks.checks(checks.TINY)}
    check = found["newton (20, 10)"]
    assert float(check.worst()) <= check.bound
    monkeypatch.setattr(checks, "truth", lambda x, problem, solver: torch.zeros_like(x).double())
    assert float(check.worst()) > check.bound


def test_a_way_that_fails_says_why_and_the_next_one_runs(tmp_path, capsys):
    def wrong():
        raise NotImplementedError("not here")

    session = times.Session(DryMeter(), tmp_path, stamp(), 1e9)
    ways = [("wrong", "eager", wrong), ("right", "eager", lambda: torch.full((1, 8, 4), 0.5))]
    times.measure("some", Case((8, 4), 2), lambda *_: ways, session)
    assert [row["provider"] for row in read(tmp_path / "gpu.csv")] == ["right"]
    assert "NotImplementedError: not here" in capsys.readouterr().out


def test_every_case_of_the_registry_is_timed_and_inductor_comes_last():
    names = [step.name for step in times.steps(lambda: None, CASES)]
    assert {name.rpartition(":")[0] for name in names} == set(CASES)
    assert names[0] == "step: ours"
    assert [name for name in names if name.endswith("inductor")] == names[-2:]


def suite_of(folder, body, seconds=100.0):
    """What is said of five tests marked gpu with this body."""
    tests = folder / "test_kernels_some.py"
    tests.write_text(
        "import os, time\nimport pytest\n"
        "@pytest.mark.gpu\n"
        "@pytest.mark.parametrize('number', range(5))\n"
        f"def test_something(number):\n{textwrap.indent(body, '    ')}\n"
        "def test_without_the_marker():\n    assert False\n"
    )
    until = time.monotonic() + seconds
    return suite.Suite([str(tests)], folder, dict(os.environ)).finish(until, lambda line: None)


def test_the_suite_goes_on_after_a_failure_and_after_the_end_of_a_process(tmp_path):
    body = (
        "assert number != 1\n"
        "if number == 2: pytest.skip('not here')\n"
        "if number == 3: raise RuntimeError('CUDA error: illegal memory access')\n"
    )
    assert suite_of(tmp_path, body) == "2 failed of 4"
    log = (tmp_path / "tests.log").read_text()
    assert "RuntimeError: CUDA error: illegal memory access" in log


CASE = "<testcase classname='c' name='{}'>{}</testcase>"
PASSED, FAILED = CASE.format("a", ""), CASE.format("b", "<failure/>")


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (PASSED, "1 passed"),
        (PASSED + FAILED, "1 failed of 2"),
        (PASSED + FAILED + CASE.format("b", "<error/>"), "1 failed of 2"),
        (CASE.format("s", "<skipped/>"), "no test ran"),
        ("<testcase", "no report"),
    ],
)
def test_a_report_is_summed_up(tmp_path, cases, said):
    (tmp_path / "tests.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert suite.summary(tmp_path / "tests.xml") == said
    assert suite.summary(tmp_path / "none.xml") == suite.NO_REPORT


def test_a_suite_that_is_cut_keeps_what_it_found(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "GRACE", 120.0)
    monkeypatch.setattr(suite, "shared_out", list)  # in one process: the first fails, then it hangs
    hangs, ended = tmp_path / "hangs", suite.ended

    def ended_once_it_hangs(process, until):
        while not hangs.exists() and process.poll() is None:
            time.sleep(0.1)
        return ended(process, time.monotonic())

    monkeypatch.setattr(suite, "ended", ended_once_it_hangs)
    body = f"assert number\nif number == 3: open({str(hangs)!r}, 'w').close(); time.sleep(600)"
    found = suite_of(tmp_path, body)
    assert found.startswith("1 failed of ")
    assert found.endswith(", cut by the time limit")


def test_a_worker_whose_device_is_gone_ends_and_another_process_does_not(monkeypatch):
    ended = []
    monkeypatch.setattr(poisoned.os, "_exit", ended.append)
    call = types.SimpleNamespace(excinfo=types.SimpleNamespace(value=RuntimeError("CUDA error: x")))
    report, node = types.SimpleNamespace(longreprtext=""), types.SimpleNamespace(nodeid="")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    poisoned.pytest_exception_interact(node, call, report)
    assert ended == []
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    poisoned.pytest_exception_interact(node, call, report)
    assert ended == [BROKEN]


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        (0, "ERROR SUMMARY: 0 errors", "clean"),
        (9, "Invalid __global__ read of size 4 bytes", "FOUND"),
        (1, "Error: Device not supported.", "skipped"),
        (0, "Error: Device not supported.", "skipped"),
        (1, "ModuleNotFoundError", "failed"),
    ],
)
def test_the_sanitizer_has_a_verdict_or_is_skipped(status, text, verdict, tmp_path, monkeypatch):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [found for _, found, _ in sanitizer.sanitize(20.0)] == [verdict] * len(sanitizer.TOOLS)


def test_without_a_sanitizer_that_is_said(monkeypatch):
    monkeypatch.setattr(sanitizer.shutil, "which", lambda name: None)
    assert {found for _, found, _ in sanitizer.sanitize(1.0)} == {"skipped"}


def test_a_row_replaces_the_one_with_its_key_and_leaves_the_others(tmp_path):
    table = tmp_path / "table.csv"
    for case, value in (("b", 1), ("a", 2), ("b", 3)):
        upsert(table, [{"case": case, "value": value}], ("case",))
    assert read(table) == [{"case": "a", "value": "2"}, {"case": "b", "value": "3"}]


def row(case, provider, mode, us, error="1e-7", over=2.0, device="NVIDIA H200"):
    measured = {"median_us": us, "error": error, "over_bytes": over, "device": device}
    return {"case": case, "provider": provider, "mode": mode, "floor_us": 200.0} | measured


@pytest.mark.parametrize(
    ("rows", "place", "word"),
    [
        ([], 0, "not measured"),
        ([row("step", "newton", "graph", 299.0)], 0, "reached"),
        ([row("step", "newton", "graph", 301.0)], 0, "MISSED"),
        ([row("step", "newton", "graph", 301.0, device="NVIDIA H100 80GB")], 0, "reached"),
        ([row("step", "newton", "graph", 299.0, error="1e-5")], 0, "MISSED"),
        ([row("tall", "newton", "eager", 9e3, over=3.1)], 1, "MISSED"),
        ([row("paper", "sinkhorn", "graph", 299.0)], 2, "reached"),
        ([row("paper", "newton", "backward", 200.0)], 3, "MISSED"),  # without the solve beside it
        (
            [row("paper", "newton", "backward", 200.0), row("paper", "newton", "eager", 101.0)],
            3,
            "reached",
        ),
        ([row("large", "newton", "eager", 1999.0)], 5, "reached"),
        ([row("wide", "newton", "eager", 2001.0)], 6, "MISSED"),
    ],
)
def test_a_target_is_reached_missed_or_not_measured(rows, place, word):
    lines = times.verdicts(rows)
    assert len(lines) == 7
    assert lines[place].startswith(word)


def test_a_floor_counts_forward_and_backward_and_knows_two_chips():
    solve = predict.floor(CASES["tall"], "newton", "eager", "NVIDIA H200")
    both = predict.floor(CASES["tall"], "newton", "backward", "NVIDIA H200")
    table = {(row["case"], row["provider"]): row for row in read(RESULTS / "predicted.csv")}
    assert solve == float(table["tall", "newton"]["floor_us_h200"])
    back = float(table["tall", "newton, backward"]["floor_us_h200"])
    assert both == pytest.approx(solve + back, abs=0.11)
    assert predict.floor(CASES["tall"], "newton", "eager", "some other chip") == ""
    assert predict.floor(CASES["tall"], "dense channels", "eager", "NVIDIA H200") == ""


def test_the_committed_predictions_are_those_of_the_counts():
    rows = {(row["case"], row["provider"]): row for row in read(RESULTS / "predicted.csv")}
    assert {name for name, _ in rows} == set(predict.NAMES)
    for name, provider in rows:
        kind = predict.WORK if CASES[name].budget else predict.TRANSPORT
        want = predict.row_of(name, CASES[name], provider, kind[provider])
        assert rows[name, provider] == {key: str(value) for key, value in want.items()}
        assert want["measured"] == "not measured"


def test_a_floor_is_the_slowest_of_memory_arithmetic_special_functions_and_tensors():
    case = CASES["tall"]
    moved, work, special, tensor = predict.counts(case, predict.WORK["newton"])
    assert moved == 4 * (1 << 20) * 64 * 6  # five visits of the scores, one plan
    row = predict.row_of("tall", case, "newton", predict.WORK["newton"])
    slowest = max(moved / 4.8e12, work / 6.7e13, special / (6.7e13 / 16), tensor / 4.95e14)
    assert row["floor_us_h200"] == round(1e6 * slowest, 1)


class Potentials:
    """What FlashSinkhorn documents: P = exp((f + g - C) / eps) / (N K), C = |x - y|^2 / 2."""

    def __init__(self, *, eps, n_iters, half_cost, **options):
        assert half_cost
        assert options["potentials"]
        self.eps, self.count = eps, n_iters

    def __call__(self, rows, columns):
        cost = torch.cdist(rows, columns) ** 2 / 2
        f, g = torch.zeros_like(cost[..., 0]), torch.zeros_like(cost[..., 0, :])
        n, k = (torch.tensor(size).log() for size in cost.shape[-2:])
        for _ in range(self.count):
            f = self.eps * (k - ((g[..., None, :] - cost) / self.eps).logsumexp(-1))
            g = self.eps * (n - ((f[..., None] - cost) / self.eps).logsumexp(-2))
        return f, g


@pytest.mark.parametrize("shape", [(30, 12), (2, 12, 30)])
def test_the_plan_of_a_public_kernel_is_that_of_the_same_scores(shape, monkeypatch):
    stand_in = types.SimpleNamespace(SamplesLoss=Potentials)
    monkeypatch.setitem(sys.modules, "flash_sinkhorn", stand_in)
    plan = flash.flash(*points(*shape), 0.2)(50)
    want = multisk.solve(cosines(*shape), multisk.Transport(eps=0.2)).plan
    torch.testing.assert_close(plan, want, rtol=1e-4, atol=1e-6)


def test_a_launch_into_nothing_is_counted_and_timed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches, us = host.measured(host.launchers(64, 16)["add_partials"], calls=1)
    assert launches == 1
    assert us > 0


TINY = {"small": ((1, 40, 8), 3), "two": ((2, 30, 6), 2)}


def table_of(capsys, monkeypatch, *options):
    """The lines that `python -m multisk.benchmark` prints."""
    monkeypatch.setattr(
        sys, "argv", ["benchmark", "--device", "cpu", "--seconds", "0.01", *options]
    )
    benchmark.main()
    return capsys.readouterr().out.splitlines()


def test_the_table_has_a_line_a_provider_with_time_and_error(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "CASES", TINY)
    monkeypatch.setattr(benchmark, "PUBLISHED", "small")
    machine, carriers, head, *lines = table_of(capsys, monkeypatch)
    assert machine.startswith("CPU")
    assert "no kernel is launched" in carriers
    assert head.split()[:2] == ["problem", "provider"]
    providers = [(line[:17].strip(), line[17:49].strip()) for line in lines]
    assert providers == [
        ("small", "published iteration, 20 sweeps"),
        *((case, f"multisk {solver}") for case in TINY for solver in ("Sinkhorn(20)", "Newton")),
    ]
    for line in lines:
        first, median, error, peak = line[49:].split()
        assert float(first) > 0 < float(median)
        assert float(error) < (1e-5 if "Newton" in line else 0.1)
        assert peak == "-"


def test_no_line_is_begun_when_the_time_is_up(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "CASES", TINY)
    monkeypatch.setattr(benchmark, "LIMIT", 0.0)
    lines = table_of(capsys, monkeypatch)[3:]
    assert len(lines) == 4
    assert all(line.endswith("left out: the time is up") for line in lines)

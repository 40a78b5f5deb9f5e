"""The GPU benchmark where there is no GPU: its motions, its gate, its table and its predictions."""

import csv
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

import multisk
from benchmarks import gpu, predict
from benchmarks.cases import CASES, cosines, points
from benchmarks.gate import gate
from benchmarks.peers import flash
from benchmarks.table import RESULTS, read, upsert
from multisk import benchmark

ROOT = Path(__file__).parents[1]
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
    done = run("--dry", str(tmp_path), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "gpu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ways = {(row["case"], row["provider"], row["mode"]) for row in rows}
    ours = {(name, mode) for name in ("newton", "sinkhorn") for mode in ("graph", "backward")}
    assert {("paper", *way) for way in ours} <= ways
    assert {("paper", "dense channels", "eager"), ("transports", "multisk", "eager")} <= ways
    assert not [line for line in done.stdout.splitlines() if "Error:" in line]
    assert all(row["device"] == "dry run" for row in rows)
    for row in rows:
        if row["provider"] in {"newton", "multisk"}:
            assert float(row["error"]) < 1e-5
    assert "not measured  tall" in done.stdout
    assert (tmp_path / "gpu.png").stat().st_size > 1000


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_gpu_nothing_is_measured_and_that_is_said():
    done = run()
    assert done.returncode != 0
    assert done.stderr.startswith("no CUDA device: nothing measured")


@pytest.mark.parametrize(
    ("body", "seconds", "wrong"),
    [
        ("assert True", 100, ""),
        ("assert number < 3", 100, "the tests are not green"),
        ("import time; time.sleep(60)", 4, "the tests took longer than 4 s"),
    ],
)
def test_the_gate_is_green_only_when_every_test_passes_in_time(tmp_path, body, seconds, wrong):
    (tmp_path / "test_kernels_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.gpu\n"
        "@pytest.mark.parametrize('number', range(5))\n"
        f"def test_something(number):\n    {body}\n"
        "def test_without_the_marker():\n    assert False\n"
    )
    found = gate(tmp_path, "test_*.py", "gpu", seconds, most=2)
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)


def test_a_gate_without_tests_is_not_green(tmp_path):
    (tmp_path / "test_kernels_none.py").write_text("def test_plain():\n    pass\n")
    assert gate(tmp_path, "test_*.py", "gpu", 100).startswith("no tests could be collected")


def test_behind_a_red_gate_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "gate", lambda *_: "the tests are not green")
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="nothing is measured"):
        gpu.main()


def test_a_row_replaces_the_one_with_its_key_and_leaves_the_others(tmp_path):
    table = tmp_path / "table.csv"
    for case, value in (("b", 1), ("a", 2), ("b", 3)):
        upsert(table, [{"case": case, "value": value}], ("case",))
    assert read(table) == [{"case": "a", "value": "2"}, {"case": "b", "value": "3"}]


def test_a_target_is_reached_missed_or_not_measured():
    row = {"case": "step", "provider": "newton", "mode": "graph", "error": "1e-7"}
    row |= {"median_us": 149.0, "over_bytes": 2.0}
    first, second, third = gpu.verdicts([row])
    assert first.startswith("reached")
    assert second.startswith("not measured")
    assert third.startswith("not measured")
    assert gpu.verdicts([row | {"error": "1e-5"}])[0].startswith("MISSED")
    assert gpu.verdicts([row | {"median_us": 151.0}])[0].startswith("MISSED")


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

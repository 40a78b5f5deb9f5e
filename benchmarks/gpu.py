"""Check, then measure, the kernels on this GPU: one command, at most eight minutes.

    python -m benchmarks.gpu              tests marked gpu, then the table, the targets and the plot
    python -m benchmarks.gpu --dry DIR    the same motions on tiny cases in Triton's interpreter

No figure is taken unless the tests are green. Every row is written as soon as it is measured, to
results/gpu.csv, in place of the row with the same case, provider, mode, device, versions, commit.
"""

import argparse
import csv
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import multisk
from benchmarks import predict
from benchmarks.cases import CASES, REACHED, Case, cosines, points
from benchmarks.gate import gate
from benchmarks.meter import CudaMeter, DryMeter
from benchmarks.peers import eager, flash
from benchmarks.peers import transport as peers
from benchmarks.table import RESULTS, upsert
from multisk import benchmark

ROOT = Path(__file__).parents[1]
KEYS = ("case", "provider", "mode", "device", "torch", "triton", "commit")
ORDER = ("paper", "step", "tall", "large", "wide", "many", "transport", "transports")
ORDER += ("square transport",)
TINY = {
    "paper": Case((24, 8), 3),
    "transports": Case((2, 12, 6), eps=0.2),
}
DAMPING = 0.25
GATE, LIMIT = 240.0, 450.0  # seconds for the tests, and for everything
Way = tuple[str, str, Callable[[], Any]]


@dataclass(frozen=True)
class Effort:
    """Sweeps of an assignment, visits of a captured Newton solve, sweeps of a transport."""

    sweeps: int = 20
    passes: int = 6
    transport: int = 100


def main() -> None:
    """Gate, measure, judge, draw."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    options.add_argument("--dry", type=Path, metavar="DIR", help="tiny cases on the processor")
    options.add_argument("--limit", type=float, default=LIMIT, help="seconds for everything")
    options = options.parse_args()
    began = time.monotonic()
    dry = options.dry is not None
    if not dry and not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured (benchmarks/results/predicted.csv has floors)")
    if dry and os.environ.get("TRITON_INTERPRET") != "1":
        sys.exit("--dry runs the kernels in Triton's interpreter: set TRITON_INTERPRET=1")
    meter = DryMeter() if dry else CudaMeter()
    file = options.dry / "gpu.csv" if dry else RESULTS / "gpu.csv"
    wrong = "" if dry else gate(ROOT / "tests", "test_kernels_*.py", "gpu", GATE)
    if wrong:
        sys.exit(f"{wrong}\nnothing is measured")
    copy = meter.copy_bandwidth()
    print(f"{meter.name()}: a large copy moves {copy / 1e12:.2f} TB/s", flush=True)
    rows = []
    cases = TINY if dry else {name: CASES[name] for name in ORDER}
    effort = Effort(2, 2, 2) if dry else Effort()
    for name, case in cases.items():
        if time.monotonic() - began > options.limit:
            print(f"time is up: {name} and what follows is not measured", flush=True)
            break
        for row in measured(name, case, effort, meter, copy):
            rows.append(row)
            upsert(file, [row], KEYS)
            if time.monotonic() - began > options.limit:
                break
    print("\n".join(verdicts(rows)))
    plot(file, file.with_suffix(".png"))


def measured(
    name: str, case: Case, effort: Effort, meter: CudaMeter, copy: float
) -> Iterator[dict[str, Any]]:
    """One row a provider and mode; one that fails says why and does not stop the others."""
    shape = case.shape if len(case.shape) == 3 else (1, *case.shape)
    scores = cosines(*shape).to(meter.device)
    ways = assignment_ways if case.budget else transport_ways
    for provider, mode, run in ways(name, case, scores, effort):
        try:
            row = row_of((name, provider, mode), case, run, meter, copy)
        except (RuntimeError, ImportError, ValueError, TypeError, NotImplementedError) as error:
            print(f"{name:18}{provider:30}{mode:10}{type(error).__name__}: {str(error)[:120]}")
            continue
        text = f"{row['median_us']:>12} us  error {row['error']}  over bytes {row['over_bytes']}"
        print(f"{name:18}{provider:30}{mode:10}{text}", flush=True)
        yield row


def assignment_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """Ours in every mode; others where they can be had."""
    newton, sweeps = multisk.Newton(), multisk.Sinkhorn(steps=effort.sweeps)
    fixed = multisk.Newton(max_steps=effort.passes)
    problem, k = case.problem, case.budget
    ways = [
        ("newton", "graph", lambda: multisk.solve(x, problem, fixed).plan),
        ("newton", "eager", lambda: multisk.solve(x, problem, newton).plan),
        ("sinkhorn", "graph", lambda: multisk.solve(x, problem, sweeps).plan),
        ("sinkhorn", "eager", lambda: multisk.solve(x, problem, sweeps).plan),
        ("newton", "backward", backward_of(x, problem, newton)),
        ("sinkhorn", "backward", backward_of(x, problem, sweeps)),
    ]
    if name not in {"paper", "step"}:
        return ways
    loop = lambda: eager.sweeps(x, k, case.eps, DAMPING, effort.sweeps)  # noqa: E731
    ways += [
        ("two matrices, eager", "eager", loop),
        ("two matrices, eager", "graph", loop),
        ("newton, no kernels", "eager", without(lambda: multisk.solve(x, problem, newton).plan)),
        ("sinkhorn, no kernels", "eager", without(lambda: multisk.solve(x, problem, sweeps).plan)),
    ]
    if name == "paper":
        dense = lambda: benchmark.published(x[0], k, effort.sweeps)[None]  # noqa: E731
        ways.append(("dense channels", "eager", dense))
    if x.is_cuda:
        fused = eager.compiled()
        run = lambda: fused(x, k, case.eps, DAMPING, effort.sweeps)  # noqa: E731
        ways.append(("two matrices, compiled", "eager", run))
    return ways


def transport_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """Classical transport: ours, and the libraries that run on this device."""
    del name
    problem, count = case.problem, effort.transport
    until = multisk.Sinkhorn(tolerance=REACHED)
    fixed = multisk.Sinkhorn(steps=count)
    ways = [
        ("multisk", "eager", lambda: multisk.solve(x, problem).plan),
        ("sinkhorn", "eager", lambda: multisk.solve(x, problem, until).plan),
        (f"sinkhorn, {count} steps", "graph", lambda: multisk.solve(x, problem, fixed).plan),
        (f"SwAV loop, {count} steps", "graph", lambda: peers.swav(x, case.eps)(count)),
    ]
    if importlib.util.find_spec("ot"):
        ways.append(
            (f"POT batch, {count} steps", "eager", lambda: peers.pot_batch(x, case.eps)(count))
        )
    if importlib.util.find_spec("geomloss"):
        ways.append(
            (f"GeomLoss, {count} steps", "eager", lambda: peers.geomloss(x, case.eps)(count))
        )
    if importlib.util.find_spec("flash_sinkhorn") and x.is_cuda:  # it takes CUDA tensors alone
        two = [part.to(x.device) for part in points(*case.shape)]
        run = flash.flash(two[0], two[1], case.eps)
        ways.append((f"FlashSinkhorn, {count} steps", "eager", lambda: run(count)))
    return ways


def backward_of(scores: torch.Tensor, problem: Any, solver: Any) -> Callable[[], torch.Tensor]:
    """Forward and backward with a random cotangent."""
    x = scores.clone().requires_grad_()
    grad = torch.randn_like(scores)

    def run() -> torch.Tensor:
        x.grad = None
        plan = multisk.solve(x, problem, solver).plan
        plan.backward(grad)
        return plan.detach()

    return run


def without(run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The same call in plain torch."""

    def plain() -> torch.Tensor:
        with benchmark.without_kernels():
            return run()

    return plain


def row_of(
    key: tuple[str, str, str],
    case: Case,
    run: Callable[[], torch.Tensor],
    meter: CudaMeter,
    copy: float,
) -> dict[str, Any]:
    """Time `run`, with the error it reached, the memory it took and its first call."""
    name, provider, mode = key
    meter.begin_memory()
    began = time.perf_counter()
    plan = run()
    meter.wait()
    first = time.perf_counter() - began
    peak = meter.peak_memory()
    error = benchmark.violation(plan, case.budget or 1)
    del plan
    times = meter.timed(meter.graph_of(run) if mode == "graph" else run)
    middle = times[len(times) // 2]
    moved = bytes_of(case, provider, mode)
    return {
        "case": name,
        "shape": "x".join(str(size) for size in case.shape),
        "provider": provider,
        "mode": mode,
        "device": meter.name(),
        "torch": torch.__version__,
        "triton": triton_version(),
        "commit": commit(),
        "median_us": round(1e6 * middle, 2),
        "p20_us": round(1e6 * times[len(times) // 5], 2),
        "p80_us": round(1e6 * times[len(times) * 4 // 5], 2),
        "runs": len(times),
        "error": f"{error:.2e}",
        "peak_mib": round(peak / 2**20, 1),
        "bytes": moved,
        "over_bytes": round(middle / (moved / copy), 2),
        "first_s": round(first, 3),
    }


def bytes_of(case: Case, provider: str, mode: str) -> int:
    """What has to pass the memory at least: of our solvers by `predict`, else scores and plan."""
    name = provider.split(",")[0] + (", backward" if mode == "backward" else "")
    visits = (predict.WORK if case.budget else predict.TRANSPORT).get(name)
    return 8 * case.cells if visits is None else predict.counts(case, visits)[0]


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """The targets, each with what was measured; "not measured" where the row is missing."""
    at = {(row["case"], row["provider"], row["mode"]): row for row in rows}

    def line(what: str, key: tuple[str, str, str], holds: Callable[[dict], bool]) -> str:
        row = at.get(key)
        if row is None:
            return f"not measured  {what}"
        figures = f"{row['median_us']} us, error {row['error']}, over bytes {row['over_bytes']}"
        return f"{'reached' if holds(row) else 'MISSED':12}  {what}: {figures}"

    dense = at.get(("paper", "dense channels", "eager"))
    wanted = float(dense["median_us"]) / 1000 if dense else 0.0
    return [
        line(
            "step under a graph: 1e-6 within 150 us",
            ("step", "newton", "graph"),
            lambda row: float(row["error"]) <= 1e-6 and row["median_us"] <= 150,
        ),
        line(
            "tall: within 3 x the time of its bytes at copy bandwidth",
            ("tall", "newton", "eager"),
            lambda row: row["over_bytes"] <= 3,
        ),
        line(
            "paper: 1000 x the dense iteration",
            ("paper", "sinkhorn", "graph"),
            lambda row: row["median_us"] <= wanted,
        ),
    ]


def plot(table: Path, picture: Path) -> None:
    """Median times by case, one bar a provider and mode, of this commit's rows."""
    if importlib.util.find_spec("matplotlib") is None or not table.exists():
        print("no plot: matplotlib or the table is missing")
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["commit"] == commit()]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, axes = plt.subplots(len(cases), 1, figsize=(8, 1 + 1.6 * len(cases)), squeeze=False)
    for case, panel in zip(cases, axes[:, 0], strict=True):
        mine = sorted(
            (row for row in rows if row["case"] == case), key=lambda row: float(row["median_us"])
        )
        names = [f"{row['provider']} ({row['mode']})" for row in mine]
        panel.barh(names, [float(row["median_us"]) for row in mine])
        panel.set(xscale="log", title=f"{case} {mine[0]['shape']}", xlabel="median, µs")
        panel.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=150)
    plt.close(figure)


def triton_version() -> str:
    import triton

    return triton.__version__


def commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

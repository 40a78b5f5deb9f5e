"""Check, then measure, the kernels on this GPU: one command, at most eight minutes.

    python benchmarks/gpu.py              tests marked gpu, then the table; CSV and plot
    python benchmarks/gpu.py --predict    without a GPU: bytes, operations and the floor they set

No figure is taken unless the tests are green. Rows of results/gpu.csv are replaced by key (case,
provider, mode, device, versions, commit), so that a run again leaves the others alone.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

import multisk
from multisk import benchmark

RESULTS = Path(__file__).parent / "results"
KEYS = ("case", "provider", "mode", "device", "torch", "triton", "commit")
CASES = {
    "paper": (1, 5716, 64, 32),
    "step": (20, 5716, 64, 32),
    "tall": (1, 1 << 20, 64, 32),
    "large": (1, 65536, 256, 64),
    "wide": (1, 16384, 1024, 64),
    "many": (4096, 64, 64, 32),
}
SWEEPS, PASSES = 20, 5
H200 = {"bytes": 4.8e12, "flops": 6.7e13, "tf32": 4.9e14}  # the vendor's figures, a second


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--predict", action="store_true")
    options.add_argument("--limit", type=float, default=450.0, help="seconds for everything")
    options = options.parse_args()
    if options.predict:
        return predict()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured (see --predict for the floors)")
    began = time.monotonic()
    gate()
    rows, copy = [], copy_bandwidth()
    print(f"copy bandwidth {copy / 1e12:.2f} TB/s")
    for case in CASES:
        for row in measure_case(case, copy):
            rows.append(row)
            print(row)
        if time.monotonic() - began > options.limit:
            print(f"time is up after {case}: the cases behind it are not measured")
            break
    upsert(RESULTS / "gpu.csv", rows, KEYS)
    plot(RESULTS / "gpu.csv", RESULTS / "gpu.png")
    return None


def gate() -> None:
    """Run the tests on this device; no speed is reported for what is wrong."""
    root = Path(__file__).parent.parent
    files = sorted(str(path) for path in (root / "tests").glob("test_kernels_*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "gpu", *files]
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(command, cwd=root, env=environment, timeout=270, check=False)
    if run.returncode != 0:
        sys.exit("the tests are not green: nothing is measured")


def measure_case(case: str, copy: float) -> list[dict]:
    """One row for each provider and mode."""
    batch, n, width, k = CASES[case]
    problem = multisk.MultiAssignment(k=k, eps=benchmark.EPS, damping=benchmark.DAMPING)
    scores = scores_of(batch, n, width)
    newton, sweeps = multisk.Newton(), multisk.Sinkhorn(steps=SWEEPS)
    captured = multisk.Newton(max_steps=PASSES)
    modes = [
        ("newton", "eager", lambda: multisk.solve(scores, problem, newton).plan),
        ("newton", "graph", lambda: multisk.solve(scores, problem, captured).plan),
        ("sinkhorn", "eager", lambda: multisk.solve(scores, problem, sweeps).plan),
        ("sinkhorn", "graph", lambda: multisk.solve(scores, problem, sweeps).plan),
        ("newton", "backward", backward_of(scores, problem, newton)),
    ]
    rows = []
    for provider, mode, run in modes:
        rows.append(row_of(case, provider, mode, run, copy))
        if case in {"paper", "step"} and mode == "eager":
            with benchmark.without_kernels():
                rows.append(row_of(case, f"{provider}, eager torch", mode, run, copy))
    if case == "paper":
        dense = lambda: benchmark.published(scores[0], k, SWEEPS)[None]  # noqa: E731
        rows.append(row_of(case, "published iteration", "eager", dense, copy))
    return rows


def backward_of(scores, problem, solver):
    """Forward and backward with a random cotangent."""
    x = scores.clone().requires_grad_()
    grad = torch.randn_like(x)

    def run():
        x.grad = None
        plan = multisk.solve(x, problem, solver).plan
        plan.backward(grad)
        return plan.detach()

    return run


def row_of(case: str, provider: str, mode: str, run, copy: float) -> dict:
    """Time `run`, with the error it reached and the memory it took."""
    batch, n, width, k = CASES[case]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    plan = run()
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() - held
    call = graph_of(run) if mode == "graph" else run
    times = timed(call)
    middle = times[len(times) // 2]
    least = 4 * batch * n * width * 2 / copy  # the scores read once, the plan written once
    return {
        "case": case,
        "provider": provider,
        "mode": mode,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton_version(),
        "commit": commit(),
        "shape": f"{batch}x{n}x{width} k={k}",
        "median_us": round(1e6 * middle, 2),
        "p20_us": round(1e6 * times[len(times) // 5], 2),
        "p80_us": round(1e6 * times[len(times) * 4 // 5], 2),
        "runs": len(times),
        "error": f"{benchmark.violation(plan, k):.2e}",
        "peak_mib": round(peak / 2**20, 1),
        "over_one_copy": round(middle / least, 2),
        "first_s": round(first, 3),
    }


def graph_of(run):
    """Capture a call; replaying it costs the host next to nothing."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(2):
            run()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        run()
    return graph.replay


def timed(call, seconds: float = 1.5) -> list[float]:
    """Sorted times of single calls by events, after warming up."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    times, began = [], time.perf_counter()
    while len(times) < 10 or (len(times) < 200 and time.perf_counter() - began < seconds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
        if time.perf_counter() - began > 4 * seconds:
            break
    return sorted(times)


def copy_bandwidth() -> float:
    """Bytes read and written a second by a large copy."""
    x = torch.empty(1 << 28, dtype=torch.float32, device="cuda").normal_()
    y = torch.empty_like(x)
    return 2 * x.numel() * 4 / timed(lambda: y.copy_(x))[0]


def scores_of(batch: int, n: int, width: int) -> torch.Tensor:
    """Cosines of random unit vectors with random unit anchors."""
    generator = torch.Generator("cuda").manual_seed(0)
    unit = torch.nn.functional.normalize
    samples = unit(torch.randn(batch, n, 128, generator=generator, device="cuda"), dim=-1)
    anchors = unit(torch.randn(batch, width, 128, generator=generator, device="cuda"), dim=-1)
    return samples @ anchors.mT


def predict() -> None:
    """Write what each case has to move and to compute, and the time an H200 needs for it."""
    rows = []
    for case, (batch, n, width, k) in CASES.items():
        cells = batch * n * width
        # Operations a cell and visit, counted in the kernels' sources; four root rounds a visit.
        square = 3 * 2 * width if width <= 128 else 0
        for provider, visits, each, tensor in (
            ("newton", PASSES, 4 * 12 + 16, square),
            ("sinkhorn", SWEEPS, 40, 0),
        ):
            moved = 4 * cells * (visits + 2)  # the last visit reads again and writes the plan
            work = visits * cells * each
            floor = max(
                moved / H200["bytes"],
                work / H200["flops"] + visits * cells * tensor / H200["tf32"],
            )
            rows.append(
                {
                    "case": case,
                    "provider": provider,
                    "shape": f"{batch}x{n}x{width} k={k}",
                    "visits": visits,
                    "bytes": moved,
                    "operations": work,
                    "tensor_operations": visits * cells * tensor,
                    "floor_us_h200": round(1e6 * floor, 1),
                    "measured": "not measured",
                }
            )
    upsert(RESULTS / "predicted.csv", rows, ("case", "provider"))
    for row in rows:
        print(row)


def upsert(path: Path, rows: list[dict], keys: tuple[str, ...]) -> None:
    """Replace the rows with the same key, keep the others, in order of the key."""
    held = {}
    if path.exists():
        with path.open(newline="") as file:
            held = {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}
    for row in rows:
        held[tuple(str(row[key]) for key in keys)] = row
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(held[key] for key in sorted(held))
    part.replace(path)


def plot(table: Path, picture: Path) -> None:
    """Median times by case, one bar a provider and mode, of the newest commit's rows."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["commit"] == commit()]
    names = sorted({(row["provider"], row["mode"]) for row in rows})
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for index, name in enumerate(names):
        mine = [row for row in rows if (row["provider"], row["mode"]) == name]
        at = [list(CASES).index(row["case"]) + index / (len(names) + 1) for row in mine]
        heights = [float(row["median_us"]) for row in mine]
        axes.bar(at, heights, width=1 / (len(names) + 1), label=", ".join(name), align="edge")
    axes.set(yscale="log", ylabel="median, µs", title=rows[0]["device"])
    axes.set_xticks([index + 0.4 for index in range(len(CASES))], list(CASES))
    axes.legend(fontsize=7)
    figure.savefig(picture, dpi=150)


def triton_version() -> str:
    import triton

    return triton.__version__


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

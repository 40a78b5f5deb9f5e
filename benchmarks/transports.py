"""Transports beside POT, OTT-JAX and GeomLoss: process time to a relative error of 1e-6.

    python -m benchmarks.transports [--out FILE] [--longest SECONDS]

Costs are squared distances between uniform points in the unit square over their maximum, masses
even. A peer is run for 10, 20, 50, 100, ... iterations until its plan's worst margin is right to
1e-6, and the time of that last run alone counts; where it is not reached within the limit the
error says how far it came. One thread; jax is compiled beforehand. Libraries that are not
installed are left out. Needs `pip install pot ott-jax geomloss 'jax[cpu]'`.
"""

import argparse
import csv
import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
import torch
from torch import Tensor

import multisk
from benchmarks.peers import transport as peers

SIZES = (256, 256), (2048, 2048), (20000, 64)
TEMPERATURES = 0.05, 0.01
GOAL = 1e-6
LONGEST = 2.0
ITERATIONS = 10, 20, 50, 100, 200, 500, 1000, 2000, 5000
F, D = torch.float32, torch.float64
PEERS: dict[str, tuple[str, Callable[..., Any], torch.dtype]] = {
    "POT": ("pot", peers.pot, D),
    "POT, float32": ("pot", peers.pot, F),
    "OTT-JAX, log domain, float32": ("ott-jax", peers.ott_log, F),
    "OTT-JAX, kernel, float32": ("ott-jax", peers.ott_kernel, F),
    "GeomLoss, float32": ("geomloss", peers.geomloss, F),
}
OURS = {"multisk": D, "multisk, float32": F}
NAMES = [*OURS, *PEERS]
FIELDS = ("rows", "columns", "eps", "solver", "version", "iterations", "error", "seconds", "torch")


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/transports.csv"))
    text = "of one run from which no more iterations are tried (default: 2)"
    parser.add_argument("--longest", type=float, default=LONGEST, metavar="SECONDS", help=text)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {tuple(row[name] for name in FIELDS[:4]) for row in csv.DictReader(file)}
    with options.out.open("a", newline="") as file:
        table = csv.writer(file)
        if not done:
            table.writerow(FIELDS)
        for n, k in SIZES:
            for eps in TEMPERATURES:
                left = [x for x in NAMES if (str(n), str(k), str(eps), x) not in done]
                for row in measured(scores(n, k), eps, left, options.longest):
                    table.writerow((n, k, eps, *row, torch.__version__))
                    file.flush()
                    print(n, k, eps, *row, flush=True)


def scores(n: int, k: int) -> Tensor:
    """Minus squared distances over the largest, in float64."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(m, 2, generator=generator, dtype=D) for m in (n, k))
    cost = torch.cdist(x, y).square()
    return -cost / cost.max()


def measured(x: Tensor, eps: float, names: list[str], longest: float) -> Iterator[tuple[Any, ...]]:
    """Name, version, iterations, error and seconds of the named."""
    for name in names:
        if name in PEERS:
            continue
        dtype = OURS[name]
        y, problem = x.to(dtype), multisk.Transport(eps=eps)
        multisk.solve(y[:64, :16], problem)  # numba loads
        found, seconds = timed(lambda: multisk.solve(y, problem))  # noqa: B023
        yield name, "", int(found.steps), f"{error_of(found.plan):.1e}", f"{seconds:.4f}"
    for name in names:
        if name not in PEERS:
            continue
        package, make, dtype = PEERS[name]
        try:
            version, run = importlib.metadata.version(package), make(x.to(dtype), eps)
        except ImportError:
            continue
        yield name, version, *until_right(run, longest)


def until_right(run: Callable[[int], Any], longest: float) -> tuple[int, str, str]:
    """The fewest tried iterations that reach the goal, or the most that there was time for."""
    error, seconds, count = float("inf"), 0.0, 0
    for count in ITERATIONS:
        run(1) if count == ITERATIONS[0] else None  # what is loaded or compiled at the first call
        plan, seconds = timed(lambda: run(count))  # noqa: B023
        error = error_of(torch.from_numpy(np.array(plan)))
        if error <= GOAL or seconds > longest:
            break
    return count, f"{error:.1e}", f"{seconds:.4f}"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """An answer and its process time: the least of three, of fewer where it is long."""
    least, found = float("inf"), None
    for _ in range(3):
        start = time.process_time()
        found = work()
        least = min(least, time.process_time() - start)
        if least > 1.0:
            break
    return found, least


def error_of(plan: Tensor) -> float:
    """The worst relative violation of a margin."""
    n, k = plan.shape
    rows, columns = plan.double().sum(1), plan.double().sum(0) * (k / n)
    return max(float((part - 1).abs().max()) for part in (rows, columns))


if __name__ == "__main__":
    main()

"""Sweeps and Newton on the CPU, checkouts in turn: ns a cell, ms a solve, and what threads cost.

    python -m benchmarks.paired.sweep NAME=CHECKOUT [NAME=CHECKOUT ...] [rounds]

Writes sweep.csv beside this file.

Process time, the best of a round's repeats; the table has the least and the median round of every
checkout. A sweep's time is the difference of 40 and 20 of them. The ratios are the process time and
the wall time of two threads over those of one: on a machine with other jobs the first is too large
(threads of torch wait by turning) and the second says nothing, so `load` stands beside them.
"""

import csv
import os
import statistics
import sys
from pathlib import Path

from benchmarks.paired.turns import Figures, alternate

FILE = Path(__file__).parent / "sweep.csv"
HEAD = """
import json, time, torch
from multisk import MultiAssignment, Newton, Sinkhorn, solve

def scores(n, k):
    draw = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(n, 128, generator=draw), torch.randn(k, 128, generator=draw)
    return torch.nn.functional.normalize(rows) @ torch.nn.functional.normalize(columns).T

def best(repeats, x, problem, solver, clock=time.process_time):
    solve(x, problem, solver)
    times = []
    for _ in range(repeats):
        begun = clock()
        solve(x, problem, solver)
        times.append(1e3 * (clock() - begun))
    return min(times)

found = {}
"""
ONE = (
    HEAD
    + """
torch.set_num_threads(1)
for n, k, k_row in ((5716, 64, 32), (2858, 128, 32), (1429, 256, 32)):
    x, problem = scores(n, k), MultiAssignment(k=k_row, eps=0.07)
    few, many = (best(60, x, problem, Sinkhorn(steps=steps)) for steps in (20, 40))
    found[f"a sweep, {n} x {k}, ns a cell"] = 1e6 * (many - few) / (20 * n * k)
    found[f"Sinkhorn(20), {n} x {k}, ms"] = few
    if k <= 128:
        found[f"Newton, {n} x {k}, ms"] = best(40, x, problem, Newton())
print(json.dumps(found))
"""
)
TWO = (
    HEAD
    + """
for n, k in ((5716, 64), (32768, 128)):
    x, problem = scores(n, k), MultiAssignment(k=32, eps=0.07)
    for solver in (Sinkhorn(steps=20), Newton()):
        for clock in (time.process_time, time.perf_counter):
            times = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                times.append(best(6 if n < 6000 else 2, x, problem, solver, clock))
            kind = "process" if clock is time.process_time else "wall"
            name = f"{type(solver).__name__}, {n} x {k}"
            found[f"two threads over one, {kind} time, {name}"] = times[1] / times[0]
print(json.dumps(found))
"""
)


def main(checkouts: dict[str, str], rounds: int) -> None:
    """Run all in turn, and write the table."""
    with FILE.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "checkout", "rounds", "min", "median", "load"])
        for script, threads in ((ONE, 1), (TWO, 2)):
            write(table, alternate(script, checkouts, rounds, threads))
            file.flush()


def write(table: "csv.Writer", found: Figures) -> None:
    """A line a case and checkout."""
    load = f"{os.getloadavg()[0]:.1f}"
    for case, by_checkout in found.items():
        for name, values in by_checkout.items():
            figures = (f"{value:.3g}" for value in (min(values), statistics.median(values)))
            table.writerow([case, name, len(values), *figures, load])


if __name__ == "__main__":
    pairs = [word.split("=", 1) for word in sys.argv[1:] if "=" in word]
    numbers = [int(word) for word in sys.argv[1:] if "=" not in word]
    main(dict(pairs), *numbers or [3])

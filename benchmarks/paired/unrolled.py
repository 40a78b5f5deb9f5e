"""Gradients through 20 sweeps, before and after: two checkouts in turn, a process a round.

    python -m benchmarks.paired.unrolled BEFORE AFTER [rounds]     writes results/unrolled.csv

Process time of the backward pass in milliseconds on one thread, the best of a round's passes; the
table has the least and the median round of either checkout.
"""

import csv
import statistics
import sys
from pathlib import Path

from benchmarks.paired.turns import alternate

FILE = Path(__file__).parents[1] / "results" / "unrolled.csv"
ROUND = """
import json, time, torch
from multisk import MultiAssignment, Sinkhorn, Transport, solve
torch.set_num_threads(1)
found = {}
for shape, passes in (((20, 5716, 64), 2), ((5716, 64), 4), ((8192, 4, 4), 4), ((64, 8), 30)):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for problem in (MultiAssignment(shape[-1] // 2, eps=0.5), Transport(eps=0.5)):
        times = []
        for _ in range(passes):
            plan = solve(x, problem, Sinkhorn(steps=20)).plan
            begun = time.process_time()
            torch.autograd.grad(plan.square().sum(), x)
            times.append(1e3 * (time.process_time() - begun))
        found[f"{' x '.join(map(str, shape))}, {type(problem).__name__}"] = min(times)
print(json.dumps(found))
"""


def main(before: str, after: str, rounds: int) -> None:
    """Run both in turn, and write the table."""
    times = alternate(ROUND, {"before": before, "after": after}, rounds)
    names = [f"{name}_{kind}_ms" for name in ("before", "after") for kind in ("min", "median")]
    with FILE.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["case", "rounds", *names])
        for case, both in times.items():
            pairs = [(min(both[n]), statistics.median(both[n])) for n in ("before", "after")]
            rows.writerow([case, rounds, *(f"{value:.4g}" for pair in pairs for value in pair)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)

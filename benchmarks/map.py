"""The map of costs: the default beside its own alternatives over shapes, temperatures and scores.

    python -m benchmarks.map [--quick] [--out FILE]

One line of CSV a case: process time, steps, error and status of the default, the best alternative
that converged, and the ratio. Cases that stand in the file already are skipped, so that a run can
be cut off and taken up again. One thread.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import multisk

ROWS, COLUMNS, TEMPERATURES = (64, 512, 2048, 8192), (4, 16, 64, 128, 256, 512), (0.1, 0.02, 0.005)
QUICK = (512, 2048), (16, 128, 256), (0.1, 0.02)
KINDS = ("normal", "sigmoid", "uneven")
FIELDS: tuple[str, ...] = ("rows", "columns", "k", "eps", "scores", "form", "solver", "backend")
FIELDS = (*FIELDS, "status", "error", "steps", "seconds", "best", "best_seconds", "ratio")
KEY = 6  # leading fields that name a case
ALTERNATIVES: dict[str, tuple[Any, bool]] = {  # solver, and whether in float64
    "sweeps": (multisk.Sinkhorn(tolerance=1e-6), False),
    "newton": (multisk.Newton(), False),
    "float64": (None, True),
}


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="36 cases, about a minute")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/map.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in cases(quick=True):  # numba loads at the first call
        measure((64, *case[1:]))
    done = measured(options.out)
    with options.out.open("a", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        if not done:
            table.writeheader()
        for case in cases(quick=options.quick):
            if tuple(map(str, case)) in done:
                continue
            row = dict(zip(FIELDS[:KEY], case, strict=True)) | measure(case)
            table.writerow(row)
            file.flush()
            print(*row.values(), flush=True)


def measured(path: Path) -> set[tuple[str, ...]]:
    """The cases that the file holds."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[name] for name in FIELDS[:KEY]) for row in csv.DictReader(file)}


def cases(*, quick: bool) -> Iterator[tuple[Any, ...]]:
    """Rows, columns, k, eps, kind of scores, and form of the problem."""
    sizes = QUICK if quick else (ROWS, COLUMNS, TEMPERATURES)
    for n, k, eps, kind in itertools.product(*sizes, KINDS):
        few = max(1, min(8, k // 8))
        yield n, k, few, eps, kind, "assignment"
        if not quick:
            yield n, k, 1, eps, kind, "transport"


def scores(kind: str, n: int, k: int) -> torch.Tensor:
    """Standard normal scores, or their sigmoid with columns of one mean or of several."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, k, generator=generator)
    if kind == "uneven":
        x = x + torch.randn(k, generator=generator)
    return x if kind == "normal" else torch.sigmoid(x)


def measure(case: tuple[Any, ...]) -> dict[str, Any]:
    """The default's numbers, and those of the best alternative that converged."""
    n, k, few, eps, kind, form = case
    x = scores(kind, n, k)
    problem = (
        multisk.Transport(eps=eps)
        if form == "transport"
        else multisk.MultiAssignment(k=few, eps=eps)
    )
    found, seconds = timed(x, problem, None)
    best, least = "default", seconds
    for name, (solver, double) in ALTERNATIVES.items():
        other, taken = timed(x.double() if double else x, problem, solver)
        if bool(other.converged) and taken < least:
            best, least = name, taken
    return {
        "solver": found.solver,
        "backend": found.backend,
        "status": found.status.name,
        "error": f"{float(found.marginal_error):.1e}",
        "steps": int(found.steps),
        "seconds": f"{seconds:.5f}",
        "best": best,
        "best_seconds": f"{least:.5f}",
        "ratio": f"{seconds / least:.2f}",
    }


def timed(x: torch.Tensor, problem: Any, solver: Any) -> tuple[multisk.Solution, float]:
    """A solution and its process time: the least of four, of two where it is long."""
    least, found = float("inf"), None
    for turn in range(4):
        start = time.process_time()
        found = multisk.solve(x, problem, solver)
        least = min(least, time.process_time() - start)
        if turn and least > 0.3:
            break
    assert found is not None
    return found, least


if __name__ == "__main__":
    main()

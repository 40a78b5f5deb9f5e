"""The map of costs: the default beside its own alternatives, over problems of every kind.

    python -m benchmarks.map [--quick] [--out FILE]

One line of CSV a case: process time, steps, error and status of the default, the best alternative
that converged with its error, and the ratio. Cases that stand in the file already are skipped, so
that a run can be cut off and taken up again. One thread.

The law: `ratio` is at most 2 beyond 2 ms, and the default converges wherever an alternative does;
the last lines say where it does not hold.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import multisk

ROWS, COLUMNS, TEMPERATURES = (64, 512, 2048), (16, 128, 512), (0.1, 0.02, 0.005, 0.001)
QUICK = (512, 2048), (16, 128, 256), (0.1, 0.02)
COLD, LARGE = 0.001, 1 << 18  # the coldest ones of many cells take seconds each
SHAPES, EPS = ((512, 64), (2048, 256), (8192, 16)), 0.02  # of forms other than an assignment
KINDS = ("normal", "sigmoid", "uneven")
FIELDS: tuple[str, ...] = ("rows", "columns", "k", "eps", "scores", "form", "solver", "backend")
FIELDS = (*FIELDS, "status", "error", "steps", "seconds", "best", "best_error", "best_seconds")
FIELDS = (*FIELDS, "ratio")
KEY = 6  # leading fields that name a case
SWEEP = 2e-10  # seconds a cell at least: sweeps that take twice the default's time are no rival
ALTERNATIVES: dict[str, tuple[Any, bool]] = {  # solver, and whether in float64
    "sweeps": (multisk.Sinkhorn(tolerance=1e-6), False),
    "newton": (multisk.Newton(), False),
    "float64": (None, True),
}


class Case(NamedTuple):
    """Names a line of the table."""

    rows: int
    columns: int
    k: int
    eps: float
    scores: str
    form: str


def main() -> None:
    """Measure what the file lacks, and say where the law does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="36 assignments, about a minute")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/map.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = measured(options.out)
    todo = [case for case in cases(quick=options.quick) if tuple(map(str, case)) not in done]
    for form in dict.fromkeys(case.form for case in todo):  # numba loads at the first call
        measure(Case(64, 16, 2, 0.1, "normal", form))
        measure(Case(64, 16, 2, 0.1, "uneven", form))
    with options.out.open("a", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        if not done:
            table.writeheader()
        for case in todo:
            row = case._asdict() | measure(case)
            table.writerow(row)
            file.flush()
            print(*row.values(), flush=True)
    summarise(options.out)


def measured(path: Path) -> set[tuple[str, ...]]:
    """The cases that the file holds."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[name] for name in FIELDS[:KEY]) for row in csv.DictReader(file)}


def cases(*, quick: bool) -> Iterator[Case]:
    """Every form over a few sizes, and assignments over all."""
    if not quick:
        for (n, columns), form, kind in itertools.product(SHAPES, FORMS, KINDS[1:]):
            if form != "assignment":
                yield Case(n, columns, few(columns), EPS, kind, form)
    sizes = QUICK if quick else (ROWS, COLUMNS, TEMPERATURES)
    for n, columns, eps, kind in itertools.product(*sizes, KINDS):
        if eps > COLD or n * columns < LARGE:
            yield Case(n, columns, few(columns), eps, kind, "assignment")


def few(columns: int) -> int:
    """An eighth of the columns, at most 8."""
    return max(1, min(8, columns // 8))


def scores(kind: str, *shape: int) -> Tensor:
    """Standard normal scores, or their sigmoid with columns of one mean or of several."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator)
    if kind == "uneven":
        x = x + torch.randn(shape[-1], generator=generator)
    return x if kind == "normal" else torch.sigmoid(x)


def mask(n: int, columns: int) -> Tensor:
    """A fifth of the pairs forbidden."""
    return torch.rand(n, columns, generator=torch.Generator().manual_seed(1)) > 0.2


def bounds(case: Case) -> tuple[Tensor, Tensor]:
    """A tenth around the even share."""
    share = torch.full((case.columns,), case.rows * case.k / case.columns, dtype=torch.float64)
    return 0.9 * share, 1.1 * share


def loads(case: Case) -> Tensor:
    """From half to one and a half times the even share."""
    share = torch.linspace(0.5, 1.5, case.columns, dtype=torch.float64)
    return share * (case.rows * case.k / share.sum())


def assignment(case: Case, **options: Any) -> Any:
    """A `MultiAssignment` of the case."""
    return multisk.MultiAssignment(**{"k": case.k, "eps": case.eps} | options)


def transport(case: Case, **options: Any) -> Any:
    """A `Transport` of the case."""
    return multisk.Transport(eps=case.eps, **options)


FORMS: dict[str, Callable[[Case], Any]] = {
    "assignment": assignment,
    "one column a row": lambda c: assignment(c, k=1),
    "half of the columns": lambda c: assignment(c, k=c.columns // 2),
    "mask": lambda c: assignment(c, mask=mask(c.rows, c.columns)),
    "interval": lambda c: assignment(c, capacity=bounds(c)),
    "loads": lambda c: assignment(c, capacity=loads(c)),
    "k a row": lambda c: assignment(c, k=1 + torch.arange(c.rows) % (2 * c.k)),
    "damping 0": lambda c: assignment(c, damping=0.0),
    "transport": transport,
    "transport, mask": lambda c: transport(c, mask=mask(c.rows, c.columns)),
    "relaxed (1, 1)": lambda c: transport(c, relax=(1.0, 1.0)),
    "relaxed (0.1, 0.1)": lambda c: transport(c, relax=(0.1, 0.1)),
    "relaxed (1, exact)": lambda c: transport(c, relax=(1.0, None)),
    "batch of 8": assignment,
    "batch of 8, transport": transport,
    "batch of 1024 8 x 8": lambda c: assignment(c, k=2),
    "warm, 2 % drift": assignment,
    "gradient": assignment,
    "gradient, transport": transport,
    "round": assignment,
}


def given(case: Case) -> Tensor:
    """The scores of a case."""
    if case.form == "batch of 1024 8 x 8":
        return scores(case.scores, 1024, 8, 8)
    if case.form.startswith("batch of 8"):
        return scores(case.scores, 8, case.rows // 8, case.columns)
    return scores(case.scores, case.rows, case.columns)


def measure(case: Case) -> dict[str, Any]:
    """The default's numbers, and those of the best alternative that converged."""
    x, problem = given(case), FORMS[case.form](case)
    work = {"round": rounded, "gradient": derived, "gradient, transport": derived}.get(
        case.form, multisk.solve
    )
    start: dict[str, Any] = {}
    if case.form == "warm, 2 % drift":
        start = {"init": multisk.solve(x, problem)}
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        x = x + 0.02 * x.std() * noise
    found, seconds = timed(lambda: work(x, problem, None, **start))
    best, least, error = "default", seconds, float(found.marginal_error.max())
    for name, (solver, double) in rivals(x, seconds).items():
        try:
            y = x.double() if double else x
            other, taken = timed(lambda: work(y, problem, solver, **start))  # noqa: B023
        except ValueError:  # sweeps know no intervals
            continue
        if bool(other.converged.all()) and taken < least:
            best, least, error = name, taken, float(other.marginal_error.max())
    return {
        "solver": found.solver,
        "backend": found.backend,
        "status": "CONVERGED" if bool(found.converged.all()) else worst_status(found),
        "error": f"{float(found.marginal_error.max()):.1e}",
        "steps": int(found.steps.max()),
        "seconds": f"{seconds:.5f}",
        "best": best,
        "best_error": f"{error:.1e}",
        "best_seconds": f"{least:.5f}",
        "ratio": f"{seconds / least:.2f}",
    }


def worst_status(found: multisk.Solution) -> str:
    """The name of the status of the problem with the largest error."""
    statuses = found.status
    if isinstance(statuses, multisk.Status):
        return statuses.name
    return list(statuses)[int(found.marginal_error.flatten().argmax())].name


def rivals(x: Tensor, seconds: float) -> dict[str, tuple[Any, bool]]:
    """The alternatives; sweeps end where they have become slower than the default."""
    most = int(min(1000, max(50, 2 * seconds / (SWEEP * x.numel()))))
    return ALTERNATIVES | {"sweeps": (multisk.Sinkhorn(tolerance=1e-6, max_steps=most), False)}


def rounded(x: Tensor, problem: Any, solver: Any) -> multisk.Solution:
    """A solution and its whole assignment."""
    found = multisk.solve(x, problem, solver)
    found.round()
    return found


def derived(x: Tensor, problem: Any, solver: Any) -> multisk.Solution:
    """A solution and the derivative of a loss on its plan."""
    x = x.clone().requires_grad_()
    found = multisk.solve(x, problem, solver)
    found.plan.square().sum().backward()
    return found


def timed(work: Callable[[], multisk.Solution]) -> tuple[multisk.Solution, float]:
    """A solution and its process time: the least of four, of two or one where it is long."""
    least, found = float("inf"), None
    for turn in range(4):
        start = time.process_time()
        found = work()
        least = min(least, time.process_time() - start)
        if least > 1.0 or (turn and least > 0.05):
            break
    assert found is not None
    return found, least


def summarise(path: Path) -> None:
    """Print how the law holds."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ratios = sorted(float(row["ratio"]) for row in rows)
    print(f"{len(rows)} cases, median ratio {ratios[len(ratios) // 2]}, largest {ratios[-1]}")
    for row in rows:
        late = float(row["seconds"]) > 2 * float(row["best_seconds"]) + 2e-3
        lost = row["status"] != "CONVERGED" and row["best"] != "default"
        if late or lost:
            print("slow" if late else "not converged", *row.values())


if __name__ == "__main__":
    main()

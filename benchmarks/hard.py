"""Exact assignments at zero temperature, beside SciPy, HiGHS and POT.

    OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.hard [case ...]

Writes ``benchmarks/results/hard.csv``. Every row has the value of the plan and how far it lies
below a dual bound, which a few lines below work out from the prices of `multisk.hard` and trust no
solver. Compare ``cpu_ms``, the least processor time of a call. Peers run where they can state the
problem: SciPy's assignment solver for one column a row and one row a column, POT's network simplex
for one column a row, HiGHS on few cells. POT is no dependency; where it is not installed its rows
are left as they are.
"""

import datetime
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import multisk
from benchmarks.common import table
from benchmarks.common.record import QUIET, commit, machine, timed

FILE = Path(__file__).parent / "results" / "hard.csv"
KEY = ("case", "provider", "device")
FIELDS = (
    *("case", "shape", "k", "provider", "cpu_ms", "min_ms", "median_ms", "first_ms", "runs"),
    *("value", "below_bound", "load", "disturbed", "date", "device", "threads", "versions"),
    "commit",
)
LP_CELLS = 1 << 15  # HiGHS takes minutes above
DRIFT = 0.02  # standard deviations by which scores change before a warm start


@dataclass(frozen=True)
class Case:
    """Scores to assign; `loads` are the most rows of a column, None for even shares."""

    shape: tuple[int, ...]
    k: int
    uneven: float = 0.5  # spread of the columns' means; the scores are sigmoids, as of a router
    most: int | None = None
    masked: float = 0.0  # share of the pairs that are forbidden, with loads within 20 % of even

    def scores(self) -> Tensor:
        """Float32 scores, always the same."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.shape, generator=generator)
        return torch.sigmoid(x + self.uneven * torch.randn(self.shape[-1], generator=generator))

    def problem(self) -> multisk.MultiAssignment:
        """What is asked."""
        n, columns = self.shape[-2:]
        if self.most is not None:
            bounds = torch.zeros(columns), torch.full((columns,), float(self.most))
            return multisk.MultiAssignment(self.k, capacity=bounds)
        if self.masked:
            mask = torch.rand(self.shape, generator=torch.Generator().manual_seed(1)) > self.masked
            share = torch.full((columns,), n * self.k / columns)
            bounds = (0.8 * share).round(), (1.2 * share).round()
            return multisk.MultiAssignment(self.k, capacity=bounds, mask=mask)
        return multisk.MultiAssignment(self.k)

    @property
    def plain(self) -> bool:
        """Whether peers can state it as even loads, or at most one row a column."""
        return not self.masked

    @property
    def single(self) -> bool:
        """Whether it is a linear assignment."""
        n, columns = self.shape[-2:]
        return self.plain and self.k == 1 and (n == columns or self.most == 1)


CASES = {
    "small": Case((256, 64), 8),
    "square": Case((1024, 1024), 1, uneven=0.0),
    "matchings": Case((128, 256, 256), 1, uneven=0.0),
    "few rows": Case((256, 20, 900), 1, uneven=0.0, most=1),
    "clusters": Case((8192, 64), 1),
    "router 64": Case((8192, 64), 8),
    "router 256": Case((8192, 256), 8),
    "anchors": Case((1024, 448), 8),
    "round": Case((1024, 512), 16),
    "large": Case((4096, 896), 16),
    "masked, bounds": Case((2048, 256), 8, masked=0.2),
}
Work = Callable[[], Any]


def ours(x: Tensor, case: Case) -> Work:
    """From no prices."""
    problem = case.problem()
    return lambda: multisk.hard(x, problem).plan


def warm(x: Tensor, case: Case) -> Work:
    """From the prices of scores that were a little different."""
    problem = case.problem()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    prices = multisk.hard(x + DRIFT * x.std() * noise, problem).prices
    return lambda: multisk.hard(x, problem, prices=prices).plan


def on_arrays(x: Tensor, case: Case) -> Work:
    """As where numba is not installed."""

    def run() -> Any:
        with multisk.use_backend("numpy"):
            return multisk.hard(x, case.problem()).plan

    return run


def scipy_assignment(x: Tensor, case: Case) -> Work | None:
    """`linear_sum_assignment`, problem by problem: no prices."""
    from scipy.optimize import linear_sum_assignment

    if not case.single:
        return None

    def run() -> Any:
        plan = np.zeros(x.shape, bool)
        for scores, one in zip(problems(x), problems(plan), strict=True):
            one[linear_sum_assignment(scores, maximize=True)] = True
        return plan

    return run


def highs(x: Tensor, case: Case) -> Work | None:
    """The linear programme, by the reference of the tests."""
    n, columns = case.shape[-2:]
    if not case.plain or case.most is not None or x.ndim > 2 or n * columns > LP_CELLS:
        return None
    load = n * case.k / columns
    bounds = np.full(columns, np.floor(load)), np.full(columns, np.ceil(load))
    return lambda: multisk.reference.b_matching(x.double().numpy(), case.k, bounds)


def pot(x: Tensor, case: Case) -> Work | None:
    """POT's network simplex: one column a row, whole even loads."""
    n, columns = case.shape[-2:]
    if importlib.util.find_spec("ot") is None:
        return None
    if not case.plain or case.k != 1 or case.most is not None or n % columns:
        return None
    import ot

    rows, loads = np.ones(n), np.full(columns, n / columns)

    def run() -> Any:
        return np.stack([ot.emd(rows, loads, -one, numItermax=10**7) for one in problems(x)])

    return run


PROVIDERS: dict[str, tuple[Callable[[Tensor, Case], Work | None], str]] = {
    "multisk": (ours, "numba"),
    "multisk, warm": (warm, "numba"),
    "multisk, no numba": (on_arrays, "torch"),
    "SciPy": (scipy_assignment, "scipy"),
    "HiGHS": (highs, "scipy"),
    "POT": (pot, "POT"),
}


def problems(x: Any) -> Any:
    """The problems of a batch, scores in float64; a boolean plan as it is."""
    whole = x if isinstance(x, np.ndarray) else x.double().numpy()
    return whole.reshape(-1, *whole.shape[-2:])


def dual_bound(x: Tensor, case: Case) -> float:
    """No assignment is worth more: the dual objective at some prices, from its definition."""
    problem = case.problem()
    prices = multisk.hard(x, problem).prices
    worth = x.double() - prices[..., None, :]
    if problem.mask is not None:
        worth = worth.masked_fill(~problem.mask, -torch.inf)
    if problem.capacity is None:
        share = case.shape[-2] * case.k / case.shape[-1]
        low, high = float(np.floor(share)), float(np.ceil(share))
    else:
        low, high = (part.double() for part in problem.capacity)
    rows = worth.topk(case.k, -1).values.sum()
    return float(rows + torch.maximum(prices * low, prices * high).sum())


def measure(name: str, provider: str) -> dict[str, Any] | None:
    """One row; None where the provider cannot state the case."""
    case, (prepare, package) = CASES[name], PROVIDERS[provider]
    x = case.scores()
    work = prepare(x, case)
    if work is None:
        return None
    first = timed(work, seconds=0.0)["min_ms"]
    times = timed(work, seconds=1.0)
    value = float((x.double() * torch.as_tensor(np.asarray(work()))).sum())
    bound = dual_bound(x, case)
    load = os.getloadavg()[0]
    versions = [f"{part} {importlib.metadata.version(part)}" for part in ("torch", "numpy")]
    if package != "torch":
        versions.append(f"{package} {importlib.metadata.version(package)}")
    return {
        "case": name,
        "shape": " x ".join(map(str, case.shape)),
        "k": case.k,
        "provider": provider,
        "first_ms": first,
        "value": f"{value:.10g}",
        "below_bound": f"{(bound - value) / abs(bound):.1e}",
        "load": f"{load:.1f}",
        "disturbed": "yes" if load > QUIET else "no",
        "date": datetime.date.today().isoformat(),
        "device": machine(),
        "threads": torch.get_num_threads(),
        "versions": ", ".join(versions),
        "commit": commit(),
    } | times


def read() -> list[dict[str, Any]]:
    """The rows kept so far."""
    return table.read(FILE)


def keep(row: dict[str, Any]) -> None:
    """Put the row into the file in place of the one that it repeats."""
    rows = [old for old in read() if any(old[part] != str(row[part]) for part in KEY)] + [row]
    order = list(CASES)
    rows.sort(key=lambda one: order.index(one["case"]) if one["case"] in order else len(order))
    table.write(FILE, rows, FIELDS)


def main(names: list[str]) -> None:
    """Measure the named cases, or all."""
    torch.set_num_threads(1)
    multisk.hard(torch.rand(3, 2), multisk.MultiAssignment(1))  # loads, or compiles, the loops
    for name in names or CASES:
        for provider in PROVIDERS:
            row = measure(name, provider)
            if row is not None:
                keep(row)
                print(*(f"{key}={row[key]}" for key in FIELDS[:11] if key in row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

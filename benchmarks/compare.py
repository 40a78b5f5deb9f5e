"""Every CPU row of the table: `taskset -c 1 python -m benchmarks.compare [group ...]`.

Groups: algorithm, newton, overhead, rows, transport. One thread; see README.md for the method.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import multisk
from benchmarks.certificate import Bound, bound, judge
from benchmarks.peers import dense
from benchmarks.peers.transport import PEERS
from benchmarks.record import extra_memory, keep, read, timed, write
from multisk import _cpu

N, K, BUDGET, EPS = 5716, 64, 32, 0.07
COLD = 0.02  # temperature of the transports
MOST = 200  # iterations that a peer gets to reach it
REACHED = 1e-5  # the marginal error at which transports are compared, in float32
SWEEPS, NEWTON = multisk.Sinkhorn(tolerance=REACHED), multisk.Newton(tolerance=REACHED)
SHAPES = {"5716 x 64": (5716, 64), "2048 x 2048": (2048, 2048), "64 x 512 x 512": (64, 512, 512)}


def cosines(*shape: int, width: int = 128, seed: int = 0) -> Tensor:
    """Scores as an encoder gives them: cosines of random unit vectors."""
    generator = torch.Generator().manual_seed(seed)
    *batch, n, k = shape
    normal = torch.nn.functional.normalize
    rows = normal(torch.randn(*batch, n, width, generator=generator), dim=-1)
    columns = normal(torch.randn(*batch, k, width, generator=generator), dim=-1)
    return rows @ columns.mT


def plainly(work: Callable[[], Any]) -> Callable[[], Any]:
    """The same as where numba is not installed."""

    def run() -> Any:
        loops, _cpu.kernels = _cpu.kernels, no_loops
        try:
            return work()
        finally:
            _cpu.kernels = loops

    return run


def no_loops() -> None:
    return None


def measured(
    case: str,
    provider: str,
    work: Callable[[], Any],
    best: Bound,
    *,
    packages: tuple[str, ...] = (),
    **extra: Any,
) -> None:
    """One row: time, memory, error and certificate."""
    found = work()
    solved = isinstance(found, multisk.Solution)
    plan = found.plan if solved else as_tensor(found)
    error, gap = judge(plan, best)
    if solved:
        extra = {"steps": int(found.steps.max()), **extra}
    row = {
        "case": case,
        "provider": provider,
        **timed(work),
        "marginal_error": f"{error:.2e}",
        "gap": f"{gap:.1e}",
        "extra_mb": f"{extra_memory(work):.1f}",
        **extra,
    }
    keep(row, packages)


def algorithm() -> None:
    """Twenty sweeps of Algorithm 1 against all K channels."""
    x = cosines(N, K)
    problem = multisk.MultiAssignment(k=BUDGET, eps=EPS)
    best = bound(x, problem)
    case = f"20 sweeps, {N} x {K}, k {BUDGET}"
    sweeps = lambda: multisk.solve(x, problem, multisk.Sinkhorn(steps=20))  # noqa: E731
    measured(case, "multisk Sinkhorn(steps=20)", sweeps, best)
    measured(case, "multisk Sinkhorn(steps=20), no numba", plainly(sweeps), best)
    for name, iterate in (
        ("dense channels, as published", dense.as_published),
        ("dense channels, in place", dense.in_place),
    ):
        work = lambda run=iterate: run(x, BUDGET, EPS, 0.25, 20)  # noqa: E731
        measured(case, name, work, best, steps=20)


def newton() -> None:
    """Newton to 1e-6, cold at several temperatures and warm."""
    x = cosines(N, K)
    for eps in (0.07, 0.02, 0.005, 0.002):
        problem = multisk.MultiAssignment(k=BUDGET, eps=eps)
        best = bound(x, problem)
        case = f"Newton to 1e-6, {N} x {K}, k {BUDGET}, eps {eps}"
        cold = lambda problem=problem: multisk.solve(x, problem)  # noqa: E731
        measured(case, "multisk Newton", cold, best)
        if eps == EPS:
            measured(case, "multisk Newton, no numba", plainly(cold), best)
        before = cold()
        change = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        moved = x + 0.02 * x.std() * change
        warm = lambda p=problem, s=before, y=moved: multisk.solve(y, p, init=s)  # noqa: E731
        measured(case, "multisk Newton, warm after a 2 % change", warm, bound(moved, problem))


def overhead() -> None:
    """What a small problem costs."""
    x = cosines(64, 8)
    problem = multisk.MultiAssignment(k=3)
    solve = lambda: multisk.solve(x, problem)  # noqa: E731
    measured("small, 64 x 8", "multisk", solve, bound(x, problem))
    measured("small, 64 x 8", "multisk, no numba", plainly(solve), bound(x, problem))


def rows() -> None:
    """Time and memory against the number of rows."""
    problem = multisk.MultiAssignment(k=BUDGET)
    for power in (12, 14, 16, 18, 20):
        x = cosines(1 << power, K)
        size = 2 * x.numel() * x.element_size() / 2**20
        best = bound(x[: 1 << 12], problem)
        for name, solver in (
            ("multisk Newton", multisk.Newton()),
            ("multisk Sinkhorn(steps=20)", multisk.Sinkhorn(steps=20)),
        ):
            work = lambda x=x, solver=solver: multisk.solve(x, problem, solver)  # noqa: E731
            found = work()
            times = timed(work, seconds=4.0)
            extra = extra_memory(work)
            relative = found.gap.abs() / found.value.abs()
            keep(
                {
                    "case": f"rows 2^{power} x {K}, k {BUDGET} (inputs and outputs {size:.1f} MB)",
                    "provider": name,
                    **times,
                    "steps": int(found.steps),
                    "marginal_error": f"{float(found.marginal_error):.2e}",
                    "gap": f"{float(relative):.1e}",
                    "extra_mb": f"{extra:.1f}",
                }
            )
        del best


def needed(run: Callable[[int], Any], best: Bound) -> int:
    """The fewest iterations that reach the common error (beyond 30 to a tenth); at most MOST."""
    tried = 1
    while tried < MOST and not judge(as_tensor(run(tried)), best)[0] <= REACHED:
        tried = tried + 1 if tried < 30 else int(tried * 1.1)
    return min(tried, MOST)


def as_tensor(plan: Any) -> Tensor:
    return plan if isinstance(plan, Tensor) else torch.from_numpy(np.array(plan))


def transport() -> None:
    """Classical transport against other libraries, each at the iterations that it needs."""
    for name, shape in SHAPES.items():
        x = cosines(*shape)
        problem = multisk.Transport(eps=COLD)
        best = bound(x, problem)
        case = f"transport {name}, eps {COLD}, to {REACHED:g}"
        work = lambda x=x, p=problem: multisk.solve(x, p, SWEEPS)  # noqa: E731
        measured(case, "multisk Sinkhorn", work, best)
        measured(case, "multisk Sinkhorn, no numba", plainly(work), best)
        if shape[-1] <= 512:
            work = lambda x=x, p=problem: multisk.solve(x, p, NEWTON)  # noqa: E731
            measured(case, "multisk Newton", work, best)
        for peer, (prepare, package) in PEERS.items():
            if peer == "POT batch" and len(shape) == 2:
                continue
            try:
                run = prepare(x, COLD)
                count = needed(run, best)
            except ImportError:
                continue
            names = {"torch": (), "ot": ("POT",), "geomloss": ("geomloss",)}.get(
                package, ("ott-jax", "jax")
            )
            work = lambda run=run, count=count: run(count)  # noqa: E731
            measured(case, peer, work, best, steps=count, packages=names)


def speedups() -> None:
    """Fill the column: against the published iteration, or the fastest peer at the same error."""
    table = read()
    published = [float(r["cpu_ms"]) for r in table if "as published" in r["provider"]]
    for row in table:
        rivals = [
            float(other["cpu_ms"])
            for other in table
            if other["case"] == row["case"]
            and not other["provider"].startswith("multisk")
            and float(other["marginal_error"]) <= 1.01 * REACHED
        ]
        if f"{N} x {K}, k {BUDGET}" in row["case"] and "eps 0.0" not in row["case"].replace(
            f"eps {EPS}", ""
        ):
            rivals = published
        if rivals and row["provider"].startswith("multisk"):
            row["speedup"] = f"{min(rivals) / float(row['cpu_ms']):.3g}"
    write(table)


GROUPS = {f.__name__: f for f in (algorithm, newton, overhead, rows, transport)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or GROUPS:
        GROUPS[name]()
    speedups()

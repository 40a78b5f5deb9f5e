"""Time every case of the registry: one row a provider and mode, each with the error it reached.

Rows go to gpu.csv and device time by kernel to kernels.csv, each as soon as it is known. Cases come
in order of worth, our solvers before the others, and what inductor has to compile comes last.
"""

import contextlib
import functools
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import multisk
from benchmarks.common.cases import CASES, REACHED, Case, cosines, points
from benchmarks.common.meter import CudaMeter
from benchmarks.common.table import upsert
from benchmarks.gpu import predict
from benchmarks.gpu.supervise import BrokenDeviceError, Step, is_broken
from benchmarks.peers import eager, flash
from benchmarks.peers import transport as peers
from multisk import benchmark
from multisk._operators import sweep

KEYS = ("case", "provider", "mode", "device", "torch", "triton", "commit")
FIRST = ("step", "paper", "many", "large", "tall", "wide", "transport")  # what the targets name
TINY = {
    "paper": Case((24, 8), 3),
    "transports": Case((2, 12, 6), eps=0.2),
}
DAMPING = 0.25
COMPARED = ("paper", "step")  # cases on which the other ways to an assignment run
SECONDS, COMPILED = 70.0, 110.0  # of one case's ways; of what inductor compiles
Way = tuple[str, str, Callable[[], Any]]


@dataclass(frozen=True)
class Effort:
    """Sweeps of an assignment, visits of a captured Newton solve, sweeps of a transport."""

    sweeps: int = 20
    passes: int = 6
    transport: int = 100


@dataclass(frozen=True)
class Session:
    """What all rows of a run share."""

    meter: CudaMeter
    folder: Path
    stamp: dict[str, Any]  # device, versions, commit, date, what the tests said
    copy: float  # bytes a second
    effort: Effort = Effort()


def steps(session: Callable[[], Session], cases: dict[str, Case]) -> list[Step]:
    """One step for the ways of a case that belong together."""

    def step(name: str, kind: str, ways: Ways, seconds: float = SECONDS) -> Step:
        run = lambda: measure(name, cases[name], ways, session())  # noqa: E731
        return Step(f"{name}: {kind}", run, seconds)

    order = [*(name for name in FIRST if name in cases)]
    order += [name for name in cases if name not in order]
    compared = [name for name in order if name in COMPARED]
    return [
        *(step(name, "ours", our_ways) for name in order if name in FIRST),
        *(step(name, "others", other_ways) for name in compared),
        *(step(name, "ours", our_ways) for name in order if name not in FIRST),
        *(step(name, "others", library_ways) for name in order if not cases[name].budget),
        *(step(name, "inductor", compiled_ways, COMPILED) for name in compared),
    ]


def measure(name: str, case: Case, ways: "Ways", session: Session) -> None:
    """Say and write one row a way; one that fails says why and does not stop the others."""
    shape = case.shape if len(case.shape) == 3 else (1, *case.shape)
    x = cosines(*shape).to(session.meter.device)
    for provider, mode, run in ways(name, case, x, session.effort):
        try:
            row, spent = row_of((name, provider, mode), case, run, session)
        except Exception as error:  # the next way goes on whatever this one met
            print(f"{name:18}{provider:30}{mode:10}{type(error).__name__}: {str(error)[:120]}")
            if is_broken(error):
                raise BrokenDeviceError from error
            continue
        upsert(session.folder / "gpu.csv", [row], KEYS)
        if spent:
            upsert(session.folder / "kernels.csv", spent, (*KEYS, "kernel"))
        text = f"{row['median_us']:>12} us  error {row['error']}  over bytes {row['over_bytes']}"
        if spent:
            text += f"  host {row['host_us']}  device {row['device_us']}  of {row['launches']}"
        print(f"{name:18}{provider:30}{mode:10}{text}", flush=True)


def our_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """Our solvers in every mode; all sweeps in one launch beside one launch a sweep."""
    del name
    if not case.budget:
        return our_transports(case, x, effort)
    newton, sweeps = multisk.Newton(), multisk.Sinkhorn(steps=effort.sweeps)
    fixed = multisk.Newton(max_steps=effort.passes)
    problem = case.problem
    ways = [
        ("newton", "graph", lambda: multisk.solve(x, problem, fixed).plan),
        ("newton", "eager", lambda: multisk.solve(x, problem, newton).plan),
        ("sinkhorn", "graph", lambda: multisk.solve(x, problem, sweeps).plan),
        ("sinkhorn", "eager", lambda: multisk.solve(x, problem, sweeps).plan),
        ("newton", "backward", backward_of(x, problem, newton)),
        ("sinkhorn", "backward", backward_of(x, problem, sweeps)),
    ]
    if sweep.stays_resident(x):
        run = lambda: multisk.solve(x, problem, sweeps).plan  # noqa: E731
        ways += [(LAUNCHED, mode, within(launched, run)) for mode in ("graph", "eager")]
    return ways


LAUNCHED = "sinkhorn, one launch a sweep"


def our_transports(case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """Classical transport by our solvers."""
    problem = case.problem
    until, fixed = multisk.Sinkhorn(tolerance=REACHED), multisk.Sinkhorn(steps=effort.transport)
    return [
        ("newton", "eager", lambda: multisk.solve(x, problem).plan),
        ("sinkhorn", "eager", lambda: multisk.solve(x, problem, until).plan),
        (
            f"sinkhorn, {effort.transport} steps",
            "graph",
            lambda: multisk.solve(x, problem, fixed).plan,
        ),
        ("newton", "backward", backward_of(x, problem, multisk.Newton())),
    ]


def other_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """The same solvers in plain torch, the two-matrix loop, the published iteration."""
    newton, sweeps = multisk.Newton(), multisk.Sinkhorn(steps=effort.sweeps)
    problem, k = case.problem, case.budget
    loop = lambda: eager.sweeps(x, k, case.eps, DAMPING, effort.sweeps)  # noqa: E731
    plain = functools.partial(multisk.use_backend, "torch")
    ways = [
        ("two matrices, eager", "eager", loop),
        ("two matrices, eager", "graph", loop),
        (
            "newton, no kernels",
            "eager",
            within(plain, lambda: multisk.solve(x, problem, newton).plan),
        ),
        (
            "sinkhorn, no kernels",
            "eager",
            within(plain, lambda: multisk.solve(x, problem, sweeps).plan),
        ),
    ]
    if name == "paper":
        dense = lambda: benchmark.published(x[0], k, effort.sweeps)[None]  # noqa: E731
        ways.append(("dense channels", "eager", dense))
    return ways


def library_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """Classical transport by the libraries that are there and run on this device."""
    del name
    count = effort.transport
    ways = [(f"SwAV loop, {count} steps", "graph", lambda: peers.swav(x, case.eps)(count))]
    if importlib.util.find_spec("ot"):
        run = lambda: peers.pot_batch(x, case.eps)(count)  # noqa: E731
        ways.append((f"POT batch, {count} steps", "eager", run))
    if importlib.util.find_spec("geomloss"):
        run = lambda: peers.geomloss(x, case.eps)(count)  # noqa: E731
        ways.append((f"GeomLoss, {count} steps", "eager", run))
    if importlib.util.find_spec("flash_sinkhorn") and x.is_cuda:  # it takes CUDA tensors alone
        two = [part.to(x.device) for part in points(*case.shape)]
        solve = flash.flash(two[0], two[1], case.eps)
        ways.append((f"FlashSinkhorn, {count} steps", "eager", lambda: solve(count)))
    return ways


def compiled_ways(name: str, case: Case, x: torch.Tensor, effort: Effort) -> list[Way]:
    """The two-matrix loop through inductor: half a minute to compile, hence last."""
    del name
    if not x.is_cuda:
        return []
    fused = eager.compiled()
    run = lambda: fused(x, case.budget, case.eps, DAMPING, effort.sweeps)  # noqa: E731
    return [("two matrices, compiled", "eager", run)]


Ways = Callable[[str, Case, torch.Tensor, Effort], list[Way]]


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


def within(
    manager: Callable[[], contextlib.AbstractContextManager[Any]], run: Callable[[], Any]
) -> Callable[[], Any]:
    """The same call inside a context."""

    def inside() -> Any:
        with manager():
            return run()

    return inside


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """Within it sweeps are launched one by one, also where all would fit one launch."""
    kept = sweep.stays_resident
    sweep.stays_resident = lambda _: False
    try:
        yield
    finally:
        sweep.stays_resident = kept


def row_of(
    key: tuple[str, str, str], case: Case, run: Callable[[], torch.Tensor], session: Session
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A way's time, error, memory and first call; and its device time by kernel."""
    name, provider, mode = key
    meter = session.meter
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
    host, wall, spent = (None, None, [])
    if mode != "graph":  # a replay is one launch, and its kernels are those of the call
        host, wall = meter.host_and_wall(run)
        spent = meter.kernels(run)
    which = {"case": name, "provider": provider, "mode": mode}
    row = {
        "case": name,
        "shape": "x".join(str(size) for size in case.shape),
        "provider": provider,
        "mode": mode,
        **session.stamp,
        "median_us": round(1e6 * middle, 2),
        "p20_us": round(1e6 * times[len(times) // 5], 2),
        "p80_us": round(1e6 * times[len(times) * 4 // 5], 2),
        "runs": len(times),
        "host_us": "" if host is None else round(1e6 * host, 1),
        "wall_us": "" if wall is None else round(1e6 * wall, 1),
        "device_us": round(sum(each.us for each in spent), 1) if spent else "",
        "launches": round(sum(each.launches for each in spent), 1) if spent else "",
        "error": f"{error:.2e}",
        "peak_mib": round(peak / 2**20, 1),
        "bytes": moved,
        "over_bytes": round(middle / (moved / session.copy), 2),
        "floor_us": predict.floor(case, provider, mode, meter.name()),
        "expected_us": predict.EXPECTED.get(key, "") if case == CASES.get(name) else "",
        "first_s": round(first, 3),
    }
    kernels = [
        which
        | session.stamp
        | {
            "kernel": each.kernel[:120],
            "launches": round(each.launches, 1),
            "us": round(each.us, 2),
            "us_each": round(each.us / each.launches, 2),
            "by": each.source,
        }
        for each in spent
    ]
    return row, kernels


def bytes_of(case: Case, provider: str, mode: str) -> int:
    """What has to pass the memory at least: of our solvers by `predict`, else scores and plan."""
    parts = predict.visits(case, provider, mode)
    return sum(predict.counts(case, part)[0] for part in parts) or 8 * case.cells


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """The targets, each with what was measured; "not measured" where the row is missing.

    They are set for an H200; an H100, with two thirds of its bandwidth, has 1.3 times as long.
    """
    at = {(row["case"], row["provider"], row["mode"]): row for row in rows}
    slower = 1.0 if not rows or "H200" in rows[0]["device"] else 1.3

    def line(what: str, key: tuple[str, str, str], holds: Callable[[dict], bool]) -> str:
        row = at.get(key)
        if row is None:
            return f"not measured  {what}"
        figures = f"{row['median_us']} us, error {row['error']}, over bytes {row['over_bytes']}"
        return f"{'reached' if holds(row) else 'MISSED':12}  {what}: {figures}"

    def within(most: float) -> Callable[[dict], bool]:
        return lambda row: float(row["median_us"]) <= most * slower

    def solved(row: dict) -> bool:
        return float(row["error"]) <= 1e-6

    def ten_floors(row: dict) -> bool:
        return float(row["median_us"]) <= 10 * float(row["floor_us"])

    def twice_the_solve(row: dict) -> bool:
        solve = at.get((row["case"], "newton", "eager"))
        return solve is not None and float(row["median_us"]) <= 2 * float(solve["median_us"])

    return [
        line(
            f"20 problems of (5716, 64) to 1e-6, under a graph: {300 * slower:.0f} us, then half",
            ("step", "newton", "graph"),
            lambda row: solved(row) and within(300)(row),
        ),
        line(
            "(2^20, 64): 3 x its bytes at the bandwidth of a copy",
            ("tall", "newton", "eager"),
            lambda row: float(row["over_bytes"]) <= 3,
        ),
        line(
            f"Sinkhorn(20) at (5716, 64), under a graph: {300 * slower:.0f} us",
            ("paper", "sinkhorn", "graph"),
            within(300),
        ),
        *(
            line(
                f"{case}: the implicit gradient takes no longer than the solve",
                (case, "newton", "backward"),
                twice_the_solve,
            )
            for case in COMPARED
        ),
        *(
            line(f"{case}: 10 x the floor", (case, "newton", "eager"), ten_floors)
            for case in ("large", "wide")
        ),
    ]


def plot(rows: list[dict[str, str]], picture: Path) -> str:
    """Median times by case, one bar a provider and mode; says what came of it."""
    if importlib.util.find_spec("matplotlib") is None or not rows:
        return "no plot: matplotlib is missing, or nothing was measured"
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys(row["case"] for row in rows))
    sizes = [sum(row["case"] == case for row in rows) for case in cases]
    figure, axes = plt.subplots(
        len(cases),
        1,
        figsize=(8, len(cases) + 0.2 * sum(sizes)),
        height_ratios=sizes,
        squeeze=False,
    )
    for case, panel in zip(cases, axes[:, 0], strict=True):
        mine = sorted(
            (row for row in rows if row["case"] == case), key=lambda row: float(row["median_us"])
        )
        names = [f"{row['provider']} ({row['mode']}), error {row['error']}" for row in mine]
        panel.barh(names, [float(row["median_us"]) for row in mine])
        panel.set(xscale="log", title=f"{case} {mine[0]['shape']}", xlabel="median, µs")
        panel.tick_params(labelsize=7)
    figure.suptitle(f"{rows[0]['device']}, torch {rows[0]['torch']}, triton {rows[0]['triton']}")
    figure.tight_layout()
    figure.savefig(picture, dpi=150)
    plt.close(figure)
    return f"plot: {picture.name}"

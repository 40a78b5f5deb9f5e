"""Every path of the library once, against float64 in plain torch on the processor.

A check gives one number, its worst deviation; the bound beside it is what the arithmetic allows
(float32 sums of a few thousand terms, 16-bit results, zero where bits have to agree).
"""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import multisk
from benchmarks.common.table import upsert
from benchmarks.gpu.supervise import BrokenDeviceError, Step, is_broken
from multisk import MultiAssignment, Newton, Sinkhorn, Transport

F32 = 2e-5  # absolute, for cells of at most 1
SECONDS = 60.0  # of one check; the first ones compile


@dataclass(frozen=True)
class Bench:
    """Where the checks run, and how large they are."""

    device: str = "cuda"
    tiny: bool = False
    rows: int = 5716
    width: int = 64
    sweeps: int = 20
    repeats: int = 50
    barrier: tuple[int, ...] = (40, 64, 65, 700, 2000, 5716, 8448)  # one program to 264

    @property
    def cells(self) -> int:
        """Columns that a row takes."""
        return self.width // 2


TINY = Bench("cpu", tiny=True, rows=40, width=12, sweeps=3, repeats=2, barrier=(8, 40))


@dataclass(frozen=True)
class Check:
    """A path, the largest deviation it may have, and how to find it."""

    name: str
    bound: float
    worst: Callable[[], float | Tensor]


def steps(bench: Bench, folder: Path, stamp: Callable[[], dict[str, Any]]) -> list[Step]:
    """One step a check; each writes its line as soon as it is known."""
    file = folder / "check.csv"
    return [
        Step(check.name, lambda check=check: carry_out(check, file, stamp()), SECONDS)
        for check in checks(bench)
    ]


def carry_out(check: Check, file: Path, stamp: dict[str, Any]) -> None:
    """Find a check's deviation, say and write what came of it."""
    began, worst, trace, broken = time.monotonic(), float("nan"), "", False
    try:
        with torch.enable_grad():
            worst = float(check.worst())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        status = "ok" if worst <= check.bound else "BAD"
    except Exception as error:  # the next check goes on whatever this one met
        status, broken = "FAILED", is_broken(error)
        trace = " | ".join(traceback.format_exc().strip().splitlines()[-6:])
    row = {
        "check": check.name,
        "status": status,
        "worst": f"{worst:.3e}",
        "bound": f"{check.bound:.1e}",
        "seconds": f"{time.monotonic() - began:.2f}",
        "detail": trace,
        **stamp,
    }
    upsert(file, [row], ("check", "device", "commit"))
    text = f"{status:7}{check.name:58}{row['worst']:>11} (<= {row['bound']}) {row['seconds']:>6} s"
    print(text + (f"\n       {trace}" if trace else ""), flush=True)
    if broken:
        raise BrokenDeviceError


def checks(bench: Bench) -> list[Check]:
    """All of them, in order of worth: what all else stands on first, what compiles most last."""
    return [
        *sweep_checks(bench),
        *newton_checks(bench),
        *([] if bench.tiny else device_checks(bench)),
        *derivative_checks(bench),
        *other_checks(bench),
        *width_checks(bench),
        *([] if bench.tiny else compiler_checks(bench)),
    ]


def sweep_checks(bench: Bench) -> Iterator[Check]:
    """Sinkhorn: the grid barrier with one program, a few, as many as fit; then launch by launch."""
    solver = Sinkhorn(steps=bench.sweeps)
    for rows in bench.barrier:
        shape = (rows, bench.width)
        yield planned(bench, f"sinkhorn {shape}", shape, solver)
        run = lambda shape=shape: changed_bits(bench, scores(*shape), solver)  # noqa: E731
        yield Check(f"sinkhorn {shape}, the same bits", 0.0, run)
    batch = (2 if bench.tiny else 20, bench.rows, bench.width)
    yield planned(bench, "sinkhorn, a batch, one launch a sweep", batch, solver)


def newton_checks(bench: Bench) -> Iterator[Check]:
    """Newton on tensor cores: plain, cold, masked, many problems, the same bits."""
    n, k = bench.rows, bench.width
    yield planned(bench, f"newton ({n}, {k})", (n, k), Newton())
    yield Check("K x K sums of tensor cores, relative", 4e-6, lambda: bend_error(bench))
    run = lambda: changed_bits(bench, scores(n, k), Newton())  # noqa: E731
    yield Check("newton, the same bits", 0.0, run)
    for eps in (0.02, 0.005, 0.002):
        problem = MultiAssignment(k=bench.cells, eps=eps)
        yield planned(bench, f"newton, eps {eps}", (n, k), Newton(), problem, 1e-3)
    yield Check("newton, masked", F32, lambda: masked_error(bench))
    many = (4, 16, k) if bench.tiny else (4096, 64, k)
    yield planned(bench, "newton, many small problems", many, Newton())


def width_checks(bench: Bench) -> Iterator[Check]:
    """Newton at other widths, each of which compiles kernels of its own; and in float64."""
    n, k = bench.rows, bench.width
    shapes = [(n, 5), (n // 2, k - k // 5)]
    shapes += [] if bench.tiny else [(8192, 160), (8192, 256), (n // 2, 128), (64, n)]
    for shape in shapes:
        problem = MultiAssignment(k=max(1, min(64, shape[-1] // 2)))
        yield planned(bench, f"newton {shape}", shape, Newton(), problem)
    yield planned(
        bench, "newton, float64", (n // 4, 16), Newton(), MultiAssignment(k=4), 1e-9, torch.float64
    )


def derivative_checks(bench: Bench) -> Iterator[Check]:
    """Gradients of a random functional of the plan, relative to the largest."""
    n, k = bench.rows // 4, bench.width
    for solver in (Newton(), Sinkhorn(steps=bench.sweeps)):
        problem = MultiAssignment(k=bench.cells)
        run = lambda s=solver, p=problem: gradient_error(bench, scores(n, k), p, s)  # noqa: E731
        yield Check(f"gradient, {type(solver).__name__}", 1e-4, run)
    wide = (bench.rows // 8, 6 if bench.tiny else 160)
    run = lambda: gradient_error(bench, scores(*wide), MultiAssignment(k=4), Newton())  # noqa: E731
    yield Check("gradient, many columns", 1e-4, run)


def other_checks(bench: Bench) -> Iterator[Check]:
    """Classical transport, 16-bit scores, a NaN among the scores."""
    shape = (bench.rows, bench.width)
    for solver in (Newton(), Sinkhorn(steps=bench.sweeps)):
        name = f"transport, {type(solver).__name__}"
        yield planned(bench, name, shape, solver, Transport(eps=0.1))
    for kind in (torch.float16, torch.bfloat16):
        problem = MultiAssignment(k=bench.cells)
        yield planned(bench, f"newton, {kind}", shape, Newton(), problem, 1e-2, kind)
    yield Check("NaN in the scores is not called converged", 0.0, lambda: nan_converges(bench))


def device_checks(bench: Bench) -> Iterator[Check]:
    """What only a GPU has."""
    for solver in (Newton(max_steps=8), Sinkhorn(steps=bench.sweeps)):
        run = lambda s=solver: replay_error(bench, s)  # noqa: E731
        yield Check(f"CUDA graph on new scores, {type(solver).__name__}", 1e-5, run)
    yield Check("four streams of cooperative launches", 0.0, lambda: stream_error(bench))
    yield Check("cooperative launch on a busy GPU", 0.0, lambda: busy_error(bench))
    yield Check("cuda:1 while cuda:0 is current", F32, lambda: second_error(bench))


def compiler_checks(bench: Bench) -> Iterator[Check]:
    """What inductor compiles, half a minute."""
    yield Check("torch.compile, value", 1e-5, lambda: compiled_error(bench))


def planned(
    bench: Bench,
    name: str,
    shape: tuple[int, ...],
    solver: Any,
    problem: Any = None,
    bound: float = F32,
    kind: torch.dtype = torch.float32,
) -> Check:
    """A plan beside that in float64; scores are drawn when the check is carried out."""
    problem = problem or MultiAssignment(k=bench.cells)
    return Check(name, bound, lambda: plan_error(bench, scores(*shape).to(kind), problem, solver))


def scores(*shape: int, seed: int = 0) -> Tensor:
    """Cosines of random unit vectors with random unit anchors, (*batch, N, K)."""
    generator = torch.Generator().manual_seed(seed)
    *batch, n, k = shape
    unit = torch.nn.functional.normalize
    rows = unit(torch.randn(*batch, n, 64, generator=generator), dim=-1)
    anchors = unit(torch.randn(*batch, k, 64, generator=generator), dim=-1)
    return rows @ anchors.mT


def plan_error(bench: Bench, x: Tensor, problem: Any, solver: Any) -> Tensor:
    """Largest deviation of a cell of the plan."""
    with torch.no_grad():
        got = multisk.solve(x.to(bench.device), problem, solver).plan
    return (got.double().cpu() - truth(x, problem, solver)).abs().max()


def truth(x: Tensor, problem: Any, solver: Any) -> Tensor:
    """The plan in float64, on the processor, without kernels."""
    with multisk.use_backend("torch"), torch.no_grad():
        return multisk.solve(x.double().cpu(), problem, solver).plan


def changed_bits(bench: Bench, x: Tensor, solver: Any) -> float:
    """Most cells that differ between the first solve and any of the following."""
    x, problem = x.to(bench.device), MultiAssignment(k=bench.cells)
    with torch.no_grad():
        first = multisk.solve(x, problem, solver).plan
        again = (multisk.solve(x, problem, solver).plan for _ in range(bench.repeats))
        return max(float((plan != first).sum()) for plan in again)


def bend_error(bench: Bench) -> Tensor:
    """The K x K part of a Newton step, sum_i W_ij W_il / h_i, relative to float64."""
    from multisk.kernels.newton import newton_pass

    x = scores(1, bench.rows, bench.width).to(bench.device)
    one = torch.ones(1, device=bench.device)
    a = torch.full(x.shape[:2], float("nan"), device=bench.device)
    b = torch.zeros(1, bench.width, device=bench.device)
    found = newton_pass(x, 14 * one, b, a, bench.cells * one, dense=True)
    share = torch.sigmoid(14 * x.double() + a.double()[..., None])
    slope = share * (1 - share)
    want = slope.mT @ (slope / slope.sum(-1, keepdim=True))
    assert found.bend is not None
    return ((found.bend.double() - want).abs() / want).max()


def masked_error(bench: Bench) -> Tensor:
    """A fifth of the cells forbidden."""
    x = scores(bench.rows, bench.width)
    generator = torch.Generator().manual_seed(3)
    free = torch.rand(x.shape, generator=generator) > 0.2
    with torch.no_grad():
        problem = MultiAssignment(k=2, mask=free.to(bench.device))
        got = multisk.solve(x.to(bench.device), problem).plan
    return (got.double().cpu() - truth(x, MultiAssignment(k=2, mask=free), Newton())).abs().max()


def gradient_error(bench: Bench, x: Tensor, problem: Any, solver: Any) -> Tensor:
    """Largest deviation of a derivative, over the largest derivative."""
    generator = torch.Generator().manual_seed(5)
    cotangent = torch.randn(x.shape, generator=generator, dtype=torch.float64)

    def below(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        multisk.solve(z, problem, solver).plan.backward(cotangent.to(z))
        assert z.grad is not None
        return z.grad.double().cpu()

    got = below(x.to(bench.device))
    with multisk.use_backend("torch"):
        want = below(x.double())
    return (got - want).abs().max() / want.abs().max()


def nan_converges(bench: Bench) -> float:
    """1 where a problem with a NaN among its scores is called converged; 0 where it is refused."""
    x = scores(bench.rows, bench.width).to(bench.device)
    x[3, 3] = float("nan")
    try:
        return float(multisk.solve(x, MultiAssignment(k=bench.cells), Newton()).converged.any())
    except ValueError:  # on the processor, and where the caller asks for checks
        return 0.0


def replay_error(bench: Bench, solver: Any) -> Tensor:
    """A captured solve, replayed on other scores, beside a solve of those."""
    problem = MultiAssignment(k=bench.cells)
    held = scores(bench.rows, bench.width).to(bench.device)
    other = scores(bench.rows, bench.width, seed=9).to(bench.device)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(2):
            multisk.solve(held, problem, solver)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    with torch.no_grad(), torch.cuda.graph(graph):
        plan = multisk.solve(held, problem, solver).plan
    held.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    return (plan - multisk.solve(other, problem, solver).plan).abs().max()


def stream_error(bench: Bench) -> float:
    """Forty cooperative launches on four streams: two that wait for each other would hang."""
    x, problem = scores(bench.rows, bench.width).to(bench.device), MultiAssignment(k=bench.cells)
    solver = Sinkhorn(steps=bench.sweeps)
    want = multisk.solve(x, problem, solver).plan
    streams = [torch.cuda.Stream() for _ in range(4)]
    torch.cuda.synchronize()
    plans = []
    for turn in range(40):
        with torch.cuda.stream(streams[turn % 4]):
            plans.append(multisk.solve(x, problem, solver).plan)
    torch.cuda.synchronize()
    return max(float((plan - want).abs().max()) for plan in plans)


def busy_error(bench: Bench) -> Tensor:
    """A cooperative launch while another stream fills the device."""
    x, problem = scores(bench.rows, bench.width).to(bench.device), MultiAssignment(k=bench.cells)
    solver = Sinkhorn(steps=bench.sweeps)
    want = multisk.solve(x, problem, solver).plan
    load, stream = torch.randn(8192, 8192, device=bench.device), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(20):
            torch.mm(load, load)
    got = multisk.solve(x, problem, solver).plan
    torch.cuda.synchronize()
    return (got - want).abs().max()


def second_error(bench: Bench) -> Tensor:
    """A tensor on the second device while the first is current; nothing to see with one device."""
    if torch.cuda.device_count() < 2:
        return torch.zeros(())
    x, problem = scores(bench.rows, bench.width), MultiAssignment(k=bench.cells)
    got = multisk.solve(x.to("cuda:1"), problem).plan
    return (got.double().cpu() - truth(x, problem, Newton())).abs().max()


def compiled_error(bench: Bench) -> Tensor:
    """A functional of the plan through torch.compile, forward and backward."""
    problem = MultiAssignment(k=bench.cells)
    value = lambda z: multisk.solve(z, problem, Newton()).plan.square().sum()  # noqa: E731
    x = scores(bench.rows, bench.width).to(bench.device).requires_grad_()
    got = torch.compile(value, fullgraph=True)(x)
    got.backward()
    return ((got - value(x)) / got).abs()

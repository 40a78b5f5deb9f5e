"""Print a side-by-side table of solvers on this machine: ``python -m multisk.benchmark``.

Every line says what it took and which error it reached: a fast line with a large error has not
solved the problem. CUDA is used when there is one. The run stays under two minutes.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import multisk
from multisk._backends.choose import BACKENDS, kernels_run


@dataclass(frozen=True)
class Provider:
    """One way to a plan: `run` takes scores (B, N, K) and gives the plan."""

    name: str
    run: Callable[[Tensor], Tensor]
    only: str = ""  # "cuda" where it makes sense there alone
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Line:
    """What a provider did on a case."""

    case: str
    provider: str
    first_ms: float
    median_ms: float
    runs: int
    error: float
    peak_mib: float | None


CASES = {
    "5716 x 64": ((1, 5716, 64), 32),
    "20 of 5716 x 64": ((20, 5716, 64), 32),
    "512 of 64 x 64": ((512, 64, 64), 32),
    "4096 x 1024": ((1, 4096, 1024), 64),
}
PUBLISHED = "5716 x 64"  # the case on which the published iteration's table is affordable
EPS, DAMPING = 0.07, 0.25
LIMIT = 100.0  # seconds after which no further line is begun


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m multisk.benchmark", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=3.0, help="most time a line may take")
    parser.add_argument("--backend", choices=BACKENDS, help="read the scores by this one alone")
    options = parser.parse_args()
    device = torch.device(options.device)
    say(f"{machine(device)}; torch {torch.__version__}; eps {EPS}, damping {DAMPING}, float32")
    say(f"solves run {options.backend or carriers(device)}")
    say(
        f"{'problem':17}{'provider':32}{'first ms':>10}{'median ms':>11}"
        f"{'error':>10}{'peak MiB':>10}"
    )

    with multisk.use_backend(options.backend) if options.backend else nullcontext():
        table(device, options.seconds)


def table(device: torch.device, seconds: float) -> None:
    """A line for each case and provider."""
    began = time.perf_counter()
    for case in CASES:
        scores = scores_of(case, device)
        for provider in providers(CASES[case][1]):
            if provider.only not in {"", device.type}:
                continue
            if provider.name.startswith("published") and case != PUBLISHED:
                continue
            if time.perf_counter() - began > LIMIT:
                say(f"{case:17}{provider.name:32}{'left out: the time is up':>41}")
                continue
            with provider.within():
                say(text_of(measure(case, provider, scores, CASES[case][1], seconds)))


def providers(k: int) -> list[Provider]:
    """Everything that is compared on a problem with `k` columns a row."""
    problem = multisk.MultiAssignment(k=k, eps=EPS, damping=DAMPING)
    sweeps, newton = multisk.Sinkhorn(steps=20), multisk.Newton()
    return [
        Provider("published iteration, 20 sweeps", lambda x: published(x[0], k, 20)[None]),
        Provider(
            "multisk Sinkhorn(20), eager torch",
            lambda x: multisk.solve(x, problem, sweeps).plan,
            only="cuda",
            within=lambda: multisk.use_backend("torch"),
        ),
        Provider("multisk Sinkhorn(20)", lambda x: multisk.solve(x, problem, sweeps).plan),
        Provider(
            "multisk Newton, eager torch",
            lambda x: multisk.solve(x, problem, newton).plan,
            only="cuda",
            within=lambda: multisk.use_backend("torch"),
        ),
        Provider("multisk Newton", lambda x: multisk.solve(x, problem, newton).plan),
    ]


def published(x: Tensor, k: int, sweeps: int) -> Tensor:
    """Algorithm 1 as it is written: K channels of N x K, row, column and depth in turn."""
    n, columns = x.shape
    scales = torch.full((columns, 1, 1), DAMPING, device=x.device)
    scales[:k] = 1.0
    p = torch.exp(scales * x / EPS)
    for _ in range(sweeps):
        p = p / p.sum(2, keepdim=True)
        p = p * ((n / columns) / p.sum(1, keepdim=True))
        p = p / p.sum(0, keepdim=True)

    return p[:k].sum(0)


def scores_of(case: str, device: torch.device) -> Tensor:
    """Cosines of random unit vectors with random unit anchors, 128 dimensions."""
    (batch, n, columns), _ = CASES[case]
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    samples = unit(torch.randn(batch, n, 128, generator=generator), dim=-1)
    anchors = unit(torch.randn(batch, columns, 128, generator=generator), dim=-1)

    return (samples @ anchors.mT).to(device)


def measure(case: str, provider: Provider, scores: Tensor, k: int, seconds: float) -> Line:
    """First call, then the median of as many as fit into `seconds`, the error and the peak."""
    cuda = scores.is_cuda
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()

    with torch.no_grad():
        began = time.perf_counter()
        plan = provider.run(scores)
        wait(scores)
        first = time.perf_counter() - began
        peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if cuda else None
        times: list[float] = []
        while not times or (sum(times) + times[-1] < seconds and len(times) < 50):
            if first > 5.0:  # not worth a second look
                break
            began = time.perf_counter()
            plan = provider.run(scores)
            wait(scores)
            times.append(time.perf_counter() - began)

    error = violation(plan, k)
    median = statistics.median(times) if times else first
    return Line(case, provider.name, 1e3 * first, 1e3 * median, max(1, len(times)), error, peak)


def violation(plan: Tensor, k: int) -> float:
    """The worst relative violation of a row or column sum."""
    n, columns = plan.shape[-2:]
    plan = plan.double()
    by_row = (plan.sum(-1) / k - 1).abs().max()
    by_column = (plan.sum(-2) / (n * k / columns) - 1).abs().max()

    return float(torch.maximum(by_row, by_column))


def wait(x: Tensor) -> None:
    """Until the device has done what it was asked."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def text_of(line: Line) -> str:
    """One line of the table."""
    peak = "-" if line.peak_mib is None else f"{line.peak_mib:.1f}"
    return (
        f"{line.case:17}{line.provider:32}{line.first_ms:10.2f}{line.median_ms:11.3f}"
        f"{line.error:10.1e}{peak:>10}"
    )


def machine(device: torch.device) -> str:
    """What the figures belong to."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


def carriers(device: torch.device) -> str:
    """What the lines that start with multisk run on."""
    if kernels_run(torch.empty(0, device=device)):
        return "Triton kernels"
    if device.type == "cuda":
        return "plain torch: Triton is not installed"

    return "torch, with numba where it is installed; no CUDA device, so no kernel is launched"


def say(text: str) -> None:
    """Print at once, so that a long run is seen to go on."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

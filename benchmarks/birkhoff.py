"""Doubly stochastic layers: error of margins, plan and gradient, and processor time on one thread.

`python -m benchmarks.birkhoff` prints a row for each case and method and writes them to
`benchmarks/results/birkhoff.csv`, and the figure to `docs/multisk/birkhoff.png`. The truth is
`multisk.solve` in float64 to 1e-13, on the first 2,000 matrices.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import multisk
from benchmarks.common import table
from benchmarks.peers.layers import birkhoff_sweeps
from multisk.birkhoff import birkhoff, check

ROOT = Path(__file__).parents[1]
CASES = (
    *((65536, 4, 1.0), (65536, 4, 4.0), (4096, 4, 12.0), (4096, 4, 100.0)),
    *((4096, 8, 1.0), (4096, 8, 4.0), (1024, 16, 4.0)),
)
SCALES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
REPEATS = 5
CHECKED = 2000


def in_torch(x: Tensor) -> Tensor:
    """The fallback without numba."""
    with multisk.use_backend("torch"):
        return birkhoff(x)


METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "20 sweeps": birkhoff_sweeps,
    "birkhoff": birkhoff,
    "birkhoff without numba": in_torch,
}


def draw(count: int, size: int, scale: float) -> tuple[Tensor, Tensor]:
    """Logits and a cotangent."""
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(count, size, size, generator=generator)
    return x, torch.randn(count, size, size, generator=generator)


def both(method: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Plan and gradient."""
    x = x.clone().requires_grad_()
    plan = method(x)
    plan.backward(grad)
    assert x.grad is not None
    return plan.detach(), x.grad


def truth(x: Tensor) -> Tensor:
    """The limit, in float64."""
    tight = multisk.Newton(tolerance=1e-13)
    return multisk.solve(x, multisk.Transport(eps=1.0), tight).plan


def seconds(function: Callable[[], Any]) -> float:
    """Least processor time of some calls after one that is not timed."""
    function()
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return min(taken)


def row_of(name: str, count: int, size: int, scale: float) -> dict[str, Any]:
    """One case by one method."""
    x, grad = draw(count, size, scale)
    method = METHODS[name]
    plan, gradient = both(method, x, grad)
    row = {
        "matrices": count,
        "size": size,
        "scale": scale,
        "method": name,
        "forward_s": round(seconds(lambda: method(x)), 4),
        "both_s": round(seconds(lambda: both(method, x, grad)), 4),
        "margins": f"{float(check(plan).max()):.1e}",
        "finite_gradient": bool(gradient.isfinite().all()),
    }
    if scale <= 4:
        want, slope = both(truth, x[:CHECKED].double(), grad[:CHECKED].double())
        row["plan"] = f"{float((plan[:CHECKED] - want).abs().max()):.1e}"
        row["gradient"] = f"{float((gradient[:CHECKED] - slope).abs().max()):.1e}"
    return row


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Error of the margins against the scale of the logits, and time."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    lines = {f"{n} sweeps": (lambda x, n=n: birkhoff_sweeps(x, n)) for n in (5, 10, 20)}
    for name, method in (lines | {"birkhoff": birkhoff}).items():
        errors = [float(check(method(draw(1024, 4, scale)[0])).max()) for scale in SCALES]
        left.loglog(SCALES, errors, marker="o", label=name)
    left.set(xlabel="scale of the logits (4 x 4)", ylabel="largest error of a row or column sum")
    left.legend()
    timed = [row for row in rows if (row["matrices"], row["scale"]) == (65536, 4.0)]
    names = [row["method"].replace(" without", "\nwithout") for row in timed]
    right.bar(names, [row["both_s"] for row in timed])
    right.set(ylabel="processor time (s)", title="(65536, 4, 4) at scale 4, with backward")
    shown.savefig(path, dpi=110)


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        for name in METHODS:
            row = row_of(name, *case)
            rows.append(row)
            print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    names = [*rows[0]] if len(rows[0]) > len(rows[-1]) else [*rows[-1]]
    table.write(table.RESULTS / "birkhoff.csv", rows, names)
    figure(rows, ROOT / "docs" / "multisk" / "birkhoff.png")


if __name__ == "__main__":
    main()

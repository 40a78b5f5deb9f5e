"""Balanced targets: column error and processor time against three sweeps, on one thread.

`python -m benchmarks.ssl` prints a row for each case and writes them to
`benchmarks/results/ssl.csv`.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import table
from benchmarks.peers.layers import centred_sweeps
from multisk.ssl import SinkhornCentering, targets

ROOT = Path(__file__).parents[1]
# Rows, prototypes, scale of the logits and of the prototypes' offsets; cosines are cut to [-1, 1].
LOGITS = {
    "cosines": (512, 1024, 0.6, 0.2),
    "cosines, many": (2048, 8192, 0.6, 0.2),
    "free": (512, 256, 8.0, 8.0),
    "free, large": (2048, 1024, 4.0, 4.0),
}
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TEMPERATURES = {"cosines": (0.01, 0.04), "free": (0.01, 0.04)}  # others at .04 alone


def draw(name: str) -> Tensor:
    rows, prototypes, scale, offsets = LOGITS[name]
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(rows, prototypes, generator=generator)
    x = x + offsets * torch.randn(prototypes, generator=generator)
    return x.clamp(-1, 1) if name.startswith("cosines") else x


def column_error(q: Tensor) -> float:
    q = q.double()
    return float((q.sum(0) * q.shape[1] / q.shape[0] - 1).abs().max())


def timed(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.process_time()
    found = function()
    return found, time.process_time() - began


def warm(x: Tensor, temperature: float) -> tuple[Tensor, float]:
    """The batch after one that differs a little."""
    centring = SinkhornCentering(x.shape[1])
    centring(x + 0.02 * x.std() * torch.randn_like(x), temperature)
    return timed(lambda: centring(x, temperature))


def main() -> None:
    torch.set_num_threads(1)
    for temperature in TEMPERATURES["cosines"]:  # loads, or compiles, the loops
        targets(draw("cosines").half(), temperature)
    torch.manual_seed(0)
    rows = []
    for name in LOGITS:
        for temperature in TEMPERATURES.get(name, (0.04,)):
            for dtype in DTYPES if name == "cosines" else DTYPES[-1:]:
                x = draw(name).to(dtype)
                usual, sweeps_s = timed(lambda x=x, t=temperature: centred_sweeps(x, t))
                found, seconds = timed(lambda x=x, t=temperature: targets(x, t))
                again, warm_s = warm(x, temperature)
                row = {
                    "logits": name,
                    "shape": f"{x.shape[0]}x{x.shape[1]}",
                    "temperature": temperature,
                    "dtype": str(dtype).removeprefix("torch."),
                    "sweeps_error": f"{column_error(usual):.0e}",
                    "error": f"{column_error(found):.0e}",
                    "warm_error": f"{column_error(again):.0e}",
                    "sweeps_s": round(sweeps_s, 3),
                    "seconds": round(seconds, 3),
                    "warm_s": round(warm_s, 3),
                }
                rows.append(row)
                print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    table.write(table.RESULTS / "ssl.csv", rows, [*rows[0]])


if __name__ == "__main__":
    main()

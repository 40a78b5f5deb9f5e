"""What a launch costs the host: Triton's own binding and cache look-up, without a device.

    python -m benchmarks.gpu.host       one line a launcher: process time, the least of seven rounds

Kernels are compiled ahead of time for one GPU and launched into nothing: what is timed is the
Python of the launcher, the binding of its arguments and the look-up of the compiled kernel. The
call into the driver, 2 to 4 us, is not in it. A launch should stay within 20 us.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

TARGET = 90  # compute capability of the GPU that is compiled for
ROUNDS, CALLS, BUDGET = 7, 10, 20.0


class FakeDriver:
    """All that a launch asks of a driver, for one NVIDIA GPU that is not there."""

    def __init__(self) -> None:
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", TARGET, 32)

    def get_current_target(self) -> Any:
        """What is compiled for."""
        return self.target

    def get_current_device(self) -> int:
        """The first."""
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        """The default one."""
        return 0


@contextlib.contextmanager
def launched_into_nothing() -> Iterator[list[str]]:
    """Within it kernels are bound and looked up, compiled where they must be, and not run."""
    import triton
    from triton.runtime.driver import driver

    names: list[str] = []
    plain, before = triton.KernelInterface.__getitem__, driver._active

    def launcher(kernel: Any, grid: Any) -> Callable[..., Any]:
        def launch(*given: Any, **options: Any) -> Any:
            names.append(kernel.fn.__name__)
            return kernel.warmup(*given, grid=grid, **options)

        return launch

    driver.set_active(FakeDriver())
    triton.KernelInterface.__getitem__ = launcher
    try:
        yield names
    finally:
        triton.KernelInterface.__getitem__ = plain
        driver._active = before


def launchers(count: int = 5716, width: int = 64) -> dict[str, Callable[[], Any]]:
    """Calls of the launchers that a solve is made of, on (1, count, width)."""
    from multisk.kernels.newton import add_partials, newton_pass
    from multisk.kernels.resident import resident_sweeps
    from multisk.kernels.search import search
    from multisk.kernels.sweep import Budgets, sweep
    from multisk.kernels.wide import At, solve_wide

    one, scales = torch.ones(1), torch.ones(1, 2)
    x, a, b = torch.rand(1, count, width), torch.zeros(1, count), torch.zeros(1, width)
    budgets = Budgets(rows=one, row_cells=one, columns=one, column_cells=one)
    few, part = x[:, :64].contiguous(), torch.zeros(1, 64, 2 + width, width)
    wide = torch.zeros(1, 256)
    at = At(
        scores=torch.rand(1, 64, 256),
        scale=one,
        row_potential=torch.zeros(1, 64),
        column_potential=wide,
    )
    return {
        "resident_sweeps": lambda: resident_sweeps(x, scales, budgets, 20),
        "sweep": lambda: sweep(x, scales, a, b, budgets),
        "newton_pass": lambda: newton_pass(x, one, b, a, one),
        "add_partials": lambda: add_partials(part),
        "search, 6 passes": lambda: search(few, one, None, budgets, passes=6),
        "solve_wide, 4 rounds": lambda: solve_wide(at, wide, wide, wide, rounds=4),
    }


def main() -> None:
    """Print microseconds a launch."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        import triton

        print(f"triton {triton.__version__}, torch {torch.__version__}, sm_{TARGET}")
        for name, call in launchers().items():
            launches, us = measured(call)
            note = "" if us <= BUDGET else f"  more than {BUDGET:.0f}"
            print(f"{name:22}{launches:4} launches{us:8.1f} us each{note}", flush=True)


def measured(call: Callable[[], Any], calls: int = CALLS) -> tuple[int, float]:
    """Launches of a call, and microseconds of process time for each of them."""
    with launched_into_nothing() as names:
        call()  # compiles
        names.clear()
        call()
        launches, best = len(names), float("inf")
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(calls):
                call()
            best = min(best, (time.process_time() - began) / calls)
    return launches, 1e6 * best / launches


if __name__ == "__main__":
    main()

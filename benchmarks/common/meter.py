"""Time calls on a GPU by events and CUDA graphs; the dry meter makes the same motions without."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

Call = Callable[[], Any]
TURNS = 3  # calls that a profile is taken over


@dataclass(frozen=True)
class Spent:
    """What one kernel took of a call: how often it ran, and microseconds altogether."""

    kernel: str
    launches: float
    us: float
    source: str  # "profiler", or "events" around Triton's launches alone


class CudaMeter:
    """Events around single calls, graphs, peak memory."""

    device = "cuda"
    seconds = 0.4  # of measuring, per row

    def name(self) -> str:
        """What the figures belong to."""
        return torch.cuda.get_device_name()

    def wait(self) -> None:
        """Until the device has done what it was asked."""
        torch.cuda.synchronize()

    def begin_memory(self) -> None:
        """From here on the peak counts."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self.held = torch.cuda.memory_allocated()

    def peak_memory(self) -> int:
        """Most bytes held since, beyond those held before."""
        return torch.cuda.max_memory_allocated() - self.held

    def graph_of(self, run: Call) -> Call:
        """Capture a call; replaying it costs the host next to nothing."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            run()
        return graph.replay

    def timed(self, call: Call) -> list[float]:
        """Sorted seconds of single calls by events, after warming up."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        times, began = [], time.perf_counter()
        while len(times) < 5 or (len(times) < 200 and time.perf_counter() - began < self.seconds):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
            if time.perf_counter() - began > 4 * self.seconds:
                break
        return sorted(times)

    def host_and_wall(self, call: Call) -> tuple[float, float]:
        """Seconds until a call gives the host back, and until the device is done."""
        self.wait()
        began = time.perf_counter()
        call()
        host = time.perf_counter() - began
        self.wait()
        return host, time.perf_counter() - began

    def kernels(self, call: Call) -> list[Spent]:
        """Device time by kernel, the longest first; by events where the profiler sees nothing."""
        return self.profiled(call) or self.by_events(call)

    def profiled(self, call: Call) -> list[Spent]:
        """By the profiler: every kernel, torch's own too."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(TURNS):
                call()
            torch.cuda.synchronize()
        found = [
            Spent(event.key, event.count / TURNS, event.self_device_time_total / TURNS, "profiler")
            for event in seen.key_averages()
            if event.self_device_time_total > 0
        ]
        return sorted(found, key=lambda spent: -spent.us)

    def by_events(self, call: Call) -> list[Spent]:
        """By a pair of marks around each launch of a Triton kernel."""
        marks: list[tuple[str, Any, Any]] = []
        with launches(lambda name, run: marks.append((name, *self.marked(run)))):
            call()
        self.wait()
        spent: dict[str, list[float]] = {}
        for name, start, end in marks:
            spent.setdefault(name, []).append(self.between(start, end))
        found = [Spent(name, len(each), 1e6 * sum(each), "events") for name, each in spent.items()]
        return sorted(found, key=lambda one: -one.us)

    def marked(self, run: Call) -> tuple[Any, Any]:
        """Run between two marks."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        return start, end

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one mark to another."""
        return start.elapsed_time(end) / 1e3

    def copy_bandwidth(self) -> float:
        """Bytes read and written a second by a large copy."""
        x = torch.empty(1 << 28, dtype=torch.float32, device="cuda").normal_()
        y = torch.empty_like(x)
        return 2 * x.numel() * 4 / self.timed(lambda: y.copy_(x))[0]


class DryMeter(CudaMeter):
    """The same on the processor, one call a row: its times say nothing and are never kept."""

    device = "cpu"

    def name(self) -> str:
        """No device."""
        return "dry run"

    def wait(self) -> None:
        """Nothing to wait for."""

    def begin_memory(self) -> None:
        """Not measured."""

    def peak_memory(self) -> int:
        """Not measured."""
        return 0

    def graph_of(self, run: Call) -> Call:
        """The call itself."""
        return run

    def timed(self, call: Call) -> list[float]:
        """One call."""
        began = time.perf_counter()
        call()
        return [time.perf_counter() - began]

    def host_and_wall(self, call: Call) -> tuple[float, float]:
        """Not measured."""
        return 0.0, 0.0

    def profiled(self, call: Call) -> list[Spent]:
        """There is no device to profile."""
        return []

    def marked(self, run: Call) -> tuple[float, float]:
        """By the clock."""
        began = time.perf_counter()
        run()
        return began, time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Seconds."""
        return end - start

    def copy_bandwidth(self) -> float:
        """A number to divide by."""
        return 1e9


@contextlib.contextmanager
def launches(see: Callable[[str, Call], None]) -> Iterator[None]:
    """Within it every launch of a Triton kernel goes through `see(name, run)`, which runs it."""
    import triton

    plain = triton.KernelInterface.__getitem__

    def launcher(kernel: Any, grid: Any) -> Call:
        launch = plain(kernel, grid)
        return lambda *args, **options: see(kernel.fn.__name__, lambda: launch(*args, **options))

    triton.KernelInterface.__getitem__ = launcher
    try:
        yield
    finally:
        triton.KernelInterface.__getitem__ = plain

"""Time calls on a GPU by events and CUDA graphs; the dry meter makes the same motions without."""

import time
from collections.abc import Callable
from typing import Any

import torch

Call = Callable[[], Any]


class CudaMeter:
    """Events around single calls, graphs, peak memory."""

    device = "cuda"
    seconds = 0.6  # of measuring, per row

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

    def copy_bandwidth(self) -> float:
        """A number to divide by."""
        return 1e9

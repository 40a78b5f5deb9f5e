"""Time a callable on one thread, measure its extra memory, and keep the rows of one CSV."""

import csv
import ctypes
import datetime
import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIELDS = [
    "case",
    "provider",
    "min_ms",
    "median_ms",
    "cpu_ms",
    "runs",
    "steps",
    "marginal_error",
    "gap",
    "extra_mb",
    "speedup",
    "load",
    "disturbed",
    "date",
    "machine",
    "threads",
    "versions",
]
FILE = Path(__file__).parent / "results" / "cpu.csv"
QUIET = 1.3  # one-minute load average above which another job shares the machine


def timed(work: Callable[[], Any], *, seconds: float = 2.0, most: int = 400) -> dict[str, Any]:
    """Minimum and median wall time, minimum processor time, after one warm-up call."""
    work()
    walls, processors = [], []
    stop = time.perf_counter() + seconds
    while len(walls) < 2 or (time.perf_counter() < stop and len(walls) < most):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {
        "min_ms": f"{1e3 * min(walls):.4g}",
        "median_ms": f"{1e3 * statistics.median(walls):.4g}",
        "cpu_ms": f"{1e3 * min(processors):.4g}",
        "runs": len(walls),
    }


def extra_memory(work: Callable[[], Any]) -> float:
    """Peak resident MB during `work` beyond what was resident before it (Linux)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    kept = work()
    peak = resident("VmHWM")
    del kept
    return (peak - before) / 1024


def resident(name: str) -> int:
    """A line of the kernel's own account, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def keep(row: dict[str, Any], packages: tuple[str, ...] = ()) -> None:
    """Insert or replace the row of this case and provider."""
    import torch

    load = os.getloadavg()[0]
    found = []
    for name in ("torch", "numpy", "numba", *packages):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    full = {
        **row,
        "load": f"{load:.1f}",
        "disturbed": "yes" if load > QUIET else "no",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": ", ".join(found),
    }
    rows = {(old["case"], old["provider"]): old for old in read()}
    rows[full["case"], full["provider"]] = full
    write(list(rows.values()))
    print(*(f"{key}={full.get(key, '')}" for key in FIELDS[:11]), f"load={load:.1f}", flush=True)


def read() -> list[dict[str, str]]:
    """The rows kept so far."""
    if not FILE.exists():
        return []
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, Any]]) -> None:
    """Write all rows."""
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def machine() -> str:
    """Processor, cores and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )

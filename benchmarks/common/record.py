"""Time a callable on one thread, measure its extra memory, and keep the rows of one CSV."""

import ctypes
import datetime
import functools
import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import table

KEY = ("case", "provider", "device", "versions", "commit")
FIELDS = [
    *("case", "shape", "provider", "min_ms", "median_ms", "cpu_ms", "first_ms", "runs", "steps"),
    *("marginal_error", "gap", "input_mb", "plan_mb", "extra_mb", "speedup", "note"),
    *("load", "disturbed"),
    *("date", "device", "threads", "versions", "commit"),
]
FILE = Path(__file__).parents[1] / "results" / "cpu.csv"
QUIET = 1.3  # one-minute load average above which another job shares the machine


def timed(work: Callable[[], Any], *, seconds: float = 2.0, most: int = 400) -> dict[str, Any]:
    """Minimum and median wall time, minimum processor time; call `work` once before."""
    walls, processors = [], []
    stop = time.perf_counter() + seconds
    while not walls or (time.perf_counter() < stop and len(walls) < most):
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
    kept = work()  # what comes back is resident at the peak
    peak = resident("VmHWM")
    del kept
    return (peak - before) / 1024


def resident(name: str) -> int:
    """A line of the kernel's own account, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def keep(row: dict[str, Any], package: str = "torch") -> dict[str, Any]:
    """Insert the row, or replace the one with the same `KEY`; and print it."""
    import torch

    load = os.getloadavg()[0]
    found = []
    for name in ("torch", "numpy", "numba", *([package] if package != "torch" else [])):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    full = {field: str(row.get(field, "")) for field in FIELDS} | {
        "load": f"{load:.1f}",
        "disturbed": "yes" if load > QUIET else "no",
        "date": datetime.date.today().isoformat(),
        "device": machine(),
        "threads": str(torch.get_num_threads()),
        "versions": ", ".join(found),
        "commit": commit(),
    }
    rows = {tuple(old[part] for part in KEY): old for old in read()}
    rows[tuple(full[part] for part in KEY)] = full
    table.write(FILE, rows.values(), FIELDS)
    print(*(f"{key}={full[key]}" for key in FIELDS[:17] if full[key]), flush=True)
    return full


def read() -> list[dict[str, str]]:
    """The rows kept so far, the oldest first; none where the file has another format."""
    rows = table.read(FILE)
    return rows if rows and set(FIELDS) <= set(rows[0]) else []


def newest(rows: list[dict[str, str]], device: str = "") -> list[dict[str, str]]:
    """The last row of every case and provider, of one device."""
    device = device or (rows[-1]["device"] if rows else "")
    last = {(row["case"], row["provider"]): row for row in rows if row["device"] == device}
    return list(last.values())


@functools.cache
def commit() -> str:
    """The commit that is checked out; a plus sign where the solver was changed since."""
    folder = Path(__file__).parents[2]
    command = ["git", "-C", str(folder)]
    found = subprocess.run(
        [*command, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        [*command, "diff", "--quiet", "HEAD", "--", "multisk"], capture_output=True, check=False
    )
    return (found.stdout.strip() or "unknown") + ("+" if changed.returncode == 1 else "")


def machine() -> str:
    """Processor, cores and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )

"""Compile what a launcher launches for any GPU on a machine without one, and read the result."""

import contextlib
import csv
import fcntl
import os
import re
import subprocess
import warnings
from pathlib import Path

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@contextlib.contextmanager
def compile_only(target):
    """Within it kernels are compiled for `target` instead of launched; yields what was compiled."""
    found, plain = [], triton.KernelInterface.__getitem__
    before, listener = driver._active, triton.knobs.compilation.listener

    def collect(*, src, metadata, metadata_group, times, cache_hit):
        found.append({"kernel": src.fn.__name__, "options": metadata, "files": metadata_group})

    driver.set_active(_Driver(target))
    triton.knobs.compilation.listener = collect
    seen = set()

    def launcher(kernel, grid):
        if kernel not in seen:  # what an earlier context compiled is compiled anew
            seen.add(kernel)
            kernel.device_caches.clear()
        return lambda *args, **options: kernel.warmup(*args, grid=grid, **options)

    triton.KernelInterface.__getitem__ = launcher
    try:
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with warnings.catch_warnings(), fake, _AlignedPointers():
            warnings.simplefilter("ignore")
            yield found
    finally:
        driver._active, triton.knobs.compilation.listener = before, listener
        triton.KernelInterface.__getitem__ = plain


class _Driver:
    """All that compiling asks of a driver."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return ("fake", self.target.backend, str(self.target.arch))  # keys the kernel cache

    def get_current_stream(self, device=None):
        return 0


class _AlignedPointers(TorchFunctionMode):
    """A fake tensor has no storage: give an aligned base and the view's true offset."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") == "data_ptr":
            return (1 << 20) + args[0].storage_offset() * args[0].element_size()
        return function(*args, **(kwargs or {}))


def resources(record):
    """Registers, spills, shared memory and the widest global load of one compiled kernel."""
    files = {path.rsplit(".", 1)[1]: path for path in record["files"].values()}
    if "cubin" not in files:
        return _amd(Path(files["amdgcn"]).read_text())
    usage = _tool("cuobjdump", "--dump-resource-usage", files["cubin"])
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())
    code = _tool("nvdisasm", "-c", files["cubin"])
    loads = [int(bits or 32) for bits in re.findall(r"\bLDG\.E(?:\.\w+)*?(?:\.(64|128))?\b", code)]
    async_loads = [
        int(bits or 32) for bits in re.findall(r"\bLDGSTS\.E(?:\.\w+)*?\.(64|128)", code)
    ]
    return {
        "registers": registers,
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "stack": stack,
        "shared": record["options"]["shared"],
        "widest_load": max(loads + async_loads, default=0),
    }


def _amd(text):
    def read(key):
        return int(re.search(rf"\.{key}:\s+(\d+)", text).group(1))

    words = {"dword": 32, "dwordx2": 64, "dwordx3": 96, "dwordx4": 128}
    loads = re.findall(r"(?:buffer|global|flat)_load_(dword(?:x[234])?)\b", text)
    return {
        "registers": read("vgpr_count"),
        "spills": read("vgpr_spill_count"),
        "stack": read("private_segment_fixed_size"),
        "shared": read("group_segment_fixed_size"),
        "widest_load": max((words[word] for word in loads), default=0),
    }


def _tool(name, *arguments):
    run = subprocess.run(
        [str(_TOOLS / name), *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout


def upsert(path, rows, keys):
    """Put rows into a CSV: one line a key, sorted; a second run changes its own lines only."""
    path = Path(path)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may write at the same time
        held = {}
        if path.exists():
            with path.open(newline="") as file:
                held = {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}
        for row in rows:
            row = {key: str(value) for key, value in row.items()}
            held[tuple(row[key] for key in keys)] = row
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(held[key] for key in sorted(held))
        os.replace(part, path)
    path.with_suffix(".lock").unlink(missing_ok=True)


def fake(*shape, dtype=torch.float32):
    """A CUDA tensor that exists in name only; inside `compile_only`."""
    return torch.empty(shape, dtype=dtype, device="cuda")

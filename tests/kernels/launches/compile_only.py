"""Compile what a launcher launches for any GPU on a machine without one, and read the result."""

import ast
import contextlib
import csv
import fcntl
import functools
import hashlib
import inspect
import os
import re
import subprocess
import textwrap
import warnings
from pathlib import Path

import triton
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from tests.kernels.launches.launchers import flags_of

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
    seen, constants = set(), {}

    def collect(*, src, metadata, metadata_group, times, cache_hit):
        found.append(
            {
                "module": src.fn.fn.__module__,
                "kernel": src.fn.fn.__name__,
                "source": digest(src.fn),
                "constants": dict(constants),
                "options": metadata,
                "files": metadata_group,
            }
        )

    def launcher(kernel, grid):
        if kernel not in seen:  # what an earlier context compiled is compiled anew
            seen.add(kernel)
            kernel.device_caches.clear()

        def compile_kernel(*args, **options):
            constants.clear()
            constants.update(flags_of(kernel, options))
            return kernel.warmup(*args, grid=grid, **options)

        return compile_kernel

    driver.set_active(_Driver(target))
    triton.knobs.compilation.listener = collect
    triton.KernelInterface.__getitem__ = launcher
    try:
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with warnings.catch_warnings(), fake, _AlignedPointers():
            warnings.simplefilter("ignore")
            yield found
    finally:
        driver._active, triton.knobs.compilation.listener = before, listener
        triton.KernelInterface.__getitem__ = plain


@functools.cache
def digest(kernel):
    """Eight digits that change with what a kernel and all it calls say, comments aside."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kernel.fn)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    said = [ast.unparse(tree)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in sorted(names - {kernel.fn.__name__}):
        value = kernel.fn.__globals__.get(name)
        if isinstance(value, triton.JITFunction):
            said.append(digest(value))
        elif isinstance(value, triton.language.constexpr):
            said.append(f"{name}={value.value}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]


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
    """Registers, spills, shared memory and the widest global load of one compiled kernel.

    On NVIDIA a spilled register lives in the stack frame, whose size the linked program states;
    `spills` are its words. `disassembled` reads the same from the machine code, slowly.
    """
    files = {path.rsplit(".", 1)[1]: path for path in record["files"].values()}
    if "cubin" not in files:
        return _amd(Path(files["amdgcn"]).read_text())
    usage = _tool("cuobjdump", "--dump-resource-usage", files["cubin"])
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())
    code = Path(files["ptx"]).read_text()
    loads = re.findall(r"\bld\.global(?:[.:]\w+)*?(?:\.v(\d))?\.[bfus](\d+)\b", code)
    copies = re.findall(r"\bcp\.async\.\w+\.shared\.global .*?\], 0x([0-9a-f]+)", code)
    widths = [int(many or 1) * int(bits) for many, bits in loads]
    return {
        "registers": registers,
        "spills": stack // 4,
        "shared": record["options"]["shared"],
        "widest_load": max([*widths, *(8 * int(size, 16) for size in copies)], default=0),
    }


def disassembled(record):
    """Local loads and stores, and the widest global load, of an NVIDIA kernel's machine code."""
    path = next(path for path in record["files"].values() if path.endswith(".cubin"))
    code = _tool("nvdisasm", "-c", path)
    plain = re.findall(r"\bLDG\.E(?:\.\w+)*?(?:\.(64|128|256))?\b", code)
    copies = re.findall(r"\bLDGSTS\.E(?:\.\w+)*?\.(64|128)", code)
    return {
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "widest_load": max((int(bits or 32) for bits in plain + copies), default=0),
    }


def _amd(text):
    def read(key):
        return int(re.search(rf"\.{key}:\s+(\d+)", text).group(1))

    words = {"dword": 32, "dwordx2": 64, "dwordx3": 96, "dwordx4": 128}
    loads = re.findall(r"(?:buffer|global|flat)_load_(dword(?:x[234])?)\b", text)
    return {
        "registers": read("vgpr_count"),
        "spills": max(read("vgpr_spill_count"), read("private_segment_fixed_size") // 4),
        "shared": read("group_segment_fixed_size"),
        "widest_load": max((words[word] for word in loads), default=0),
    }


def _tool(name, *arguments):
    run = subprocess.run(
        [str(_TOOLS / name), *arguments], capture_output=True, text=True, check=True
    )
    return run.stdout


def float_atomics(record):
    """Instructions that add, or otherwise change, floating-point memory in no fixed order."""
    files = {path.rsplit(".", 1)[1]: path for path in record["files"].values()}
    if "ptx" in files:
        found = r"\b(?:atom|red)\.[\w.:]*\b(?:f16|bf16|f32|f64)(?:x2)?\b"
        return re.findall(found, Path(files["ptx"]).read_text())
    found = r"\b(?:global|flat|buffer|ds)_(?:atomic_)?(?:pk_)?(?:add|min|max)(?:_rtn)?_(?:f|bf)\w+"
    return re.findall(found, Path(files["amdgcn"]).read_text())


def replace_rows(path, rows, case, order, current=lambda row: True):
    """Put rows into a CSV in place of all rows with the same values of the columns `case`.

    Rows held before stay only where `current` says so.
    """
    path = Path(path)
    rows = [{key: str(value) for key, value in row.items()} for row in rows]
    fresh = {tuple(row[key] for key in case) for row in rows}
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may write at the same time
        held = [row for row in read_rows(path) if list(row) == list(rows[0]) and current(row)]
        held = [row for row in held if tuple(row[key] for key in case) not in fresh]
        # Ties by all else: a table that says the same is the same file.
        table = sorted(held + rows, key=lambda row: [row[key] for key in order] + [*row.values()])
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        os.replace(part, path)


def read_rows(path):
    """The rows of a CSV, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))

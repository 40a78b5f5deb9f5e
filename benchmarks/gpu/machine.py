"""Which device, which versions, which sources a figure belongs to."""

import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "triton", "numpy", "scipy", "numba", "jaxtyping")


def machine(device: str) -> dict[str, Any]:
    """What stands beside the results, once a run."""
    found: dict[str, Any] = {
        "device": device,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        one = torch.cuda.get_device_properties(0)
        found |= {
            "cuda": torch.version.cuda,
            "devices": torch.cuda.device_count(),
            "capability": f"{one.major}.{one.minor}",
            "multiprocessors": one.multi_processor_count,
            "memory_gib": round(one.total_memory / 2**30, 1),
        }
    return found


def version(name: str) -> str:
    """Of a package, or that it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@functools.cache
def commit() -> str:
    """The commit that is checked out; a digest of the sources where there is no repository."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"sources {sources()}"
    return run.stdout.strip() if run.returncode == 0 else f"sources {sources()}"


def sources() -> str:
    """Eight digits that change with the library or its kernels."""
    digest = hashlib.sha256()
    for folder in ("kernels", "multisk"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]

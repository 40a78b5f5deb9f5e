"""Make a virtual environment with the pinned versions, without gigabytes nobody asked for.

Usage: python tools/install.py VENV [EXTRA ...]     (extras of pyproject.toml, and `test`)
       python tools/install.py VENV --torch         (torch alone)

torch comes first. Where no NVIDIA GPU is visible, the resolver is asked beforehand what it would
fetch, and an answer with CUDA packages stops the installation with a way out. Environment:
  TORCH_INDEX   package index for torch alone, e.g. https://download.pytorch.org/whl/cpu
  ALLOW_CUDA=1  fetch the CUDA build even though no GPU is visible
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
TORCH = next(
    line.strip() for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch==")
)
WAY_OUT = f"""
No NVIDIA GPU is visible here, but the package index offers {TORCH} with {{count}} CUDA packages
(about 2.7 GB). Nothing was installed. Take the CPU build instead:

    TORCH_INDEX=https://download.pytorch.org/whl/cpu make {{target}}

or, to fetch the CUDA build all the same:  ALLOW_CUDA=1 make {{target}}
"""


def main(folder: str, *extras: str) -> int:
    """Create or complete the environment; return the exit status."""
    python = Path(folder) / "bin" / "python"
    wanted = _fingerprint(extras)
    stamp = Path(folder) / f"installed-{'-'.join(extras) or 'base'}"
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"environment {folder} is up to date")
        return 0
    if not python.exists():
        print(f"making the environment {folder}", flush=True)
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    if not _has_torch(python) and (status := _install_torch(pip)):
        return status
    if extras == ("--torch",):
        return 0
    selected = [extra for extra in extras if extra != "test"]
    project = f".[{','.join(selected)}]" if selected else "."
    packages = ["-e", project]
    if "test" in extras:
        packages += ["-r", "tests/requirements.txt"]
    print(f"installing {' '.join(packages)} under constraints.txt", flush=True)
    run = subprocess.run(
        [*pip, "install", "--quiet", "-c", str(CONSTRAINTS), *packages],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    _forward(run.stderr)
    if run.returncode == 0:
        stamp.write_text(wanted)
    return run.returncode


def _fingerprint(extras: tuple[str, ...]) -> str:
    digest = hashlib.sha256(" ".join(extras).encode())
    for name in ("pyproject.toml", "constraints.txt", "tests/requirements.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _has_torch(python: Path) -> bool:
    probe = "import importlib.metadata as m; print(m.version('torch'))"
    run = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    return run.returncode == 0 and run.stdout.split("+")[0].strip() == TORCH.split("==")[1]


def _install_torch(pip: list[str]) -> int:
    index = os.environ.get("TORCH_INDEX")
    source = ["--index-url", index] if index else []
    if not shutil.which("nvidia-smi") and os.environ.get("ALLOW_CUDA") != "1":
        cuda = _cuda_packages([*pip, "install", *source])
        if cuda is None:
            return 1
        if cuda:
            target = os.environ.get("MAKE_TARGET", "demo")
            print(WAY_OUT.format(count=len(cuda), target=target), file=sys.stderr)
            return 1
    print(f"installing {TORCH}", flush=True)
    run = subprocess.run(
        [*pip, "install", "--quiet", "-c", str(CONSTRAINTS), *source, TORCH],
        stderr=subprocess.PIPE,
        text=True,
    )
    _forward(run.stderr)
    return run.returncode


def _cuda_packages(install: list[str]) -> list[str] | None:
    """Names of CUDA packages that the resolver would fetch; None if it failed."""
    run = subprocess.run(
        [*install, "--quiet", "--dry-run", "--ignore-installed", "--report", "-", TORCH],
        capture_output=True,
        text=True,
    )
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        return None
    names = [item["metadata"]["name"].lower() for item in json.loads(run.stdout)["install"]]
    return [name for name in names if name.startswith(("nvidia-", "cuda-"))]


def _forward(stderr: str) -> None:
    for line in stderr.splitlines():
        if "is ignored: it is neither a file nor a directory" not in line:
            print(line, file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):  # no folder: --help makes none of its name
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

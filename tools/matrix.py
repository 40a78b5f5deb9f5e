"""Run the kernel suites under every supported Triton: interpreter and ahead-of-time compilation.

Usage: python tools/matrix.py [FOLDER] [--only VERSION ...] [-k EXPRESSION]

Environments go to FOLDER/VERSION; the expression chooses tests, as pytest's does.

An environment holds the pinned versions of constraints.txt but for Triton, which is the version
asked for, and NumPy where that Triton needs an older one. It shares nothing with .venv.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Triton 3.6 interprets by implicit conversion of one-element arrays, which NumPy 2.4 forbids.
OTHERS = {"3.6.0": {"numpy": "2.3.5"}, "3.7.1": {}, "3.9.0": {}}
PACKAGES = ("torch", "triton", "numpy", "scipy", "jaxtyping", "beartype", "hypothesis", "pytest")
KERNEL_TESTS = "tests/kernels"
SUITES = {
    "interpreter": ("interpret", {"TRITON_INTERPRET": "1"}),
    "compilation": ("compile", {}),
}


def main() -> int:
    """Make the environments, run both suites in each, print one line a suite."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", nargs="?", default=str(ROOT / ".venv-matrix"), type=Path)
    options.add_argument("--only", nargs="+", choices=list(OTHERS), default=list(OTHERS))
    options.add_argument("-k", default="", metavar="EXPRESSION", dest="chosen")
    options = options.parse_args()
    lines, failed = [], False
    for version in options.only:
        python = environment(options.folder / version, pins(version))
        for suite, (marker, setting) in SUITES.items():
            began = time.monotonic()
            status, outcome = run(python, marker, setting, options.chosen)
            failed |= status != 0
            seconds = time.monotonic() - began
            lines.append(f"triton {version}  {suite:12} {outcome}  ({seconds:.0f} s)")
            print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    return int(failed)


def environment(folder: Path, versions: dict[str, str]) -> Path:
    """The interpreter of an environment with these packages, made if it is not there."""
    python = folder / "bin" / "python"
    wanted = [f"{name}=={number}" for name, number in versions.items()]
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == " ".join(wanted):
        return python
    print(f"making {folder}", flush=True)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    index = os.environ.get("TORCH_INDEX")
    source = ["--index-url", index] if index else []
    torch = [pin for pin in wanted if pin.startswith("torch==")]
    subprocess.run([*pip, *source, *torch], check=True)
    subprocess.run([*pip, *wanted], check=True)
    stamp.write_text(" ".join(wanted))
    return python


def pins(version: str, packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of constraints.txt for what the kernel suites import, with this Triton."""
    text = (ROOT / "constraints.txt").read_text()
    held = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE))
    return {name: held[name] for name in packages} | {"triton": version} | OTHERS[version]


def run(python: Path, marker: str, setting: dict[str, str], chosen: str) -> tuple[int, str]:
    """Exit status and last line of one suite; its failures are printed."""
    command = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "-m",
        marker,
        "-k",
        chosen,
        "--tb=short",
        KERNEL_TESTS,
    ]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TRITON_")}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=clean | {"OMP_NUM_THREADS": "1"} | setting,
        capture_output=True,
        text=True,
    )
    text = result.stdout.strip()
    if result.returncode:
        print(text[-4000:], result.stderr[-2000:], file=sys.stderr)
    return result.returncode, re.sub(r" in [\d.]+s.*$", "", text.splitlines()[-1] if text else "?")


if __name__ == "__main__":
    sys.exit(main())

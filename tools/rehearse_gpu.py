"""Rehearse `python -m benchmarks.gpu` without a GPU, with no more packages than a GPU machine has.

Usage: python tools/rehearse_gpu.py [FOLDER]      (the environment and the results go there)

The environment holds Triton 3.6 and packages of tools/gpu_machine.txt alone, which has neither
beartype nor anything else of this project's own; that is checked, then both halves are run on tiny
cases in Triton's interpreter, as they run there: from the checkout, nothing installed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from matrix import ROOT, environment, pins

PACKAGES = ("torch", "triton", "numpy", "scipy", "jaxtyping", "numba", "matplotlib")
PACKAGES += ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis")
THERE = ROOT / "tools" / "gpu_machine.txt"
BROUGHT = {"tzdata"}  # by a newer python-dateutil; data, nothing imports it
LIMIT = 360.0  # seconds of a half
HALVES = {
    "check": r"check: ended after .* (\d+) of \1 ok, tests: \d+ passed",
    "time": r"time: ended",
}


def main() -> int:
    """Make the environment, run both halves, print what their last lines say."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", nargs="?", default=str(ROOT / ".venv-gpu"), type=Path)
    folder = options.parse_args().folder.resolve()
    python = environment(folder, pins("3.6.0", PACKAGES))
    more = installed(python) - there() - BROUGHT
    if more:
        sys.exit(f"not on the GPU machine: {', '.join(sorted(more))}")
    results = folder / "results"
    verdicts = [rehearsed(half, python, results) for half in HALVES]
    print("\n".join(line for _, line in verdicts))
    return int(not all(good for good, _ in verdicts))


def rehearsed(half: str, python: Path, results: Path) -> tuple[bool, str]:
    """Whether a half came to its end as it should, and a line that says so."""
    command = [str(python), "-m", "benchmarks.gpu", f"--{half}", "--dry", "--out", str(results)]
    began = time.monotonic()
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    process = subprocess.Popen(command, cwd=ROOT, env=plain, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout or ():
        last = line.rstrip()
        print(last, flush=True)
    status, took = process.wait(), time.monotonic() - began
    good = status == 0 and re.match(HALVES[half], last) is not None and took < LIMIT
    word = "rehearsed" if good else f"FAILED with status {status}"
    return good, f"{half}: {word} in {took:.0f} s of {LIMIT:.0f}; last line: {last}"


def installed(python: Path) -> set[str]:
    """What the environment holds."""
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {canonical(package["name"]) for package in json.loads(run.stdout)}


def there() -> set[str]:
    """What the GPU machine has."""
    lines = (line.split("#")[0] for line in THERE.read_text().splitlines())
    return {canonical(word) for line in lines for word in line.split()}


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())

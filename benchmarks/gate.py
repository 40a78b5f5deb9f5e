"""Run the tests of the kernels in several processes: compiling is most of what they do."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]


def gate(folder: Path, pattern: str, marker: str, seconds: float, *, most: int = 8) -> str:
    """What is wrong with a folder's tests that carry `marker`; nothing when all of them pass."""
    names = sorted(path.name for path in folder.glob(pattern))
    pytest = [*PYTEST, "--rootdir", str(folder), "-m", marker]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    until = time.monotonic() + seconds
    found = subprocess.run(
        [*pytest, "--collect-only", *names],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    tests = [line for line in found.stdout.splitlines() if "::" in line]
    if found.returncode != 0 or not tests:
        return f"no tests could be collected:\n{found.stdout[-2000:]}{found.stderr[-2000:]}"
    count = max(1, min(most, os.cpu_count() or 1, len(tests)))
    print(f"{len(tests)} tests in {count} processes", flush=True)
    running = [
        subprocess.Popen(
            [*pytest, "-x", *tests[start::count]],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for start in range(count)
    ]
    wrong = ""
    for process in running:
        try:
            text, _ = process.communicate(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            wrong = wrong or f"the tests took longer than {seconds:.0f} s"
            process.kill()
            process.communicate()
            continue
        print(text.strip().splitlines()[-1] if text.strip() else "?", flush=True)
        if process.returncode != 0:
            wrong = f"the tests are not green\n{text[-3000:]}"
    return wrong

"""compute-sanitizer over the kernel with the grid barrier; a verdict, or why there is none."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ("memcheck", "racecheck", "synccheck")
REFUSED = ("not supported", "Unable to", "Error: No attachable process")  # as under gVisor, MIG
FOUND = 9  # exit status asked for where something is found
PROGRAM = """
import torch, multisk
x = torch.randn(1, 700, 64, device="cuda")
multisk.solve(x, multisk.MultiAssignment(k=8), multisk.Sinkhorn(steps=4))
multisk.solve(x, multisk.MultiAssignment(k=8), multisk.Newton())
torch.cuda.synchronize()
"""


def sanitize(seconds: float) -> Iterator[tuple[str, str, str]]:
    """(tool, verdict, text) of each tool: clean, FOUND, failed or skipped; `seconds` each."""
    program = shutil.which("compute-sanitizer")
    for tool in TOOLS:
        if program is None:
            yield tool, "skipped", "compute-sanitizer is not installed"
            continue
        command = [program, "--tool", tool, "--error-exitcode", str(FOUND)]
        try:
            run = subprocess.run(
                [*command, sys.executable, "-c", PROGRAM],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            yield tool, "skipped", f"took longer than {seconds:.0f} s"
            continue
        yield tool, *verdict(run.returncode, run.stdout + run.stderr)


def verdict(status: int, text: str) -> tuple[str, str]:
    """What a run of the tool means: it refuses some devices, which says nothing of the kernels."""
    tail = text[-2000:].strip()
    if any(words in text for words in REFUSED):
        return "skipped", tail
    if status == 0:
        return "clean", ""
    return ("FOUND" if status == FOUND else "failed"), tail

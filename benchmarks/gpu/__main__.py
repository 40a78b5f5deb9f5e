"""Check the kernels on this GPU, then time them; each half ends within six minutes.

    python -m benchmarks.gpu --out DIR             both halves
    python -m benchmarks.gpu --check --out DIR     every path against float64, and the GPU tests
    python -m benchmarks.gpu --time --out DIR      every case, ours and others; --tests FILE: the
                                                   tests.xml of an earlier --check, for a column
    python -m benchmarks.gpu --sanitize --out DIR  compute-sanitizer
    add --dry                                      the same motions on tiny cases, no GPU

It needs torch, triton, numpy, scipy, jaxtyping and pytest, and no network. All that is known is
written at once: a half that is cut keeps what it found. What hangs or fails costs itself alone; a
red test marks the rows of gpu.csv and stops nothing. The exit status is 0 where all went well.
"""

import argparse
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.cases import CASES
from benchmarks.common.meter import CudaMeter, DryMeter
from benchmarks.common.table import read
from benchmarks.gpu import checks, times
from benchmarks.gpu.machine import ROOT, machine
from benchmarks.gpu.sanitizer import TOOLS, sanitize
from benchmarks.gpu.suite import Suite, summary
from benchmarks.gpu.supervise import Outcome, Step, supervise, work

LIMIT = 340.0  # seconds of one half
KERNEL_TESTS = ["tests/kernels"]
DRY_TESTS = ["tests/kernels/test_gpu.py"]  # what the interpreter does of them in half a minute


@dataclass(frozen=True)
class Run:
    """What was asked for."""

    folder: Path
    dry: bool
    limit: float
    report: Path  # junit of the tests

    @property
    def environment(self) -> dict[str, str]:
        """Of every process that this one starts."""
        setting = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        return os.environ | setting | ({"TRITON_INTERPRET": "1"} if self.dry else {})

    def child(self, half: str) -> list[str]:
        """The command of a child of one half, but for the number of its first step."""
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", f"--{half}"]
        command += ["--out", str(self.folder), "--tests", str(self.report)]
        return [*command, *(["--dry"] if self.dry else []), "--child"]


def main() -> int:
    """Parse the options, be the parent or a child; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for all results")
    parser.add_argument("--check", action="store_true", help="the first half")
    parser.add_argument("--time", action="store_true", help="the second half")
    parser.add_argument("--sanitize", action="store_true", help="compute-sanitizer, by itself")
    parser.add_argument("--dry", action="store_true", help="tiny cases in Triton's interpreter")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of each half")
    parser.add_argument("--tests", type=Path, metavar="FILE", help="junit of the GPU tests")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    report = options.tests or options.out / "tests.xml"
    run = Run(options.out.resolve(), options.dry, options.limit, report.resolve())
    run.folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # and what it started
    if options.child is not None:
        steps = check_steps(run) if options.check else time_steps(run)
        return work(steps, options.child)
    if not run.dry and not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured (--dry rehearses; predicted.csv has floors)")
    if options.sanitize:
        return sanitize_half(run)
    both = options.check == options.time
    status = check_half(run) if options.check or both else 0
    return max(status, time_half(run) if options.time or both else 0)


def check_half(run: Run) -> int:
    """The checks; beside them, on the other cores, the tests, which compile most of the time."""
    began, say = time.monotonic(), journal(run.folder / "check.log")
    until, steps = began + run.limit, check_steps(run)
    (run.folder / "check.csv").unlink(missing_ok=True)
    paths = DRY_TESTS if run.dry else KERNEL_TESTS
    suite = Suite(paths, run.folder, run.environment)
    try:
        outcome = supervise(run.child("check"), steps, until - 30, say, run.environment)
        good = sum(row["status"] == "ok" for row in read(run.folder / "check.csv"))
        say(f"checks: {good} of {len(steps)} ok{told(outcome)}; waiting for the tests")
        tests = suite.finish(until, say)
    finally:
        suite.end()
    took = f"{time.monotonic() - began:.0f} s"
    say(f"check: ended after {took}, {good} of {len(steps)} ok, tests: {tests}")
    return int(good < len(steps) or not tests.endswith("passed"))


def time_half(run: Run) -> int:
    """The cases, then the targets and the plot."""
    began, say = time.monotonic(), journal(run.folder / "time.log")
    steps = time_steps(run)
    outcome = supervise(run.child("time"), steps, began + run.limit - 20, say, run.environment)
    rows = own_rows(run)
    for line in [] if run.dry else times.verdicts(rows):
        say(line)
    say(times.plot(rows, run.folder / "gpu.png"))
    say(f"time: ended after {time.monotonic() - began:.0f} s, {len(rows)} rows{told(outcome)}")
    return int(not rows or bool(outcome.lost or outcome.left))


def own_rows(run: Run) -> list[dict[str, str]]:
    """The rows of this device and commit: the table keeps those of others."""
    file = run.folder / "machine.json"
    ours = json.loads(file.read_text()) if file.exists() else {}
    rows = read(run.folder / "gpu.csv")
    return [row for row in rows if all(row[key] == ours.get(key) for key in ("device", "commit"))]


def sanitize_half(run: Run) -> int:
    """compute-sanitizer over the resident kernel."""
    say, bad = journal(run.folder / "sanitize.log"), False
    for tool, verdict, text in sanitize(run.limit / len(TOOLS)):
        say(f"{tool}: {verdict}" + (f"\n{text}" if text else ""))
        bad |= verdict in {"FOUND", "failed"}
    say(f"sanitize: ended, {'something was found' if bad else 'nothing was found'}")
    return int(bad)


def check_steps(run: Run) -> list[Step]:
    """The checks of `checks.py`, each with its own limit."""
    bench = checks.TINY if run.dry else checks.Bench()
    return checks.steps(bench, run.folder, lambda: stamp(run))


def time_steps(run: Run) -> list[Step]:
    """The cases of the registry."""
    return times.steps(lambda: session(run), times.TINY if run.dry else CASES)


@functools.cache
def session(run: Run) -> times.Session:
    """The meter, the bandwidth of a copy and the stamp of every row; once a child."""
    meter = DryMeter() if run.dry else CudaMeter()
    effort = times.Effort(2, 2, 2) if run.dry else times.Effort()
    copy = meter.copy_bandwidth()
    print(f"{meter.name()}: a large copy moves {copy / 1e12:.2f} TB/s", flush=True)
    mark = stamp(run) | {"tests": summary(run.report)}
    return times.Session(meter, run.folder, mark, copy, effort)


@functools.cache
def stamp(run: Run) -> dict[str, str]:
    """Device, versions, date and commit of every row; all that is known goes to machine.json."""
    found = machine("dry run" if run.dry else torch.cuda.get_device_name())
    (run.folder / "machine.json").write_text(json.dumps(found, indent=1) + "\n")
    return {key: found[key] for key in ("device", "torch", "triton", "commit", "date")}


def told(outcome: Outcome) -> str:
    """What was lost, for a last line."""
    lost = f", lost: {'; '.join(outcome.lost)}" if outcome.lost else ""
    return lost + (f", not begun for lack of time: {len(outcome.left)}" if outcome.left else "")


def journal(path: Path) -> Callable[[str], None]:
    """Print a line and write it, at once."""
    file = path.open("a")

    def say(line: str) -> None:
        print(line, flush=True)
        print(line, file=file, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())

"""The tests marked `gpu`, all of them whatever fails, and what their report says.

Options on the command line take the place of pyproject.toml's: a bare machine lacks beartype, and
a warning of another torch is no failure here. Compiling is most of what the tests do, so they run
in as many processes as there are cores.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 14  # processes: each has a context of half a gigabyte on the device
GRACE = 20.0  # seconds in which an interrupted run writes its report
BARE = ["-o", "addopts=--import-mode=importlib", "-W", "ignore", "-p", "no:cacheprovider"]


def run_suite(
    files: list[str],
    folder: Path,
    until: float,
    say: Callable[[str], None],
    environment: dict[str, str],
) -> str:
    """Run the files' tests that carry `gpu`, write tests.log and tests.xml, sum them up.

    Args:
        files: Test files.
        folder: Where the report goes.
        until: `time.monotonic()` at which the run is interrupted; what it found stays.
        say: Takes the lines worth reading.
        environment: Of the tests.
    """
    report, log = folder / "tests.xml", folder / "tests.log"
    report.unlink(missing_ok=True)
    options = ["-m", "gpu", "-v", "--tb=short", "-rfE", f"--junitxml={report}"]
    options += ["-p", "benchmarks.gpu.poisoned", *shared_out()]
    command = [sys.executable, "-m", "pytest", *BARE, *options, *files]
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of ours reaches its workers, not us
        )
        try:
            cut = not ended(process, until - GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    found = summary(report)
    for line in log.read_text(errors="replace").splitlines()[-40:]:
        if line.startswith(("FAILED", "ERROR", "E  ")) or found == NO_REPORT:
            say(line[:300])
    return f"{found}, cut by the time limit" if cut else found


def shared_out() -> list[str]:
    """Processes and a limit a test, where the plugins for them are there."""
    options = []
    if importlib.util.find_spec("xdist"):
        count = max(1, min(MOST, (os.cpu_count() or 2) - 2))
        options += ["-n", str(count), "--dist", "worksteal"]
    if importlib.util.find_spec("pytest_timeout"):
        # A thread ends the process of a test that hangs in the driver; a signal would wait for it.
        options += ["--timeout=90", "--timeout-method=thread"]
    return options


def ended(process: subprocess.Popen[bytes], until: float) -> bool:
    """Whether a process came to its end by itself; else it is interrupted, to write its report."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(0.1, until - time.monotonic()))
        return True
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)
    return False


NO_REPORT = "no report"


def summary(report: Path) -> str:
    """What a junit report says, in a few words: "535 passed", "3 failed of 535", "no report".

    A test that ended its process is reported twice, and counted once.
    """
    try:
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return NO_REPORT
    ran: dict[tuple[str | None, str | None], bool] = {}
    for case in cases:
        outcomes = {child.tag for child in case}
        name = case.get("classname"), case.get("name")
        if "skipped" not in outcomes:
            ran[name] = ran.get(name, False) or bool(outcomes & {"failure", "error"})
    red = sum(ran.values())
    if not ran:
        return "no test ran"
    return f"{red} failed of {len(ran)}" if red else f"{len(ran)} passed"

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


class Suite:
    """The files' tests that carry `gpu`, running; they write tests.log and tests.xml.

    Args:
        files: Test files.
        folder: Where the report goes.
        environment: Of the tests.
    """

    def __init__(self, files: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.report, self.log = folder / "tests.xml", folder / "tests.log"
        self.report.unlink(missing_ok=True)
        options = ["-m", "gpu", "-v", "--tb=short", "-rfE", f"--junitxml={self.report}"]
        options += ["-p", "benchmarks.gpu.poisoned", *shared_out()]
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *BARE, *options, *files],
                cwd=ROOT,
                env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of ours reaches its workers, not us
            )

    def finish(self, until: float, say: Callable[[str], None]) -> str:
        """Wait until `time.monotonic()` is `until`, then interrupt; what was found, in short."""
        cut = not ended(self.process, until - GRACE)
        self.end()
        found = summary(self.report)
        for line in self.log.read_text(errors="replace").splitlines()[-40:]:
            if line.startswith(("FAILED", "ERROR", "E  ")) or found == NO_REPORT:
                say(line[:300])
        return f"{found}, cut by the time limit" if cut else found

    def end(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


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

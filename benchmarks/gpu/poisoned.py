"""A plugin for pytest: a process whose device refuses every further call ends, and is replaced.

After an illegal access every later test of the process fails with the same words. pytest-xdist
names the test that was running and goes on with the others in a new process.
"""

import os
import signal
import sys
from typing import Any

from benchmarks.gpu.supervise import BROKEN, is_broken


def pytest_configure() -> None:
    """Let the interrupt that cuts the run arrive: a shell starts background jobs deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    """End this worker after a sticky error, its trace written first."""
    if "PYTEST_XDIST_WORKER" in os.environ and is_broken(call.excinfo.value):
        sys.stderr.write(f"{node.nodeid}\n{report.longreprtext}\n")
        sys.stderr.flush()
        os._exit(BROKEN)

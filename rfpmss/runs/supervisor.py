"""Start torchrun, watch it, and start it afresh when a rank dies or hangs.

torchrun's own restart reuses the old meeting place, from which new ranks read addresses of dead
ones; and a stopped process outlives its polite signals. A fresh torchrun after everything has been
killed has neither trouble, and resuming loses nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rfpmss.config.arguments import TrainArguments
from rfpmss.runs.children import GRACE, POLL, Process, family, kill
from rfpmss.runs.folder import ERROR, HEARTBEAT, Claim
from rfpmss.runs.interrupt import Stop


def supervise(arguments: TrainArguments, argv: Sequence[str]) -> int:
    """Run the command on ``arguments.ranks`` processes, restarting it at most as often as asked.

    Returns:
        The exit status: 0, 128 + a signal that was passed on, or that of the last torchrun.

    Raises:
        RunError: if another process writes into the run folder.
    """
    folder = arguments.folder
    command = [
        *(sys.executable, "-m", "rfpmss.runs.launcher", "--standalone"),
        *("--local-addr", "127.0.0.1", "--nproc-per-node", str(arguments.ranks)),
        *("-m", "rfpmss.train", *argv),
    ]
    environment = {"OMP_NUM_THREADS": str(arguments.config.train.threads)} | os.environ
    told = ""
    claim = Claim(folder)
    with Stop() as stop, claim.cleaned():
        for left in range(arguments.max_restarts, -1, -1):
            with claim:  # refused while another process writes: nothing to retry
                claim.take()
            if told:
                print(told, file=sys.stderr, flush=True)
            status = _watch(command, environment, folder, arguments.timeout, stop)
            if stop.signal:
                return 128 + stop.signal
            if not status or (folder / ERROR).exists():
                return status
            hope = f"starting afresh, {left} restarts left" if left else "no restarts left"
            told = f"training ended with status {status}: {hope}"

    print(told, file=sys.stderr, flush=True)
    return status


def _watch(
    command: list[str], environment: dict[str, str], folder: Path, timeout: float, stop: Stop
) -> int:
    torchrun = subprocess.Popen(command, env=environment, start_new_session=True)
    members: set[Process] = set()
    told: float | None = None
    pulse = Pulse(folder / HEARTBEAT)
    try:
        while torchrun.poll() is None:
            members |= family(torchrun.pid)
            if stop.signal and told is None:
                torchrun.send_signal(signal.SIGTERM)
                told = time.monotonic()
            if told is not None and time.monotonic() - told > GRACE:
                break
            if pulse.silent() > timeout:
                print(f"no step for {timeout:g} seconds: a rank hangs", file=sys.stderr)
                break
            time.sleep(POLL)
    finally:
        kill(members | family(torchrun.pid))

    return torchrun.wait()


class Pulse:
    """How long a heartbeat has been silent, by a clock that nobody sets."""

    def __init__(self, path: Path) -> None:
        self._path, self._last, self._since = path, 0, 0.0

    def silent(self) -> float:
        """Seconds since the last beat was seen; 0 while there is nothing to wait for."""
        try:
            beat = self._path.stat().st_mtime_ns
        except OSError:
            self._last = 0
            return 0.0

        if beat != self._last:
            self._last, self._since = beat, time.monotonic()

        return time.monotonic() - self._since

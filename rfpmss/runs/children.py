"""Commands that another command starts: they end with it, saved, and never outlive it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread, main_thread
from types import TracebackType

from rfpmss.common.errors import Interrupted
from rfpmss.common.files import read_text
from rfpmss.runs.interrupt import Heard

GRACE = 30.0
"""Seconds in which ranks may save and leave after a signal."""

POLL = 0.2
"""Seconds between two looks."""

Process = tuple[int, int]
"""A process by its number and its start time: numbers are used again."""


class Children:
    """Python modules run as processes; a signal to this one asks them to save and leave.

    While it is entered, SIGTERM, SIGINT and SIGHUP raise `Interrupted` in the main thread. Leaving
    asks those that still run to leave and waits for them, at most ``grace`` seconds and until a
    second signal; then they are ended.
    They are in sessions of their own, so that Ctrl-C in a terminal reaches each of them once.

    Args:
        grace: seconds that they may take to leave; those who start children wait for them, too.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._heard = Heard()
        self._grace = grace
        self._over = False
        self._starting = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._before: dict[int, object] = {}

    @property
    def signal(self) -> int:
        """The first signal; 0 before any came."""
        return self._heard.first

    def run(self, words: Sequence[str], log: io.BufferedWriter | None = None) -> int:
        """Run ``python -m WORDS``; return its exit status, from any thread.

        Args:
            words: module and arguments.
            log: gets what it prints; by default this process's outputs.

        Raises:
            Interrupted: if a signal came; the child was asked to leave.
        """
        command = [sys.executable, "-m", *words]
        self._starting = current_thread() is main_thread()  # a child without a name is lost
        try:
            if not self._over:
                child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                self._running.add(child)
        finally:
            self._starting = False

        if self._over:
            self._ask()
            raise Interrupted(self.signal)

        return child.wait()

    def __enter__(self) -> Children:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = time.monotonic() + self._grace
        self._over = True
        try:
            self._ask()
            while self._left() and time.monotonic() < end:
                time.sleep(POLL)
        finally:
            for child in self._left():
                kill(family(child.pid))
                child.wait()
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, _frame: object) -> None:
        new = not self.signal
        impatient = self._heard.impatient(number)
        self._over = True
        if not self._starting and (new or impatient):
            raise Interrupted(self.signal)

    def _ask(self) -> None:
        for child in self._left():
            child.send_signal(signal.SIGTERM)

    def _left(self) -> list[subprocess.Popen[bytes]]:
        return [child for child in tuple(self._running) if child.poll() is None]


def family(root: int) -> set[Process]:
    """A process and all its descendants."""
    children: dict[int, list[Process]] = {}
    own: set[Process] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := stat(int(entry.name))):
            process, parent = found
            children.setdefault(parent, []).append(process)
            if process[0] == root:
                own.add(process)

    waiting = list(own)
    while waiting:
        new = children.get(waiting.pop()[0], [])
        own.update(new)
        waiting += new

    return own


def stat(number: int) -> tuple[Process, int] | None:
    """A process and its parent's number; None if it is gone or only its status is left."""
    try:
        fields = read_text(Path(f"/proc/{number}/stat")).rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else ((number, int(fields[19])), int(fields[1]))


def kill(members: set[Process]) -> None:
    """End processes at once."""
    for process in members:
        found = stat(process[0])
        if found and found[0] == process:
            os.kill(process[0], signal.SIGKILL)

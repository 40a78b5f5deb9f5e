"""Signals that end a command: at once while it is being loaded, later as an error of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

from rfpmss.common.errors import Interrupted

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a request to end, and a terminal that went away."""


def end_at_once() -> None:
    """From here on a signal ends the process in one line; for a command that has done nothing."""
    for number in _heard():
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    os.write(2, f"stopped by signal {int(number)}\n".encode())
    os._exit(128 + number)


@contextmanager
def raised() -> Iterator[None]:
    """In the body a signal raises `Interrupted` in the main thread; ignored ones stay so."""
    if current_thread() is not main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _heard() -> list[signal.Signals]:
    """Those that are not ignored, as under ``nohup`` or in the background of a shell."""
    return [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that are started in the body never hear a signal: who starts them ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

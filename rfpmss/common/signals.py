"""Signals that end a command: at once while it is being loaded, later as an error of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Timer, current_thread, main_thread
from typing import Any

from rfpmss.common.errors import Interrupted

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a request to end, and a terminal that went away."""

SOON = 0.02
"""Seconds after which a signal that was swallowed is sent again, its ``__del__`` being over."""


def end_at_once() -> None:
    """From here on a signal ends the process in one line; for a command that has done nothing."""
    for number in _heard():
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    os.write(2, f"stopped by signal {int(number)}\n".encode())
    os._exit(128 + number)


@contextmanager
def raised() -> Iterator[None]:
    """In the body a signal raises `Interrupted` in the main thread; ignored ones stay so.

    One that comes where Python swallows what is raised, as in a ``__del__``, comes again.
    """
    if current_thread() is not main_thread():
        yield
        return

    lost: list[int] = []
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_again, lost, hook)
    came: list[int] = []
    before = {number: signal.signal(number, partial(_raise, came)) for number in _heard()}
    try:
        try:
            yield
        except Exception:
            if came:  # a library in C has made an error of its own of it
                raise Interrupted(came[0]) from None
            raise

        if lost:
            raise Interrupted(lost[0])
    finally:
        lost.clear()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _again(lost: list[int], hook: Callable[[Any], object], raised: Any) -> None:
    """Send a signal once more that came where nothing can be raised, as in a ``__del__``."""
    if not isinstance(raised.exc_value, Interrupted):
        hook(raised)
        return

    lost.append(raised.exc_value.signal)
    timer = Timer(SOON, lambda: lost and os.kill(os.getpid(), lost[0]))
    timer.daemon = True
    timer.start()


def _raise(came: list[int], number: int, _frame: object) -> None:
    came.append(number)
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

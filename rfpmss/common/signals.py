"""Signals that end a command: at once while it is being loaded, later as an error of its own."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import current_thread, main_thread
from types import FrameType
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

    swallowed, hook = _Swallowed(), sys.unraisablehook
    sys.unraisablehook = partial(_unraised, swallowed, hook)
    came: list[int] = []
    before = {
        number: signal.signal(number, partial(_raise, swallowed, came)) for number in _heard()
    }
    try:
        try:
            yield
        except Exception:
            if came:  # a library in C has made an error of its own of it
                raise Interrupted(came[0]) from None
            raise

        if swallowed.number:
            raise Interrupted(swallowed.number)
    finally:
        swallowed.waits = False
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


class _Swallowed:
    """A signal that came where nothing can be raised: it is sent once more, `SOON`."""

    def __init__(self) -> None:
        self.number, self.waits = 0, False

    def again(self, number: int) -> None:
        """Send it from another thread, whose start is not waited for."""
        self.number, self.waits = number, True
        _thread.start_new_thread(self._send, ())

    def _send(self) -> None:
        time.sleep(SOON)
        if self.waits:
            self.waits = False
            os.kill(os.getpid(), self.number)


def _unraised(swallowed: _Swallowed, hook: Callable[[Any], object], error: Any) -> None:
    """What Python calls in place of raising an error in a ``__del__``."""
    if isinstance(error.exc_value, Interrupted):
        swallowed.again(error.exc_value.signal)
    else:
        hook(error)


def _raise(swallowed: _Swallowed, came: list[int], number: int, frame: FrameType | None) -> None:
    came.append(number)
    if swallowed.waits:  # one is on its way
        return

    while frame is not None:
        if frame.f_code is _unraised.__code__:  # what is raised here is swallowed, too
            swallowed.again(number)
            return
        frame = frame.f_back

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

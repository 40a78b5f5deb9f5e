"""How a command ends: expected errors as one sentence on stderr and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import sentence, status_of
from rfpmss.common.quiet import only_ours

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

UNHEARD = 128 + signal.SIGPIPE
"""Exit status when nobody reads the output any more, as in ``rfpmss train | head``."""


def guarded(
    body: Callable[[], int],
    place: Path | None = None,
    shown: Callable[[BaseException], bool] = lambda _: True,
) -> int:
    """Run a command; turn what it refuses, and what the file system refuses, into one line.

    Meanwhile no library shows a warning or a log line: see `rfpmss.common.quiet.only_ours`.

    Args:
        body: the command; returns its exit status.
        place: where it writes, for errors that name no file.
        shown: whether this process says so; of several ranks one speaks.

    Returns:
        The exit status.
    """
    try:
        with only_ours():
            status = body()
            if sys.stdout:
                sys.stdout.flush()  # what does not fit is told here, not by the interpreter
            return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except RfpmssError as error:
        text, status = str(error), error.status
        told: BaseException = error
    except OSError as error:
        if output := of_output(error):
            _discard()
            if isinstance(error, BrokenPipeError):
                return UNHEARD
        told, status = error, status_of(error)
        text = f"{output}: {error.strerror}" if output else sentence(error, place)
    if shown(told):
        sys.stderr.write(f"error: {text}\n")
    return status


def of_output(error: BaseException) -> str:
    """Which output of this process an error is of; empty if it is of a file.

    What an output did not take still waits in it, and fails again in the same way.
    """
    if not isinstance(error, OSError) or error.filename is not None:
        return ""
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            if stream:
                stream.flush()
        except OSError as again:
            if again.errno == error.errno:
                return name
    return "an output" if isinstance(error, BrokenPipeError) else ""


def _discard() -> None:
    """Send what still waits in a broken output nowhere, or the interpreter complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            with suppress(OSError):  # it has no file
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

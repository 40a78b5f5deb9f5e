"""How a command ends: expected errors as one sentence on stderr and an exit status."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import sentence, status_of
from rfpmss.common.output import Output, outlived
from rfpmss.common.quiet import only_ours
from rfpmss.common.signals import raised


def guarded(
    body: Callable[[], int],
    place: Path | None = None,
    shown: Callable[[BaseException], bool] = lambda _: True,
    room: int = 0,
) -> int:
    """Run a command; turn what it refuses, and what the file system refuses, into one line.

    Meanwhile no library shows a warning or a log line (`rfpmss.common.quiet.only_ours`), and an
    output that nobody takes ends no work (`rfpmss.common.output`).

    Args:
        body: the command; returns its exit status.
        place: where it writes, for errors that name no file.
        shown: whether this process says so; of several ranks one speaks.
        room: bytes of address space that it takes at least.

    Returns:
        The exit status.
    """
    with outlived() as outputs:
        return _ended(body, place, shown, room) or _unwritten(outputs)


def _ended(
    body: Callable[[], int],
    place: Path | None,
    shown: Callable[[BaseException], bool],
    room: int,
) -> int:
    try:
        _require_room(room)
        with only_ours(), raised():
            return body()
    except KeyboardInterrupt as error:
        number = int(getattr(error, "signal", signal.SIGINT))
        if shown(error):
            print(f"stopped by signal {number}", file=sys.stderr)
        return 128 + number
    except RfpmssError as error:
        text, status = str(error), error.status
        told: BaseException = error
    except OSError as error:
        text, status = sentence(error, place), status_of(error)
        told = error
    except (MemoryError, ImportError, RuntimeError, SystemError) as error:
        if not _short(error):
            raise
        text, status, told = f"{SHORT}, got {_first(error)}", 1, error

    if shown(told):
        print(f"error: {text}", file=sys.stderr)

    return status


TORCH = 850_000_000
"""Bytes of address space after the imports of a command that computes: 815 MB with torch 2.11 on a
CPU. With less the loader of libraries may end the process without a word of ours."""


class RoomError(RfpmssError, MemoryError):
    """The limit of the address space (``ulimit -v``) is too low for the libraries alone."""


def _require_room(least: int) -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < least:
        raise RoomError(f"{SHORT}, got a limit (ulimit -v) of {limit:,} bytes")


SHORT = (
    "the machine must have memory and threads left for this command (ulimit -v, ulimit -u, other "
    "programs): free some, or ask for smaller batches and fewer workers"
)

SHORTAGES = (
    "failed to map segment",
    "annot allocate memory",
    "an't allocate memory",
    "can't start new thread",
    "out of memory",
    "bad_alloc",
    "thread creation failed",
    "resource temporarily unavailable",
    "null without setting an exception",
)
"""What the loader of libraries, Python and torch say where memory or threads run out."""


def _short(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that memory or threads ran out."""
    here: BaseException | None = error
    while here is not None:
        said = str(here).lower()
        if isinstance(here, MemoryError) or any(words in said for words in SHORTAGES):
            return True
        here = here.__cause__ or here.__context__

    return False


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]


def _unwritten(outputs: Sequence[Output]) -> int:
    """Say of outputs on a disk that took no more that they are incomplete; the exit status."""
    for output in outputs:
        output.flush()

    status = 0
    for output in outputs:
        if output.lost:
            print(f"error: {output.name}: {output.lost.strerror}", file=sys.stderr)
            status = status_of(output.lost)

    if "TORCHELASTIC_RUN_ID" in os.environ:  # a rank whose work is done is not started again
        return 0

    return status

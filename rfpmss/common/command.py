"""How a command ends: expected errors as one sentence on stderr and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import sentence, status_of
from rfpmss.common.quiet import only_ours

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


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
            return body()
    except KeyboardInterrupt:
        return INTERRUPTED
    except RfpmssError as error:
        text, status = str(error), error.status
        told: BaseException = error
    except OSError as error:
        text, status, told = sentence(error, place), status_of(error), error
    if shown(told):
        sys.stderr.write(f"error: {text}\n")
    return status

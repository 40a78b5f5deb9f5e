"""A lock between processes that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfpmss.common.files import appended


@contextmanager
def lock(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold ``path`` exclusively; wait for another holder, saying so once.

    The file stays behind empty: removing it would let two processes hold two files of one name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with appended(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, file=sys.stderr, flush=True)  # noqa: T201
            fcntl.flock(file, fcntl.LOCK_EX)

        yield

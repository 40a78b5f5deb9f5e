"""Standard output and standard error that a command outlives.

A closed pipe (``rfpmss train | head``), a terminal that went away and a full disk behind a log end
no work: the first error is kept, and what follows goes nowhere.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Output:
    """A text stream whose errors are kept instead of raised.

    Args:
        stream: a text stream.
        name: of the stream, for messages.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.name = name
        self.lost: OSError | None = None
        """The first error of writing that somebody should know of."""
        self._stream = stream
        self._terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write text; return its length, also where nobody takes it."""
        with self._outlived():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # LANG=C, or a path that is no text
                coding = self._stream.encoding
                self._stream.write(text.encode(coding, "backslashreplace").decode(coding))

        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what waits."""
        with self._outlived():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            gone = error.errno == errno.EPIPE or (self._terminal and error.errno == errno.EIO)
            if not gone and self.lost is None:
                self.lost = error
            self._end()

    def _end(self) -> None:
        """Send what waits and what follows nowhere; the interpreter, too, flushes at its end."""
        with suppress(OSError):  # it has no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

        with suppress(OSError):
            self._stream.flush()


@contextmanager
def outlived() -> Iterator[list[Output]]:
    """Have both outputs of the process outlived in the body; those that are closed stay so."""
    before = sys.stdout, sys.stderr
    named = ((sys.stdout, "standard output"), (sys.stderr, "standard error"))
    outputs = [Output(stream, name) if stream else None for stream, name in named]
    sys.stdout, sys.stderr = outputs  # pyright: ignore[reportAttributeAccessIssue]

    try:
        yield [output for output in outputs if output]
    finally:
        for output in outputs:
            if output:
                output.flush()  # later the interpreter would, and complain
        sys.stdout, sys.stderr = before

"""Libraries say nothing: their warnings and log lines show paths, UIDs and values of headers.

The commands say what is wrong themselves, without names. Pixel libraries written in C may still
write to the terminal; they know no header.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def silence() -> None:
    """No warning and no log line of any library from here on; for a process of its own."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


@contextmanager
def quiet() -> Iterator[None]:
    """The same while a command runs; afterwards everything is as it was."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        silence()
        try:
            yield
        finally:
            logging.disable(before)

"""Libraries say nothing: their warnings and log lines show paths, UIDs and values of headers.

The commands say what is wrong themselves, without names. Pixel libraries written in C may still
write to the terminal; they know no header.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def silence() -> None:
    """No warning and no log line of any library from here on; for a process of its own."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


@contextmanager
def only_ours() -> Iterator[None]:
    """No warning and no log line but those of rfpmss and multisk, while a command runs.

    The filters stay as they are: where warnings are errors, as under ``-W error``, they stay so.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.showwarning = _show
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Say a warning of our own on one line; those of others go unsaid."""
    if category.__module__.partition(".")[0] in ("multisk", "rfpmss"):
        sys.stderr.write(f"warning: {message}\n")


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line at all while patients' files are read; see `silence`."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        silence()
        try:
            yield
        finally:
            logging.disable(before)

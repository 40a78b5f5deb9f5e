"""Progress of long steps: a rich bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[..., None]
"""``advance(amount=1, **shown)``: move on and show the given figures behind the bar."""

LINE_EVERY = 5.0
"""Seconds between two plain lines."""


@contextmanager
def progress(
    title: str, total: int, start: int = 0, unit: str = "", *, quiet: bool = False
) -> Iterator[Advance]:
    """Yield a function that advances a bar from ``start`` to ``total``; nothing if ``quiet``.

    Example:
        >>> with progress("counting", total=2) as advance:  # doctest: +SKIP
        ...     advance(loss="0.7")
    """
    if quiet:
        yield _nothing
        return

    if not sys.stderr.isatty():
        yield _lines(title, total, start, unit)
        return

    bar, advance = _terminal(title, total, start, unit)
    with bar:
        yield advance


def _nothing(amount: int = 1, **shown: object) -> None:
    pass


def _terminal(
    title: str, total: int, start: int, unit: str
) -> tuple[AbstractContextManager[object], Advance]:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}"),
        console=Console(stderr=True),
    )
    task = bar.add_task(title, total=total, completed=start, shown="")

    def advance(amount: int = 1, **shown: object) -> None:
        bar.update(task, advance=amount, shown=_text(shown))

    return bar, advance


def _lines(title: str, total: int, start: int, unit: str) -> Advance:
    began = last = time.monotonic()
    done = start
    print(f"{title}: {start}/{total} {unit}".rstrip(), file=sys.stderr, flush=True)

    def advance(amount: int = 1, **shown: object) -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if done < total and now - last < LINE_EVERY:
            return

        last = now
        rate = (done - start) / max(now - began, 1e-9)
        left = (total - done) / max(rate, 1e-9)
        line = f"{title}: {done}/{total} {unit}".rstrip()
        line += f", {now - began:.0f} s, {left:.0f} s left"
        print(f"{line}  {_text(shown)}".rstrip(), file=sys.stderr, flush=True)

    return advance


def _text(shown: dict[str, object]) -> str:
    return " ".join(f"{name} {value}" for name, value in shown.items())


def memory(device: object = "cpu") -> str:
    """Peak memory of this process so far: on the GPU for a CUDA device, else in RAM."""
    if str(device).startswith("cuda"):
        import torch

        used = torch.cuda.max_memory_allocated(str(device))
    else:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    return f"{used / 2**30:.1f} GiB"

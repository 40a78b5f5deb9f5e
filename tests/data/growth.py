"""How the time to read a text grows with its length."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
TIMES, MOST, TRIES = 16, 64, 3
LEAST = 2e-3  # seconds: below that a clock and a first call tell more than the work


def is_linear(work: Callable[[T], object], make: Callable[[int], T], letters: int) -> bool:
    """Whether `TIMES` the letters take less than `MOST` times the processor time.

    They take 16 times as long where the work is linear, 256 where it is quadratic. What else runs
    on the machine can make one measurement too long; that it does so three times means the work.
    """
    small, large = make(letters), make(TIMES * letters)
    return any(
        seconds(work, large) < MOST * max(before, LEAST)
        for before in (seconds(work, small) for _ in range(TRIES))
    )


def seconds(work: Callable[[T], object], given: T) -> float:
    """Processor time."""
    start = time.process_time()
    work(given)
    return time.process_time() - start

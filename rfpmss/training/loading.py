"""Batches drawn ahead in threads: they share memory with the step, and none can die alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def ahead(draw: Callable[[int], T], steps: Iterable[int], workers: int) -> Iterator[T]:
    """``draw(step)`` for each step in order, the next ``workers`` of them drawn meanwhile.

    What is drawn depends on the step alone, so the number of workers changes no result. What a
    thread raises is raised here, when its step comes.

    Example:
        >>> list(ahead(lambda step: step * 10, range(3), workers=2))
        [0, 10, 20]
    """
    if not workers:
        yield from map(draw, steps)
        return

    threads = torch.get_num_threads()  # a new thread would take all cores
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        waiting: deque[Future[T]] = deque()
        for step in steps:
            waiting.append(pool.submit(draw, step))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def timed(items: Iterable[T]) -> Iterator[tuple[T, float]]:
    """Each item, and how many seconds it was waited for."""
    began = time.monotonic()
    for item in items:
        yield item, time.monotonic() - began
        began = time.monotonic()

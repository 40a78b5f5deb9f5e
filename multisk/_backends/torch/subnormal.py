"""Numbers too small for a full mantissa: a processor takes a hundred times as long for them."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Within it this thread takes subnormal numbers for 0 and gives 0 where one would come out.

    A float32 plan of a cold problem is full of them, 15 % of (1440, 494) at eps 0.007; products
    with it took 36 times as long as with zeros, 20 times as long as in float64.

    Example:
        >>> least = torch.tensor(torch.finfo(torch.float32).tiny)
        >>> with flushed():
        ...     print(float(least / 2))
        0.0
        >>> float(least / 2) > 0
        True
    """
    least = torch.tensor(torch.finfo(torch.float32).tiny)
    before = not bool(least / 2)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)

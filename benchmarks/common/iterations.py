"""How many iterations a peer needs: found beforehand, in few runs, and never for ever."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 45.0  # seconds of one run beyond which no more iterations are tried
MOST = 1000  # iterations that a peer gets
ENOUGH = 64  # iterations after which a trend that leads nowhere is believed
FINE = 20  # the answer may be larger than the fewest by one part in as many


@dataclass(frozen=True)
class Tried:
    """A number of iterations and the error it left."""

    count: int
    error: float


def needed(error_after: Callable[[int], float], goal: float, hint: int = 0) -> int:
    """About the fewest iterations whose error is at most `goal`.

    Errors of such iterations fall geometrically, so that two of them tell where to look next; a
    `hint` is what another peer needed. When none reaches the goal, gives the largest number that
    was tried: `MOST`, what `LONGEST` allows, or less where the trend is twice `MOST` away.
    """
    spent = time.process_time()  # other jobs shall not cut the search short
    low, start = Tried(0, math.inf), max(1, hint // 4)
    high = Tried(start, error_after(start))
    while not high.error <= goal:
        took = max(time.process_time() - spent, 1e-9)
        affordable = int(high.count * LONGEST / took)
        hinted = hint if high.count < hint else 0
        count = min(hinted or ahead(low, high, goal), MOST, affordable)
        flat = math.isfinite(low.error) and crossing(low, high, goal) > 2 * MOST
        if count <= high.count or (flat and high.count >= ENOUGH):
            return high.count
        spent = time.process_time()
        low, high = high, Tried(count, error_after(count))
    while high.count - low.count > max(1, high.count // FINE):
        step = max(1, high.count // FINE)
        count = min(max(crossing(low, high, goal), low.count + 1), high.count - step)
        found = Tried(count, error_after(count))
        low, high = (low, found) if found.error <= goal else (found, high)
    return high.count


def ahead(low: Tried, high: Tried, goal: float) -> int:
    """Where the error would reach the goal, if it went on falling as it did; at most fourfold."""
    if math.isfinite(low.error) and high.error < low.error:
        return min(max(crossing(low, high, goal), high.count + 1), 4 * high.count)
    return 2 * high.count


def crossing(low: Tried, high: Tried, goal: float) -> int:
    """The count at which a geometric fall through both points meets the goal."""
    if not math.isfinite(low.error):
        return (low.count + high.count) // 2
    if high.error <= 0.0:
        return high.count
    if low.error <= high.error:
        return 4 * MOST
    rate = math.log(low.error / goal) / math.log(low.error / high.error)
    return math.ceil(low.count + min(rate, 1e6) * (high.count - low.count))

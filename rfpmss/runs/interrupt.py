"""Signals that ask a run to stop: remembered until the step is done."""

from __future__ import annotations

import signal
from types import TracebackType

from rfpmss.common.errors import Interrupted


class Heard:
    """The signals that came so far.

    A second one is impatience, but not where a terminal goes away: shell and kernel both send
    SIGHUP then, and a session that ends sends SIGTERM beside it.
    """

    def __init__(self) -> None:
        self.first = 0
        """Its number; 0 before any came."""
        self._asked = False

    def impatient(self, number: int) -> bool:
        """Take note of a signal; whether somebody who asked already wants the end at once."""
        self.first = self.first or number
        if number == signal.SIGHUP:
            return False

        asked, self._asked = self._asked, True
        return asked


class Stop:
    """Remembers SIGTERM, SIGINT or SIGHUP while it is entered; a second one ends at once.

    Under ``nohup`` SIGHUP stays ignored; which ones count as a second one, `Heard` knows.
    """

    def __init__(self) -> None:
        self._heard = Heard()
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        asks = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            asks.append(signal.SIGHUP)

        for number in asks:
            self._before[number] = signal.signal(number, self._note)

        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def signal(self) -> int:
        """The first signal; 0 before any came."""
        return self._heard.first

    def _note(self, number: int, _frame: object) -> None:
        if self._heard.impatient(number):
            raise Interrupted(self.signal)

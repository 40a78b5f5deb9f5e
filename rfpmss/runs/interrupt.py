"""Signals that ask a run to stop: remembered until the step is done."""

from __future__ import annotations

import signal
from types import TracebackType

from rfpmss.common.errors import Interrupted


class Stop:
    """Remembers SIGTERM, SIGINT or SIGHUP while it is entered; a second one ends at once.

    SIGHUP comes, often twice, when the terminal goes away; under ``nohup`` it stays ignored.
    """

    def __init__(self) -> None:
        self.signal = 0
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

    def _note(self, number: int, _frame: object) -> None:
        if self.signal and number != signal.SIGHUP:  # shell and kernel both send that one
            raise Interrupted(self.signal)
        self.signal = self.signal or number

"""The base of errors that are a sentence for the user, not a fault of the program."""

from __future__ import annotations

from typing import ClassVar


class RfpmssError(Exception):
    """``str()`` is one sentence: what, the rule, the value, the way out."""

    status: ClassVar[int] = 1
    """Exit status of a command that it ends."""

    everywhere: ClassVar[bool] = False
    """Whether each of several ranks says it, not one for all."""


class Interrupted(KeyboardInterrupt):  # noqa: N818 (as the one that it is)
    """A signal ends the work here and now.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number

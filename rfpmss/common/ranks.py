"""Which of several ranks this process is, as torchrun says in the environment; without torch."""

from __future__ import annotations

import os

from rfpmss.common.errors import RfpmssError

MOST = 1 << 20
"""Ranks of a job."""


class RankError(RfpmssError, ValueError):
    """The variables of the environment that describe a job do not."""


def started() -> bool:
    """Whether this process is a rank: torchrun started it, or it is one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or os.environ.get("WORLD_SIZE", "1") != "1"


def speaks() -> bool:
    """Whether this process says what all ranks of its machine would; a LOCAL_RANK alone is none."""
    try:
        return not local()
    except RankError:
        return True


def size() -> int:
    """Ranks of the job; 1 for a process on its own.

    Raises:
        RankError: if the variables that `torch.distributed` reads are missing or no numbers.
    """
    count = _number("WORLD_SIZE", 1, least=1) if started() else 1
    if count > 1:
        _number("RANK", None, most=count - 1)
        _number("MASTER_PORT", None, most=65_535)
        if not os.environ.get("MASTER_ADDR"):
            raise RankError(f"MASTER_ADDR must name a machine, got none; {WAY}")

    return count


def local() -> int:
    """This rank's place on its machine; 0 for a process on its own.

    Raises:
        RankError: if it is no number.
    """
    return _number("LOCAL_RANK", 0) if started() else 0


WAY = "start by torchrun, or with --ranks, or unset the variables of an earlier job"


def _number(name: str, default: int | None, least: int = 0, most: int = MOST) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise RankError(
            f"{name} must be a whole number of {least} to {most}, got {text[:40]!r}; {WAY}"
        )
    return int(text)

"""JSON as it was meant: no key twice, finite numbers, and true is no number."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeGuard


class StrictError(ValueError):
    """A text is JSON of a kind that would be read in two ways; the message is a clause."""


def loads(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        StrictError: if it names a key twice (the last one would count), or holds NaN, an
            infinity, or a number beyond all floats.
        ValueError: if it is no JSON, or no UTF-8.
        RecursionError: if it is nested beyond all use.

    Example:
        >>> loads('{"step": 3}')
        {'step': 3}
    """
    words = text.decode("utf-8") if isinstance(text, bytes) else text
    return json.loads(words, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)


def whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number; Python takes true for 1.

    Example:
        >>> whole(1), whole(True), whole(1.0)
        (True, False, False)
    """
    return type(value) is int


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise StrictError(f"must name each key once, got {twice[:60]!r} twice")

    return found


def _finite(digits: str) -> float:
    """Of 1e400 Python makes an infinity."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits[:60])


def _refuse(name: str) -> NoReturn:
    raise StrictError(f"must hold finite numbers, got {name}")

"""The words and letters by which a language is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rfpmss.common.files import read_text

REPORTED = "reported.txt"
"""By hand: words that reports are made of."""
FREQUENT = "frequent.txt"
"""Made by ``tools/words/language_words.py``, which says from what."""


@dataclass(frozen=True)
class Language:
    """How a language is told."""

    code: str
    name: str
    letters: frozenset[str]
    reported: frozenset[str]
    """Words that reports are made of."""
    words: frozenset[str]
    """Those, and the frequent ones."""


@lru_cache(maxsize=1)
def languages() -> tuple[Language, ...]:
    """The languages that are told by words."""
    home = Path(__file__).parent
    frequent: dict[str, list[str]] = {}
    for line in _lines(home / FREQUENT):
        code, *words = line.split(" ")
        frequent[code] = words

    made = []
    for line in _lines(home / REPORTED):
        code, name, letters, words = line.split("|")
        said = frozenset(words.split())
        made.append(
            Language(code, name, frozenset(letters), said, said.union(frequent.get(code, ())))
        )

    return tuple(made)


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if not line.startswith("#")]


@lru_cache(maxsize=1)
def reported() -> frozenset[str]:
    """Words that reports are made of, in any language."""
    return frozenset(word for one in languages() for word in one.reported if len(word) > 2)

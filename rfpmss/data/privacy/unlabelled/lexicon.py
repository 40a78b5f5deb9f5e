"""Given and family names of some fifty languages, and the words that are none."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rfpmss.common.files import opened_text, read_text
from rfpmss.data.privacy.vocabulary import ORDINARY, common

NAMES = "names.csv"
"""Made by ``tools/words/given_names.py``, which says from what."""
WORDS = "words.txt"


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """All in small letters."""

    given: frozenset[str]
    """Names that are hardly ever anything else."""
    also_words: frozenset[str]
    """Given names that are words of reports, too."""
    family: frozenset[str]
    never: frozenset[str]
    """Eponyms, months, makers and drugs: no name of a person in a report."""
    medicine: frozenset[str]
    """Words of findings that the general words of languages lack."""
    phrases: frozenset[tuple[str, str]]
    """Pairs that are eponyms: `pierre robin`."""


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The tables, read the first time that a report is redacted."""
    home = Path(__file__).parent
    with opened_text(home / NAMES, newline="") as file:
        next(file)  # where the table is from
        rows = [(row["name"], row["given"], row["family"]) for row in csv.DictReader(file)]

    words = _words(read_text(home / WORDS))
    never = words["never"]
    doubtful = words["also words"] | ORDINARY
    given = {name for name, is_given, _ in rows if is_given} - never
    strong = {n for n in given if n not in doubtful and not common(n)}
    pairs = (phrase.split("_") for phrase in words["phrases"])

    return Lexicon(
        given=frozenset(strong),
        also_words=frozenset(given - strong),
        family=frozenset(name for name, _, is_family in rows if is_family) - never,
        never=never,
        medicine=words["medicine"],
        phrases=frozenset((first, second) for first, second in pairs),
    )


def _words(text: str) -> dict[str, frozenset[str]]:
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            found.setdefault(section, []).extend(line.split())

    return {name: frozenset(words) for name, words in found.items()}

"""The rest of a name beside its blank: `Dr.ª ___ Vasconcelos`, `___ i Ferrer`, `J. ___`."""

from __future__ import annotations

import re
from collections.abc import Collection

from rfpmss.data.privacy.persons import PARTICLE, UPPER, WORD
from rfpmss.data.privacy.unlabelled.general import (
    is_known,
    is_word,
    languages,
    nouns_have_capitals,
)
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.unlabelled.people import is_eponym
from rfpmss.data.privacy.vocabulary import common, ordinary

_INITIALS = rf"(?:[{UPPER}]\.[ -]?){{1,3}}"
_JOINT = rf"(?:,? |(?<=_)-)(?:(?:{PARTICLE}|i ){{0,3}})"
_ROMAN = re.compile(r"[IVXM]\.")
"""Numerals, and `M.` before a Frenchman."""
_INITIALLED = re.compile(rf"(?<![\w'’.-]){_INITIALS}(?P<word>{WORD})")
"""Initials and a word: a name by themselves."""
_SHORT = 4
"""Shorter words that no vocabulary holds are names only where the lexicon has them."""
MOST = 6
"""Words at each side of a blank at most."""


def grown(text: str, blank: str, spoken: Collection[str] | None = None) -> str:
    """A report whose blanks have taken the words beside them that no vocabulary holds.

    Example:
        >>> grown("Seen by ___ i Ferrer and A. ___. Mass.", "___")
        'Seen by ___ and ___. Mass.'
    """
    if blank not in text:
        return text

    text = re.sub(rf"{blank}[·•・‧][\u3400-\u9fff]{{1,6}}(?![\u3400-\u9fff])", blank, text)
    spoken = languages(text) if spoken is None else spoken
    behind = re.compile(rf"{blank}{_JOINT}(?P<word>{_INITIALS}(?=$|\W)|{WORD})")
    before = re.compile(
        rf"(?<![\w'’.-])(?P<word>{_INITIALS}|{WORD})"
        rf"(?:-|,? (?:(?:{PARTICLE}|i ){{0,3}})|){blank}"
    )

    def take(found: re.Match[str]) -> str:
        word = found["word"].strip(" -")
        if word.endswith("."):
            return found[0] if _ROMAN.match(word) else blank
        return found[0] if _stays(word, found, spoken) else blank

    text = _INITIALLED.sub(take, text)

    last = re.compile(rf"{blank} (?P<word>{WORD})(?=\s?(?:[.,;)\n]|$))")

    def end(found: re.Match[str]) -> str:
        word = found["word"]
        plain = word.capitalize() if word.isupper() else word
        return found[0] if is_known(plain) or is_eponym(text, *found.span("word")) else blank

    if not nouns_have_capitals(spoken):
        text = last.sub(end, text)

    between = re.compile(rf"{blank} (?!né)(?:{PARTICLE}){{1,3}}{blank}")
    for _ in range(MOST):
        made = between.sub(blank, before.sub(take, behind.sub(take, text)))
        if made == text:
            break
        text = made

    return text


def _stays(word: str, found: re.Match[str], spoken: Collection[str]) -> bool:
    low, known = word.lower(), lexicon()
    if (low in known.given or low in known.family) and not (ordinary(word) or common(word)):
        return is_eponym(found.string, *found.span("word"))
    if len(word) < _SHORT:
        return True
    plain = word.capitalize() if word.isupper() else word
    return is_word(plain, spoken) or is_eponym(found.string, *found.span("word"))

"""The rest of a name beside its blank: `Dr.ª ___ Vasconcelos`, `___ i Ferrer`, `J. ___`."""

from __future__ import annotations

import re

from rfpmss.data.privacy.persons import UPPER
from rfpmss.data.privacy.unlabelled.general import is_word, languages
from rfpmss.data.privacy.unlabelled.people import PARTICLE, is_eponym

_WORD = rf"[{UPPER}]\w{{1,40}}(?:['’-]\w{{1,40}}){{0,3}}"
_INITIALS = rf"(?:[{UPPER}]\.[ -]?){{1,3}}"
_JOINT = rf"(?:,? |(?<=_)-)(?:(?:{PARTICLE}|i ){{0,3}})"
_ROMAN = re.compile(r"[IVXM]\.")
"""Numerals, and `M.` before a Frenchman."""
MOST = 6
"""Words at each side of a blank at most."""


def grown(text: str, blank: str) -> str:
    """A report whose blanks have taken the words beside them that no vocabulary holds.

    Example:
        >>> grown("Seen by ___ i Ferrer and A. ___. Mass.", "___")
        'Seen by ___ and ___. Mass.'
    """
    if blank not in text:
        return text

    spoken = languages(text)
    behind = re.compile(rf"{blank}{_JOINT}(?P<word>{_INITIALS}(?=$|\W)|{_WORD})")
    before = re.compile(
        rf"(?<![\w'’.-])(?P<word>{_INITIALS}|{_WORD})"
        rf"(?:-|,? (?:(?:{PARTICLE}|i ){{0,3}})|){blank}"
    )

    def take(found: re.Match[str]) -> str:
        word = found["word"].strip(" -")
        if word.endswith("."):
            return found[0] if _ROMAN.match(word) else blank
        if is_word(word, spoken) or is_eponym(found.string, *found.span("word")):
            return found[0]
        return blank

    between = re.compile(rf"{blank} (?!né)(?:{PARTICLE}){{1,3}}{blank}")
    for _ in range(MOST):
        made = between.sub(blank, before.sub(take, behind.sub(take, text)))
        if made == text:
            break
        text = made

    return text

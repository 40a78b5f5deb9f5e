"""Where the name of a person ends in a text."""

from __future__ import annotations

import re

from rfpmss.data.privacy.vocabulary import ALSO_NAMES, common

TITLE = (
    r"(?:Dr|Dra|Drs|PD|Priv|Doz|Prof|Professor|Doctor|Docteur|Pr|Dipl|med|univ|habil|Herrn?"
    r"|Frau|Mr|Mrs"
    r"|Ms|Mme|Mlle|Monsieur|Madame|Sr|Sra|Srta|Señora?|Don|Doña|Dña|Nurse|Schwester|Pfleger"
    r"|Infirmière|Enfermer[ao]|OA|OÄ|CA)"
)
_TITLES = re.compile(rf"(?:(?:le|la|der|die|el)\s{{1,3}})?(?:{TITLE}\b\.?-?\s{{0,3}}){{1,6}}")
_PARTICLE = re.compile(
    r"(?:von|van|vom|zu|zur|de|der|den|del|la|las|los|le|di|da|dos|el|al|bin|ten|y"
    r"|e)\b[ \t\u00a0]{1,3}(?=\S)|d['’](?=[A-ZÀ-Þ])"
)
_WORD = re.compile(r"[A-ZÀ-ÞŁŚŻŽŠČ](?:[\w'’]|-(?=\w)){0,80}\.?")
_INITIAL = re.compile(r"[A-ZÀ-Þ]\.")
_DEGREE = re.compile(
    r"\s{0,3},?\s{0,3}\(?(?:M\.?D\.?|Ph\.?D\.?|D\.?O\.?|F\.?R\.?C\.?R\.?|FRCPC|MBBS|M\.?Sc\.?|B\.?Sc\.?"
    r"|DABR|RT"
    r"|(?:(?:staff|attending|consultant|chief|senior)\s{1,3})?(?:neuro)?(?:radiologist|pathologist"
    r"|physician)"
    r"|Fach[aä]rzt(?:in)?(?:\s{1,3}für\s{1,3}\w{1,40})?|Ober[aä]rzt(?:in)?|Chef[aä]rzt(?:in)?"
    r"|Assistenz[aä]rzt(?:in)?"
    r"|[aA]rzt|Ärztin|Radiolog(?:e|in)|radiologue|radi[oó]log[oa]|médecin|médico|médica)\b\)?",
    re.IGNORECASE,
)
WORDS = 5
"""Words of a name at most."""
PARTICLES = 4
"""Of a name at one place: `van der`, `de la`."""
DEGREES = 9
"""Behind a name at most: `MD, PhD, FRCR`."""


def titles(text: str, start: int) -> int:
    """The end of the titles that begin at ``start``; ``start`` where there are none."""
    found = _TITLES.match(text, start)
    return found.end() if found else start


def person(text: str, start: int) -> int | None:
    """The end of the name that begins at ``start``, with titles and degrees; None: no name.

    Example:
        >>> text = "Dr. med. Hans von der Müller, Facharzt. Links frontal"
        >>> text[:person(text, 0)]
        'Dr. med. Hans von der Müller, Facharzt'
        >>> person("54-year-old man", 0), person("Left frontal mass", 0)
        (None, None)
    """
    place = titles(text, start)
    named = place > start
    count, end, comma = 0, place, False
    while count < WORDS:
        place = _spaces(text, place)
        following = place
        following = _repeated(_PARTICLE, text, following, PARTICLES)
        if following > place and count and not _WORD.match(text, following):
            break
        place = following
        found = _WORD.match(text, place)
        if not found or _TITLES.match(text, place):
            break
        if not _is_name(found.group(), behind=named or count > 0):
            break
        word = found.group()
        end = found.end()
        if word.endswith(".") and not _INITIAL.fullmatch(word):
            end -= 1  # the end of the sentence
            count += 1
            break
        count, place = count + 1, end
        if (
            text[place : place + 1] == ","
            and not comma
            and _WORD.match(text, _spaces(text, place + 1))
        ):
            comma, place = True, place + 1
    if not count or (not named and _begins_a_sentence(text, start, end, count)):
        return None
    return _repeated(_DEGREE, text, end, DEGREES)


def _is_name(word: str, *, behind: bool) -> bool:
    """Whether a word can be one of a name; ``behind`` a title or another name `Gray` can."""
    if _INITIAL.fullmatch(word) or not common(word):
        return True
    return behind and word.strip(".,").lower() in ALSO_NAMES


def _repeated(pattern: re.Pattern[str], text: str, place: int, most: int) -> int:
    """The end of what stands there at most so many times, with blanks before and between."""
    for _ in range(most):
        found = pattern.match(text, place)
        if not found:
            break
        place = found.end()
    return place


def _spaces(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\u00a0":
        place += 1
    return place


_VERBS = re.compile(
    r"\s{1,3}(?:has|is|was|with|presents?|presented|shows?|had|underwent|aged|born|who|and|hat|ist"
    r"|zeigt|mit"
    r"|wurde|war|geb|geboren|a|présente|né|née|presenta|tiene|nacid[oa]|en)\b"
)


def _begins_a_sentence(text: str, start: int, end: int, count: int) -> bool:
    """`Known glioblastoma`: one word with a capital before one without."""
    return (
        count == 1
        and re.match(r"\s{1,8}[a-zß-ÿ]", text[end : end + 9]) is not None
        and _VERBS.match(text, end) is None
    )

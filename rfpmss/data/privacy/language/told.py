"""The language of a report, by its script, the words that reports are made of and its letters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import lru_cache

from rfpmss.data.privacy.language.words import languages
from rfpmss.data.privacy.unlabelled.general import holds, vocabularies

_SCRIPTS = {
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Punjabi": "\u0a00-\u0a7f",
    "Gujarati": "\u0a80-\u0aff",
    "Oriya": "\u0b00-\u0b7f",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Kannada": "\u0c80-\u0cff",
    "Malayalam": "\u0d00-\u0d7f",
    "Sinhala": "\u0d80-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Tibetan": "\u0f00-\u0fff",
    "Burmese": "\u1000-\u109f",
    "Georgian": "\u10a0-\u10ff",
    "Amharic": "\u1200-\u137f",
    "Khmer": "\u1780-\u17ff",
    "Mongolian": "\u1800-\u18af",
    "Armenian": "\u0530-\u058f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Korean": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Japanese": "\u3040-\u30ff脳転変対圧拡観検験査経続総読発亜囲応価単増徴鉄両剤髄",
}
"""Scripts with their letters, called by their language where one writes them; of Japanese the
syllables and the signs that Chinese does not have in that form."""
_CYRILLIC = "Cyrillic"
_LETTERS = _SCRIPTS | {_CYRILLIC: "\u0400-\u04ff"}
_NAMES = tuple(_LETTERS)
_SCRIPT = re.compile("|".join(f"([{letters}])" for letters in _LETTERS.values()))
_OF_ARABIC = (("Urdu", re.compile("[ٹڈڑںے]")), ("Persian", re.compile("[پچژگ]")))
"""Languages with letters that Arabic lacks."""
_DENSE = {
    "Japanese": r"[\u3040-\u30ff]{4}",
    "Korean": r"[a-z\d)][가-힣]{1,2}(?![가-힣])|[가-힣](?:음|함|임|됨|다)(?![가-힣])|[가-힣]{8}",
    **dict.fromkeys(("Thai", "Lao", "Khmer", "Burmese", "Tibetan"), ""),
}
"""Scripts that part words otherwise, each with what more than a name is; Korean reports are half
English, with Korean endings."""
_RUN = 16
"""Letters of such a script in a row."""
_KANA = 0.05
"""Of the letters of a Japanese text, which has Chinese signs, too."""
_SHARE = 0.4
"""Of the letters of a text that are another script's, where there is no block of it."""
_BLOCK = 4
"""Words in a row that are more than a name."""
_CHINESE = "Chinese"
_LATIN = "Latin"
"""Anatomy in reports of any language."""
_HAN = re.compile("[\u3400-\u9fff]")
_SIGN = 0.3
"""What a Chinese sign counts, as words do."""
_BLOCKS = {
    name: re.compile(
        (_DENSE[name] or rf"[{letters}]{{{_RUN}}}")
        if name in _DENSE
        else rf"(?:[{letters}]{{2,}}[^\w\n]{{1,3}}){{{_BLOCK}}}"
    )
    for name, letters in _LETTERS.items()
}
_WORD = re.compile(r"[^\W\d_]{2,}(?:['’ʻ-][^\W\d_]+)*")
_OWN = 0.5
"""What a letter counts against a word."""
_HELD = 0.5
"""What a word of the vocabulary counts that is none of a report."""
_SURE, _ALONE = 0.99, 0.5
"""Less is no evidence: a word of reports that no other language has, or one of the vocabulary
where no word is one of a known language."""
_MARGIN, _NEAR = 0.35, 0.8
"""More than a known language has; and the share of languages that cannot be told apart."""


def other_languages(text: str, known: Collection[str]) -> tuple[str, ...]:
    """The languages a text may be in where it is in none of the known ones; empty: nothing tells.

    Args:
        text: a report as it is written, before names are removed.
        known: names of languages and scripts.

    Example:
        >>> known = ("English", "German")
        >>> other_languages("Bal frontális térfoglalás, középvonali áttolás nincs.", known)
        ('Hungarian',)
        >>> other_languages("Raumforderung links frontal.", known), other_languages("GBM.", known)
        ((), ())
    """
    text = unicodedata.normalize("NFC", text)
    script = _script(text)
    if script and script != _CYRILLIC:
        return () if script in known else (script,)

    scores = _scores(text)
    ours = max((score for name, score in scores.items() if name in (*known, _LATIN)), default=0.0)
    others = {name: score for name, score in scores.items() if name not in (*known, _LATIN)}
    most = max(others.values(), default=0.0)
    if most >= _ALONE and (not ours or most > max(_SURE, ours + _MARGIN)):
        near = [(score, name) for name, score in others.items() if score >= _NEAR * most]
        return tuple(name for _, name in sorted(near, reverse=True))

    return (script,) if script and not ours else ()


def _script(text: str) -> str:
    """The script of a text, or of a block in it, that is neither Latin nor Chinese."""
    counts = Counter(found.lastindex for found in _SCRIPT.finditer(text))
    letters = sum(letter.isalpha() for letter in text)
    for place, count in counts.most_common():
        name = _NAMES[(place or 1) - 1]
        share = _KANA if name == "Japanese" else _SHARE
        if count >= share * letters or _BLOCKS[name].search(text):
            own = (other for other, mark in _OF_ARABIC if name == "Arabic" and mark.search(text))
            return next(own, name)

    return ""


def _scores(text: str) -> dict[str, float]:
    """How much speaks for each language: a word counts the less, the more languages have it."""
    scores: dict[str, float] = dict.fromkeys((one.name for one in languages()), 0.0)
    _, letters = _tables()
    scores[_CHINESE] += _SIGN * len(_HAN.findall(text))
    for found in _WORD.finditer(text):
        low = found[0].lower()
        shares = _shares(low)
        for name, share in shares:
            scores[name] += share
        if shares or not found[0][0].islower():
            continue  # a name has letters of any language
        for letter in set(low):
            own = letters.get(letter, ())
            for name in own:
                scores[name] += _OWN / len(own)

    return scores


@lru_cache(maxsize=1 << 14)
def _shares(low: str) -> tuple[tuple[str, float], ...]:
    """What a word counts for each language that has it, together 1 at most."""
    words, _ = _tables()
    found = dict.fromkeys(words.get(low, ()), 1.0)
    found |= {n: _HELD for code, n in _vocabularies() if n not in found and holds(code, low)}
    whole = max(sum(found.values()), 1.0)
    return tuple((name, weight / whole) for name, weight in found.items())


def names() -> tuple[str, ...]:
    """All languages and scripts that a report can be told to be in."""
    arabic = (name for name, _ in _OF_ARABIC)
    return tuple(sorted({*(one.name for one in languages()), *_LETTERS, *arabic} - {_LATIN}))


def keys(name: str) -> tuple[str, ...]:
    """What a language is called in options.

    Example:
        >>> keys("Croatian, Serbian or Bosnian")
        ('croatian', 'serbian', 'bosnian')
    """
    return tuple(re.split(r", | or ", name.lower()))


@lru_cache(maxsize=1)
def _vocabularies() -> tuple[tuple[str, str], ...]:
    """Code and name of the languages with a vocabulary."""
    return tuple((one.code, one.name) for one in languages() if one.code in vocabularies())


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The languages of each word and of each letter that not all have."""
    words: dict[str, list[str]] = {}
    letters: dict[str, list[str]] = {}
    for one in languages():
        for word in one.words:
            words.setdefault(word, []).append(one.name)
        for letter in one.letters:
            letters.setdefault(letter, []).append(one.name)

    return (
        {word: tuple(names) for word, names in words.items()},
        {letter: tuple(names) for letter, names in letters.items()},
    )

"""Names with the endings of cases, of possession, and with initials glued to them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from rfpmss.data.privacy.names import (
    ACCENTS,
    HAN,
    PLAIN,
    QUOTES,
    apart,
    letters,
    particled,
    parts_of,
    pattern,
)
from rfpmss.data.privacy.vocabulary import ALSO_NAMES, common, ordinary

_LETTER = r"[a-z\u00df-\u00f6\u00f8-\u024f\u0430-\u045f\u1e00-\u1eff]"
_OUTSIDE = r"A-Za-z0-9\u00c0-\u024f\u0400-\u045f\u1e00-\u1eff"
_POSSESSIVE = rf"[{QUOTES}]s?"
# Endings of cases in place of a last vowel: Kowalska, Kowalskiej; Novotný, Novotného.
_CASES = (
    "a|e|i|o|u|y|ą|ę|ó|á|é|í|ý|ů|ej|iej|ie|ią|ię|ii|io|im|ich|iego|iemu|om|em|ami|ach|owi|ou|ové"
    "|ého|ému|ým|ých|ego|emu"
)

# Russian: Иванова, Ивановой; Достоевский, Достоевского; Мария, Марии.
_CASES_RU = (
    "а|я|о|е|и|ы|у|ю|й|ь|ой|ей|ёй|ою|ею|ого|его|ому|ему|ым|им|ом|ем|ём|ий|ый|ая|яя|ую|юю|ии|ию|ия|ией"
    "|ых|их|ыми|ими"
)


def blanked(text: str, names: Iterable[str], by: str, *, cased: bool = False) -> str:
    """A text with all forms of the names replaced, those of cases and with initials as well.

    A name with an ending that makes an ordinary word of it stays; so does a longer word in small
    letters.

    Args:
        text: a report.
        names: of the patient or of the staff.
        by: what stands for a name.
        cased: as `pattern` has it.

    Example:
        >>> text = "Schneiders Tumor, GSchneider, Gudruns Ödem, Schneiderin. Front: frontal."
        >>> blanked(text, ["Schneider^Gudrun", "Front^X"], "___")
        '___ Tumor, ___, ___ Ödem, ___. ___: frontal.'
    """
    said = _folded(text)
    near = [name for name in names if any(stem in way for stem in _stems(name) for way in said)]
    if not near:  # to compile a pattern costs more than all else
        return text

    if found := pattern(near, cased=cased):
        text = found.sub(by, text)

    if found := inflected(near):
        text = found.sub(lambda match: by if _is_form(match, cased=cased) else match[0], text)

    return text


_ONE = str.maketrans(PLAIN | {"æ": "a", "œ": "o"})
_PAIR = re.compile(r"(?<=[aou])e|(?<=a)a|(?<=s)s")
"""The second of two letters that are read as one: Müller, Mueller."""
_SIGNS = re.compile(r"[\W_]+")


def _folded(text: str) -> tuple[str, str]:
    """Small letters without marks and signs: pairs within words are one, or those across them, too.

    A name may begin behind a letter that makes a pair with its first one, `Mia Ebert`, and may be
    written with a blank between the two, `La Ebert`.
    """
    plain = unicodedata.normalize("NFD", text.casefold().translate(_ONE))
    if not plain.isascii():
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _SIGNS.sub("", _PAIR.sub("", plain)), _PAIR.sub("", _SIGNS.sub("", plain))


def _stems(name: str) -> Iterator[str]:
    """What every form of a name holds one of: its words, without the letter that endings replace.

    Short words but the family name stand in no form alone.
    """
    for spelling in re.split(r"[=\\]", apart(name)):
        words = [word for word in re.split(r"[\s^,_/.;·、，-]+", spelling) if word]
        known = [w for n, w in enumerate(words) if not n or len(w) > (2 if w.isascii() else 1)]
        for word in known:
            yield _folded(word[:-1] if len(word) > 3 and not HAN.search(word) else word)[1]


def _is_form(match: re.Match[str], *, cased: bool) -> bool:
    """Whether a word that begins with a name is one of its forms and no word of reports."""
    word = match[0]
    if ordinary(word) or common(word):
        return False
    return word[0].isupper() or (not cased and match["free"] is None)


def inflected(names: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern of single words that are a name with an ending or with initials glued to it.

    The group ``free`` is an ending of any kind, which only a word with a capital may have.
    """
    names = list(dict.fromkeys(names))
    plain: dict[str, None] = {}
    free: dict[str, None] = {}
    for part in parts_of(names):
        if not re.sub(f"[{QUOTES}]", "", part).isalpha() or HAN.search(part) or len(part) < 3:
            continue
        word = particled(part) or letters(part)
        plain[rf"{word}(?:{_POSSESSIVE}|s|es|ens?)"] = None
        if re.fullmatch("[А-ЯЁа-яё]+", part):
            if len(part) > 3:
                free[rf"{letters(part.rstrip('аяоеиыйьАЯОЕИЫЙЬ'))}(?:{_CASES_RU})?"] = None
            continue
        ends = PLAIN.get(part[-1].lower(), part[-1].lower()) in "aeioy"
        if ends and len(part) > 3:
            free[rf"{letters(part[:-1])}(?:{_CASES if len(part) > 4 else '[aąeęiouy]'})"] = None
        if len(part) > 4:
            free[rf"{word}[{QUOTES}]?{_LETTER}{{1,3}}"] = None

    for name in names:
        for spelling in re.split(r"[=\\]", name):
            plain |= dict.fromkeys(_initialled(spelling))
            plain |= dict.fromkeys(_also_a_word(spelling))

    if not plain:
        return None

    forms = f"{'|'.join(plain)}|(?P<free>{'|'.join(free) or '(?!)'})"
    return re.compile(rf"(?<![{_OUTSIDE}])(?:{forms})(?![{_OUTSIDE}])", re.IGNORECASE)


def _initialled(name: str) -> Iterator[str]:
    """`JSmith`, `J.M.Smith`, `SmithJ`."""
    parts = [part for part in re.split(r"[\s^,.]+", name.strip()) if part.isalpha()]
    if not 2 <= len(parts) <= 5 or any(map(HAN.search, parts)):
        return

    for place, part in enumerate(parts):
        if len(part) < 3 or ordinary(part):
            continue
        first = "".join(dict.fromkeys(other[0].lower() for other in parts if other != part))
        initial = "".join(letter + ACCENTS.get(letter, "") for letter in first)
        if not initial:
            continue
        word = letters(part)
        dotted = rf"(?:[{initial}]\.?-?){{1,3}}"
        yield rf"{dotted}{word}"
        if place == 0 or len(part) > 3:
            yield rf"{word}[.,_-]?{dotted}"


def _also_a_word(name: str) -> Iterator[str]:
    """The genitive of names that are words as well: `White's mass`, `Kleins Tumor`."""
    for part in re.split(r"[\s^,]+", name.strip()):
        if part.lower() in ALSO_NAMES:
            capital = rf"(?-i:(?={part[0].upper()})){letters(part)}"
            yield rf"{capital}(?:{_POSSESSIVE}(?!\w)|s(?=\s(?-i:[A-ZÄÖÜ][a-zäöüß])))"

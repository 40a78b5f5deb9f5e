"""Names of headers in every encoding they may be in, and in every form that a text may use."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from rfpmss.data.privacy.labelled.east_asian import SURNAMES_KO, TWO_KO
from rfpmss.data.privacy.vocabulary import DOUBLE, NAME_PARTICLES, SURNAMES, ordinary

_ESCAPE = re.compile(r"\x1b[\x20-\x2f]{0,4}[\x30-\x7e]")
_CODES = (
    *("utf-8", "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "cp1252", "cp1251", "cp1250"),
    *("iso2022_jp_2", "iso2022_kr"),
)
QUOTES = "'\u2019\u2018`\u00b4"
"""Apostrophes, and what stands for one."""
HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_TITLES = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herrn?|Frau|M|Mme|Monsieur|Madame|Sra?|Señora?)\.?\s{1,3}"


def readings(raw: bytes, decoded: str) -> tuple[str, ...]:
    """What the bytes of a name can mean: the declared reading first, then those of other encodings.

    Headers without a character set, or with a wrong one, are common in East Asia; escapes of ISO
    2022 (PS3.5 Annexes H to K) may be left in, or be the only sign of another set.

    Args:
        raw: bytes of the value; empty where they are not known.
        decoded: the value as the declared character set reads it.

    Example:
        >>> "张^三" in readings("张^三".encode("gb18030"), "ÕÅ^Èý")
        True
    """
    found = dict.fromkeys((decoded, _ESCAPE.sub("", decoded)))
    if not raw.isascii() or b"\x1b" in raw:
        plain = _ESCAPE.sub("", raw.decode("latin-1")).encode("latin-1")
        for data in dict.fromkeys((raw, plain)):
            for code in _CODES:
                try:
                    text = _ESCAPE.sub("", data.decode(code))
                except UnicodeDecodeError:
                    continue
                found[text] = None
                found[unicodedata.normalize("NFKC", text)] = None

    return tuple(text for text in found if text.strip())


def parts_of(names: Iterable[str]) -> list[str]:
    """The names and their parts that are to be blanked, the longest first.

    Example:
        >>> parts_of(["Doe^John", "Left Lobe Clinic", "Li", "120"])
        ['Left Lobe Clinic', 'Doe^John', 'DoeJohn', 'John', 'Doe']
    """
    parts = set()
    for name in names:
        parts |= {name, *re.split(r"[\s^,=_/\\.\-;·、，]+", name)}
        parts |= {spelling.replace("^", "") for spelling in name.split("=")}
        parts |= {tail for whole in re.split(r"[\^=,]", name) for tail in _tails(whole.split())}

    wanted = {p for p in parts if len(p) > (3 if p.isdigit() else 2 if p.isascii() else 1)}
    wanted = {p for p in wanted if p.lower() not in NAME_PARTICLES}
    return sorted((p for p in wanted if not ordinary(p)), key=lambda p: (-len(p), p))


def _tails(words: list[str]) -> Iterable[str]:
    """Of `Van Der Berg` also `Der Berg`: particles alone are no names."""
    while len(words) > 1 and words[0].lower() in NAME_PARTICLES:
        yield " ".join(words)
        words = words[1:]


def pattern(names: Iterable[str], *, cased: bool = False) -> re.Pattern[str] | None:
    """One pattern of all forms of the names: whole, in parts, joined, in either order, spaced.

    Args:
        names: whose forms are looked for.
        cased: a single word that the names spell with a capital is meant with a capital, or behind
            a title: the house of a sentence is not Dr. House.

    Example:
        >>> found = pattern(["Li^Wei", "张^三", "May^Ann"])
        >>> texts = ("Wei Li is", "LI, WEI", "三 张", "张三丰", "may", "Ms. May")
        >>> [found.sub("___", text) for text in texts]
        ['___ is', '___', '___', '___丰', 'may', '___']
        >>> pattern(["House"], cased=True).sub("___", "House: a house, dr. house")
        '___: a house, ___'
    """
    names = list(names)
    names = list(dict.fromkeys((*names, *map(apart, names))))
    forms: dict[str, None] = {}
    for name in names:
        for spelling in re.split(r"[=\\]", name):
            for form in _joined(spelling):
                forms[form] = None

    for part in parts_of(names):
        word = particled(part) or (letters(part) if part.isascii() else _spaced(part))
        if cased and part[0].isupper() and not re.search(r"[\s,^]", part):
            forms[rf"{_TITLES}{word}"] = None
            word = rf"(?-i:(?![a-zß-öø-ÿ]))(?:{word})"
        forms[word] = None

    if not forms:
        return None

    order = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(order)})(?![A-Za-z0-9])", re.IGNORECASE)


_FAMILY_FIRST = re.compile(
    rf"({DOUBLE}|[{SURNAMES}]{{2}}(?=..$)|[{SURNAMES}])([\u3400-\u9fff]{{1,2}})"
    rf"|({TWO_KO}|[{SURNAMES_KO}])([\uac00-\ud7a3]{{2}})"
)
"""Chinese and Korean: the family name, in Hong Kong the husband's before it, and the given name."""


def apart(name: str) -> str:
    """A name in which ``^`` parts family and given name where a header does without.

    Example:
        >>> [apart(name) for name in ("王小明", "OuyangXuemei=欧阳雪梅", "김희중", "Wang^Li=王^丽")]
        ['王^小明', 'Ouyang^Xuemei=欧阳^雪梅', '김^희중', 'Wang^Li=王^丽']
    """
    spellings = name.split("=")
    made = []
    for spelling in spellings:
        found = _FAMILY_FIRST.fullmatch(spelling.strip())
        if found:
            made.append("^".join(filter(None, found.groups())))
        elif HAN.search(name) and spelling.isascii() and "^" not in spelling:
            made.append(re.sub("(?<=[a-z])(?=[A-Z])", "^", spelling))
        else:
            made.append(spelling)

    return "=".join(made)


_PARTICLES = re.compile(
    r"(van|von|vom|vander|vanden|vande|de|del|dela|della|delos|dos|di|da|du|le|la|el|al|ten|ter|st"
    r"|mac|mc|o|d)(?=[^\W\d_]{4})",
    re.IGNORECASE,
)


def particled(word: str) -> str:
    """A name that begins with a particle, spaced or not: VANDENBERGH, Van den Bergh."""
    found = _PARTICLES.match(word) if word.isalpha() else None
    if not found or ordinary(word[found.end() :]) or ordinary(word):
        return ""

    long = re.fullmatch("(?i)(van|de)(der|den|de|la|los|lla)", found[1])
    pieces = [*(long.groups() if long else found.groups()), word[found.end() :]]
    return rf"[\s{QUOTES}-]{{0,2}}".join(map(letters, pieces))


def _spaced(word: str) -> str:
    """Characters of East Asia may be spread over a line."""
    spread = len(word) <= 4 and all(HAN.match(letter) for letter in word)
    return r"\s?".join(map(re.escape, word)) if spread else letters(word)


def _accented() -> dict[str, str]:
    """Letters of the Latin alphabet -> all that differ from them by marks alone."""
    found = {"d": "đ", "h": "ħ", "i": "ı", "l": "ł", "n": "ŋ", "o": "ø", "t": "ŧ"}
    for number in (*range(0xE0, 0x250), *range(0x1E00, 0x1F00)):
        letter = chr(number)
        base = unicodedata.normalize("NFD", letter)[0]
        if letter == letter.lower() and base.isascii() and base.isalpha() and base == base.lower():
            found[base] = found.get(base, "") + letter

    return found


ACCENTS = _accented()
PLAIN = {letter: base for base, letters in ACCENTS.items() for letter in letters}
_WRITTEN = {"ä": "ae", "æ": "ae", "ö": "oe", "ø": "oe", "œ": "oe", "ü": "ue", "å": "aa", "ß": "ss"}
_PAIRS = {"ae": "äæ", "oe": "öøœ", "ue": "ü", "aa": "å", "ss": "ß"}


def letters(word: str) -> str:
    """A word with or without its accents: headers in capitals have none, reports do.

    Example:
        >>> texts = ("Müller", "Mueller", "MULLER", "Miller")
        >>> [bool(re.fullmatch(letters("MUELLER"), text, re.I)) for text in texts]
        [True, True, False, False]
        >>> [bool(re.fullmatch(letters("Müller"), text, re.I)) for text in texts]
        [True, True, True, False]
    """
    made = []
    for found in re.finditer("ae|oe|ue|aa|ss|.", word, re.IGNORECASE | re.DOTALL):
        text = found[0].lower()
        base = [PLAIN.get(letter, letter) for letter in text]
        form = "".join(f"[{b}{ACCENTS[b]}]" if b in ACCENTS else re.escape(b) for b in base)
        if text in QUOTES:
            form = f"[{QUOTES}]?\\s?"
        elif text in _PAIRS:
            form = f"(?:{form}|[{_PAIRS[text]}])"
        elif text in _WRITTEN:
            form = f"(?:{form}|{_WRITTEN[text]})"

        made.append(form)

    return "".join(made)


def _joined(name: str) -> Iterable[str]:
    """Family and given name together, in both orders."""
    parts = [part for part in re.split(r"[\^\s,·、，]+", name.strip()) if part]
    if not 2 <= len(parts) <= 4 or any(any(map(str.isdigit, part)) for part in parts):
        if len(parts) == 1 and re.fullmatch(r"[\u3400-\u9fff]{2,4}", parts[0]):
            yield _spaced(parts[0])
        return

    apart = r"[\s,.^·-]{0,9}" if all(map(HAN.match, parts)) else r"[\s,.^-]{1,9}"
    for order in (parts, parts[::-1], [*parts[1:], parts[0]]):
        yield apart.join(map(letters, order))
        if not all(map(HAN.match, parts)) and sum(map(len, parts)) > 4:
            yield letters("".join(order))

    family, given = parts[0], parts[-1]
    words = re.split(r"[\s_]+", re.split(r"[\^,]", name.strip())[0])
    if re.search(r"[\^,]", name) and len(words) > 1:
        yield rf"[\s{QUOTES}-]{{0,2}}".join(map(letters, words))  # van der Bergh, VanDerBergh

    if not HAN.match(family):
        # `J. Doe`, and a surname that is a word as well, behind a title.
        yield rf"{letters(given[0])}\.\s{{0,3}}{letters(family)}"
        yield rf"{_TITLES}{letters(family)}"
    elif len(family) < 3:
        yield rf"{re.escape(family)}(?=先生|女士|小姐|某)"

"""Bytes to text, without ever giving other letters than the ones that were written.

Every encoding that can decode the bytes is a candidate. What they give is weighed by how usual its
letters are in reports of that language (`rfpmss.data.readers.text.letters`), as the logarithm of a
likelihood; the best one is taken where it is far ahead of all others, else the text is refused.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from rfpmss.data.errors import TextError
from rfpmss.data.readers.text import letters

AHEAD = 4.0
"""The best reading must be e^4, about fifty, times as likely as any other."""
POOREST = math.log(1e-4)
"""Mean of the letters' logarithms below which a reading is no language."""
SAMPLE = 50_000
"""Letters that are weighed."""
_STRANGE = math.log(1e-6)
_OTHER = math.log(1e-4)
# A mark of the order of bytes.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Signs that stand beside numbers and words in every language.
_SIGNS = "°±×µ²³½¼·•–—‘’“”„«»…¿¡§ºª≤≥→←↑↓≈㎜㎝℃"
_MISREAD = re.compile(
    rf"[^\W\d_](?!’)[{re.escape(_SIGNS)}][^\W\d_]|[a-zß-ÿ][À-Þ]|[ß-ÿ][A-Z]"
    r"|[a-zß-ÿ]{2}º|[a-zß-ÿ]{3}[²³¹]|(?<![^\W\d_])(?![cdmk]m)[a-zß-ÿ]{2}[²³¹]"
    r"|(?<![^\W_])[²³½¼][^\W\d_]"
)
_RUN = re.compile(r"([^\x00-\x7f])\1\1")
_WIDE = "，。、；：！？（）《》【】「」『』〈〉“”‘’…—～・ー％＋－×±≥≤→①②③④⑤⑥⑦⑧⑨⑩\u3000"


def decode_text(data: bytes) -> str:
    """Bytes as text.

    UTF-8, UTF-16 and UTF-32, with and without mark; GB 18030, Big5, Shift-JIS, EUC-JP, EUC-KR,
    ISO 2022 and HZ; the code pages 874 and 1250 to 1258 of Windows, the parts of ISO 8859, KOI8,
    and those of DOS and of old Macintoshes.

    Raises:
        TextError: if no encoding fits, or more than one does, or the text was converted wrongly
            before.

    Example:
        >>> decode_text("Läsion links, Ödem".encode("cp1252"))
        'Läsion links, Ödem'
        >>> decode_text("左额叶占位".encode("gb18030"))
        '左额叶占位'
    """
    for mark, code in _MARKS:
        if data.startswith(mark):
            return _strict(data, code)

    if b"\0" in data:
        return _wide(data)
    if data.isascii():
        return _escaped(data)

    text = _decoded(data, "utf-8")
    if text is None:
        return _legacy(data)

    _refuse_misread(text)
    # Pairs of bytes such as those of 一 are UTF-8 by chance; three bytes a letter never are.
    doubtful = max(text[:SAMPLE]) < "\u0800" and weigh(text[:SAMPLE]) < POOREST * _foreign(text) / 2
    return _legacy(data) if doubtful and not _numbers(text) else text


def _numbers(text: str) -> bool:
    """Whether nothing but the digits of another script, as in dates, is beyond ASCII."""
    foreign = [letter for letter in text[:SAMPLE] if letter > "\x7f"]
    return len(foreign) > 3 and all(letter.isdecimal() for letter in foreign)


def plausible(data: bytes, codes: Sequence[str]) -> bool:
    """Whether bytes may be in the encoding that a header declares; several: by escapes, believed.

    Args:
        data: of the texts.
        codes: Python's names of the declared encodings.
    """
    if len(codes) > 1:
        return True

    text = _decoded(data, codes[0])
    if text is None or "\ufffd" in text:
        return False

    try:
        _refuse_misread(text)
    except TextError:
        return False

    return weigh(text[:SAMPLE]) >= POOREST * _foreign(text)


def _foreign(text: str) -> int:
    """Letters beyond ASCII, of those that are weighed."""
    return sum(letter > "\x7f" for letter in text[:SAMPLE])


def _strict(data: bytes, code: str) -> str:
    text = _decoded(data, code)
    if text is None:
        raise TextError("the text is not in the encoding that its first bytes announce")
    return text


def _decoded(data: bytes, code: str) -> str | None:
    try:
        return data.decode(code)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide(data: bytes) -> str:
    """UTF-16 without a mark: the zeros of its Latin letters and ends of lines give it away."""
    if len(data) % 2 == 0:
        found = [
            (weigh(text), text)
            for code, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2]))
            if b"\0" in zeros and (text := _decoded(data, code)) is not None and "\0" not in text
        ]
        if found and max(found)[0] > POOREST * max(1, _foreign(max(found)[1])):
            return max(found)[1]

    raise TextError("the text holds binary data")


def _escaped(data: bytes) -> str:
    """ASCII, in which escapes may announce other letters."""
    codes = {b"\x1b$)C": "iso2022_kr", b"\x1b$": "iso2022_jp_2", b"\x1b(": "iso2022_jp_2"}
    for escape, code in codes.items():
        if escape in data:
            return _strict(data, code)

    if re.search(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}", data):
        return _strict(data, "hz")

    return _narrow(data)


USUAL, RARE = -7.0, -9.5
"""Means of the logarithms above which a reading as UTF-16 is Chinese or Japanese, or may be.
Sentences in English are below -11; the word `upon` reaches -6.9."""
_ORDINARY = re.compile(rb"[A-Za-z0-9\s.,;:()/%+<>=?!'\"*&-]+")


def _narrow(data: bytes) -> str:
    """ASCII, unless it is UTF-16 without a mark whose bytes are ASCII by chance: `ck8^` is 正常."""
    for code in ("utf-16-le", "utf-16-be") if len(data) % 2 == 0 and len(data) > 2 else ():
        text = _decoded(data[:2000], code)
        if not text:
            continue
        mean = max(weight(text) for weight in (_CHINESE, _TAIWAN, _JAPANESE)) / len(text)
        word = re.fullmatch(rb"[A-Za-z][a-z]*[.\s]*", data) is not None
        if mean > USUAL and not word:
            return _strict(data, code)
        if mean > USUAL or (mean > RARE and not _ORDINARY.fullmatch(data)):
            raise TextError("the text can be read in two encodings, and gives other words in each")

    return data.decode("ascii")


def _refuse_misread(text: str) -> None:
    """Refuse UTF-8 that was made of bytes that were misread before."""
    if "\ufffd" in text or "锟斤拷" in text:
        raise TextError("letters of the text were lost when it was converted before")

    sample = text[:SAMPLE]
    if len(_ACCENTS_ALONE.findall(sample)) > 1:
        raise TextError("the text was converted from a wrong encoding before")

    mine = weigh(sample)
    for wrong, right in _CONFUSED:
        try:
            other = sample.encode(wrong).decode(right)
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        if other != sample and weigh(other) > max(mine + 2 * AHEAD, mine / 2):
            raise TextError("the text was converted from a wrong encoding before")


_ACCENTS_ALONE = re.compile(r"(?<![^\W\d_])[À-ÖØ-öø-ÿ]{3,}(?![^\W\d_])")
"""Words of accented letters alone: `Ëåâàÿ` was Левая."""
_CONFUSED = (
    *(("cp1252", "utf-8"), ("latin-1", "utf-8"), ("gb18030", "utf-8"), ("latin-1", "gb18030")),
    *(("cp1252", "gb18030"), ("latin-1", "big5"), ("latin-1", "cp932"), ("latin-1", "cp949")),
    *(("cp1252", "big5"), ("cp1252", "cp932"), ("cp1252", "cp949"), ("cp932", "utf-8")),
    *(("cp1252", "cp1251"), ("cp1252", "cp1253"), ("cp1252", "cp1254"), ("cp1252", "cp1255")),
    *(("cp1252", "cp1256"), ("cp1252", "cp874"), ("cp1250", "cp1254"), ("cp1250", "utf-8")),
    *(("cp1251", "utf-8"), ("cp1254", "utf-8"), ("koi8_r", "cp1251"), ("cp1251", "koi8_r")),
)
"""What the bytes were read as, and what they were."""


def _legacy(data: bytes) -> str:
    """The one plausible reading in an encoding from before Unicode."""
    readings: dict[str, float] = {}
    for code, (weight, prior) in _CODES.items():
        text = _decoded(data, code)
        if text is not None:
            text = unicodedata.normalize("NFC", text) if code == "cp1258" else text
            sample = text[:SAMPLE]
            readings[text] = max(readings.get(text, -math.inf), weight(sample) + prior)

    order = sorted(readings, key=lambda text: readings[text], reverse=True)
    if not order or readings[order[0]] < POOREST * _foreign(order[0]):
        raise TextError("the text is in no known encoding")
    if len(order) > 1 and readings[order[0]] - readings[order[1]] < AHEAD:
        raise TextError("the text can be read in two encodings, and gives other words in each")

    return order[0]


def weigh(text: str) -> float:
    """Logarithm of how likely the letters beyond ASCII are, in the language they fit best."""
    return max(weight(text) for weight in _LANGUAGES)


@cache
def _table(language: str) -> Mapping[str, float]:
    """Logarithms of frequencies after Zipf's law: the letter of rank r has 1 / (r + 10)."""
    known = getattr(letters, language)
    scale = sum(1 / (rank + 10) for rank in range(len(known)))
    return {letter: -math.log((rank + 10) * scale) for rank, letter in enumerate(known)}


def _eastern(language: str) -> Callable[[str], float]:
    def weight(text: str) -> float:
        table = _table(language)
        total = 0.0
        for letter, count in Counter(c for c in text if c > "\x7f").items():
            usual = letter in _WIDE or "\uff01" <= letter <= "\uff5e" or letter in _SIGNS
            total += count * table.get(letter, -5.0 if usual else _strange(letter))

        # One such letter between Latin ones is a misread accent.
        return total - 6.0 * len(re.findall(r"[a-z][^\x00-\x7f][a-z]", text))

    return weight


def _strange(letter: str) -> float:
    """A letter that the list does not hold."""
    if unicodedata.category(letter) in ("Lo", "Ll", "Lu") and not "\uff61" <= letter <= "\uff9f":
        return _STRANGE
    return 2 * _STRANGE


MOST = 6
"""Words that count for a language at most."""
_ASCII = frozenset(map(chr, range(128)))
_SCRATCHED = r"[^\x00-\x7f][\[\]{}|^~\\`@_](?=[^\x00-\x7f])"
"""Signs that stand inside no word."""


def _plain(text: str) -> str:
    """Small letters, in Greek without accents."""
    low = text.lower()
    if not re.search("[ά-ώ]", low):
        return low
    return "".join(c for c in unicodedata.normalize("NFD", low) if not unicodedata.combining(c))


def _fitting(languages: letters.Languages) -> Callable[[set[str], str], list[int]]:
    """For each language that has all of a text's letters, how much its words speak for it.

    A word with other letters than ASCII counts twice: another reading does not have it.
    """
    known = {
        name: (frozenset(alphabet), _words(words)) for name, (alphabet, words) in languages.items()
    }

    def fitting(foreign: set[str], text: str) -> list[int]:
        found = []
        for name, (alphabet, words) in known.items():
            if foreign <= alphabet:
                said = Counter(words.findall(text))
                support = sum(min(n, 2) * (1 if word.isascii() else 2) for word, n in said.items())
                found += [support] if support or name not in letters.RARE else []
        return found

    return fitting


def _words(words: str) -> re.Pattern[str]:
    """Words, and beginnings of words: `edem-`."""
    each = (
        re.escape(word[:-1]) if word.endswith("-") else rf"{re.escape(word)}(?![^\W\d_])"
        for word in words.split()
    )
    return re.compile(rf"(?<![^\W\d_])(?:{'|'.join(each)})")


_FOREIGN_WORD = re.compile(r"(?<![^\W\d_])[^\x00-\x7f\W]{3,}(?![^\W\d_])")
"""No language in Latin letters has many words without one of ASCII."""


_SELDOM = re.compile(r"ù(?=[^\W\d_])|õ(?!e)|ã(?![oe])")
"""Letters of Portuguese, French and Italian where they hardly ever stand."""


def _western(languages: letters.Languages) -> Callable[[str], float]:
    western = languages is letters.WESTERN
    fitting = _fitting(languages)
    known = set("".join(alphabet for alphabet, _ in languages.values()))

    def weight(text: str) -> float:
        found = Counter(c for c in text if c > "\x7f")
        foreign = {c.lower()[0] for c in found if c not in _SIGNS} - _ASCII  # İ is i and a dot
        support = fitting(foreign, text.lower())
        total = sum(n * (-3.0 if c in _SIGNS else -3.5) for c, n in found.items())
        if not support:
            total += sum(n * _OTHER for c, n in found.items() if c.lower()[0] not in known)
            total -= 8.0

        # Signs inside words and capitals behind small letters are misread letters.
        inside = _MISREAD.findall(text) + 20 * _RUN.findall(text)
        latin = sum(c.isalpha() for c in text)
        dense = sum(n for c, n in found.items() if c.isalpha() and c not in _SIGNS) > 0.4 * latin
        bonus = 3.0 * min(max(support, default=0), MOST)
        unusual = len(_FOREIGN_WORD.findall(text))
        unusual += len(_SELDOM.findall(text.lower())) if western else 0

        return total + bonus - 12.0 * (len(inside) + dense) - 6.0 * unusual

    return weight


def _script(name: str, *, cased: bool = True) -> Callable[[str], float]:
    """Of an alphabet of its own, whose letters never stand beside Latin ones."""
    languages = letters.SCRIPTS[name]
    fitting = _fitting(languages)
    small = "".join(sorted(set(getattr(letters, name))))
    large = small.upper() if cased else ""
    one = f"[{small}{large}]"
    wrong = re.compile(
        rf"(?<={one})(?!{one})[^\W\d_]|(?!{one})[^\W\d_](?={one})|{_SCRATCHED}"
        rf"|(?<!\S)[—–](?={one})|(?<={one})\d(?={one})"
        + (rf"|[{small}](?=[{large}])" if cased else "")
        + (f"|{_MISPLACED}" if name == "THAI" else "")
    )

    shouted = re.compile(rf"(?<!{one})[{large}]{{2,}}(?!{one})" if cased else "(?!)")

    def weight(text: str) -> float:
        table = _table(name)
        found = Counter(c for c in text if c > "\x7f")
        total = 0.0
        for c, n in found.items():
            each = table.get(c, -3.0 if c in _SIGNS else _STRANGE)
            total += n * (each if c == c.lower() else table.get(c.lower(), _STRANGE))

        capitals = sum(map(str.isupper, text)) if cased else 0
        loud = sum(map(len, shouted.findall(text))) if cased else 0
        total -= 1.0 * loud + 3.0 * (capitals - loud)
        foreign = {c.lower() for c in found if c not in _SIGNS}
        support = fitting({*map(_plain, foreign)} if name == "GREEK" else foreign, _plain(text))
        open_quotes = max(0, text.count("\u2018") - text.count("\u2019"))
        misread = len(wrong.findall(text)) + 20 * len(_RUN.findall(text)) + open_quotes
        few = sum(found.values()) < 3  # `é` alone is no Russian word
        bonus = 3.0 * min(max(support, default=0), MOST) - 8.0 * (not support)
        return total + bonus - 10.0 * misread - 8.0 * few

    return weight


_MISPLACED = "(?<![ก-๎])[ะ-ฺ็-๎]|[เ-ไ](?![ก-ฮ])|[ัิ-ฺ][ัิ-ฺ]|[็-๎][ัิ-ฺ็-๎]"
"""Vowels and tones of Thai without a consonant."""


def _any(text: str) -> float:
    """Letters of no language above, in an encoding that says of itself what it is."""
    strange = sum(
        c > "\x7f" and unicodedata.category(c)[0] != "L" and c not in _SIGNS for c in text
    )
    return _OTHER * sum(c > "\x7f" for c in text) + _STRANGE * strange


_cyrillic, _greek = _script("CYRILLIC"), _script("GREEK")
_hebrew, _arabic = _script("HEBREW", cased=False), _script("ARABIC", cased=False)
_thai = _script("THAI", cased=False)
_CHINESE, _TAIWAN = _eastern("SIMPLIFIED"), _eastern("TRADITIONAL")
_JAPANESE, _KOREAN = _eastern("JAPANESE"), _eastern("KOREAN")
_LANGUAGES = (
    *(_CHINESE, _TAIWAN, _JAPANESE, _KOREAN, _any),
    *(_cyrillic, _greek, _hebrew, _arabic, _thai),
    *map(_western, (letters.WESTERN, letters.CENTRAL, letters.TURKISH, letters.BALTIC)),
)
_CODES: Mapping[str, tuple[Callable[[str], float], float]] = {
    "gb18030": (lambda text: max(_CHINESE(text), _TAIWAN(text)), 0.0),
    "cp950": (_TAIWAN, 0.0),
    "big5hkscs": (_TAIWAN, 0.0),
    "cp932": (_JAPANESE, 0.0),
    "euc_jp": (_JAPANESE, 0.0),
    "cp949": (_KOREAN, 0.0),
    "cp1252": (_western(letters.WESTERN), 0.0),
    "cp1250": (_western(letters.CENTRAL), -4.5),
    "cp1251": (_cyrillic, 0.0),
    "koi8_r": (_cyrillic, -2.0),
    "koi8_u": (_cyrillic, -2.5),
    "iso8859_5": (_cyrillic, -3.0),
    "cp866": (_cyrillic, -3.0),
    "mac_cyrillic": (_cyrillic, -4.0),
    "cp1253": (_greek, 0.0),
    "iso8859_7": (_greek, -1.0),
    "cp1254": (_western(letters.TURKISH), -3.0),
    "cp1255": (_hebrew, 0.0),
    "iso8859_8": (_hebrew, -1.0),
    "cp1256": (_arabic, 0.0),
    "iso8859_6": (_arabic, -1.0),
    "cp1257": (_western(letters.BALTIC), -5.0),
    "cp1258": (_western(letters.VIETNAMESE), -6.0),
    "cp874": (_thai, 0.0),
    "iso8859_2": (_western(letters.CENTRAL), -7.0),
    "cp850": (_western(letters.WESTERN), -5.0),
    "cp852": (_western(letters.CENTRAL), -8.0),
    "cp857": (_western(letters.TURKISH), -8.0),
    "mac_roman": (_western(letters.WESTERN), -6.0),
    "utf-8": (lambda text: weigh(text), 3.0),
    "utf-16-le": (lambda text: max(_CHINESE(text), _TAIWAN(text), _JAPANESE(text)), -4.0),
    "utf-16-be": (lambda text: max(_CHINESE(text), _TAIWAN(text), _JAPANESE(text)), -4.0),
}
"""Encodings, the weight of what they give, and how rare they are."""

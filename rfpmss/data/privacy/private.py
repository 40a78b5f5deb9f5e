"""Keep patients nameless: salted identifiers, and reports without the names that are known."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from rfpmss.common.files import new, read_bytes, read_text
from rfpmss.data.errors import TextError, UnreadableError
from rfpmss.data.privacy.inflections import blanked
from rfpmss.data.privacy.labelled.headed import in_lines
from rfpmss.data.privacy.national import without_numbers
from rfpmss.data.privacy.persons import apart
from rfpmss.data.privacy.places import without_places
from rfpmss.data.privacy.sentences import BLANK, joined, without_fields
from rfpmss.data.privacy.unlabelled.find import without_the_old, without_unlabelled
from rfpmss.data.privacy.unlabelled.letterheads import without_letterheads
from rfpmss.data.readers.text.dates import MONTH
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.volume import MIB

SALT = ".salt"
LARGEST_TEXT = MIB
NAMED = 60
"""Persons whom one report names at most."""
_JOINT = r"(?: ?[-/–(] ?| ?\) ?[-/]?|[ .])"
_PHONE = rf"\+?\(?\d{{1,9}}(?:{_JOINT}\d{{1,9}}){{0,8}}"
_BEHIND = (
    r"(?:\.?-?\s?(?:no|nr|number|num|nummer|号码?))?\s?[.:：]{0,2}\s?(?=(?:[ ()+/.–-]{0,3}\d){4})"
)
_SOON = r"(?=\D{0,60}+\d)"
"""Most words have no digit behind them, and no number."""
_MEASURE = r"(?!\d|[.,]\d| ?(?:[cm]?m|m?l|hu|%)(?!\w))"
_PHONES = (
    # Behind a word for it, in any form; some words have other meanings, too.
    rf"(?<!\w){_SOON}(?:tel(?:efon|ephone|[eé]fono|efax)?|t[eé]l(?:[eé]phone)?|(?:tele)?phone|fax|handy"
    r"|telefone|telem[oó]vel|celular|cellulare|telefono|movil|tel[eé]fono (?:fijo|m[oó]vil)|gsm"
    r"|tfno|tlfno|tlfn|tlf|telf"
    r"|mobil(?:nummer|telefon)|handynummer|telefoon(?:nummer)?|telefonnummer|telefonszám|mobitel"
    r"|телефон|тел|моб(?:ильный)?|сот(?:овый)?|τηλ(?:έφωνο)?|κινητό|telepon|telp|điện thoại|sđt"
    r"|puhelin|matkapuhelin|携帯(?:電話)?|手机|手機|휴대(?:폰|전화)|연락처|هاتف|الهاتف|جوال"
    r"|تلفن|טלפון|נייד"
    r"|โทร(?:ศัพท์)?|फ़?ोन|मोबाइल|whatsapp"
    r"|mobiltel(?:efon)?|pager|beeper|dect|durchwahl|rufnummer|cell ?phone"
    rf"|(?:联系|聯絡)?电话|電話|传真|手机|전화){_BEHIND}{_PHONE}{_MEASURE}"
    r"(?: ?(?:x|ext\.?) ?\d{1,6})?"
    rf"|(?<!\w){_SOON}(?:ph|mobile?|m[oó]vil|portable|bleep|funk(?:nummer)?|ext|cell?|mobil|cep)"
    rf"{_BEHIND}(?!\d\.\d)(?>{_PHONE}){_MEASURE}"
    # An area in brackets: (21) 3456-7890, 8 (495) 123-45-67.
    r"|(?<![\w.])(?:[78] ?)?\(\d{2,4}\) ?\d{2,5}[- ]\d{2,4}(?:[- ]\d{2,4})?(?![\d/]| ?[cm]?m(?!\w))"
    # With the code of a country or an area, which begins with 0; seven digits at least.
    rf"|(?<![\d.,/-])00[1-9]\d{{0,2}}(?:{_JOINT}\d{{1,8}}){{2,6}}(?!\d)"
    r"|(?<![\d.,/-])\(?0\d{1,5}(?:\) ?[-/]?| ?[-/]) ?(?=(?:[ -]?\d){4})\d{2,8}(?:[ -]\d{1,6}){0,3}"
    r"(?![\d/]| ?[cm]?m(?!\w))"
    r"|(?<![\d.,])0\d(?:([ .-])\d\d)(?:\3\d\d){3}(?![\d.,]\d)"
    r"|(?<![\d.])\d{3}\.\d{3}\.\d{4}(?!\d|\.\d)(?: ?x ?\d{1,6})?"
)
# Full dates, numbers of six or more digits, telephone numbers, addresses of mail and web pages.
# Every repetition has a bound, as in `rfpmss.data.privacy.sentences`.
_TRACES = re.compile(
    r"(?<!\d)(?:19|20)\d\d\s?(?:[-/.]\s?\d{1,2}\s?[-/.]\s?\d{1,2}"
    r"|年\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?日)?)(?!\d)"
    # Years of Japanese and Taiwanese eras.
    r"|(?:令和|平成|昭和|大正|明治|民[国國])\s?(?:元|\d{1,3})\s?[年./-]\s?\d{1,2}\s?[月./-]\s?\d{1,2}日?"
    r"|(?<![A-Za-z0-9])[RHS]\.?\d{1,2}[./-](?:0?[1-9]|1[0-2])[./-](?:0?[1-9]|[12]\d|3[01])(?![\d./])"
    r"|(?<![\d.,])\d{1,2}\s?([-/.])\s?\d{1,2}\s?\1\s?(?:19|20)\d\d(?!\d)"
    r"|(?<![\d.,/])(?:0?[1-9]|[12]\d|3[01])([./])(?:0?[1-9]|[12]\d|3[01])\2\d\d(?![\d./]|\s?[cm]m)"
    rf"|(?<!\w){_SOON}(?:\d{{1,2}}(?:st|nd|rd|th|er|\.)?\s{{1,3}}(?:de\s{{1,3}})?)?{MONTH}\.?,?\s{{1,3}}"
    r"(?:de\s{1,3}|del\s{1,3})?"
    r"(?:\d{1,2}(?:st|nd|rd|th)?,?\s{1,3})?(?:19|20)\d\d(?!\d)"
    r"|(?<!\d)\d{1,2} [\u0e00-\u0e7f.]{3,12} (?:พ\.ศ\. ?)?2[45]\d\d(?!\d)"  # Thai, of Buddha's era
    rf"|(?<!\w)\d{{1,2}}[-.]{MONTH}[-.](?:19|20)?\d\d(?!\d)"
    r"|(?<![\d.])[A-Za-z]{0,3}\d{6,40}[Xx]?(?![\d]|\.\d)"
    rf"|{_PHONES}"
    r"|(?:\+\d{1,3}[ -]?)?(?<!\d)\(?\d{3,4}\)?[ -]\d{3,4}[ -]\d{4}(?!\d)"
    r"|\+\d[\d ()/-]{6,40}\d"
    r"|(?<![A-Za-zÀ-ɏ0-9_.+-])[A-Za-zÀ-ɏ0-9_.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,99}\w"
    r"|(?:https?://|www\.)\S{1,2000}",
    re.IGNORECASE,
)
# Behind a word for calling, which stays.
_CALLED = re.compile(
    rf"(?<!\w){_SOON}((?:llam(?:ar|e|en)|localizable|contact(?:ar|e[dr]?|ez|able)?|avisar"
    r"|call(?:ed|back)?|reach(?:ed|able)?|dial|appel(?:er|ez)|join(?:dre|able)|chiamare"
    r"|reperibile|contattare|ligar|anrufen|erreichbar|rückruf|bellen|bereikbaar|zadzwonić)"
    r"(?: [^\W\d_]{1,12}){0,3}:? )"
    rf"(?=(?:[ ()+/.–-]{{0,3}}\d){{7}}){_PHONE}{_MEASURE}(?: ?(?:x|ext\.?) ?\d{{1,6}})?",
    re.IGNORECASE,
)
# What physicians are registered by; the short ones need more digits, for they mean other things.
_LICENCE = re.compile(
    r"(?<![\w-])(?:(?i:CRM(?:[-/ ]?[A-Z]{2})?|RQE|RPPS|ADELI|FINESS|LANR|BSNR|GMC|NPI|PWZ|AGB"
    r"|(?:n[º°o]\.? ?(?:de )?)?colegiad[oa](?: n[º°o]\.?)?|nº col\.?|matr[ií]cula"
    r"|c[ée]dula profesional"
    r"|(?:nr )?prawa wykonywania zawodu|BIG-(?:nr|nummer|registratie(?:nummer)?)|ordem dos médicos"
    r"|c[ée]d\. ?prof\.?|ordine dei medici(?: di \w{2,20})?|arztnummer|ahpra|scfhs|čl[ks]"
    r"|diplom[ae]|sicil|коллеги[яи]|reg\. ?n[o.º°]{1,2}"
    r"|licen[cs]e|medical council|registration)|执业证(?:书)?(?:编)?号|執業證號"
    r"|医籍(?:登録)?番号|면허번호)"
    r"(?: ?(?:no|nr|number|n[º°]|n\.[º°]?)(?!\w)\.?)?"
    r"[-:：#. ]{0,3}(?:[A-Z]{1,3}[-/ ]?)?\d[\d./-]{2,16}\d"
    r"|(?<![\w-])(?:BIG|OMS?|DEA|CMP|MCI|GMC|M\.?P\.?"
    r"|M\.?N\.?)[-:# ]{1,3}(?:n[.º°]{1,2} ?)?(?:[A-Z]{2})?\d{4,12}(?![\w.]\d| ?[cm]m)"
)
_EMPTY = re.compile(r" ?\([ ,.]{0,2}\)|,? (?=[.,;])")
"""Where a number stood."""
_DIGITS = re.compile(r"\d{41,}")
"""Longer than any number; taken whole, so that the patterns above need not look for its end."""
_GLUED = re.compile(r"___(?:-___){1,3}")
"""Both halves of a double name."""
_EDGES = " ,，;；、:：|"


def read_salt(path: Path) -> bytes:
    """The secret that ids are made with, drawn at random and kept the first time.

    The file is readable by its owner alone. Keep it: without it the ids cannot be made again; give
    it to nobody: with it a list of candidate names can be tried.
    """
    salt = draw_salt(path)
    keep_salt(path, salt)
    return salt


def draw_salt(path: Path) -> bytes:
    """The secret in a file, or a new one that no file holds before `keep_salt`.

    So a folder that is refused leaves no secret behind.
    """
    if not path.exists():
        if (path.parent / "splits.csv").exists():
            raise UnreadableError(
                "the salt of this cohort is gone, and with another everybody would be somebody "
                "else; put it back, or prepare into a new folder"
            )

        return secrets.token_hex(32).encode()

    text = read_text(path, "ascii", "replace").strip()
    if len(text) < 16:
        raise UnreadableError("the salt must have at least 16 characters")

    return text.encode()


def keep_salt(path: Path, salt: bytes) -> None:
    """Write a secret that was drawn, before anything is written that it made.

    Raises:
        UnreadableError: if another process has written another one meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new(path, private=True) as file:
            file.write(salt + b"\n")
    except FileExistsError:
        if draw_salt(path) != salt:
            raise UnreadableError(
                "another process has made the salt of this folder at the same time", "start again"
            ) from None


def pseudonym(salt: bytes, kind: str, identity: str) -> str:
    """A name that tells nothing without the salt: HMAC-SHA-256, 64 bits of it.

    Example:
        >>> pseudonym(b"0123456789abcdef", "p", "Doe^John")
        'p-5f87d539a32b474a'
    """
    text = f"{kind}\0{identity}".encode()
    return f"{kind}-{hmac.new(salt, text, hashlib.sha256).hexdigest()[:16]}"


def read_report(path: Path) -> str:
    """A report as clean text, in any encoding of `rfpmss.data.readers.text.encoding.decode_text`.

    Raises:
        TextError: if it is empty, too long, or in no encoding for certain.
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise TextError("the text is longer than a report can be")

    data = read_bytes(path)
    text = decode_text(data)
    if "\0" in text:
        raise TextError("the text holds binary data")

    return clean(text)


def clean(text: str) -> str:
    """Plain line ends, no control characters, no marks that only a printer sees.

    A soft hyphen or a space of no width within a word would hide a name from `redact`.

    Raises:
        TextError: if no letter is left.
    """
    text = "".join(c for c in text.replace("\r", "\n") if unicodedata.category(c) != "Cf")
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    if not any(letter.isalpha() for letter in text):
        raise TextError("the report is empty")

    return text


def redact(text: str, names: Iterable[str]) -> str:
    r"""The report on one line, without fields that say who and without the given names.

    Fields such as ``Name:`` or ``姓名：`` go with their values, and so does who wrote and
    signed it; what else stands in the same line or sentence stays. Full dates, numbers of six or
    more digits, telephone numbers, e-mail and web addresses go as well. A help, no proof of
    anonymity: names that no header, table, folder or field holds stay.

    The time is linear in the length of the text.

    Args:
        text: a report.
        names: identifiers of the patient; parts shorter than three letters are ignored.

    Raises:
        TextError: if it names so many persons that it cannot be the report of one patient.

    Example:
        >>> redact("Name: John Doe\nMr. Doe has a mass,  left, since 4 May 2021.", ["Doe^John"])
        'Mr. ___ has a mass, left, since ___.'
    """
    text = unicodedata.normalize("NFC", text)
    text = without_letterheads(_DIGITS.sub(BLANK, _tidy(apart(joined(in_lines(text))))), BLANK)
    text = without_numbers(text, BLANK)
    text, said = without_fields(without_places(_unregistered(text), BLANK))
    text, more = without_unlabelled(without_the_old(text, BLANK), BLANK)
    said = list(dict.fromkeys((*said, *more)))
    if len(said) > NAMED:
        what = f"the text names more than {NAMED} persons: no report of one patient"
        raise TextError(what, "put the report of each patient into a file of its own")

    text = blanked(blanked(text, names, BLANK), said, BLANK, cased=True)
    text = _GLUED.sub(BLANK, text)
    text = _CALLED.sub(rf"\1{BLANK}", _tidy(text))
    text = " ".join(_TRACES.sub(BLANK, text).split())

    return text.lstrip(_EDGES + ".。।،؛").rstrip(_EDGES)


def _unregistered(text: str) -> str:
    """A report without the numbers that physicians are registered by."""
    made, count = _LICENCE.subn("", text)
    return _EMPTY.sub("", made) if count else text


def _tidy(text: str) -> str:
    """The lines that hold something, with single blanks: no pattern has to cross runs of them."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(filter(None, lines))

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
from rfpmss.data.privacy.births import without_births
from rfpmss.data.privacy.inflections import blanked
from rfpmss.data.privacy.labelled.headed import in_lines
from rfpmss.data.privacy.national import without_numbers, without_runs
from rfpmss.data.privacy.persons import apart
from rfpmss.data.privacy.places import without_places
from rfpmss.data.privacy.sentences import BLANK, joined, without_fields
from rfpmss.data.privacy.traces import CALLED, DATES, LICENCE, TRACES
from rfpmss.data.privacy.unlabelled.find import without_the_old, without_unlabelled
from rfpmss.data.privacy.unlabelled.general import languages
from rfpmss.data.privacy.unlabelled.grown import grown
from rfpmss.data.privacy.unlabelled.letterheads import without_letterheads
from rfpmss.data.privacy.unlabelled.small import without_listed
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.volume import MIB

SALT = ".salt"
LARGEST_TEXT = MIB
NAMED = 60
"""Persons whom one report names at most."""
_EMPTY = re.compile(r" ?\([ ,.]{0,2}\)|,? (?=[.,;])")
"""Where a number stood."""
_DIGITS = re.compile(r"\d{41,}")
"""Longer than any number; taken whole, so that `traces` need not look for its end."""
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
    text = without_listed(text, BLANK)
    text = without_births(without_places(_unregistered(text), BLANK), BLANK)
    text, said = without_fields(text)
    spoken = languages(text)
    text, more = without_unlabelled(without_the_old(text, BLANK), BLANK, spoken)
    said = list(dict.fromkeys((*said, *more)))
    if len(said) > NAMED:
        what = f"the text names more than {NAMED} persons: no report of one patient"
        raise TextError(what, "put the report of each patient into a file of its own")

    text = DATES.sub(BLANK, text)
    text = blanked(blanked(text, names, BLANK), said, BLANK, cased=True)
    text = CALLED.sub(rf"\1{BLANK}", _tidy(_GLUED.sub(BLANK, text)))
    text = without_runs(TRACES.sub(BLANK, text), BLANK)
    text = " ".join(grown(text, BLANK, spoken).split())

    return text.lstrip(_EDGES + ".。।،؛").rstrip(_EDGES)


def _unregistered(text: str) -> str:
    """A report without the numbers that physicians are registered by."""
    made, count = LICENCE.subn("", text)
    return _EMPTY.sub("", made) if count else text


def _tidy(text: str) -> str:
    """The lines that hold something, with single blanks: no pattern has to cross runs of them."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(filter(None, lines))

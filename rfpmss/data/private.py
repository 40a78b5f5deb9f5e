"""Keep patients nameless: salted identifiers, and reports without the names that are known."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from rfpmss.data.errors import TextError, UnreadableError
from rfpmss.data.volume import MIB

SALT = ".salt"
BLANK = "___"
LARGEST_TEXT = MIB
# What opens with one of these says who, not what: up to the end of the sentence or of the line.
_WHO = re.compile(
    r"^[ \t]*(?:patient(?:'?s)?(?:[ _](?:name|id|no|number))?|name|surname|first name|mrn|id"
    r"|medical record(?: (?:no|number))?|dob|date of birth|birth ?date|accession(?: (?:no|number))?"
    r"|姓名|病历号|住院号|门诊号|身份证号?|出生日期)"
    r"[ \t]*[:：#].*?(?:(?<![\s.][A-Za-z])[.;。；](?=\s|$)|$)",
    re.IGNORECASE | re.MULTILINE,
)
_WHO_LINE = re.compile(
    r"^[ \t]*(?:address|phone|telephone|e-?mail|referr(?:er|ing physician)|physician|radiologist"
    r"|pathologist|signed(?: by)?|电话|地址|医师|医生)[ \t]*[:：#].*$",
    re.IGNORECASE | re.MULTILINE,
)
_KEEP = {"left", "right", "左", "右"}


def read_salt(path: Path) -> bytes:
    """The secret that ids are made with; drawn at random the first time.

    The file is readable by its owner alone. Keep it: without it the ids cannot be made again; give
    it to nobody: with it a list of candidate names can be tried.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if len(text) < 16:
        raise UnreadableError("the salt must have at least 16 characters")
    return text.encode()


def pseudonym(salt: bytes, kind: str, identity: str) -> str:
    """A name that tells nothing without the salt: HMAC-SHA-256, 64 bits of it.

    Example:
        >>> pseudonym(b"0123456789abcdef", "p", "Doe^John")
        'p-5f87d539a32b474a'
    """
    text = f"{kind}\0{identity}".encode()
    return f"{kind}-{hmac.new(salt, text, hashlib.sha256).hexdigest()[:16]}"


def read_report(path: Path) -> str:
    """A report as clean text: UTF-8 (with or without mark), UTF-16 with mark, or GB 18030.

    Raises:
        TextError: if it is empty, too long, or in no such encoding.
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise TextError("the text is longer than a report can be")
    data = path.read_bytes()
    text = _decode(data)
    if "\0" in text:
        raise TextError("the text holds binary data")
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r", "\n"))
    if not any(letter.isalpha() for letter in text):
        raise TextError("the report is empty")
    return text


def _decode(data: bytes) -> str:
    codes = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030")
    for code in codes:
        try:
            return data.decode(code)
        except UnicodeDecodeError:
            continue
    raise TextError("the text is in no known encoding")


def redact(text: str, names: Iterable[str]) -> str:
    r"""The report on one line, without sentences that say who and without the given names.

    A help, no proof of anonymity: names that no header or folder holds stay.

    Args:
        text: a report.
        names: identifiers of the patient; parts shorter than three letters are ignored.

    Example:
        >>> redact("Name: John Doe\nMr. Doe has a mass,  left.", ["Doe^John"])
        'Mr. ___ has a mass, left.'
    """
    text = _WHO_LINE.sub("", _WHO.sub("", text))
    parts = {part for name in names for part in (name, *re.split(r"[\^\s,=]+", name))}
    wanted = [p for p in parts if len(p) > 2 or (len(p) > 1 and not p.isascii())]
    for part in sorted(wanted, key=lambda p: (-len(p), p)):
        if part.lower() not in _KEEP:
            text = re.sub(
                rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])",
                BLANK,
                text,
                flags=re.IGNORECASE,
            )
    return " ".join(text.split())

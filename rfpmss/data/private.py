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
from rfpmss.data.readers.encoding import decode_text
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
# Words that folders and institutions are named after and that findings need.
_FINDINGS = """
left right bilateral frontal parietal temporal occipital insular thalamus brain stem cerebral
cerebellar lobe tumor tumour glioma glioblastoma astrocytoma oligodendroglioma gbm lgg hgg grade
high low mass lesion edema oedema necrosis cancer normal control case patient head neck neuro
oncology surgery imaging center centre institute hospital clinic university medical department
radiology pathology general and the for with
左 右 额叶 颞叶 顶叶 枕叶 医院 大学 胶质瘤 肿瘤 患者 病人
"""
_KEEP = frozenset(_FINDINGS.split())
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
# Full dates, numbers of six or more digits, telephone numbers, addresses of mail and web pages.
_TRACES = re.compile(
    r"(?<!\d)(?:19|20)\d\d\s?[-/.年]\s?\d{1,2}\s?[-/.月]\s?\d{1,2}日?(?!\d)"
    r"|(?<!\d)\d{1,2}\s?[-/.]\s?\d{1,2}\s?[-/.]\s?(?:19|20)\d\d(?!\d)"
    rf"|(?<!\w)(?:\d{{1,2}}(?:st|nd|rd|th|\.)?\s+)?{_MONTH}\.?,?\s+(?:\d{{1,2}},?\s+)?(?:19|20)\d\d"
    r"(?!\d)"
    r"|(?<![\d.])[A-Za-z]{0,3}\d{6,}(?![\d]|\.\d)"
    r"|(?:\+\d{1,3}[ -]?)?(?<!\d)\(?\d{3,4}\)?[ -]\d{3,4}[ -]\d{4}(?!\d)"
    r"|\+\d[\d ()/-]{6,}\d"
    r"|[\w.+-]+@[\w-]+\.[\w.-]*\w|(?:https?://|www\.)\S+",
    re.IGNORECASE,
)


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
    """A report as clean text, in any encoding of `rfpmss.data.readers.encoding.decode_text`.

    Raises:
        TextError: if it is empty, too long, or in no encoding for certain.
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise TextError("the text is longer than a report can be")
    data = path.read_bytes()
    text = decode_text(data)
    if "\0" in text:
        raise TextError("the text holds binary data")
    return clean(text)


def clean(text: str) -> str:
    """Plain line ends, no control characters.

    Raises:
        TextError: if no letter is left.
    """
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r", "\n"))
    if not any(letter.isalpha() for letter in text):
        raise TextError("the report is empty")
    return text


def redact(text: str, names: Iterable[str]) -> str:
    r"""The report on one line, without sentences that say who and without the given names.

    Full dates, numbers of six or more digits, telephone numbers, e-mail and web addresses go as
    well. A help, no proof of anonymity: names that no header, table or folder holds stay.

    Args:
        text: a report.
        names: identifiers of the patient; parts shorter than three letters are ignored.

    Example:
        >>> redact("Name: John Doe\nMr. Doe has a mass,  left, since 4 May 2021.", ["Doe^John"])
        'Mr. ___ has a mass, left, since ___.'
    """
    text = _WHO_LINE.sub("", _WHO.sub("", text))
    for part in words_of(names):
        text = re.sub(
            rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])", BLANK, text, flags=re.IGNORECASE
        )
    return " ".join(_TRACES.sub(BLANK, text).split())


def words_of(names: Iterable[str]) -> list[str]:
    """The names and their parts that are to be blanked, the longest first.

    Example:
        >>> words_of(["Doe^John", "Left Lobe Clinic", "Li", "120"])
        ['Left Lobe Clinic', 'Doe^John', 'DoeJohn', 'John', 'Doe']
    """
    parts = set()
    for name in names:
        parts |= {name, *re.split(r"[\s^,=_/\\.\-]+", name)}
        parts |= {spelling.replace("^", "") for spelling in name.split("=")}
    wanted = {p for p in parts if len(p) > (3 if p.isdigit() else 2 if p.isascii() else 1)}
    return sorted((p for p in wanted if p.lower() not in _KEEP), key=lambda p: (-len(p), p))

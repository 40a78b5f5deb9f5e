"""What stands around a letter: `Freiburg, den 04.03.2021`, `Our ref: IF/jm/443`, an IBAN."""

from __future__ import annotations

import re

from rfpmss.data.privacy.persons import UPPER
from rfpmss.data.privacy.unlabelled.origins import NAME, is_proper
from rfpmss.data.readers.text.dates import MONTH

_DAY = (
    r"(?:\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{2,4}|\d{1,2}(?:er|\.|st|nd|rd|th|º)?(?:\sde)?\s"
    rf"(?i:{MONTH})\.?,?(?:\sde)?\s\d{{4}})"
)
_DATED = re.compile(
    rf"(?:(?<=\n)|^)(?:(?i:fait à|in|à|en)\s)?(?P<name>{NAME}),\s(?:(?i:den|le|a|el|li|lì|dnia"
    rf"|em|am|w dniu|dne|den|on)\s)?{_DAY}(?:\s?/\s?\w{{2,4}})?(?=\s?[.,\n]|$)"
)
_CAPITALS = re.compile(
    rf"(?:(?<=\n)|^)(?=[^\n]{{0,80}}(?<!\w)(?:HOSPITAL(?!\s(?:COURSE|DAY|STAY|ADMISSION"
    r"|DISCHARGE))|INFIRMARY|NHS TRUST|MEDICAL CENT(?:ER|RE)|CLINIC|H[ÔO]PITAL|CENTRE HOSPITALIER"
    r"|CH[RU]{1,2}|CLINIQUE|KLINIKUM|UNIVERSITÄTSKLINIKUM|KRANKENHAUS|CL[ÍI]NICA|OSPEDALE"
    r"|AZIENDA OSPEDALIERA|POLICLINICO|SZPITAL|NEMOCNICE|ZIEKENHUIS|SJUKHUS|SYKEHUS)(?!\w))"
    rf"(?P<name>[{UPPER}][{UPPER} .,'’&-]{{4,80}})(?=\n|$)"
)
"""A line of its own, all in capitals."""
_REFERENCE = re.compile(
    r"(?<![\w-])(?:(?:our|your) ref(?:erence)?|ref|(?:unser|ihr) zeichen|az|aktenzeichen"
    r"|[nv]/ ?r[ée]f|[nv](?:os|otre)/? ?r[ée]f(?:érences?)?|nuestra ref(?:erencia)?|n/ ?ref"
    r"|ns\.? ?rif|nossa ref)\.? ?[:：] ?[\w./-]{2,30}(?=[\s,;]|$)"
    r"|(?<![\w-])(?:tel|fax|durchwahl|dw|ext)\.?:? ?[-–]\d{1,5}(?! ?\d)"
    r"|(?<!\w)(?:iban:? ?)?(?-i:[A-Z]{2}\d\d(?: ?[\dA-Z]{4}){3,7}(?: ?[\dA-Z]{1,3})?)(?!\w)"
    rf"|amtsgericht [{UPPER}][\w-]{{2,30}}(?:,? HR[AB] ?\d{{1,8}})?|(?<!\w)HR[AB] ?\d{{1,8}}",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[^\W\d_][\w'’]*")
_ACRONYM = re.compile(rf"[{UPPER}]{{2,4}}")


def without_letterheads(text: str, blank: str) -> str:
    r"""A report with a blank for the parts of a letterhead that are about no finding.

    Args:
        text: a report, line by line.
        blank: what stands for such a part.

    Example:
        >>> without_letterheads("Ulm, 04.03.2021\nUnser Zeichen: ab/12\nKopf, 04.03.2021", "_")
        '_\n_\nKopf, 04.03.2021'
    """
    text = _REFERENCE.sub(blank, _DATED.sub(lambda found: _dated(found, blank), text))
    return _CAPITALS.sub(lambda found: _capitals(found, blank), text)


def _dated(found: re.Match[str], blank: str) -> str:
    words = _WORDS.findall(found["name"])
    proper = all(map(is_proper, words)) and not any(map(_ACRONYM.fullmatch, words))
    return blank if proper else found[0]


def _capitals(found: re.Match[str], blank: str) -> str:
    return blank if any(map(is_proper, _WORDS.findall(found["name"]))) else found[0]

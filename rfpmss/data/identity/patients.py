"""PatientIDs that stand for nobody: what anonymisers and scanners write into every file."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from rfpmss.data.identity.names.plain import plain

_WORDS = re.compile(
    r"anon|anony?m\w*|anonimo|anonimi[sz]ad[oa]|removed|deleted|erased|blank|empty|none|null|nil|nan"
    r"|na|n-a|unknown|unk|unbekannt|inconnu|desconocido|undefined|unnamed|unidentified"
    r"|(?:not|no)-?(?:available|known|given|provided|specified|applicable|id|name|identifier)"
    r"|noname|noid|default|dummy|test|test-?patient|testid|plastic|phantom|qa|qc"
    r"|patient|patient-?id|patient-?name|id|pid|mrn|name|subject|case|person"
    r"|de-?id|de-?identified|deidentified|pseudonym\w*|masked|hidden|redacted|confidential|private"
    r"|entfernt|geloscht|supprime|eliminado|x+|匿名\w*|未知|无|空|保密|已删除|脱敏|患者|病人"
)
_NUMBERS = re.compile(r"0+|1|(\d)\1{2,}|123(?:4(?:5(?:6(?:7(?:8(?:90?)?)?)?)?)?)?")
"""These may be somebody's; over several folders of patients they are not."""


def placeholder(patient: str) -> bool:
    """Whether a PatientID is a word or signs that name nobody.

    Example:
        >>> [placeholder(p) for p in ("ANONYMOUS", "***", "Removed", "ANON-0017", "P7", "无")]
        [True, True, True, False, False, True]
    """
    return not plain(patient) or bool(_WORDS.fullmatch(plain(patient)))


def shared(
    patients: Sequence[str],
    homes: Sequence[tuple[str, ...]],
    persons: Sequence[tuple[str, str, str]],
) -> tuple[set[str], set[str]]:
    """PatientIDs that several people have.

    Args:
        patients: PatientID of each DICOM file, not a `placeholder`.
        homes: the folders that name its patient.
        persons: its date of birth, sex and name; ``""`` where not given.

    Returns:
        Those whose folders tell the people apart, and those of which nothing does.
    """
    by_home: dict[str, dict[tuple[str, ...], tuple[set[str], set[str]]]] = defaultdict(dict)
    for patient, home, (birth, sex, _) in zip(patients, homes, persons, strict=True):
        births, sexes = by_home[patient].setdefault(home, (set(), set()))
        births.update({birth} & set(filter(certain, {birth})))
        sexes.update({sex} & {"M", "F"})

    counted = _counted(patients, persons)
    told, untold = set(), set()
    for patient, found in by_home.items():
        births = set().union(*(b for b, _ in found.values()))
        sexes = set().union(*(s for _, s in found.values()))
        if len(births) > 1 or len(sexes) > 1:
            inside = any(len(b) > 1 or len(s) > 1 for b, s in found.values())
            (untold if inside or () in found else told).add(patient)
        elif len(found) > 1 and _NUMBERS.fullmatch(patient) and () not in found:
            told |= {patient} - counted

    return told, untold


def _counted(patients: Sequence[str], persons: Sequence[tuple[str, str, str]]) -> set[str]:
    """The numbers 1 to n of a cohort that counts its patients, each with a person of its own.

    A person is a name, or without one a date of birth, that all files of the number have and those
    of no other.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for patient, (birth, _, name) in zip(patients, persons, strict=True):
        named = "" if placeholder(name) else plain(name)
        found[patient].add(named or (birth if certain(birth) else ""))

    counted: set[str] = set()
    seen: set[str] = set()
    while len(who := found.get(f"{len(counted) + 1}", set())) == 1 and not who & (seen | {""}):
        seen |= who
        counted.add(f"{len(counted) + 1}")

    return counted if len(counted) > 1 else set()


def same_person(person: tuple[str, str, str]) -> str:
    """What two PatientIDs of one person share; ``""`` where the header does not say it all.

    Args:
        person: date of birth, sex and name.

    Example:
        >>> same_person(("19500412", "F", "Doe^Jane")) == same_person(("19500412", "F", "DOE JANE"))
        True
        >>> same_person(("19500412", "F", "ANONYMOUS")), same_person(("19000101", "F", "Doe^Jane"))
        ('', '')
    """
    birth, sex, name = person
    if not certain(birth) or sex not in ("M", "F") or placeholder(name):
        return ""
    return f"{birth} {sex} {plain(name)}"


def called(name: str) -> frozenset[str]:
    """What a person's name is compared by: without order, case, accents and titles of a header.

    Args:
        name: of a header, ``family^given^middle=ideographic``, or as people write it.

    Returns:
        Spellings; none for a single word, which may be anybody's.

    Example:
        >>> [bool(called("SMITH^JOHN^A") & called(n)) for n in ("John Smith", "Smith, John", "Jo")]
        [True, True, False]
        >>> bool(called("Müller^Anna") & called("anna mueller"))
        True
        >>> bool(called("张^三") & called("张三"))
        True
    """
    found: set[str] = set()
    for spelling in name.split("="):
        parts = [part for part in re.split(r"[\W\d_]+", spelling.casefold()) if part]
        for take in (parts, parts[:2]):
            found |= {"-".join(sorted(map(write, take))) for write in (_written, _bare)}
            if not "".join(take).isascii() and all(map(_HAN.fullmatch, take)):
                found |= {"".join(take), "".join(take[::-1])}

    return frozenset(key for key in found if "-" in key or _HAN.fullmatch(key) and len(key) > 1)


_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa"})


def _written(word: str) -> str:
    return _bare(word.translate(_UMLAUTS))


def _bare(word: str) -> str:
    letters = unicodedata.normalize("NFD", word.replace("ß", "ss"))
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", letters))


def certain(birth: str) -> bool:
    """A whole date, and none that anonymisers write."""
    return bool(re.fullmatch(r"\d{8}", birth)) and birth[4:] != "0101" and birth > "18991231"


def spelled(patient: str) -> str:
    """A PatientID without case, leading zeros and separators: `ab12` and `AB-012` may be one."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", patient.casefold()))

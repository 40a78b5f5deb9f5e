"""Names typed in small letters: `spoke with thandiwe`, `dr wojtaszek`, `gruß holm`.

Behind a title, a relative, a word for telling, seeing or greeting, and at the end of a report, a
word that no vocabulary holds is one; elsewhere a given name of the lexicon is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from rfpmss.data.privacy.persons import LOWER, UPPER, WORD
from rfpmss.data.privacy.unlabelled.general import is_told, is_word, languages
from rfpmss.data.privacy.unlabelled.kin import KIN
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.vocabulary import common, ordinary

_TITLE = (
    r"mr|mrs|ms|miss|dr|dra|drs|doctor|doc|prof|nurse|sister|herrn?|fr(?:au)?|hr|dr\.? med"
    r"|schwester"
    r"|pfleger|koll(?:ege|egin)?|oa|oä|mme|mlle|monsieur|madame|docteur|sr|sra|srta|señora?|don"
    r"|doña"
    r"|doctora?|enf(?:ermer[oa])?|sig|sig\.ra|signora?|dott|dott\.ssa|dottor(?:e|essa)?"
    r"|senhora?|doutora?"
    r"|mevr(?:ouw)?|mw|dhr|meneer|zuster|broeder|pan|pani|lek|doktor|överläkare|läkare"
    r"|sköterska|ssk"
    r"|overl[æe]ge|lege|sayın|bay|bayan|uzm|arts|radioloog|врач|доктор|д-р|πρωτ|κ\.|ιατρός"
)
_GREETING = (
    r"(?:gru(?:ß|ss)|grüße|lg|vg|mfg|cheers|regards|rgds|thanks|thx|merci|cdt|saludos|atte|att|abs"
    r"|abraço|groet(?:en|jes)?|mvg|mvh|hilsen|pozdrawiam|selamlar)"
)
_HEARD = (
    rf"{_GREETING}|(?:spoke|spoken|talked|discussed|reviewed|agreed|seen|met) (?:with|to)|(?:told"
    r"|called|phoned|rang|paged|informed|notified|cc|best|ta|signed|sgd|reported by|read by"
    r"|typed by|seen by|dictated by)|(?:besprochen|rücksprache|telefonat) mit|gez|befundet von"
    r"|cordialement|vu (?:avec|par)|relu par|signé|un saludo|firmado|informa(?:do por)?"
    r"|visto (?:con|por|da)|refertato da|firmato|cordiali saluti|visto com|laudado por|assinado"
    r"|cumprimentos|besproken met|verslag door|opisała?|konsultowała?|hälsningar|vh|sign"
    r"|signerat av|raporlayan|saygılarımla|описала?|с уважением"
)
_W = rf"[{LOWER}][{LOWER}'’-]{{2,30}}"
_CUED = re.compile(
    rf"(?<![\w-])(?i:(?:(?:(?:{_TITLE})\.?|{KIN}"
    rf"|{_HEARD})[,:]?\s){{1,3}})(?P<initial>[{LOWER}]\.\s?)?"
    rf"(?P<name>{_W}(?: {_W}){{0,2}})"
)
_GREETED = re.compile(
    rf"(?<![\w-])(?P<cue>(?i:{_GREETING},?\s))(?:(?:{_W}|{WORD}) ?){{1,2}}(?=\W{{0,3}}$)"
)
"""Whoever greets, last in the report."""
_LAST = re.compile(
    rf"(?:[.!?,]\s|\n)(?P<initial>[{LOWER}]\.\s?)?(?P<name>{_W}(?: {_W}){{0,2}})\W{{0,3}}$"
)
_VERBAL = r"(?:ed|ing|ant|ent|é|ée|iert?|end|ique?|al|ous|ive|ly|[aitu]d[oa]|[aiu]t[oa]|ic[oa]|s)"
"""Ends of verbs and adjectives: `patient extubated`."""
_AGED = re.compile(
    rf"(?<![\w-])(?i:patient(?:in|e)?|pt|pat\.?|paciente|paziente|utente|pacjent(?:ka)?"
    rf"|(?:de|chez|pour|du) m\.)\s(?P<initial>)"
    rf"(?P<name>(?![{LOWER}'’-]{{0,30}}{_VERBAL}(?![{LOWER}])){_W}(?: {_W}(?=,?\s\d)){{0,2}})"
)
_ANY = re.compile(rf"(?<![\w'’@./-])[{LOWER}][{LOWER}'’-]{{3,30}}(?![\w'’@/-])")
_BIG = rf"[{UPPER}][{UPPER}'’-]{{1,30}}"
_LOUD = re.compile(
    rf"(?<![\w-])(?P<title>(?:DR|DRA|PROF|DOTT|MRS|MME|MLLE|HERR|FRAU|SRA|DOC)\.?\s)"
    rf"(?P<name>{_BIG}(?: {_BIG}){{0,3}}|___(?: {_BIG}){{1,2}}(?=\s?[.,;)\n]|$))"
)
"""Behind a title in capitals."""
_TITLED = re.compile(rf"(?<![\w-])(?i:{_TITLE})\.?\s$")
_CLOSED = re.compile(r"\s?(?:[.,;)\n]|$)")


_LISTED = re.compile(
    rf"(?<![\w-])(?P<cue>(?i:de|du|for|of|bei|von|pour|chez|para|di|del|patient(?:e|in)?|pt"
    rf"|paciente|paziente|patiënt)\s)(?P<name>{_W}(?: {_W}){{1,2}})(?=,?\s(?:mrn|pid|ipp|nip|nhc"
    rf"|dni|hc|id|dob|ddn"
    r"|geb|née?|nat[oa]|dn|proc|cartella|nac|nacid[oa]|nascid[oa]|born|fallnr|pat\.?-?nr)(?!\w))"
)
"""A name in small letters before the next field: `irm de marc oyelaran, ipp 77`."""


def without_listed(text: str, blank: str) -> str:
    """A report with a blank for each name that a field of the patient follows.

    Example:
        >>> without_listed("irm de marc oyelaran, ipp 77. oedema of the brain, dob", "_")
        'irm de _, ipp 77. oedema of the brain, dob'
    """
    return _LISTED.sub(_unless_words(blank), text)


def _unless_words(blank: str) -> Callable[[re.Match[str]], str]:
    """What stands for a name, unless all its words are words of reports."""

    def put(found: re.Match[str]) -> str:
        words = found["name"].split()
        known = all(ordinary(w) or common(w) or len(w) < 4 for w in words)
        return found[0] if known else found["cue"] + blank

    return put


def without_small(text: str, blank: str, spoken: Collection[str] | None = None) -> str:
    """A report with a blank for each name in small letters.

    Example:
        >>> text = "spoke with thandiwe about dr wojtaszek, his wife oyelare. stable. kpossou"
        >>> without_small(text, "_")
        'spoke with _ about dr _, his wife _. stable. _'
    """
    spoken = languages(text) if spoken is None else spoken
    names = lexicon().given | lexicon().family

    def take(found: re.Match[str]) -> str:
        words = found["name"].split()
        count = next((n for n, w in enumerate(words) if is_word(w, spoken)), len(words))
        titled = _TITLED.search(found.string, found.start(), found.start("name"))
        if titled and count == len(words) - 1 and _CLOSED.match(found.string, found.end()):
            last = words[-1]
            count += not is_told(last, last) and (count > 0 or last in names)
        if not count:
            return found[0]
        start = found.start("initial") if found["initial"] else found.start("name")
        end = found.start("name") + len(" ".join(words[:count]))
        whole = found.string
        return whole[found.start() : start] + blank + whole[end : found.end()]

    def loud(found: re.Match[str]) -> str:
        words = found["name"].split()
        ends = (n for n, w in enumerate(words) if w != blank and (ordinary(w) or common(w)))
        count = next(ends, len(words))
        rest = any(not is_word(w.capitalize(), spoken) for w in words[:count])
        alone = count == len(words) and _CLOSED.match(found.string, found.end())
        if not count or not (rest or alone):
            return found[0]
        return found["title"] + " ".join((blank, *words[count:]))

    given = lexicon().given

    def known(found: re.Match[str]) -> str:
        return blank if found[0] in given and not is_word(found[0], spoken) else found[0]

    text = _AGED.sub(take, _CUED.sub(take, _LOUD.sub(loud, text)))
    text = _GREETED.sub(rf"\g<cue>{blank}", text)
    beside = re.compile(rf"{blank} (?P<name>[{LOWER}][{LOWER}'’-]{{4,30}})(?=\s?(?:[.,:;)\n]|$))")
    return beside.sub(_beside(spoken, blank), _ANY.sub(known, _LAST.sub(take, text)))


def _beside(spoken: Collection[str], blank: str) -> Callable[[re.Match[str]], str]:
    """The second half of a name whose first is a blank."""
    return lambda found: found[0] if is_word(found["name"], spoken) else blank

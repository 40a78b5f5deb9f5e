"""Hospitals and their addresses: `Klinikum rechts der Isar`, `Im Neuenheimer Feld 400`.

A word for a hospital and a word with a capital beside it that is none of medicine; behind it, or in
lines of its own, an address without a word for a street.
"""

from __future__ import annotations

import re

from rfpmss.data.privacy.persons import LOWER, UPPER
from rfpmss.data.privacy.vocabulary import common

_W = rf"[{UPPER}][\w'’-]{{0,40}}"
_SMALL = (
    r"(?:(?:de|du|des|la|le|les|del|della|di|da|do|dos|das|rechts|links|der|den|dem|am|im|an|in"
    r"|und|für"
    r"|im\.|z|w|v|of|the|and|sv\.|św\.|им\.|Dr\.|St\.|im\.|imienia|og|och|e|y|et|van|het|voor)\s"
    r"|d['’]|l['’])"
)
_FIRST = (
    r"(?:Hôpita(?:l|ux)|H[oô]pital|CH[RU]{1,2}|Centre [Hh]ospitalier(?: [Uu]niversitaire"
    r"| [Rr]égional)?|Clinique|Institut"
    r"|[Cc]abinet(?: [Mm]édical)?|[Mm]aison [Mm]édicale|[Cc]onsultorio|[Cc]entro [Mm]édico"
    r"|[Cc]linique|[Mm]aison de santé|Sanatorio|Sanatorium|Polyclinique|Klinikum|Klinik|Uniklinik"
    r"|Universitätsklinik(?:um)?|Krankenhaus|Kliniken"
    r"|Spital|Universitätsspital"
    r"|Charité|Praxis|MVZ|Hospital|Hospice|Ospedale|Policlinico|Istituto|Azienda [Oo]spedaliera"
    r"|Clínica|Complejo"
    r" [Hh]ospitalario|Instituto|Santa Casa|Szpital\w{0,3}(?: Kliniczny| Uniwersytecki)?"
    r"|Nemocnice|Fakultní nemocnice|Nemocnica|Spitalul|Institutul"
    r"|Klinički [Cc]entar|KBC|UKC|Bệnh viện|Rumah Sakit|RSUD|RSUP|Больниц[аыеу]|НМИЦ|НИИ|ГКБ|ГБУЗ"
    r"|Клиник[аи]"
    r"|Городская клиническая больница|Областная больница|Лікарня|МБАЛ|УМБАЛ|Νοσοκομείο|Ziekenhuis"
    r"|UMC|Erasmus"
    r"|Sygehus|Sjukhus(?:et)?|Sykehus(?:et)?)"
)
_LAST = (
    r"(?:(?:General |University |Memorial |Regional |Community |District |Children's |Veterans )?"
    r"(?:Hospitals?|Medical [CC]ent(?:er|re)|Infirmary|Health(?:care)? (?:System|Cent(?:er|re))"
    r"|NHS (?:Foundation )?Trust"
    r"|Clinic|Cancer Cent(?:er|re)|Imaging Cent(?:er|re))"
    r"|Krankenhaus|Kliniken|Klinik|Spital|[Uu]niversitetssjukhus(?:et)?"
    r"|[Uu]niversitetssykehus(?:et)?"
    r"|[Ss]jukhus(?:et)?"
    r"|[Ss]ykehus(?:et)?|[Ss]ygehus|[Hh]ospitalet|[Ss]airaala|(?:Üniversitesi\s)?Hastanesi"
    r"|Egyetem|Kórház|Klinika"
    r"|UMC|MC|[Zz]iekenhuis|slimnīca|ligoninė|haigla|bolnica|больница|Hospital)"
)
_GLUED = (
    rf"[{UPPER}][{LOWER}]{{2,30}}(?:sjukhuset|sykehuset|hospitalet|sygehus|ziekenhuis|klinikum"
    rf"|kórház|sairaala|spital"
    r"|krankenhaus)"
)
_NAMED = r"(?:Charité|Karolinska|Rigshospitalet|Inselspital|Mayo Clinic)"
_ADDRESS = (
    rf"(?:\s?[,\n–-]\s?(?:\d{{1,4}}(?:-\d{{1,4}})?,?\s[^\n,.;:]{{3,40}}"
    rf"|(?:(?:Im|Am|An|In|Auf|Zum|Zur|De|Den)\s)?{_W}(?:\s{_W}){{0,3}}\s\d{{1,4}}[a-z]?"
    rf"|(?:[A-Z]{{1,2}}-)?(?:\d{{4,6}}(?:-\d{{3,4}})?|\d{{3}}\s\d\d|\d\d-\d{{3}})(?:\s[A-Z]{{2}})"
    rf"?\s{_W}(?:\s{_W}){{0,2}}"
    rf"|{_W}(?:\s{_W})?,?\s(?:[A-Z]{{2}}\s\d{{5}}|[A-Z]{{1,2}}\d[\dA-Z]?\s\d[A-Z]{{2}})"
    rf")(?=\s?[,.;\n]|$)){{0,3}}(?P<town>,\s{_W}(?:[ -]{_W}){{0,2}}(?=\s?[.;)\n]|$))?"
)
_PLACE = re.compile(
    rf"(?<![\w-])(?:(?P<first>{_FIRST})(?P<name>(?: [а-яё-]{{3,30}})"
    rf"{{0,3}}(?: {_SMALL}{{0,3}}(?:{_W}|№ ?\d{{1,4}})| ?n[r.º°]{{1,2}}\s?\d{{1,3}}"
    rf"|-{_W}){{1,5}})"
    rf"|(?P<names>(?:(?:{_W}|St\.|St)[ -]){{1,4}})(?P<last>{_LAST})(?![\w-])"
    rf"|(?P<glued>{_GLUED}|{_NAMED})(?: {_W})?(?![\w-])){_ADDRESS}"
)
_STREET = re.compile(
    rf"(?:(?<=\n)|^)(?:Im|Am|An der|Auf dem|Zum|Zur"
    rf"|In der)\s{_W}(?:\s{_W})?\s\d{{1,4}}[a-z]?(?=\s?[,\n]|$)"
)
_LINE = re.compile(
    rf"(?:(?<=\n)|^)(?:[A-Z]{{1,2}}-)?(?:\d{{4,6}}|\d{{3}}\s\d\d|\d\d-\d{{3}})"
    rf"\s{_W}(?:[ -]{_W}){{0,2}}(?=\n|$)"
)
_CJK = re.compile(
    r"(?<![\u3400-\u9fff])(?:[与與在于由从到给])?(?P<han>(?!我院|外院|当地|當地|本院|他院|前医|转院|上级|上級|当院|近医|同院)"
    r"[\u3400-\u9fff]{2,16}?(?:医院|醫院|病院|卫生院|センター|クリニック)(?:[\u3400-\u9fff]{2,5}病院)?)"
    r"|(?<![가-힣])(?P<ko>(?!타병원|본병원|외부|상급|지역|인근|개인|이전|다른)[가-힣]{2,12}(?:대학교)?(?:병원|의료원))"
)
_OURS = re.compile(r"我院|外院|当地|當地|本院|他院|上级|上級|下级|基层")
_CLINICS = frozenset(
    ("memory", "epilepsy", "outpatient", "stroke", "pain", "headache", "seizure", "movement")
)


_PRACTICE_IN = re.compile(
    r"((?:\w{0,14}[Pp]raxis|MVZ|Ordination|[Cc]abinet|[Cc]onsulta)\s[^\n;]{0,60}?\s(?:in|à|en|a)\s)"
    rf"(?P<town>{_W}(?:[ -]{_W})?)(?=[.,;\n]|$)"
)
"""Where a practice is: `Praxis Drs. Umlauft & Brömmelkamp in Hinterzarten`."""


def _practice(found: re.Match[str], blank: str) -> str:
    return found[0] if common(found["town"]) else found[1] + blank


def without_institutions(text: str, blank: str) -> str:
    """A report with a blank for each hospital, and the address behind it.

    Example:
        >>> without_institutions("CT at Addenbrooke's Hospital, Brain Tumor Clinic.", "_")
        'CT at _, Brain Tumor Clinic.'
    """
    text = _PRACTICE_IN.sub(lambda found: _practice(found, blank), text)
    text = _PLACE.sub(lambda found: _instead(found, blank), text)
    text = _LINE.sub(blank, _STREET.sub(blank, text))
    if not _WIDE.search(text):
        return text

    return _CJK.sub(lambda found: _wide(found, blank), text)


_WIDE = re.compile("[院病병의セク]")


def _instead(found: re.Match[str], blank: str) -> str:
    town = found["town"]
    if not town:
        return _hospital(found, blank)

    words = re.findall(r"[^\W\d_][\w'’]*", town)
    kept = "" if not any(common(word) or word.isupper() for word in words) else town
    return _hospital(found, blank).removesuffix(town) + kept


def _hospital(found: re.Match[str], blank: str) -> str:
    said = found["name"] or found["names"] or found["glued"]
    words = re.findall(rf"(?<!\w)[{UPPER}][\w'’]*|№", said)
    known = [common(word) or word.lower() in _CLINICS for word in words]
    if known and all(known):
        return found[0]
    if found["names"]:  # `Previous Leeds Hospital`
        first = known.index(False)
        place = [m.start() for m in re.finditer(rf"(?<!\w)[{UPPER}][\w'’]*", said)][first]
        return found[0][:place] + blank
    if known[:1] == [True] and found["name"] and _ALSO_A_CLINIC.fullmatch(found["first"]):
        return found[0]

    return blank


_ALSO_A_CLINIC = re.compile(
    "Klinik|Praxis|Institut[o]?|Istituto|Hospital|Clinique|Clínica|Клиник[аи]"
)
"""Words that departments are called by as well: `Klinik Neurologie`."""


def _wide(found: re.Match[str], blank: str) -> str:
    kind = "han" if found["han"] else "ko"
    if _OURS.match(found[kind]):
        return found[0]
    return found[0][: found.start(kind) - found.start()] + blank

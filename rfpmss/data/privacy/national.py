"""Numbers that states and insurers give a person, which go whole: ``19610214-4417``.

Formats: Wikipedia, "National identification number", by country; a checksum is not asked for,
since reports hold mistyped numbers, too.
"""

from __future__ import annotations

import re

# A number of 41 digits or more is blanked before; every repetition has a bound.
_DAY, _MONTH = r"(?:0[1-9]|[12456]\d|3[01]|7[01]|[89]\d)", r"(?:0[1-9]|1[0-2]|[257]\d|[368][0-2])"
_SIX = rf"(?:\d\d{_MONTH}{_DAY}|{_DAY}{_MONTH}\d\d)"
"""A birthday, the day or the month of it counted on for women or guests."""
_NO_UNIT = r"(?!\d|[.,]\d| ?(?:[cm]?m[²³23]?|m?l|cc|hu|ms|mg|kg|s|%)(?!\w))"
_FORMS = (
    # Sweden, Denmark, Iceland, Finland, Latvia, Czechia and Slovakia, Korea: a date and more.
    r"(?:1[89]|20)?\d{6}[-+\u2010-\u2013/]\d{3,7}[A-Za-z]?",
    r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]",
    rf"(?:1[89]|20)?{_SIX} \d{{4,5}}{_NO_UNIT}",
    r"\d\d(?P<dot>[.-])\d\d(?P=dot)\d\d[-–]\d{3}[.-]?\d{1,2}",  # Belgium, with dots
    r"(?:1[89]|20)\d\d-\d\d-\d\d-\d{3,5}",
    rf"\d{{4}} {_SIX}",  # Austria
    r"\d{2} ?\d{6} ?[A-Z] ?\d{3}",  # Germany: pension
    # France, spaced or not: sex, year, month, department, commune, order, key.
    r"[1-478](?P<by>[ .-]?)\d\d(?P=by)(?:0[1-9]|1[0-2]|[2-9]\d)(?P=by)(?:\d\d|2[AB])(?P=by)\d{3}"
    r"(?P=by)\d{3}(?:[ ./-]{0,3}\d\d)?",
    r"[A-Z]{3} ?[A-Z]{3} ?\d\d ?[A-EHLMPRST] ?[\dL-NP-V]{2} ?[A-Z] ?[\dL-NP-V]{3} ?[A-Z]",  # Italy
    r"[A-Z]{4}\d{6}(?:[HMX][A-Z]{5}[A-Z0-9]\d|[A-Z0-9]{3})|[A-Z]{3}\d{6}[A-Z0-9]{3}",  # Mexico
    r"\d{7,8}-?[A-Z]|\d{2}\.\d{3}\.\d{3}-?[0-9A-Z]|[XYZ][ -]?\d{7}[ -]?[A-Z]",  # Spain, Chile
    r"\d{3}\.\d{3}\.\d{3}[-./]\d\d|\d{3}-\d{3}-\d{3} \d\d",  # Brazil, Russia
    r"756\.\d{4}\.\d{4}\.\d\d",  # Switzerland
    r"\d{6} ?(?:1[89]|20)\d\d ?\d{4} ?\d{3}[\dXx]",  # China
    r"[A-Z]{1,2}\d{6}\([0-9A]\)|[A-Z]\d{7,9}[A-Z]?|\d{7}[A-W][A-IW]?",  # Hong Kong, Ireland, ...
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]",
    r"\d\d[/ ]\d{7,8}[/ ]\d\d",  # Spain: affiliation
    r"\d{3}-\d\d-\d{4}",  # United States
)
_EDGE = r"(?<![\w.,/+-])"
_NUMBER = re.compile(rf"{_EDGE}(?:{'|'.join(_FORMS)})(?![\w+]|[-/.,]\d)")

_WORDS = (
    r"person(?:al)?nummer|pers?\.? ?nr|pnr|personnr|samordningsnummer"
    r"|f[øö]d(?:sels|else)(?:nummer|nr)"
    r"|d-nummer|fnr|f\.nr|cpr|henkilötunnus|hetu|personbeteckning|kennitala|kt|isikukood"
    r"|personas kods|asmens kodas|rodné číslo|rod\. ?č(?:íslo)?|r\. ?č|rč|číslo pojištěnce"
    r"|pesel|bsn|burgerservicenummer|rijksregisternummer|rrn|insz|niss"
    r"|(?:n°|no|numéro)(?: de)? (?:national|sécu(?:rité sociale)?|ss|nir)|nir|insee|ins"
    r"|codice fiscale|cod\. ?fisc|c\. ?f|tessera sanitaria"
    r"|dni|nif|nie|nuss|cip|naf|tarjeta sanitaria|n\.?º (?:de )?(?:ss|afiliación)"
    r"|seguridad social|cpf|cns|cartão sus|cartao sus|rg|nº (?:de )?utente|número de utente|utente"
    r"|sns|curp|rfc|rut|run|cédula|cedula|cuil|cuit"
    r"|주민(?:등록)?번호|マイナンバー|個人番号|身份证号?码?|居民身份证"
    r"|national (?:id|identity|insurance)|nhs|chi|ssn|social security|ni|nino|pps|hicn|medicare"
    r"|aadhaar|uhid|svnr|sv-nr|sv|sozialversicherung(?:snummer)?|versicherten(?:nummer|nr)|ahv|avs"
    r"|rentenversicherung(?:snummer)?|rvnr|steuer-?id|krankenversicherung(?:snummer)?|kvnr"
    r"|tc(?: kimlik)?|t\.c\.(?: kimlik)?|kimlik|cnp|егн|снилс|инн|амка|αμκα|taj|oib|jmbg|emšo|embg"
)
_VALUE = (
    rf"(?:{'|'.join(form for form in _FORMS if '?P<' not in form)}"
    r"|[1-478][ .-]?\d\d[ .-]?\d\d[ .-]?\d[\dAB][ .-]?\d{3}[ .-]?\d{3}(?:[ ./-]{0,3}\d\d)?"
    r"|[A-Z]{0,4}-?\d(?:[./+\u2010-\u2013-]?\d){5,19}(?:-?[A-Za-z](?!\w))?"
    r"|\d{4} \d\d \d{3}|\d{3}(?: \d{3}){2,3}(?: \d\d)?|\d{3} \d{3} \d{4}|\d\d \d{3} \d{3} \d{3})"
    r"(?![\w]|[-/.]\d)"
)
_LABELLED = re.compile(
    rf"(?<![\w-])(?i:{_WORDS})(?i:[-. ]{{0,2}}(?:number|nummer|num|nr|no|n°|nº|číslo|szám|号码?))?"
    rf"\.?[ \u00a0]{{0,3}}[:#：]?[ \u00a0]{{0,3}}{_VALUE}"
    r"[ ]{0,2}[.,;|。，；]?(?=\s|$|[^\x00-\x7f])[ ]{0,3}"
)
_UNIT = (
    r"(?! ?(?:[cmµuk]?m[²³23]?|m?l|cc|hu|m?sv|m?gy|m?bq|mci|m?g|mcg|ms|msec|s|kg|%|x|×|/|slices"
    r"|cells|images|bilder|schnitte|jahre|years|matrix|voxels?|pixels?|points?|streamlines"
    r"|zellen|k?hz"
    r"|cgy)(?!\w))"
)
_RUN = re.compile(
    rf"(?<![\w.,/×-])(?<!T[REI][ =:])(?<!b[ =])(?:(?-i:[A-Z]{{1,4}})[-/]?)?(?:"
    # Groups of equal length, of a number that somebody reads aloud.
    rf"\d{{2,4}}(?P<by>[ .-])\d{{3}}(?P=by)\d{{2,4}}(?:(?P=by)\d{{1,4}}){{0,4}}"
    rf"|\d\d(?P<two>[ .-])\d\d(?:(?P=two)\d\d){{2,6}}"
    rf"|(?!(?:19|20)\d\d)\d{{4}}(?P<four>[ .-])\d{{4}}(?:(?P=four)\d{{2,4}}){{0,4}}"
    rf"|\d{{2,8}}[-/]\d{{5,12}}(?:[-/]\d{{1,4}})?"
    rf"|\d{{5,40}}(?:[-/]\d{{1,6}}| \d{{3,6}}){{0,4}})(?![\w]|[.,/-]\d){_UNIT}",
    re.IGNORECASE,
)
_CALLED = (
    r"(?:(?:hospital|patient|case|file|claim|policy|member|account|unit|id) no"
    r"|n\.\s?[º°]|n[º°]|no\.|no\s?:|nr\.?|num(?:mer|ber|éro|ero)?\.?|numer[oi]?|número"
    r"|nummeret|č\.|číslo|szám[a]?|br\.|broj"
    r"|номер|№|αριθμός|αρ\.|numarası|numara|nomor|số|card|carte?|cartão|tarjeta|karte|kort"
    r"|kaart|tessera|tessere|karta|kártya|carnet"
    r"|insurance|versicherung|assurance|seguro|assicurazione|verzekering|försäkring|policy"
    r"|póliza|polizza|apólice|polis(?:nr|nummer)?"
    r"|member(?:ship)?|licen[cs]e|licença|licencia|lizenz|registration|registro|registr[eo]"
    r"|\w{3,24}(?:nummer|nr\.)|numéro d['’]\w{4,20}|numéro|n\.?º de \w{4,14}|hospital number"
    r"|approbation(?:snummer)?|matr[ií]cula"
    r"|matricola|beneficiary|beneficiario|processo|proceso|prontuário|processnummer|ärende"
    r"|journalnummer|aktenzeichen|az\.)"
)
_CARD = re.compile(
    rf"(?<![\w-])(?P<label>{_CALLED}(?:\s(?:n\.?[º°]|no\.?|nr\.?|number|id))?"
    rf"(?![^\W\d_])(?:\s[a-zà-ÿ]{{4,12}})?\s?[:#.]?\s?)"
    rf"(?:\d{{1,4}} )?(?:(?-i:[A-Z]{{1,4}})[-/ ]{{0,2}})?(?=(?:[ ./-]?\d){{4}})\d(?:[\d./-]"
    rf"|[ ](?=\d{{2,4}})){{2,24}}\d(?:[-/][A-Z\d]{{1,4}})?(?!\w){_UNIT}",
    re.IGNORECASE,
)


def without_runs(text: str, blank: str) -> str:
    """A report without numbers of five digits and more, in groups or not, that measure nothing.

    Example:
        >>> without_runs("Card 4711-08, 247 331 908 and 43215. 12500 mm3, TR 11000.", "_")
        'Card _, _ and _. 12500 mm3, TR 11000.'
    """
    if not _FOUR.search(text):
        return text

    return _RUN.sub(blank, _CARD.sub(rf"\g<label>{blank}", text))


_FOUR = re.compile(r"\d(?:[ ./-]?\d){3}")


def without_numbers(text: str, blank: str) -> str:
    """A report without numbers of persons: behind their label the field goes, elsewhere a blank.

    Args:
        text: a report, with single blanks.
        blank: what stands for a number in a sentence.

    Example:
        >>> without_numbers("Personnummer: 19610214-4417. Tumör 12-14 mm.", "___")
        'Tumör 12-14 mm.'
        >>> without_numbers("CF RSSMRA61B14H501X e 1 61 02 75 123 456 78, T2 610214-4417.", "___")
        'CF ___ e ___, T2 ___.'
    """
    return _NUMBER.sub(blank, _LABELLED.sub("", text))

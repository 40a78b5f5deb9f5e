"""Where a person comes from, works and learns: `a farmer from Thirsk`, `arbeitet bei Bosch`.

A word with a capital that is none of medicine goes behind words that are about a person. Before
`from` alone it stays: `arising from Meckel cave`, `toxicity from Nivolumab`.
"""

from __future__ import annotations

import re

from rfpmss.data.privacy.persons import TITLE, UPPER
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.vocabulary import common
from rfpmss.data.readers.text.dates import MONTH

_SMALL = (
    r"(?:(?:de|des|du|la|le|les|los|las|del|della|dello|dei|da|do|dos|das|di|van|den|der|am|an|im"
    r"|in|ob|of|the|upon|on|sur|sous|en|dell|nad|pod)\s|d['’]|l['’]|dell['’])"
)
WORD = rf"(?:[{UPPER}][\w&+]{{1,40}}(?:['’.+-]\w{{1,40}}){{0,3}}|St\.)"
NAME = rf"{WORD}(?:[ -]{_SMALL}{{0,2}}(?:{WORD}|&\s{WORD})){{0,4}}"
_THE = r"(?:(?:the|la|le|les|el|los|las|il|lo|der|dem|den|die|das|de|het|a|o)\s|l['’])?"
_WORK = (
    # English
    r"(?:(?:truck|bus|taxi|lorry) )?(?:teacher|farmer|engineer|driver|nurse|builder|carpenter"
    r"|electrician|plumber|mechanic|accountant|lawyer|solicitor|architect|pilot|soldier|clerk|cook"
    r"|chef|baker|butcher|fisherman|firefighter|policeman|policewoman|manager|director|secretary"
    r"|librarian|hairdresser|cleaner|labou?rer|miner|welder|worker|salesman|saleswoman|shopkeeper"
    r"|businessman|businesswoman|musician|artist|writer|journalist|programmer|scientist|researcher"
    r"|professor|lecturer|dentist|pharmacist|gardener|tailor|waiter|waitress|postman|student|pupil"
    r"|apprentice|receptionist|technician|consultant|analyst|cashier|employee"
    # German
    r"|landwirt(?:in)?|bauer|bäuerin|winzer(?:in)?|schreiner(?:in)?|tischler(?:in)?|maurer|maler"
    r"|schlosser|mechaniker(?:in)?|elektriker|ingenieur(?:in)?|lehrer(?:in)?|schüler(?:in)?"
    r"|student(?:in)?|verkäufer(?:in)?|fahrer(?:in)?|busfahrer(?:in)?|lkw-fahrer|erzieher(?:in)?"
    r"|krankenschwester|altenpfleger(?:in)?|koch|köchin|bäcker(?:in)?|metzger|friseur(?:in)?"
    r"|sekretärin|angestellte[rn]?|mitarbeiter(?:in)?|rentner(?:in)?|pensionär(?:in)?"
    r"|beamt(?:er|in)"
    r"|kaufmann|kauffrau|hausfrau|arbeiter(?:in)?|auszubildende[rn]?|azubi"
    # French
    r"|agricultrice|agriculteur|chauffeur|ouvri(?:er|ère)|employée?|salariée?|enseignante?"
    r"|professeure?|ingénieure?|infirmi(?:er|ère)|boulang(?:er|ère)|maçon|menuisier|plombier"
    r"|retraitée?|étudiante?|élève|secrétaire|commerçante?|vend(?:eur|euse)|fonctionnaire"
    # Spanish, Portuguese, Italian
    r"|agricultora?|profesora?|maestr[oa]|ingenier[oa]|obrer[oa]|emplead[oa]|conductora?"
    r"|jubilad[oa]|estudiante|alumn[oa]|camarer[oa]|cociner[oa]|albañil|comerciante|funcionari[oa]"
    r"|funcionári[oa]|empregad[oa]|motorista|engenheir[oa]|reformad[oa]|aposentad[oa]|alun[oa]"
    r"|pedreir[oa]|insegnante|operai[oa]|impiegat[oa]|dipendente|contadin[oa]|autista"
    r"|pensionat[oa]"
    r"|studente(?:ssa)?|ingegnere|commerciante"
    # Dutch, Scandinavian, Polish
    r"|boer(?:in)?|leraar|lerares|leerling|werknemer|medewerker|chauffeuse|bonde|lärare|lærer"
    r"|ingeniør|ingenjör|elev|pensionär|pensjonist|nauczyciel(?:ka)?|kierowca|rolni(?:k|czka)"
    r"|pracowni(?:k|ca)|studentka|uczeń|uczennica|emeryt(?:ka)?)"
)
_PERSON = (
    r"(?:man|woman|lady|gentleman|male|female|boy|girl|patient(?:in|e)?|pt\.?|pat\.|tourist"
    r"|refugee|visitor|pensioner|retiree|housewife|veteran|\w{0,20}jährige[rn]?(?: \w{2,20})?|frau"
    r"|mann|kind|homme|femme|enfant|dame|paciente|hombre|mujer|varón|niñ[oa]|homem|mulher"
    r"|utente|paziente"
    r"|donna|uomo|signora|patiënte?|mannen|kvinnan?|kvinden|manden|pacjent(?:ka)?|chor[ya]"
    r"|kobieta|mężczyzna|pacient(?:ka)?|pacijent(?:ica)?)"
)
_FROM = (
    rf"(?:{_PERSON}|{_WORK})\s(?:(?:from|near|aus|uit|från|fra|originally from)\s"
    r"|(?:de|del|di|da|do|z|ze|iz)\s|d['’])"
    rf"|{_WORK}\s(?:in|at|à|en|em|a|w|i)\s"
    # English
    r"|(?:comes?|came|coming|hails?|originally|originates|moved|emigrated|immigrated|relocated"
    r"|travell?ed|transfer(?:red)?|flown|returned|returning|arrived|evacuated|repatriated|born"
    r"|raised|grew up|brought up|native|lived|retired|holidays?|vacation|trip)"
    r"\s(?:(?:here|back|over|recently|urgently)\s)?(?:from|to|in|of|near)\s"
    r"|(?:outside )?(?:images|scans?|mri|ct|films|imaging|discs?) from\s"
    # German
    r"|(?:kommt|stammt|stammend|gebürtige?[rn]?|verlegt|verlegung|zuverlegt|zugezogen|eingereist"
    r"|geflüchtet|geflohen|zugewiesen|überwiesen|ursprünglich|angereist|voraufnahmen"
    r"|fremdaufnahmen"
    r"|zuweisung) aus\s"
    # French
    r"|(?:originaire|natif|native|vient|venant|venue?|provenance|transférée?|adressée?|rapatriée?"
    r"|arrivée?|muté)\s(?:de\s|d['’]|du\s|depuis\s)"
    r"|(?:viv(?:ant|ait)|vit|né|née|installée?|scolarisée?|hospitalisée?|suivie?) (?:à|en)\s"
    # Spanish, Portuguese, Italian
    r"|(?:natural|procedente|originari[oa]|originári[oa]|oriund[oa]|vecin[oa]|proveniente|viene"
    r"|traslado|trasladad[oa]|llegad[oa]|vind[oa]|transferid[oa]|proviene|trasferit[oa]"
    r"|nativ[oa]|abitante"
    r"|moradora?)\s(?:de|desde|del|do|da|di|dal|dalla|em)\s"
    # Dutch, Scandinavian, Polish, Czech
    r"|(?:komt|afkomstig|verhuisd|overgeplaatst|ingestuurd)\s(?:uit|van|vanuit|naar)\s"
    r"|(?:kommer|kom|ursprungligen|oprindeligt|opprinnelig|overflyttet|överflyttad|remitterad"
    r"|flyttade)\s(?:från|fra|til|till)\s"
    r"|(?:pochodzi|pochodząc[ay]|przywiezion[ay]|przeniesion[ay]|przekazan[ay]|pochází|přeložena?"
    r"|převezena?)\s(?:z|ze)\s|(?:mieszka(?:niec|nka)|rodák|rodačka z|obyvatel(?:ka)?)\s(?:z\s)?"
    # Russian, Ukrainian
    r"|(?:урожен(?:ец|ка)|жител(?:ь|ьница)|уроджен(?:ець|ка)|мешкан(?:ець|ка))\s"
    r"(?:г\.\s?|города\s|с\.\s?|села\s|м\.\s?|міста\s)?"
    r"|(?:родил(?:ся|ась)|переехала?|прибыла?|переведена?|приехала?|переїхав|прибув)"
    r"\s(?:в|из|з|до|із)\s(?:г\.\s?|м\.\s?)?"
)
_AT = (
    rf"{_WORK}\s(?:at|with|for|of|in|by|bei(?:\sder|m|\sdem)?|der|am|an\sder|des|im|vom?|chez"
    r"|à\sla|au|du|pour|en|de|del|da|do|na|no|em|presso|alla|al|di|bij|van|op|på|hos|w|firmy|u)\s"
    # English
    r"|(?:works?|worked|working|employed|job|position|career|business|internship|apprenticeship)"
    r"(?:\sas\san?(?:\s[a-z-]{2,20}){1,3})?\s(?:at|for|with|by|in)\s"
    r"|(?:attend(?:s|ed)|stud(?:ies|ied|ying)(?:\s[a-z]{3,20})?\sat|graduated\sfrom"
    r"|enrolled\s(?:at|in))\s"
    # German
    r"|(?:arbeite(?:t|te)|beschäftigt|angestellt|tätig|jobbt)(?:\sals\s[\w-]{2,30})?"
    r"\s(?:bei(?:\sder|m)?|für)\s"
    r"|(?:besucht|studiert|unterrichtet)\s(?:das|die|den|an\sder|am)\s"
    # French
    r"|travaill(?:e|ait|ant)\s(?:chez|à|au|pour|dans)\s|(?<!\w)chez\s"
    # Spanish, Portuguese, Italian
    r"|trabaja(?:ba)?\s(?:en|para)\s|trabalh(?:a|ou|ava)\s(?:na|no|em|para)\s"
    r"|lavora(?:va)?\s(?:presso|in|alla|per|da|al)\s"
    # Dutch, Scandinavian, Polish, Russian
    r"|(?:werkt|werkte|werkzaam)\s(?:bij|in|op|aan|voor)\s"
    r"|(?:arbetar|jobbar|arbejder|jobber|anställd|ansat|ansatt)(?:\ssom\s\w{2,20})?\s(?:på|hos"
    r"|i|ved)\s"
    r"|(?:pracuje|pracowała?|zatrudnion[ay])\s(?:w|we|dla|u)\s"
    r"|работает\s(?:в|на|у)\s|працює\s(?:в|на|у)\s"
    # Whatever stands before it.
    r"|(?:firma|fa\.|company|société|entreprise|empresa|azienda|ditta|bedrijf)\s"
    r"|(?<!\w)(?:lycée|collège|école|université|ehpad|maison\sde\sretraite|faculté|colegio|escuela"
    r"|universidad|residencia|guardería|scuola|liceo|università|casa\sdi\sriposo|escola|colégio"
    r"|universidade|university\sof|college\sof|nursing\shome|care\shome|pflegeheim|seniorenheim"
    r"|altenheim|wohnheim|kita|kindergarten)\s(?:(?:de|du|des|la|do|da|di|del)\s|d['’]){0,2}"
)
_BEHIND = re.compile(
    rf"(?<![\w-])(?P<before>(?i:{_FROM}|{_AT}){_THE}(?i:(?:firma|fa\.|société|ditta)\s)?)"
    rf"(?!{TITLE}\b)(?P<name>{NAME})(?:(?P<near>,?\s(?:in|near|à|en|em|a|w)\s)(?P<town>{NAME}))?"
)
_MONTH = re.compile(MONTH, re.IGNORECASE)
_SCHOOLS = (
    r"(?:(?:Primary|Secondary|High|Grammar|Middle|Elementary|Comprehensive|Infant|Junior|Boarding"
    r"|Nursery|Language|Catholic|State|Community|Technical|Public|Sixth Form) ){0,2}"
    r"(?:School|College|Academy|University|Nursing Home|Care Home|Residential Home"
    r"|Retirement (?:Home|Village|Community)|Kindergarten)"
)
_COMPANY = (
    r"(?:GmbH(?: & Co\.? KG)?|KG|Ltd\.?|Inc\.?|LLC|plc|SARL|S\.A\.|S\.L\.|S\.r\.l\.|s\.r\.o\."
    r"|B\.V\.|N\.V\.|Sp\. z o\.o\.)"
)
_ENDED = re.compile(
    rf"(?<![\w'’.-])(?P<name>(?:{WORD}[ -]{_SMALL}{{0,2}}){{1,4}})"
    rf"(?:{_SCHOOLS}|{_COMPANY})(?!\w)"
    rf"|(?<![\w-])(?:[{UPPER}]\w{{1,40}}(?:-\w{{1,40}}){{0,3}}-(?:Schule|Gymnasium"
    r"|Realschule|Grundschule|Gesamtschule|Kolleg|Universität|Akademie|Stift|Heim))(?!\w)"
    r"|(?<!\w)(?:ООО|ОАО|ПАО|ЗАО|АО|ТОВ)\s?[«\"][^«»\"\n]{2,40}[»\"]"
)
_GENERAL = re.compile(
    r"(?:grund|haupt|real|gesamt|förder|berufs|fach|hoch|volks|mittel|sonder|tages|musik)?schule"
    r"|gymnasium|kindergarten|kita|uni(?:versität)?|büro|firma|familie|begleitung|ausland|haus"
    r"|pflegeheim|altenheim|seniorenheim|wohnheim|hospiz|hospice|rehab\w*|reha|rente|voraufnahmen?"
    r"|intensive|verpleeghuis|teilzeit|vollzeit|attend(?:s|ed|ing)|former|previous|local"
    r"|graduate|home|theatre|recovery|outpatients?|reparto|medicina|osteuropa|afrika|asien"
    r"|innere[rn]?"
    r"|klinik"
    r"|intensivmedizin|school|college|university|gp|nhs|full|retirement|spectroscopy|fields?"
)
"""Places that many people come from."""
_ACRONYM = re.compile(rf"[{UPPER}]{{2,4}}")
_TURKISH = re.compile(
    rf"(?<![\w'’-])[{UPPER}][\w]{{2,30}}(?=['’](?:[dt][ae]n?|l[ıiuü])\s(?:gel|yaş|ikamet|otur|doğ"
    r"|sevk|çalış|mukim))"
    rf"|(?<![\w'’-])[{UPPER}]\w{{2,30}}(?=\s(?:doğumlu|ilçesi|köyü))"
)
_HAN = r"\u3400-\u9fff"
_WIDE = re.compile(
    rf"((?:患者|病人|患儿|[男女]性?|\d岁)[^，。；\n]{{0,6}}(?:来自|來自)|(?:祖籍|老家在?|出生于|生于|转自)"
    rf"|(?:就职|任职|供职|工作|就读|毕业|就職|就讀)(?:于|於|在))([{_HAN}\w]{{2,20}}?)(?=[，,。；;、\s]|的|$)"
)
_KANA = re.compile(
    r"(?<![\u3040-\u9fff])[\u3400-\u9fff\u30a1-\u30fc]{2,10}(?=(?:出身|在住|に勤務|に在住))"
    r"|(?<![가-힣])[가-힣]{2,6}(?=\s?(?:거주|출신|근무)(?![가-힣]))"
)
_WORD = re.compile(r"[^\W\d_][\w'’]*")


def without_origins(text: str, blank: str) -> str:
    """A report with a blank for each town, employer and school that a person's words tell.

    Example:
        >>> text = "A teacher from Abingdon works at Siemens. Cyst from Rathke cleft."
        >>> without_origins(text, "_")
        'A teacher from _ works at _. Cyst from Rathke cleft.'
    """
    text = _ENDED.sub(lambda found: _ended(found, blank), text)
    text = _BEHIND.sub(lambda found: _behind(found, blank), text)
    text = _TURKISH.sub(blank, text)
    if not _SIGNS.search(text):
        return text

    return _KANA.sub(blank, _WIDE.sub(rf"\1{blank}", text))


_SIGNS = re.compile(r"[\u3040-\u9fff가-힣]")


def is_proper(word: str) -> bool:
    """Whether a word with a capital may be a town or a company."""
    low = word.lower()
    is_word = common(word) or low in lexicon().never or _MONTH.fullmatch(word)
    return not (is_word or _GENERAL.fullmatch(low))


def _behind(found: re.Match[str], blank: str) -> str:
    """The words with capitals up to one of medicine, `Leeds` of `from Leeds Neurology`."""
    works = _ABOUT_WORK.search(found["before"]) is not None
    name = _blanked(found["name"], blank, works=works)
    town = _blanked(found["town"] or "", blank, works=False) if name != found["name"] else None
    return found["before"] + name + (found["near"] or "") + (town or found["town"] or "")


def _blanked(name: str, blank: str, *, works: bool) -> str:
    begin = end = 0
    for word in _WORD.finditer(name):
        if word[0].islower() or (not end and _GENERAL.fullmatch(word[0].lower())):
            continue
        maker = works and not end and word[0].lower() in _MAKERS
        if not (is_proper(word[0]) or maker) or (not works and _ACRONYM.fullmatch(word[0])):
            break
        begin, end = begin if end else word.start(), word.end()

    return name[:begin] + blank + name[end:] if end else name


_MAKERS = frozenset(("siemens", "philips", "toshiba", "canon", "hitachi"))
"""Of scanners, and employers of people."""
_ABOUT_WORK = re.compile(rf"(?i:{_AT}|{_WORK}[^\n]{{1,9}}){_THE}$")


def _ended(found: re.Match[str], blank: str) -> str:
    """A school or a company, from its first word that is a name on."""
    if not found["name"]:
        return blank

    for word in _WORD.finditer(found["name"]):
        if is_proper(word[0]):
            return found["name"][: word.start()] + blank
    return found[0]

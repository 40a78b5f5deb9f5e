"""Addresses in a report: `wohnhaft Lindenallee 7a, 82319 Starnberg`.

A street is a word for one with a name and a number, a town a name behind a postcode; words for
streets that mean something else as well (via, drive, place) need the number at its usual side.
Forms of addresses: Universal Postal Union, "Postal addressing systems in member countries".
"""

from __future__ import annotations

import re

from rfpmss.data.privacy.persons import LOWER, UPPER
from rfpmss.data.privacy.vocabulary import common

_HAN = r"\u3400-\u9fff"
_UNIT = r"(?!\d|[.,]\d|\s?(?:[cmµ]m|m?l|cc|hu|ms|mg|kg|t|%|[x×]|cortes|slices|jahre|years)(?!\w))"
_N = (
    rf"\d{{1,4}}(?:\s?[a-hA-H](?![\w]))?"
    rf"(?:\s?[-/]\s?(?:\d{{1,4}}[a-hA-H]?|[A-H]|bis)(?!\w))?{_UNIT}"
)
_NO = (
    r"(?:(?:,\s?|\s)(?:n[º°o.]{1,2}\s?|nr\.?\s|č\.?\s?p?\.?\s|д(?:ом|\.)\s?|буд\.\s?|no\.?:?\s?)?)"
)
_SMALL = (
    r"(?:de|des|du|la|le|les|los|las|da|das|do|dos|di|della|delle|dei|degli|del|dell['’]"
    r"|d['’]|l['’]|van|den|der"
    r"|von|dem|am|an|im|of|the|e|y|et|het|'t)"
)
_W = rf"(?:[{UPPER}][\w'’-]{{0,40}}|\d{{1,2}}(?:er|e|º|ª|\sde))"
_NAME = rf"(?:{_SMALL}\s?){{0,3}}{_W}(?:[ -](?:{_SMALL}\s){{0,3}}{_W}){{0,3}}"
_GLUED = (
    r"(?:stra(?:ß|ss)e|str\.|allee|weg|platz|gasse|damm|ufer|chaussee|straat|laan|plein"
    r"|gracht|kade|singel|dreef"
    r"|gatan|vägen|gränd|gade|vej|gata|gate|veien|vegen|allé|katu|tanav|iela)"
)
_APART = (
    r"(?:Stra(?:ß|ss)e|Str\.|Allee|Weg|Platz|Gasse|Damm|Ufer|utca|út(?:ja)?|u\.|körút|krt\."
    r"|tér|köz|Straat|Laan|Plein"
    r"|iela|gatvė|g\.)"
)
_BEHIND_N = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Boulevard|Blvd|Court|Terrace|Crescent"
    r"|Highway|Hwy|Parkway|Pkwy"
    r"|Gardens|Grove|Mews|(?:Close|Square|Trail|Way|Place|Circle|Rise|Row|Walk|Hill|View|Green|Croft"
    r"|Drove|Parade|Vale|Meadows?|Bank|Wharf|Yard|Brae|Wynd)(?=[,\n]))"
)
_FRENCH = (
    r"(?:[Rr]ue|[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d\.?|[Bb]lvd|[Cc]hemin|[Ii]mpasse|[Aa]llée"
    r"|[Pp]lace|[Qq]uai|[Rr]oute"
    r"|[Ss]quare|[Pp]assage)"
)
_ROMANCE = (
    r"(?:[Vv]ia|[Vv]iale|V\.le|[Pp]iazza(?:le)?|P\.zza|[Cc]orso|C\.so|[Ll]argo|[Vv]icolo"
    r"|[Ss]trada|[Cc]alle|C/|[Aa]venida"
    r"|[Aa]vda\.?|[Aa]v\.|[Pp]laza|Pza\.?|[Pp]aseo|[Pp]º|[Cc]arretera|Ctra\.|[Rr]onda"
    r"|[Cc]amino|[Rr]ua|R\.|[Tt]ravessa"
    r"|[Pp]raça|[Aa]lameda|[Ee]strada|[Rr]odovia|[Cc]arrer|[Pp]asseig|[Uu]lica|[Uu]l\."
    r"|[Aa]leja|[Aa]leje|[Aa]l\.|[Pp]lac"
    r"|[Pp]l\.|[Oo]s\.|[Oo]siedle|[Uu]lice|[Nn]áměstí|[Nn]ám\.|[Tt]řída|[Uu]lici|[Tt]rg"
    r"|[Сс]еверная|[Уу]лица|[Уу]л\."
    r"|[Пп]роспект|[Пп]р(?:-т|\.|осп\.)|[Пп]ереулок|[Пп]ер\.|[Бб]ульвар|[Бб]-р|[Пп]лощадь"
    r"|[Пп]л\.|[Шш]оссе|[Нн]аб\."
    r"|[Нн]абережная|[Вв]улиця|[Вв]ул\.|[Bb]ulevardul|[Cc]alea|[Șș]os\.|[Ss]tr\.|[Οο]δός"
    r"|[Οο]δού|[Λλ]εωφόρος|[Λλ]εωφ\."
    r"|Jl\.|Jalan|[Đđ]ường|[Pp]hố|[Rr]ue|[Aa]venue|[Bb]oulevard|[Cc]hemin)"
)
_KIND = re.compile(rf"{_APART}|{_BEHIND_N}|{_FRENCH}|{_ROMANCE}")
_POSTCODE = (
    r"(?:(?:[A-Z]{1,2}-)?(?:\d{5}(?:-\d{3,4})?|\d{4}(?:-\d{3}|\s[A-Z]{2})|\d\d-\d{3}"
    r"|\d{3}\s\d\d|\d{4}(?=\s)|\d{6}))"
)
_UNIT_WORD = (
    r"(?:apt|apartment|appartement|appart|app|apto|flat|unit|suite|ste|floor|level|room|whg|wohnung"
    r"|dachgeschoss|erdgeschoss|souterrain|ground floor|top floor|dernier étage|rez-de-chaussée|rdc"
    r"|of|oficina|depto|dpto|departamento|torre|r/c|boîte|lot|case|casier|blk|og|eg|dg|ug|stock(?:werk)?|etage|hinterhaus|vorderhaus|seitenflügel|aufgang|stiege|tür|top"
    r"|étage|escalier|esc|bât(?:iment)?|porte|hall|résidence|piso|planta|puerta|portal|escalera"
    r"|bloque|bajo|ático|entresuelo|izda|dcha|izq|der|int(?:erno)?|scala|piano|palazzina|andar"
    r"|bloco|fração|sala|verdieping|bus|lokal|m|piętro|klatka|byt|patro|poschodie|em(?:elet)?"
    r"|ajtó|fsz(?:t)?|lph|lépcsőház|daire|kat|blok|trappor|vån|lgh|sal|etasje|rappu|as|krs"
    r"|кв|квартира|этаж|подъезд|корп(?:ус)?|поверх|под'їзд|όροφος|διαμέρισμα|sc|et|ap)"
)
_TOWN = (
    rf"(?!(?i:{_UNIT_WORD})(?!\w))"
    rf"[{UPPER}][{LOWER}'’]{{1,30}}"
    rf"(?:[ -](?:(?:{_SMALL}|am|an|bei|sur|sous)[ -])?[{UPPER}][{LOWER}'’]{{1,30}}){{0,2}}"
)
_LOUD_TOWN = rf"[{UPPER}]{{3,30}}(?:[ -][{UPPER}]{{2,30}}){{0,2}}(?![\w])"
_CODES = (
    r"(?:[A-Z]{2}\s\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[\dA-Z]?\s\d[A-Z]{2}"
    r"|[A-Z]{2}\s[A-Z]\d[A-Z]\s\d[A-Z]\d|[A-Z]\d[A-Z]\s\d[A-Z]\d)"
)
_STREETS = (
    rf"[{UPPER}][{LOWER}'’-]{{1,40}}{_GLUED}\s?{_N}",
    rf"[{UPPER}]{{2,30}}(?:STR\.|STRASSE|WEG|PLATZ|ALLEE|GASSE)\s\d{{1,4}}(?!\d)",
    rf"{_W}(?:[ -]{_W}){{0,3}}[ -]{_APART}{_NO}?\s?{_N}",
    rf"\d{{1,5}}[A-Z]?\s(?:{_W}\s){{1,4}}{_BEHIND_N}(?![\w])(?:\.(?=,))?(?:,?\s(?:Apt|Unit|Suite|Ste"
    rf"|Flat)\.?\s?#?\w{{1,5}})?",
    rf"\d{{1,4}}[a-zA-Z]?\s{_W}(?:\s{_W}){{0,3}}(?=,\s{_TOWN},?\s{_CODES})",
    rf"\d{{1,4}}(?:\s?(?:bis|ter))?,?\s{_FRENCH}\s{_NAME}",
    rf"{_ROMANCE}\s?{_NAME}{_NO}{_N}(?:,?\s(?:кв|apto?|ap|piso|m)\.?\s?\d{{1,4}})?",
    rf"(?:{_W}\s){{1,3}}(?:Mah(?:allesi|\.)?,?\s)?(?:(?:{_W}\s){{0,3}}(?:Sok(?:ak|ağı|\.)?"
    rf"|Sk\.?|Cad(?:desi|\.)?|Cd\."
    rf"|Bulvarı|Bulv\.),?\s?)(?:No\s?[:.]?\s?)?{_N}",
)
_TAIL = (
    rf"(?:(?:\s?,\s?|\s?\n\s?|\s-\s|\s)(?:{_POSTCODE}\s(?:{_TOWN}|{_LOUD_TOWN})(?:\s?[-/(,]\s?[A-Z]{{2}}(?!\w)\)?)?"
    rf"|{_TOWN},?\s{_CODES}|{_CODES}|{_TOWN}\s?[-/]\s?[A-Z]{{2}}(?!\w)|{_TOWN},?\s{_POSTCODE}(?!\d)"
    rf"|(?:г\.|м\.|kota|İ?stanbul|Ankara)\s?{_TOWN}?)"
    rf"|,\s(?P<town>{_TOWN})(?=\s?[.,;\n)]|$)){{0,4}}"
)
_STREET = re.compile(rf"(?<![\w.-])(?:{'|'.join(_STREETS)}){_TAIL}")
_BARE_TOWN = re.compile(
    rf"(?<![\w.,/-])(?:(?:(?<=^)|(?<=\n)"
    rf"|(?<=, ))(?:[A-Z]{{1,2}}-)?\d{{5}}\s(?P<a>{_TOWN})(?=\s?[.,;:)\n]|$)"
    rf"|\d\d-\d{{3}}\s(?P<b>{_TOWN})(?=\s?[.,;:)\n]|$)"
    rf"|\d{{4}}\s[A-Z]{{2}}\s{{1,2}}(?P<c>{_TOWN})"
    rf"|(?P<d>{_TOWN}),?\s(?:[A-Z]{{2}}\s\d{{5}}(?:-\d{{4}})?"
    r"|[A-Z]{1,2}\d[\dA-Z]?\s\d[A-Z]{2}|[A-Z]{2}\s[A-Z]\d[A-Z]\s\d[A-Z]\d)(?!\w))"
)
_LIVES = (
    r"(?:(?:lives?|living|resid(?:es|ing)|resident)\s(?:at|in|of|on)|wohn(?:haft|t"
    r"|h\.)(?:\s(?-i:in|im|am|zu)(?:\s(?:der|dem))?)?"
    r"|(?:demeurant|habitant|habite|domiciliée?|résidant|réside)(?:\s(?:à|au|aux|en|rue))?"
    r"|(?:residente|residentes|reside)\s(?:in|a|en|em|na|no|à)|domiciliad[oa]\s(?:en|na|em)"
    r"|(?:con|com)\s(?:domicilio|residencia|domicílio|residência)"
    r"\s(?:en|em|na)|vive\s(?:en|em|a|in)|(?:domiciliat[oa]|abita(?:nte)?)\s(?:in|a)"
    r"|mora(?:dora?)?\s(?:em|na|no|da|de)"
    r"|(?:woonachtig|wonende?|woont)(?:\s(?:te|in|op|aan))?|zamieszkał[ya](?:\s(?:w|we"
    r"|przy))?|zam\.|mieszka\s(?:w|we|przy)"
    r"|bosatt\s(?:i|på)|bor\s(?:i|på)|bosat\s(?:i|på)|(?:trvale\s)?bytem|bydlištěm|lakik|lakóhelye"
    r"|прожива(?:ет|ющ\w{2,3})(?:\s(?:по\sадресу|в|на))?:?|зарегистрирован[а]?\sпо\sадресу:?"
    r"|мешкає|проживає(?:\s(?:в|на))?"
    r"|locuiește\s(?:în|la|pe)|domiciliată?\s(?:în|la)|κάτοικος|διαμένει|stanuje|s\sprebivališčem)"
)
_TOKEN = (
    r"(?:(?:EC|WC|[A-Z]{1,2})\d[\dA-Z]?\s\d[A-Z]{2}(?!\w)"
    rf"|\d{{1,6}}[A-Za-z]?(?:[-/]\d{{1,5}}[A-Za-z]?)?(?![\w%])(?!\s?(?:[cm]m|years|jahre))"
    rf"|(?:St|\w{{0,20}}[Ss]tr|Ave|Rd|Avd?a?|Blvd|No|Nr|Apt|Jl|Pl|C|Pza|Ctra|Urb|Pol)\."
    rf"|(?!(?:T[eé]l|Telefon|Téléphone|Phone|Fax|Mobil|Handy)(?!\w))[{UPPER}][\w'’/-]*"
    rf"|[ld]['’][{UPPER}][\w'’-]*"
    r"|(?:ul|al|os|pl|ул|пр|пер|пл|г|д|кв|корп|u|nám|kv|bl|sc|ap|n|nº|nr)\.|n\.?º|n°|bis|ter"
    r"|(?:rue|avenue|boulevard|chemin|impasse|allée|place|via|viale|piazza|corso|calle"
    r"|avenida|plaza|paseo|rua|travessa"
    r"|ulica|ulicy|ulice|улица|улице|проспект|проспекте|город|городе|дом|utca|út|street|road"
    r"|lane|и|de|des|du|la|le|les|los|las|da|das"
    r"|do|dos|di|della|dei|del|van|den|der|von|am|an|of|the)(?!\w))"
)
_LIVING = re.compile(
    rf"(?<![\w-])(?i:{_LIVES})\s(?P<value>(?:{_TOKEN}(?:,\s|[ ]|\n(?=\d{{4,5}}\s))){{0,13}}{_TOKEN}"
    rf"(?:,?\s(?:à|in|en|em|a|te|w|i)\s[{UPPER}][\w'’-]+)?)"
)
_HAN_LIVES = re.compile(
    rf"(家住|现住|現住|现居|居住[于在]|暂住|住于|住在|户籍地?|籍贯)[:：]?([{_HAN}\d\w－-]{{2,40}})(?=[，,。；;\s]|$)"
)
_WIDE = re.compile(rf"[{_HAN}\uac00-\ud7a3]")
_ASIAN = re.compile(
    rf"(?:[{_HAN}]{{2,3}}省)?[{_HAN}]{{2,4}}市[{_HAN}]{{1,6}}[区县縣區][{_HAN}]{{1,12}}?(?:路"
    rf"|街|道|巷|村|弄|里|大道)(?:\d{{1,5}}[号號弄]?)?"
    rf"(?:[A-Z]?座|\d{{1,4}}[栋幢楼室单元號号]{{1,2}}){{0,4}}(?:\d{{2,4}}室?)?"
    rf"|(?:〒\s?\d{{3}}-\d{{4}}\s?)?(?:東京都|北海道|京都府|大阪府"
    rf"|[{_HAN}]{{2,3}}県)[{_HAN}\u3041-\u30fa]{{1,16}}"
    r"[\d０-９]{1,4}(?:[-－ー−丁目番地号の\d０-９]{1,12})?"
    r"|(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충청?[북남]|전라?[북남]"
    r"|경상?[북남]|제주)(?:특별(?:자치)?시|광역시|시|특별자치도|도)?"
    r"\s(?:[가-힣]{1,6}[시군구]\s){1,2}[가-힣\d]{1,10}(?:로|길|동|가)\s?\d{1,5}(?:-\d{1,4})?"
)


_SIDE = (
    r"(?:\s(?:links|rechts|mitte|vorne|hinten|gauche|droite|izda|dcha|izquierda|derecha|left|right"
    r"|destra|sinistra|esquerdo|direito|esq|dto|tv|th)\.?)?"
)
_PART = (
    r"(?:(?:links|rechts|mitte|gauche|droite|izda|dcha)\.?(?=,)|"
    rf"(?:\d{{1,3}}(?:st|nd|rd|th|\.?[ºª]|er|e|ème|\.)?\s?)?{_UNIT_WORD}(?![\w])\.?"
    rf"(?:\s?(?:nr\.?\s|no\.?\s)?#?(?:\d{{1,4}}[a-z]?|[A-H])(?:\.?[ºª])?(?![\w.,]*\s?[cm]m))?{_SIDE}"
    rf"(?:\s[A-H](?!\w))?|(?-i:[IVX]{{1,4}})\s?[./]\s?\d{{1,3}}\.?|\d{{1,2}}\.?[ºª]{_SIDE}"
    r"(?:\s(?:\d{1,2}\.?[ºª]|[A-H](?!\w)))?)"
)
_WITH_FLAT = re.compile(
    rf"(?<![\w.-]){_W}(?:\s{_W}){{0,2}}\s\d{{1,5}},\s(?i:(?:\d{{1,3}}(?:\.?(?:er|[ºª])|\.)\s)?"
    r"(?:piso|of\.|oficina|dpto\.?|depto\.?|apto\.?|int\.|scala|appt\.?|whg\.?)\s?\d{0,4})"
    rf"(?:,\s(?:of\.|dpto\.?|depto\.?)\s?\d{{1,4}})?(?:,\s[A-Z]?\d{{4,5}}\s{_TOWN})?"
)
"""A street without a word for one, before a flat: `Belgrano 1450, 3.er piso`."""
_AT = re.compile(r"(?<!\w)([cC]/[oO])\s[^\n.;]{3,80}(?=[.;\n]|$)")
"""Whom somebody stays with, and where."""
_UNITS_BEHIND = (
    rf"(?:\.?[ºª]{_SIDE})?" + r"(?:(?:\s?,\s?|\.?\s)" + _PART + r"(?=\s?[,.;)\n]|\s|$)){0,5}"
)


def without_places(text: str, blank: str) -> str:
    """A report with a blank for each address.

    Args:
        text: a report.
        blank: what stands for an address.

    Example:
        >>> without_places("Lives at 14 Elm Street, Springfield, IL 62704. Via Roma 22.", "_")
        'Lives at _. _.'
    """
    if _WIDE.search(text):
        text = _ASIAN.sub(blank, _HAN_LIVES.sub(rf"\1{blank}", text))

    text = _LIVING.sub(lambda found: _living(found, blank), text)
    text = _STREET.sub(lambda found: _street(found, blank), _AT.sub(rf"\1 {blank}", text))
    text = _BARE_TOWN.sub(lambda found: _town(found, blank), text)
    text = _WITH_FLAT.sub(blank, text)
    if blank not in text:
        return text

    # Flats, floors and doors behind a street, and a town behind its postcode: `___, 3. OG links`.
    behind = re.compile(rf"{blank}{_UNITS_BEHIND}", re.IGNORECASE)
    local = re.compile(rf"{blank}(?P<units>{_UNITS_BEHIND}),\s(?-i:{_TOWN})(?=[.;)\n]|$)", re.I)
    text = local.sub(lambda found: blank if found["units"] else found[0], text)
    between = re.compile(rf"{blank},?\s\d{{1,4}}[a-z]?,\s{blank}", re.IGNORECASE)
    text = between.sub(blank, behind.sub(blank, text))
    town = re.compile(
        rf"{blank},?\s(?:[A-Z]{{1,2}}-)?(?:\d{{4,5}}|\d{{4}}-\d{{3}})\s(?P<town>{_TOWN})"
    )
    return town.sub(lambda found: found[0] if _usual(found["town"]) else blank, text)


def _usual(town: str) -> bool:
    """Whether a town is made of words of reports."""
    return any(map(common, re.findall(rf"[{UPPER}]\w+", town)))


def _living(found: re.Match[str], blank: str) -> str:
    """What stands behind `lives at`, if a name or a number does."""
    value = found["value"]
    first = re.search(rf"[{UPPER}][\w'’-]*|\d", value)
    if first is None or (common(first[0]) and not re.search(r"\d", value)):
        return found[0]

    return found[0][: found.start("value") - found.start()] + blank


def _street(found: re.Match[str], blank: str) -> str:
    """A street, and the town behind it, but no finding that a comma parts from it."""
    words = re.findall(rf"[{UPPER}][{LOWER}'’-]+", found[0])
    if all(common(word) or _KIND.fullmatch(word) for word in words):
        return found[0]

    town = found["town"]
    if town and all(map(common, re.findall(r"[^\W\d_]+", town))):
        cut = found[0].rindex(town)
        return blank + found[0][found[0].rindex(",", 0, cut) :]

    return blank


def _town(found: re.Match[str], blank: str) -> str:
    name = found["a"] or found["b"] or found["c"] or found["d"]
    return found[0] if any(map(common, re.findall(r"[^\W\d_]+", name))) else blank

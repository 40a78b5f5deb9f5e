"""Numbers that lead to a person: dates, identifiers, telephones, mail, pages, licences.

Every repetition has a bound, as in `rfpmss.data.privacy.sentences`.
"""

import re

from rfpmss.data.privacy.births import DATES as SPELT_DATES
from rfpmss.data.readers.text.dates import MONTH


def _any(*alternatives: str) -> str:
    return "|".join(alternatives)


_SOON = r"(?=\D{0,60}+\d)"
"""Most words have no digit behind them, and no number."""

_JOINT = r"(?: ?[-/–(] ?| ?\) ?[-/]?|[ .])"
"""Between two groups of digits of one number."""

_NUMBER = rf"\+?\(?\d{{1,9}}(?:{_JOINT}\d{{1,9}}){{0,8}}"
_LABEL_END = (
    r"(?:\.?-?\s?(?:no|nr|number|num|nummer|号码?))?\s?[.:：]{0,2}\s?(?=(?:[ ()+/.–-]{0,3}\d){4})"
)
_EXTENSION = r"(?: ?(?:x|ext\.?) ?\d{1,6})?"

_NO_MEASURE = r"(?!\d|[.,]\d| ?(?:[cm]?m|m?l|hu|%)(?!\w))"
"""Not millimetres, millilitres, Hounsfield units or per cent."""
_NO_LENGTH = r"(?![\d/]| ?[cm]?m(?!\w))"

_PHONE_WORDS = _any(
    r"tel(?:efon|ephone|[eé]fono|efax)?|t[eé]l(?:[eé]phone)?|(?:tele)?phone|fax|handy",
    r"telefone|telem[oó]vel|celular|cellulare|telefono|movil|tel[eé]fono (?:fijo|m[oó]vil)|gsm",
    r"tfno|tlfno|tlfn|tlf|telf",
    r"mobil(?:nummer|telefon)|handynummer|telefoon(?:nummer)?|telefonnummer|telefonszám|mobitel",
    r"телефон|тел|моб(?:ильный)?|сот(?:овый)?|τηλ(?:έφωνο)?|κινητό|telepon|telp|điện thoại|sđt",
    r"puhelin|matkapuhelin|携帯(?:電話)?|手机|手機|휴대(?:폰|전화)|연락처|هاتف|الهاتف|جوال",
    r"تلفن|טלפון|נייד",
    r"โทร(?:ศัพท์)?|फ़?ोन|मोबाइल|whatsapp",
    r"fon|pieps?er|bipeur|buscapersonas|busca|semafoon|cercapersone",
    r"mobiltel(?:efon)?|pager|beeper|dect|durchwahl|rufnummer|cell ?phone",
    r"(?:联系|聯絡)?电话|電話|传真|手机|전화",
)
_DOUBTFUL_PHONE_WORDS = r"ph|mobile?|m[oó]vil|portable|bleep|funk(?:nummer)?|ext|cell?|mobil|cep"
"""They have other meanings, too: a number in them is no decimal."""

_PHONES = _any(
    rf"(?<!\w){_SOON}(?:{_PHONE_WORDS}){_LABEL_END}{_NUMBER}{_NO_MEASURE}{_EXTENSION}",
    rf"(?<!\w){_SOON}(?:{_DOUBTFUL_PHONE_WORDS}){_LABEL_END}(?!\d\.\d)(?>{_NUMBER}){_NO_MEASURE}",
    # An area in brackets: (21) 3456-7890, 8 (495) 123-45-67.
    rf"(?<![\w.])(?:[78] ?)?\(\d{{2,4}}\) ?\d{{2,5}}[- ]\d{{2,4}}(?:[- ]\d{{2,4}})?{_NO_LENGTH}",
    # With the code of a country or an area, which begins with 0; seven digits at least.
    rf"(?<![\d.,/-])00[1-9]\d{{0,2}}(?:{_JOINT}\d{{1,8}}){{2,6}}(?!\d)",
    r"(?<![\d.,/-])\(?0\d{1,5}(?:\) ?[-/]?| ?[-/]) ?(?=(?:[ -]?\d){4})\d{2,8}(?:[ -]\d{1,6}){0,3}"
    + _NO_LENGTH,
    r"(?<![\d.,/-])0\d{2,5} \d{5,8}" + _NO_LENGTH,
    r"(?<![\d.,/×x-])\d\d (?:\d{4} \d{4}|\d{8,12})" + _NO_LENGTH,
    r"(?<!\w)(?:poste|interno|anexo|toestel|anknytning|wewn\.|分机|分機|内线|內線)"
    r"号?[ :：]{0,2}\d{3,5}(?!\d)",
    r"(?<!\w)(?:extensión|extension|durchwahl|apparat|klappe|interne|dw|nst\.?"
    r"|busca)[ :.：]{0,2}-?\d{2,6}"
    r"(?!\d|[.,]\d)",
    # French, in pairs: 01 23 45 67 89. Its separator is the third group of TRACES.
    r"(?<![\d.,])0\d(?:([ .-])\d\d)(?:\3\d\d){3}(?![\d.,]\d)",
    r"(?<![\d.])\d{3}\.\d{3}\.\d{4}(?!\d|\.\d)(?: ?x ?\d{1,6})?",
)

_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:19|20)\d\d"
_OTHER_YEAR = r"(?:[1۱١][34۳۴٣٤]|[2۲٢๒][45๔๕])\d\d"
"""Of the calendars of Iran, of Islam and of Thailand, in the digits of any of them."""
_ERA = r"(?:令和|平成|昭和|大正|明治|民[国國])"  # of Japan and Taiwan

_INFLECTED = _any(
    # Months in cases: Polish, Czech, Russian, Ukrainian, Finnish, Hungarian, Turkish.
    r"(?:styczni[au]|lut(?:ego|ym)|marc[au]|kwietni[au]|maj[au]|czerwc[au]|lipc[au]|sierpni[au]",
    r"wrześni[au]|październik[au]|listopad(?:a|zie)|grudni[au]|ledn[au]|únor[au]|březn[au]"
    r"|dubn[au]",
    r"květn[au]|červn[au]|červenc[ei]|srpn[au]|říjn[au]|prosinc[ei]|январ[яеь]|феврал[яеь]"
    r"|март[ае]?",
    r"апрел[яеь]|ма[яей]|июн[яеь]|июл[яеь]|август[ае]?|сентябр[яеь]|октябр[яеь]|ноябр[яеь]"
    r"|декабр[яеь]",
    r"січн[яі]|лют(?:ого|ому)|берез[нe][яі]|квітн[яі]|травн[яі]|червн[яі]|липн[яі]|серпн[яі]",
    r"вересн[яі]|жовтн[яі]|листопад[аі]|грудн[яі]|\w{3,8}kuussa|\w{4,10}(?:ban|ben)(?=\s(?:19"
    r"|20))",
    r"(?:ocak|şubat|mart|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım"
    r"|aralık)(?:['’]?\w{2,3})?)",
)

_DATES = _any(
    rf"(?<!\d){_YEAR}\s?(?:[-/.]\s?\d{{1,2}}\s?[-/.]\s?\d{{1,2}}"
    r"|年\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?日)?)(?!\d)",
    rf"(?<![\d.,/-]){_OTHER_YEAR}[-/]\d{{1,2}}[-/]\d{{1,2}}(?![\d/-]|[.,]\d)",
    rf"(?<![\d.,/-])\d{{1,2}}[-/]\d{{1,2}}[-/]{_OTHER_YEAR}(?![\d/-]|[.,]\d)",
    rf"{_ERA}\s?(?:元|\d{{1,3}})\s?[年./-]\s?\d{{1,2}}\s?[月./-]\s?\d{{1,2}}日?",
    rf"(?<![A-Za-z0-9])[RHS]\.?\d{{1,2}}[./-]{_MONTH}[./-]{_DAY}(?![\d./])",
    rf"(?<![\d.,])\d{{1,2}}\s?([-/.])\s?\d{{1,2}}\s?\1\s?{_YEAR}(?!\d)",
    rf"(?<![\d.,/]){_DAY}([./]){_DAY}\2\d\d(?!\d|[./]\d|\s?[cm]m)",  # 4.3.61, no 4.3 cm
    rf"(?<![\d.,/]){_MONTH}[./]{_YEAR}(?![\d./])",
    rf"(?<![A-Za-z\d.,/-]){_YEAR}[-./](?:0[1-9]|1[0-2])(?![\d./-])",
    rf"(?<![\d.,/-]){_DAY}-{_MONTH}-['’]\d\d(?!\d)",
    rf"(?<![\w.,/-]){_DAY}-{_MONTH}-\d\d(?![\d-]|[.,/]\d|\s?(?:[cm]?m|x|×)(?!\w))",
    rf"(?<!\w){_SOON}(?:\d{{1,2}}\.?\s)?{_INFLECTED}\s{_YEAR}(?!\d)",
    # In letters: 4th March 1961, March 1961, 4 de marzo de 1961.
    rf"(?<!\w){_SOON}(?:\d{{1,2}}(?:st|nd|rd|th|er|\.)?\s{{1,3}}(?:de\s{{1,3}})?)?{MONTH}\.?,?"
    r"\s{1,3}(?:de\s{1,3}|del\s{1,3})?"
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)?,?\s{{1,3}})?{_YEAR}(?!\d)",
    rf"(?<!\w){_SOON}(?:{SPELT_DATES})",
    # Thai, of Buddha's era.
    r"(?<!\d)\d{1,2} [\u0e00-\u0e7f.]{3,12} (?:พ\.ศ\. ?)?2[45]\d\d(?!\d)",
    rf"(?<!\w)\d{{1,2}}[-.]{MONTH}[-.](?:19|20)?\d\d(?!\d)",
)

_IDENTIFIER = r"(?<![\d.])[A-Za-z]{0,3}\d{6,40}[Xx]?(?![\d]|\.\d)"
_MIXED = _any(
    r"[^\W\d_]{2,40}\^{1,4}[^\W\d_][\w'’-]{0,40}(?:\^{1,4}[\w'’-]{0,40}){0,4}",
    r"(?<![\w.,/-])(?:[A-Z]{1,4}[-/])?\d{2,6}[-/]\d{5,12}(?![\d/-]|[.,]\d)",
    r"(?<![\d.,/×x-])\d{3} (?:\d{6,8}|\d{4} \d{4} \d{4})(?![\d/-]|[.,]\d| ?[cm]m)",
    r"(?<![A-Za-z\d.,/-])\d\d-\d\d-\d{3}(?![\w-]|[.,]\d)",
    r"(?<![\w.,/-])(?:\d\d[/-][A-Z][/-]\d{4,6}|\d-\d{3}-\d{4})(?![\w/-])",
    r"工号[:： ]{0,2}\d{3,10}|(?<=病案|住院|门诊|病历)\d{4,10}",
    r"(?<!\w)#\d{1,3}-\d{1,5}(?!\d)",
    r"(?<![A-Za-z\d_-])(?=[A-Z\d]{0,14}[A-Z])(?=(?:[A-Z]*\d){4})(?-i:[A-Z\d]{8,18})(?![\w-])",
)
"""Numbers of a flat, of a record, and letters and digits of a passport or a card: `C01X00T47`."""
_AMERICAN_PHONE = r"(?:\+\d{1,3}[ -]?)?(?<!\d)\(?\d{3,4}\)?[ -]\d{3,4}[ -]\d{4}(?!\d)"
_FOREIGN_PHONE = r"\+\d[\d ()/-]{6,40}\d"

_MAIL = r"(?<![A-Za-zÀ-ɏ0-9_.+-])[A-Za-zÀ-ɏ0-9_.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,99}\w"
_PAGE = r"(?:https?://|www\.)\S{1,2000}"

DATES = re.compile(_DATES, re.IGNORECASE)
"""Of them the full dates, each a whole: a name may hold the year, as `10234_12.03.2021` does."""
TRACES = re.compile(
    _any(_DATES, _MIXED, _IDENTIFIER, _PHONES, _AMERICAN_PHONE, _FOREIGN_PHONE, _MAIL, _PAGE),
    re.IGNORECASE,
)
"""What goes wherever it stands; the order of the alternatives counts."""

_CALLING = _any(
    r"(?:llam(?:ar|e|en)|localizable|contact(?:ar|e[dr]?|ez|able)?|avisar",
    r"call(?:ed|back)?|reach(?:ed|able)?|dial|appel(?:er|ez)|join(?:dre|able)|chiamare",
    r"reperibile|contattare|ligar|anrufen|erreichbar|rückruf|bellen|bereikbaar|zadzwonić)",
)
CALLED = re.compile(
    rf"(?<!\w){_SOON}({_CALLING}(?: [^\W\d_]{{1,12}}){{0,3}}:? )"
    rf"(?=(?:[ ()+/.–-]{{0,3}}\d){{7}}){_NUMBER}{_NO_MEASURE}{_EXTENSION}",
    re.IGNORECASE,
)
"""A number behind a word for calling, group 1, which stays."""

_REGISTERS = _any(
    r"(?i:CRM(?:[-/ ]?[A-Z]{2})?|RQE|RPPS|ADELI|FINESS|LANR|BSNR|GMC|NPI|PWZ|AGB",
    r"(?:n[º°o]\.? ?(?:de )?)?colegiad[oa](?: n[º°o]\.?)?|nº col\.?|matr[ií]cula",
    r"c[ée]dula profesional",
    r"(?:nr )?prawa wykonywania zawodu|BIG-(?:nr|nummer|registratie(?:nummer)?)|ordem dos médicos",
    r"c[ée]d\. ?prof\.?|ordine dei medici(?: di \w{2,20})?|arztnummer|ahpra|scfhs|čl[ks]",
    r"diplom[ae]|sicil|коллеги[яи]|reg\. ?n[o.º°]{1,2}",
    r"licen[cs]e|medical council|registration)|执业证(?:书)?(?:编)?号|執業證號",
    r"医籍(?:登録)?番号|면허번호",
)
_SHORT_REGISTERS = r"BIG|OMS?|DEA|CMP|MCI|GMC|M\.?P\.?|M\.?N\.?"
"""They mean other things, too: four digits at least, and no length."""

LICENCE = re.compile(
    rf"(?<![\w-])(?:{_REGISTERS})(?: ?(?:no|nr|number|n[º°]|n\.[º°]?)(?!\w)\.?)?"
    r"[-:：#. ]{0,3}(?:[A-Z]{1,3}[-/ ]?)?\d[\d./-]{2,16}\d"
    rf"|(?<![\w-])(?:{_SHORT_REGISTERS})[-:# ]{{1,3}}"
    r"(?:n[.º°]{1,2} ?)?(?:[A-Z]{2})?\d{4,12}(?![\w.]\d| ?[cm]m)"
)
"""What physicians are registered by."""

"""Dates with words in them, and when somebody was born: `born on the first of May nineteen sixty`.

Behind a label of a birth everything goes that dates are made of, in whatever order.
"""

from __future__ import annotations

import re

from rfpmss.data.privacy.labelled.labels import BORN
from rfpmss.data.privacy.persons import UPPER
from rfpmss.data.privacy.vocabulary import common
from rfpmss.data.readers.text.dates import MONTH

# Beside the months that dates of examinations have: those of further languages, and their cases.
_MONTHS = """
január február március április május június július augusztus szeptember október december
siječ(?:anj|nja) velja(?:ča|če) ožuj(?:ak|ka) trav(?:anj|nja) svib(?:anj|nja) lip(?:anj|nja)
srp(?:anj|nja) kolovoza? ruj(?:an|na) listopada? studen(?:i|og[a]?) prosin(?:ac|ca)
januara? februara? marta aprila maja juna jula avgusta? septembra oktobra novembra decembra
januarja februarja junija julija styczeń luty marzec kwiecień czerwiec lipiec sierpień wrzesień
październik grudzień leden únor březen duben květen červen červenec srpen září říjen prosinec
sausi(?:o|s) vasari(?:o|s) kov(?:o|as) balandži(?:o|s) geguž(?:ės|ė) birželi(?:o|s) liep(?:os|a)
rugpjūč(?:io)? rugsėj(?:o|is) spali(?:o|s) lapkrič(?:io)? gruodži(?:o|s)
janvār(?:is|a|ī) februār(?:is|a|ī) mart(?:s|a|ā) aprīl(?:is|a|ī) maij(?:s|a|ā) jūnij(?:s|a|ā)
jūlij(?:s|a|ā) august(?:s|a|ā) septembr(?:is|a|ī) oktobr(?:is|a|ī) novembr(?:is|a|ī)
decembr(?:is|a|ī) jaanuar veebruar märts aprill mai juuni juuli detsember
tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu
joulukuu gener febrer març maig juny juliol agost setembre octubre novembre desembre
xaneiro febreiro maio xuño xullo setembro outubro decembro
agustus maret mei juni juli desember oktober janar shkurt mars prill qershor korrik gusht shtator
tetor nëntor dhjetor януар(?:и|а)? феврар[иа]? февруар[иа]? март[аи]? април[аи]? мај[а]? јун[иа]?
јул[иа]? юни юли август[а]? септемвр[иа] октомвр[иа] ноемвр[иа] декемвр[иа] септембар октобар
новембар децембар септембра октобра новембра децембра январь февраль апрель июнь июль сентябрь
октябрь ноябрь декабрь січень лютий березень квітень травень червень липень серпень вересень
жовтень листопад грудень ιανουάριο[ςυ]? φεβρουάριο[ςυ]? μάρτιο[ςυ]? απρίλιο[ςυ]? μάιο[ςυ]?
ιούνιο[ςυ]? ιούλιο[ςυ]? αύγουστο[ςυ]? σεπτέμβριο[ςυ]? οκτώβριο[ςυ]? νοέμβριο[ςυ]? δεκέμβριο[ςυ]?
ב?ינואר ב?פברואר ב?מרץ ב?אפריל ב?מאי ב?יוני ב?יולי ב?אוגוסט ב?ספטמבר ב?אוקטובר ב?נובמבר ב?דצמבר
يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر شباط آذار نيسان أيار
حزيران تموز آب أيلول فروردین اردیبهشت خرداد تیر مرداد شهریور مهر آبان آذر دی بهمن اسفند
जनवरी फ़?रवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर अक्तूबर नवंबर दिसंबर
ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia
"""
MONTHS = rf"(?:{MONTH}|{'|'.join(_MONTHS.split())})"
"""A month in words, in some forty languages."""
# What days and years are made of when they are spelt out.
_SPELT = (
    # English
    r"(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)(?:y|ieth|een|eenth)(?:[ -](?:first|second"
    r"|third|fourth|fifth|sixth|seventh|eighth|ninth|one|two|three|four|five|six|seven|eight"
    r"|nine))?|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
    r"|thirteenth|fourteenth|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|thirteen|fourteen|hundred|thousand|oh"
    # German
    r"|(?:erst|zweit|dritt|viert|fünft|sechst|siebt|siebent|acht|neunt|zehnt|elft|zwölft)e[rn]?"
    r"|\w{2,20}zehnte[rn]?|\w{0,20}(?:zwanzig|dreißig)ste[rn]?|neunzehnhundert\w{0,30}"
    r"|zweitausend\w{0,30}|\w{3,12}undvierzig|\w{0,12}(?:vier|fünf|sech|sieb|acht|neun)zig"
    # French
    r"|premier|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze"
    r"|seize|vingt|trente|quarante|cinquante|soixante|cents?|mille?"
    # Spanish, Portuguese, Italian
    r"|primero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce"
    r"|quince|dieci\w{3,6}|veinti?\w{0,6}|treinta|cuarenta|cincuenta|sesenta|setenta|ochenta"
    r"|noventa|novecientos|mil|primeiro|um|dois|três|quatro|sete|oito|nove|dez|doze|treze|vinte"
    r"|trinta|quarenta|cinquenta|sessenta|oitenta|novecentos|primo|due|quattro|cinque|sei|sette"
    r"|otto|venti?\w{0,8}|mille\w{0,40}"
    # Dutch
    r"|eerste|tweede|derde|vierde|vijfde|zesde|zevende|achtste|negende|tiende|negentienhonderd"
    r"|\w{3,9}en(?:veertig|vijftig|zestig|zeventig|tachtig|negentig)"
)
_JOINS = r"of|the|de|del|di|d['’]|and|y|e|et|und|en|m|d|г|года|р|року|gada|god|ngày|tháng|năm|tahun"
_TOKEN = (
    rf"(?:\d{{1,4}}(?:st|nd|rd|th|er|ère|[.]?[ºª])?(?![\w])|(?:{MONTHS})(?!\w)|(?:{_SPELT})(?!\w)"
    rf"|(?-i:[IVX]{{1,4}})(?!\w)|(?:{_JOINS})(?!\w)|['’]\d\d(?!\d))"
)
_LABEL = (
    r"(?:date of birth|birth ?date|d\.?o\.?b\.?|born|birthday|geboren|geb(?:oren|urtsdatum"
    r"|urtstag|\.?-? ?dat(?:um)?)?|naissance|née?(?:\(e\))?|ddn|nacid[oa]|nacimiento|nació|birth"
    r"|nascimento|nascita|f(?:echa|\.)?"
    r" ?(?:de )?nac(?:imiento)?|nac|nat[oa]|nascid[oa]|data de nascimento|data di nascita"
    r"|geboortedatum|date de naissance)"
)
_ON = r"(?:on|am|den|le|el|il|em|op|the|la|l['’])\s"
_TOWN = rf"[{UPPER}][\w'’-]{{1,40}}(?:[ -][{UPPER}][\w'’-]{{1,40}}){{0,2}}"
_BORN = re.compile(
    rf"(?<![\w-])(?P<label>(?:{_LABEL}|{BORN})\.?[ \t]{{0,3}}(?:{_ON}){{0,2}}[:：=,|]?\s{{0,3}}"
    rf"(?:{_ON}){{0,2}})"
    rf"(?P<value>{_TOKEN}(?:(?:[\s./-]{{1,3}}|,\s(?={MONTHS}|(?:19|20)\d\d"
    rf"|nineteen|two thousand)){_TOKEN}){{1,11}})(?:-[a-záé]{{1,3}}(?!\w))?"
    rf"(?P<town>(?:,?\s(?:à|in|en|em|te|w|v|в|u|în|a)\s|,\s)(?-i:{_TOWN})(?=\s?[.,;)\n]|$))?",
    re.IGNORECASE,
)
_YEAR = r"(?:19|20)\d\d"
_DAY = rf"(?:{_SPELT})(?:(?:\s|-|\sy\s|\set\s|\se\s)(?:{_SPELT}))?"
_UNIT = r"(?![\d,.]\d|\d| ?(?:[cm]?m|ml|%|x|[×/])(?!\w))"
DATES = (
    rf"{_YEAR}\.?\s(?:m\.\s|gada\s)?(?:\d{{1,2}}\.\s)?{MONTHS}(?:\s\d{{1,2}}(?!\d|[.,]\d)\.?)?"
    r"(?:-[a-záé]{1,3}(?!\w)|\sd\.)?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\.?\s(?:of\s|de\s|d['’])?{MONTHS}\.?,?\s(?:de\s|del\s)?{_YEAR}"
    rf"(?!\d)|{_DAY}\s(?:of\s|de\s|di\s)?{MONTHS}\.?,?\s(?:de\s|del\s)?{_YEAR}(?!\d)"
    rf"|(?<![.,/])\d{{1,2}}\s?[-./ ]\s?(?-i:[IVX]{{1,4}})\s?[-./ ]\s?{_YEAR}(?!\d)"
    rf"|(?<![.,/])\d{{1,2}}\.?\s{MONTHS}\.?,?\s['’]?\d\d{_UNIT}"
    rf"|ngày\s\d{{1,2}}\stháng\s\d{{1,2}}\snăm\s{_YEAR}"
    r"|民[国國][一二三四五六七八九十]{1,4}年[一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十廿卅]{1,4}日)?"
    r"|[〇零○一二三四五六七八九]{4}年[一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十廿卅]{1,4}日)?"
)
"""Full dates with a month in words, the year first or last, or in Chinese numerals."""


_IN_WORDS = re.compile(rf"(?<!\w){MONTHS}(?!\w)|[^\W\d]{{4,}}.*[^\W\d]{{4,}}", re.IGNORECASE)


def without_births(text: str, blank: str) -> str:
    """A report with a blank for each date in words behind a label of a birth.

    Example:
        >>> without_births("Született: 1948. november 2-án, Szegeden. Born the 1st of May '61", "_")
        'Született: _. Born the _'
    """
    return _BORN.sub(lambda found: _blanked(found, blank), text)


def _blanked(found: re.Match[str], blank: str) -> str:
    """The field without its value, if that has a month or a year in words, and without the town."""
    if not _IN_WORDS.search(found["value"]):
        return found[0]

    town = found["town"] or ""
    stays = any(map(common, re.findall(rf"[{UPPER}]\w+", town)))
    return found["label"] + blank + (town if stays else "")

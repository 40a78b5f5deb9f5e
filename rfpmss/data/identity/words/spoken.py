"""Times in folder names in the languages that `rfpmss.data.identity.names` has no rules for.

They are put into English first: `через 3 месяца`, `3 ay sonra`, `műtét után`.
"""

from __future__ import annotations

import re
import unicodedata

_S = r"[\W_]{0,3}"
_UNITS = {
    "month": (
        r"months?|mo|monat(?:en?|s)?|mois|mes(?:es)?|mes[ei]|maand(?:en)?"
        r"|miesi[ąa]c\w{0,3}|месяц\w{0,3}"
        r"|мес|міс\w{0,5}|месец\w{0,3}|ay(?:l[ıi]k)?|hónap(?:os)?|měsíc\w{0,3}"
        r"|mesiac\w{0,3}|månad(?:er)?"
        r"|måned(?:er)?|kk|kuukau\w{2,4}|lun[ăai]|mjesec\w{0,2}|mesec\w{0,2}|μήν\w{1,2}"
        r"|tháng|bulan|ماه"
        r"|أشهر|شهر|اشهر|شهور|חודש(?:ים)?|เดือน|महीने|mēneš\w{1,2}|mėnes\w{1,4}|kuud?"
    ),
    "week": (
        r"weeks?|wochen?|semaines?|semanas?|settiman[ae]|weken|tydzień|tygodni\w{0,3}"
        r"|недел\w{1,3}|тижн\w{1,3}"
        r"|седмиц\w|hafta|hét|týden|týdn\w{1,3}|týžd\w{1,4}|veck(?:a|or)|uger?|uker?"
        r"|viikk?o\w{0,3}"
        r"|săptămân\w|tjedan\w?|tjedn\w{1,2}|εβδομάδ\w{1,2}|tuần|minggu|أسابيع|أسبوع|هفته"
        r"|שבוע(?:ות)?|สัปดาห์"
    ),
    "day": (
        r"days?|tag(?:en?)?|jours?|d[ií]as?|giorn[oi]|dagen|dzień|dni|дн(?:я|ей|і)|день"
        r"|gün|nap|dní|dny|dagar"
        r"|dage|dager|päiv\w{1,4}|zile?|dana|ημέρ\w{1,2}|ngày|hari|أيام|يوم|روز|ימים|วัน"
    ),
    "year": (
        r"years?|jahr(?:en?)?|ann[ée]es?|ans?|años?|anos?|ann[oi]|jaar|rok(?:u|y)?"
        r"|lat(?:a|ach)?|года?|лет|рок\w"
        r"|yıl|év|let|år|vuosi|vuotta|vuoden|ani|godin\w|χρόν\w{1,2}|năm|tahun|سنة|سنوات"
        r"|سال|שנה|שנים|ปี"
    ),
}
_ANY = "|".join(_UNITS.values())
_BEFORE = (
    r"через|после|след|po|nach|apr[èe]s|a los|a las|a|à|al|dopo|ap[óo]s|depois de"
    r"|despu[ée]s de|na|after|in|efter"
    r"|etter|dup[ăa]|nakon|poslije|posle|sau|setelah|sesudah|بعد(?: از)?|پس از|אחרי|כעבור|หลัง"
    r"|μετ[άα](?: από)?|за|pēc|po"
)
_BEHIND = (
    r"sonra(?:s[ıi])?|múlva|later|plus tard|später|nachher|despu[ée]s|depois|dopo"
    r"|kuluttua|jälkeen|बाद|спустя"
    r"|senare|senere|mai târziu|kasnije|після|sonrasında|után"
)
_ONE = r"(?:ein(?:em|er)?|une?|um|uma|uno?|una|bir|egy|один|one|jed(?:en|nom)|ett?)"
_HALF = re.compile(
    rf"(?<![^\W_])(?:(?:{_BEFORE}){_S})?(?:полгода|півроку|pół roku"
    rf"|půl roku|pol roka)(?![^\W\d_])"
)
_APART = r"(?:[\W_]{1,3}|(?=\d)|(?=[\u0590-\u0e7f]))"
"""Between words of scripts with spaces: ADNI is not `a dni`."""
_SPAN = re.compile(
    rf"(?<![^\W_])(?:(?:{_BEFORE}){_APART}(?P<n>\d{{1,3}}|{_ONE}(?=[\W_]))?{_S}(?P<u>{_ANY})"
    rf"|(?P<n2>\d{{1,3}}){_S}(?P<u2>{_ANY})(?:{_S}(?:{_BEHIND}))?)(?![^\W\d_])"
)
_SURGERY = (
    r"(?:операци\w{1,2}|операція|операції|оперативн\w{2,4}|хирурги\w{1,3}"
    r"|operac[ijí]\w{0,3}|operáci\w{1,3}|operation(?:en)?|operasjon(?:en)?"
    r"|operați\w{1,2}|operati\w|operacij\w|operasi|leikkau\w{2,4}"
    r"|(?:το[\W_]?)?χειρουργείο|mổ|phẫu[\W_]?thuật"
    r"|العملية|الجراحة|عملية|(?:ה)?ניתוח|ผ่าตัด|عمل|جراحی)"
)
_PRE = (
    r"(?:до|перед|преди|пре|před|pred|före|før|înainte[\W_]de|inainte[\W_]de|prije|pre"
    r"|ennen|πριν|trước|sebelum|pra|قبل(?:[\W_]از)?|پیش[\W_]از|לפני|ก่อน)"
)
_POST = (
    r"(?:после|після|след|po|efter|etter|după|dupa|poslije|posle|nakon|μετά|sau|hậu"
    r"|sesudah|setelah|pasca|بعد(?:[\W_]از)?|پس[\W_]از|אחרי"
    r"|לאחר|หลัง)"
)
_TREATMENT = (
    r"(?:лечени\w{1,2}|лікування|лт|хт|лучев\w{2,4}(?:[\W_]терапи\w)?|химиотерапи\w"
    r"|радиотерапи\w|терапи\w|léčb\w{1,2}|liečb\w{1,2}"
    r"|behandling(?:en)?|strålbehandling(?:en)?|strålebehandling(?:en)?|hoito\w{0,2}"
    r"|θεραπεία|điều[\W_]trị|xạ[\W_]trị|terapi)"
)
_WORDS = tuple(
    (re.compile(rf"(?<![^\W_])(?:{words})(?![^\W\d_])"), f" {english} ")
    for words, english in (
        (
            rf"{_PRE}{_S}{_SURGERY}|ameliyat{_S}öncesi|műtét{_S}előtt|preoperatív"
            rf"|предоперац\w{{4,8}}|προεγχειρητικ\w{{1,2}}",
            "preop",
        ),
        (
            rf"{_POST}{_S}{_SURGERY}|{_SURGERY}{_S}jälkeen|ameliyat{_S}sonrası|műtét{_S}után"
            rf"|posztoperatív|послеоперац\w{{4,8}}"
            rf"|післяоперац\w{{4,8}}|μετεγχειρητικ\w{{1,2}}",
            "postop",
        ),
        (rf"{_PRE}{_S}{_TREATMENT}|tedavi{_S}öncesi|kezelés{_S}előtt", "pre-treatment"),
        (rf"{_POST}{_S}{_TREATMENT}|tedavi{_S}sonrası|kezelés{_S}után", "post-treatment"),
        (
            r"контроль\w{0,4}|динамика|в динамике|kontrol(?:ü|lü)?|kontroll(?:en)?"
            r"|uppföljning|oppfølging|opfølgning|seuranta|takip"
            r"|ellenőrz\w{2,5}|kontrol[ln]\w{1,3}|tái[\W_]khám|παρακολούθηση|متابعة|پیگیری|کنترل|מעקב"
            r"|ตรวจติดตาม",
            "follow-up",
        ),
        (
            r"рецидив\w{0,2}|nüks|recidiv(?:et)?|återfall|residiv|kiújulás|tái[\W_]phát"
            r"|υποτροπή|uusiutuma|عود",
            "recurrence",
        ),
        (
            r"исходн\w{2,3}|первичн\w{2,3}|вихідн\w{2,3}|başlangıç|kiindulási|utgångsläge"
            r"|lần[\W_]đầu|αρχικ\w{1,2}|ilk",
            "baseline",
        ),
        (
            r"визит|візит|ziyaret|vizit|besök|besøk|besøg|käynti|lần[\W_]khám|επίσκεψη"
            r"|ویزیت|مراجعه|نوبت|(?:ال)?زيارة|ביקור|ครั้งที่",
            "visit",
        ),
        (
            r"(?:بیمار|بيمار|مریض|(?:ال)?مريض|חולה|מטופל|пациент(?:ка)?|больн(?:ой|ая)|пацієнт(?:ка)?"
            r"|रोगी|मरीज|ผู้ป่วย|คนไข้|ασθεν[ήη]ς?|hasta|beteg|potilas|bệnh[\W_]nhân|pasien|pacjent(?:ka)?"
            r"|pacient(?:ka)?|pacijent|bolnik|patsient|pacients?|pacientas|sjúklingur)(?=[\W_]{0,3}\d)",
            "patient",
        ),
    )
)


def in_english(text: str) -> str:
    """A name with its times in English; without one it stays as it is.

    Example:
        >>> in_english("через 3 месяца").strip(), in_english("műtét után").strip()
        ('month 3', 'postop')
        >>> in_english("Mueller_3")
        'Mueller_3'
    """
    said = unicodedata.normalize("NFC", text)
    text = said = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in said)
    low = said.lower()
    if len(low) != len(said):  # İ
        low = said = low

    made = low
    for pattern, english in _WORDS:
        made = pattern.sub(english, made)

    made = _SPAN.sub(_span, _HALF.sub(" month 6 ", made))
    return text if made == low else made


def _span(found: re.Match[str]) -> str:
    unit = found["u"] or found["u2"]
    count = found["n"] or found["n2"] or "1"
    number = count if count.isdecimal() else "1"
    english = next(name for name, words in _UNITS.items() if re.fullmatch(words, unit))
    return f" {english} {int(number)} "

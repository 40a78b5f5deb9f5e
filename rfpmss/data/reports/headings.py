"""What the columns of hospitals' tables are called.

English, Chinese, German, French, Spanish, Japanese, Korean, Italian, Portuguese and Dutch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.times import Time
from rfpmss.data.reports.text_words import beside, fold, order_of

# Whole names, folded by `fold`: lower case, no accents, separators or brackets.
# No text is made of these words in two ways: with `mrt?|mri?` a run of `mr` would be in 2^n.
_AREA = (
    r"(?:full|final|free|complete|radiolog(?:y|ical|ic)|pathology|imag(?:ing|e)|mr[it]?|ct"
    r"|exam|study|diagnostic|medical|clinical|scan|brain|head|report|影像[学學]?|放射(?:学|線)?|检查|检验"
    r"|超声|病理|镜下|磁共振|核磁|报告|檢查|報告|画像|読影|영상|판독|검사){0,9}"
)
_END = r"(?:text|texts|content|contents|body|section|文本|内容|正文|全文|描述|內容|내용)?\d*"
_REPORTS = (
    r"reports?|captions?|narrative|narratives|text|texts|reporttexts?|reportdescription|notes?text",
    r"报告|结果|报告单|检查结果|報告|報告書|結果|レポート|판독문|판독지|판독|판독결과",
    r"(?:radiologie|mrt?|ct|befund|patho(?:logie)?)?bericht",
    r"compterendus?|compterendu(?:irm|scanner|radiologi\w+|examen)?|cr|rapport|texte",
    r"informes?|textodelinforme|informe(?:radiologico|medico|rm|tac)|texto|reporte",
    r"referto|laudo|verslag",
    r"findings?(?:and|&)?(?:impressions?|conclusions?)|befunde?(?:und|u)?beurteilung",
    r"(?:所见|表现|描述)(?:及|与|和)?(?:诊断|结论|印象|意见)|resultatset(?:conclusion|interpretation)s?",
)
_FINDINGS = (
    r"findings?|observations?|description|microscopicdescription|microscopy|macroscopy",
    r"所见|表现|描述|影像学?表现|所見|表現|소견",
    r"befunde?|befund(?:e|text|ung)?|constatations?|resultats?|hallazgos?|descripcion|resultados?",
    r"achados|risultati|bevindingen",
)
_IMPRESSIONS = (
    r"impressions?|conclusions?|diagnos[ie]s|finaldiagnosis|assessment|summary|opinion"
    r"|interpretations?",
    r"诊断|结论|印象|意见|诊断意见|诊断结论|诊断结果|诊断印象|提示|診斷|診断|結論|結論意見|결론|진단",
    r"beurteilung|zusammenfassung|diagnosen?|schlussfolgerung|avis|diagnostic",
    r"impresion(?:es)?|impresiondiagnostica|conclusion(?:es)?|diagnosticos?|juicioclinico",
    r"impressao|conclusao|conclusioni|conclusie",
)
_ADDENDA = (
    r"addend(?:um|a)|amendments?|corrections?|nachtrag|erganzung|adenda|complement|补充|追加所見|追記",
)
TEXTS = tuple(
    re.compile(rf"{_AREA}(?:{'|'.join(words)}){_END}")
    for words in (_REPORTS, _FINDINGS, _IMPRESSIONS, _ADDENDA)
)
"""Columns of text in the order in which they are read."""

_DAY = r"(?:date(?:time)?|dt(?:tm)?|dttm|dat|day)"
_EXAM_DATE = (
    rf"(?:study|exam(?:ination)?|ex|scan(?:ning)?|imaging|acquisition|acq|mri?|ct|service|svc"
    rf"|procedure|proc|visit){_DAY}|{_DAY}(?:of)?(?:the)?(?:study|exam(?:ination)?|scan|mri?|ct"
    r"|imaging|service|visit)|(?:exam|study|scan)(?:performed|completed|done)(?:on|at|date)?",
    r"(?:检查|拍片|扫描|摄片|成像|影像|檢查|就诊)(?:日期|时间|時間)|検査日時?|撮影日|검사일자?|촬영일자?",
    r"(?:unters?(?:uchungs?)?|unt|studien|aufn(?:ahme)?|scan|mrt?|ct|bildgebungs?|leistungs?)"
    r"(?:dat(?:um)?|tag|zeit(?:punkt)?|datumzeit|datumuhrzeit)|untersuchungam"
    r"|dat(?:um)?(?:der?)?(?:unters?(?:uchung)?|unt|aufn(?:ahme)?|mrt?|ct)",
    r"(?:date|dt)(?:del?|d?exam(?:en)?|delexamen|d?ex|irm|scanner)(?:examen|exam?|irm|scanner)?",
    r"(?:fecha|fec|f)(?:de)?l?(?:del?)?(?:estudio|est|examen|exam?|explor(?:acion)?|prueba|rm|tac)",
    r"data(?:d[aeio]l?l?a?)?(?:esame|exame|rm|tac|tc|risonanza|ressonancia)"
    r"|(?:onderzoeks?|scan)datum|datumonderzoek",
)
_REPORT_DATE = (
    r"report(?:ed|ing)?(?:date(?:time)?|on)|dateofreport|(?:报告|審核|审核|報告)(?:日期|时间|時間)|報告日",
    r"(?:bef(?:und)?|ber(?:icht)?|diktat|freigabe)(?:s|ungs)?dat(?:um)?|datedu(?:compterendu|cr|rapport)|fecha(?:del?)?informe",
    r"판독일자?",
)
_DATE = (r"date(?:time)?|datum|dat|fecha|fec|日期|时间|日時|日付|날짜|studydatetime",)
DATES = tuple(re.compile("|".join(words)) for words in (_EXAM_DATE, _REPORT_DATE, _DATE))
"""Columns of dates, the examination's before the report's."""

_NUMBER = (
    r"(?:id|ids|no|nr|num|number|nummer|identifier|code|key|uid|kennung|kennzeichen|identifiant)"
)
_PATIENT = (
    rf"(?:patients?|pat|pt|subject|case|participant|person|individual){_NUMBER}?",
    rf"(?:study|anon|anonymi[sz]ed|deidentified|pseudo|hospital|unit|record|chart)(?:patient"
    rf"|subject)"
    rf"{_NUMBER}|pid|mrn|mrnumber|medicalrecord{_NUMBER}?|hospital{_NUMBER}|e?mpi|nhs{_NUMBER}",
    r"pseudonym|anonid|anonymi[sz]edid|deidentifiedid",
    r"(?:患者|病人|受试者|病例|患儿)(?:id|编号|号|号码|标识|唯一号|主索引|編號|號)?",
    r"(?:病历|病案|住院|门诊|就诊|登记|影像|放射|病歷|住院|門診|就诊卡)(?:id|号|号码|编号|流水号|號)|id号|卡号",
    rf"(?:patient(?:en)?|pat|fall|probanden|aufnahme){_NUMBER}",
    rf"{_NUMBER}?(?:du|de)?patient|numeropatient|(?:numero|n)?(?:de)?dossier|ipp|nip|nda"
    rf"|numerodupatient",
    rf"(?:{_NUMBER}|numero|codigo)?(?:del?)?paciente|nhc|(?:numero(?:de)?)?historiaclinica"
    rf"|expediente",
    r"患者(?:番号|no)|カルテ番号|症例番号|환자(?:번호|id)|등록번호|병록번호",
)
_EXAMINATION = (
    rf"acc(?:ession)?{_NUMBER}?|(?:study|exam(?:ination)?|order|request){_NUMBER}"
    rf"|study(?:instance)?uid",
    r"(?:检查|检查流水|申请|申请单|检查单|影像检查|报告单|檢查|检查编)(?:号|编号|流水号|號)",
    r"(?:anforderungs|auftrags|untersuchungs|studien)(?:nr|nummer|id)",
    r"(?:numero|n)(?:de?l?)?(?:daccession|examen|acceso|estudio|peticion)|検査番号|受付番号|접수번호|검사번호",
)
_NAME = (
    r"(?:(?:patients?|pat|full|last|sur|family|subject)s?)?names?|(?:患者|病人|受检者)?(?:姓名|名字|名称)",
    r"patientenname|nachname|namedespatienten|nom|nom(?:et)?prenoms?|nomdupatient|nompatient",
    r"nombre|nombre(?:del)?paciente|nombreyapellidos|apellidos?(?:ynombre)?|paziente|氏名|患者氏?名",
    r"환자명|이름|성명|患者名",
)
_STAFF = (
    r".*(?:physician|radiologist|doctor|pathologist|technologist|technician|operator"
    r"|author)s?(?:name)?",
    r".*(?:医师|医生|医师|技师|醫師|签名|报告人|审核人|检查者)|signed(?:by)?|reportedby|readby|dictatedby",
    r".*(?:arzt|befunder|radiologe|befundetvon)|medecin\w*|radiologue|medico\w*|radiologo|.*医|판독의",
    r"(?:zuweise|einsende|uberweise|ueberweise|anforderer|auftraggeber|haus|vidiert|visiert|diktiert"
    r"|freigegeben|validiert|schreibkraft|mtra?|kollege|angehorige|kontakt|notfallkontakt)\w*"
    r"|refer(?:rer|ring|redby)\w*|attending|resident|fellow|consultant|clinician|provider|surgeon"
    r"|staff|signatory|scribe|transcri\w*|(?:approved|verified|reviewed|entered|ordered|requested"
    r"|performed)by|nextofkin|relative|guardian|emergencycontact"
    r"|prescripteur|demandeur|signataire|redacteur|manipulateur|validepar|signepar|redigepar"
    r"|solicitante|firmante|firmado\w*|informante|facultativo|validadopor|informadopor|assinatura"
    r"|richiedente|refertante|firmatario|curante|aanvrager|verwijzer|radioloog|(?:huis)?arts"
    r"|laborant|lekarz\w*|opisujacy|zlecajacy|.*(?:读影|読影|報告|記載|依頼|検査|撮影|承認|確認|担当)者"
    r"|.*技師|家属(?:姓名)?|联系人|家族(?:氏?名)?|保護者|(?:판독|보고|작성|기록|확인|의뢰|검사)자"
    r"|(?:담당|주치|의뢰|집도)의사?|방사선사|보호자\w*|교수",
)
_WEAK = (r"id|ids|identifier|kennung|identifiant|key|code|编号|編號|uid|primarykey|pk",)
_COUNTER = (
    r"|no|nr|num|number|numero|n|index|idx|row(?:id|no|number|num)?|序号|序|行号|序號|lfd(?:nr)?|pos"
    r"|laufendenummer|番号|번호|순번|unnamed\d*|line|count|sno|slno|rank",
)
_BIRTH = (
    r"(?:pat(?:ient(?:en)?)?)?geb(?:urts?)?(?:dat(?:um)?|tag|jahr|am)?|(?:pat(?:ient)?)?(?:birth|dob)"
    r"(?:date|dt|day|year)?|dn|ddn|dat(?:e)?(?:de)?naiss(?:ance)?|(?:fecha|fec|f)(?:de)?nac(?:imiento)?"
    r"|data(?:di|de)?nas(?:cita|cimento)|geb(?:oorte)?datum|出生(?:日期|年月日?)?|生年月日|생년월일"
)
"""Columns of birth dates, which may lie near no examination and are one person's own."""
_NEVER = (
    r"age(?:years|y|at\w*)?|alter|edad|patient(?:s|en)?(?:age|sex|alter|geschlecht)|年龄|年齡|sex"
    r"|gender"
    r"|geschlecht|sexe|sexo|性别|性別|birth(?:date|day|year)?|dob|dateofbirth|geburtsdatum|出生日期"
    r"|datedenaissance|fecha(?:de)?nacimiento|grade|whograde|score|kps|size|label|class|split|fold"
    r"|survival\w*|os(?:days|months)?|idh\d?|mgmt|site|center|centre|weight|height|year|month"
    r"|week|visit"
    r"|timepoint|session|slices?|分级|身高|体重",
    _BIRTH,
)

_NO_REPORT = re.compile(
    r".*(?:history|indication|anamnes\w*|question|prompt|fragestellung|reason|technique|protocol"
    r"|address|adresse|direccion|antecedent\w*|motiv\w*|complaint\w*|symptom\w*|therap\w*"
    r"|treatment|medication\w*|病史|主诉|检查(?:目的|方法)|地址|症状|用药|治疗)s?\d*"
)
"""Columns of sentences that are no report: why an image was made, and how."""

_TIMES = {
    "visit": re.compile(r"visit(?:e|a)?(?:id|no|nr|number)?|session(?:id|no|nr)?|besuch"),
    "timepoint": re.compile(r"timepoints?(?:id|no|nr)?|tp|zeitpunkt|时间点"),
    "week": re.compile(r"weeks?|woche|semaine|semana"),
    "month": re.compile(r"months?|monat|mois|mes"),
}


_PROCEDURE = re.compile(
    r"(?:exam(?:ination)?|study|scan|procedure|proc|order|series|protocol|imaging|mri?|ct)s?"
    r"(?:type|code)?(?:descriptions?|desc)"
)
"""Columns of what was examined, `MRI BRAIN W WO CONTRAST`, which are no findings."""


class Rank(IntEnum):
    """How likely a column of this name says whose row it is; higher is likelier."""

    NEVER = 0
    COUNTER = 1
    WEAK = 2
    UNKNOWN = 3
    NAME = 4
    EXAM = 5
    PATIENT = 6


_RANKS = {
    Rank.NEVER: re.compile("|".join(_NEVER)),
    Rank.NAME: re.compile("|".join(_NAME)),
    Rank.PATIENT: re.compile("|".join(_PATIENT)),
    Rank.EXAM: re.compile("|".join(_EXAMINATION)),
    Rank.WEAK: re.compile("|".join(_WEAK)),
    Rank.COUNTER: re.compile("|".join(_COUNTER)),
}
_FIXED = re.compile(
    r"(?:patient(?:s|en)?)?(?:birth(?:date|day|year)?|dob|dateofbirth|yearofbirth|sex|gender"
    r"|geschlecht)|sexe|sexo|性别|性別|성별"
    rf"|{_BIRTH}"
)
_STAFF_NAME = re.compile("|".join(_STAFF))


def rank(name: str) -> Rank:
    """How likely a column of this name says whose row it is.

    Example:
        >>> [rank(name).name for name in ("EMPI", "病历号", "AccessionNumber", "姓名", "id", "No.")]
        ['PATIENT', 'PATIENT', 'EXAM', 'NAME', 'WEAK', 'COUNTER']
    """
    folded = fold(name)
    return next((r for r, known in _RANKS.items() if known.fullmatch(folded)), Rank.UNKNOWN)


def text_order(name: str) -> int | None:
    """0: a whole report, 1: findings, 2: an impression, 3: an addendum, None: no text.

    Example:
        >>> [text_order(n) for n in ("Report Text", "影像学表现", "Beurteilung", "Addendum", "age")]
        [0, 1, 2, 3, None]
    """
    folded = fold(name)
    if _PROCEDURE.fullmatch(folded):
        return None
    known = next((n for n, known in enumerate(TEXTS) if known.fullmatch(folded)), None)
    return order_of(name) if known is None else known


_PRIOR = re.compile(
    r"(?i)previous|prior|last|earlier|vor(?:befund|bericht)|ant[eé]rieur|上次|既往|前回"
)
"""Words for the report before this one, which is none of the row's examination."""


def timed_text(name: str) -> tuple[int, Time] | None:
    """Of a column of texts of one time the order, as of `text_order`, and the time.

    Example:
        >>> [timed_text(n)[1].label for n in ("Report pre-op", "Findings week 12", "术后报告")]
        ['pre-op', 'week 12', 'post-op']
        >>> timed_text("Report"), timed_text("Previous report"), timed_text("Report date")
        (None, None, None)
    """
    read = parse(name, tee=True)
    if not read.times or _PRIOR.search(name):
        return None

    order = text_order(" ".join((*read.kinds, read.who)))
    return None if order is None else (order, read.times[0])


_COUNTED = re.compile(
    r"(?i)(?<![^\W_])\d{1,2}(?![^\W_])|(?<=[^\W\d])\d{1,2}$|(?<=mri|mrt|irm|nmr)\d{1,2}"
    r"|(?<=exam|scan)\d{1,2}"
)


def counted_text(name: str) -> str:
    """Of a column such as ``Report 2`` or ``MRI 2 report`` the name without its number, or nothing.

    Example:
        >>> [counted_text(n) for n in ("Report (2)", "MRI 1 report", "T1 findings", "Report")]
        ['report', 'mrireport', '', '']
    """
    rest = _COUNTED.sub("", name.strip(), count=1)
    return fold(rest) if rest != name.strip() and text_order(name) is not None else ""


def date_order(name: str) -> int | None:
    """0 for the date of the examination, 1 for that of the report, 2 for any; None for no date."""
    folded = fold(name)
    return next((n for n, known in enumerate(DATES) if known.fullmatch(folded)), None)


_PARTS = (
    re.compile(r"(?:patients?|pat)?(?:last|sur|family)names?|nachname|familienname|nom(?:defamille)?"
               r"|apellidos?|cognome|姓"),
    re.compile(r"(?:patients?|pat)?(?:first|given|fore)names?|vornamen?|prenoms?|nombres?|nome|名"),
)  # fmt: skip


def name_parts(names: Sequence[str]) -> tuple[int, int] | None:
    """The columns of family and of given names, where there is one of each.

    Example:
        >>> name_parts(["ID", "Vorname", "Nachname"])
        (2, 1)
    """
    found = [[n for n, name in enumerate(names) if part.fullmatch(fold(name))] for part in _PARTS]
    family, given = found
    return (family[0], given[0]) if len(family) == len(given) == 1 else None


def no_report(name: str) -> bool:
    """Whether a column of this name holds sentences that are no report."""
    named = _NO_REPORT.fullmatch(fold(name)) is not None or beside(name)
    return named or rank(name) in (Rank.NAME, Rank.NEVER)


def says_else(name: str) -> bool:
    """Whether a column is known as something else than a text of the report."""
    folded = fold(name)
    known = rank(name) != Rank.UNKNOWN or date_order(name) is not None or time_unit(name)
    others = (_STAFF_NAME, _PROCEDURE, _NO_REPORT, _FIXED)
    return bool(known) or beside(name) or any(other.fullmatch(folded) for other in others)


def time_unit(name: str) -> str:
    """``visit``, ``timepoint``, ``week`` or ``month`` for a column of time points, else nothing."""
    folded = fold(name)
    return next((unit for unit, known in _TIMES.items() if known.fullmatch(folded)), "")


def fixed(name: str) -> bool:
    """Whether a column holds what is the same in all rows of one person: a number, birth, sex."""
    return rank(name) == Rank.PATIENT or _FIXED.fullmatch(fold(name)) is not None


def names_persons(name: str) -> bool:
    """Whether a column of this name holds what is to be blanked in the reports of its rows."""
    folded = fold(name)
    personal = rank(name) in (Rank.PATIENT, Rank.NAME, Rank.EXAM)
    return personal or _STAFF_NAME.fullmatch(folded) is not None

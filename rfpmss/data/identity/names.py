"""What one folder's or file's name says: who, when, and what is in it.

The words are those of hospitals and of public cohorts in English, Chinese, German, French and
Spanish; `LAYOUTS` of ``tests/layouts.py`` is the table of what is known to be read right.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from rfpmss.data.identity.words.spoken import in_english
from rfpmss.data.readers.sequences import describes, without_prefix
from rfpmss.data.readers.text.dates import MONTHS, readings, western
from rfpmss.data.readers.text.dates import day as full_date

PERSON, ID, SHORT, WORD = 4, 3, 2, 1
"""How surely a name is a person's: by a word such as ``patient``, by its number, hardly, not."""

_START, _END = r"(?<![0-9a-z])", r"(?![0-9a-z])"


@dataclass(frozen=True)
class Time:
    """A time point that a name tells."""

    label: str
    """Such as ``week 44``; equal for all spellings."""
    day: int | None = None
    """Of a date."""
    phase: str = ""
    """``pre-op``, ``intra-op`` or ``post-op``."""
    weak: bool = False
    """A word that may also number files or people: scan 3, exam 2, control 1, a date."""


@dataclass(frozen=True)
class Name:
    """A name, taken apart."""

    who: str
    """What is left without words for what and when; ``""``: nothing."""
    times: tuple[Time, ...] = ()
    kinds: tuple[str, ...] = ()
    """Words for what is in it."""
    number: str = ""
    """A number beside words for what is in it, such as ``017`` of ``MR_017``."""
    core: str = ""
    """`who` of a folder such as ``Mueller_CT`` without the words for what is in it."""

    @property
    def rank(self) -> int:
        """`PERSON`, `ID`, `SHORT` or `WORD`."""
        return rank(self.who)


# -- when ------------------------------------------------------------------------------------------

_UNITS = {
    "visit": "visite?s?|besuch|visita|consulta|termin|bezoek|wizyta",
    "scan": "scans?|aufnahme|acquisition|esame",
    "exam": ("exam|exams|examination|examen|untersuchung|ex|bilan|onderzoek|badanie|estudo|exame"),
    "study": "study|studie|etude|estudio|st",
    "session": "sessions?|sess|ses|sitzung|sesion|seance",
    "timepoint": "time-?points?|tp|time|zeitpunkt|temps",
    "week": r"weeks?|wks?|wochen?|semaines?|semanas?|settiman[ae]|weken|tydzien|tygodni\w*",
    "month": (r"months?|mo|mths?|mons?|monate?|mois|mes(?:es)?|mes[ei]|maand(?:en)?|miesi[ae]c\w*"),
    "day": "days?|tage?|jours?|dias?|giorn[oi]|dag(?:en)?|dzien|dni",
    "year": "years?|yrs?|jahre?|annees?|anos?|ann[oi]|jaar",
    "follow-up": (
        "follow-?ups?|fup?|verlauf|verlaufskontrolle|suivi|seguimiento|seguimento"
        "|acompanhamento|opvolging|obserwacja|nachsorge|recheck|restaging"
    ),
    "control": (
        "control|(?:verlaufs|nach|zwischen|abschluss)?kontrolle|controle|controllo|kontrola"
        "|voruntersuchung"
    ),
    "baseline": (
        "baseline|bl|nulmeting|ausgangs(?:befund|untersuchung)"
        "|erst(?:untersuchung|diagnose|vorstellung|befund)"
    ),
    "recurrence": (
        "recurrence|recurrent|rezidiv|recidive|recidief|recidiva|recaida|relapse|wznowa"
    ),
    "progression": "progression|progress|progresion|progressione|progressao|progressie|progresja",
    "screening": "screening",
    "unscheduled": "unscheduled|unsched",
    "cycle": "cycles?|zyklus|zyklen|ciclos?|ciclo|cykl|kuur",
}
_WEAK = {"scan", "exam", "study", "control"}
_SPANS = {"week", "month", "day", "year"}
_ALONE = "|".join(
    (
        r"(?!recheck|control(?![a-z]))(?:" + _UNITS["follow-up"] + "|" + _UNITS["control"] + ")|fu",
        _UNITS["baseline"],
        r"(?!recurrent)(?:" + _UNITS["recurrence"] + ")",
        r"(?!progress(?![a-z]))(?:" + _UNITS["progression"] + ")",
        _UNITS["screening"],
        _UNITS["unscheduled"],
    )
)
_EXAMINATION = re.compile(
    "|".join((*(_UNITS[unit] for unit in ("visit", "scan", "exam", "study", "control")), "de|del"))
)
_SCANNED = re.compile(
    r"mri?|mrt|irm|nmr|rmn?|rnm|rezonans|ct|cat|tc|tac|tdm|tomo(?:grafia)?|scanner|pet|kernspin"
    r"|resonan(?:cia|za|ce)|magnetic|magneti[ck]a|kranial|cranial|cerebral|cerebrale|brain|kopf"
    r"|schadel|head|encefalo|craneo|cranio|cerebro|cerebrum|hersenen"
)
_ALL = "|".join(f"(?P<{unit.replace('-', '_')}>{words})" for unit, words in _UNITS.items())
_SPAN = "|".join(_UNITS[unit] for unit in sorted(_SPANS))
_LETTERS = {"mo": "month", "d": "day", "w": "week", "m": "month", "y": "year"}
"""Units behind a number without a separator: ``postop6m``."""
_SHORT_WORDS = r"(?:ex|st|ses|sess|tp|wks?|mo|mths?|mons?|mes|fup?|bl|an|dias?)"
_LETTERED = r"(?:visite?|scan|exam|examination|study|session|time-?point|follow-?up|besuch)"
_SPELLED = {
    **{word: n for n, word in enumerate(("one", "two", "three", "four", "five", "six"), 1)},
    **{word: n for n, word in enumerate("abcdef", 1)},
    **{word: n for n, word in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii"), 1)},
}
_WORDED = re.compile(rf"(?<![a-z])(?=(?:{_LETTERED})-)(?:{_ALL})-(?P<o>{'|'.join(_SPELLED)}){_END}")
_FORWARD = re.compile(
    rf"(?<![a-z])(?!(?<=[0-9]){_SHORT_WORDS}-?\d)(?:{_ALL})"
    rf"-?(?P<n>\d{{1,4}})(?!-(?:{_SPAN}){_END})"
    r"(?P<sub>-\d{1,2}(?!\d)(?=-|$))?(?P<letter>[a-z])?" + _END
)
_BACKWARD = re.compile(
    rf"(?<![0-9a-z])(?P<n>\d{{1,4}})(?:st|nd|rd|th|e|er|ere|eme)?-?(?:{_ALL}){_END}"
)
_ORDINAL = {
    **dict.fromkeys(("first", "1st", "erste", "premier", "premiere", "primera", "primer"), 1),
    **dict.fromkeys(("second", "2nd", "zweite", "deuxieme", "segunda", "segundo"), 2),
    **dict.fromkeys(("third", "3rd", "dritte", "troisieme", "tercera", "tercer"), 3),
    **dict.fromkeys(("fourth", "vierte", "quatrieme", "cuarta"), 4),
    **dict.fromkeys(("last", "final", "letzte", "dernier", "derniere", "ultima"), 99),
}
_ORDER = re.compile(rf"{_START}(?P<o>{'|'.join(_ORDINAL)})-(?:{_ALL}){_END}")
_LONE = re.compile(rf"{_START}(?:{_ALONE}){_END}")
_OF = r"(?:(?:de|du|des|la|le|el|the|of|der|den|das|dem|di|da|do|van|het|al|della|dell|l|d)-)*"
"""Small words between when and what."""
_SURGERY = (
    r"(?:op|ops|opera?tive?|operation|operativ|operatoire|operatori[oa]|operatie|operazione"
    r"|operacao|operacion|operac?j[aieo]|surgery|surgical|surg|resection|resektion|reseccion"
    r"|resezione|resseccao|resectie|resekcj[aieo]|chirurgie|chirurgia|chir|cirugia|cirurgia|cir"
    r"|quirurgic[oa]|exerese|craniotom\w*|kraniotom\w*|zabieg\w*)"
)
_PHASES = {
    "pre-op": rf"(?:pre|prae|pra|vor|before|avant|antes|voor|prima|przed)-?{_OF}{_SURGERY}"
    r"|до-?операции|수술-?전",
    "intra-op": rf"(?:intra|during)-?{_SURGERY}|iop",
    "post-op": r"(?:(?:early|late|immediate|fruh|spat)-?)?"
    r"(?:post?|pos|nach|after|apres|despues|depois|dopo|na|po)-?"
    rf"{_OF}{_SURGERY}(?:-(?:early|late|immediate|fruh|spat))?"
    r"|после-?операции|수술-?후",
}
_THERAPY = (
    r"(?:treatment|treat|tx|therapy|therapie|therapi|rt|radiation|rct|crt|qrt|rtct|chemo\w*|tmz"
    r"|radioth?erap\w*|radiochemo\w*|radioquimio\w*|radiochimio\w*|chimio\w*|quimio\w*"
    r"|bestrahlung|strahlentherapie|behandlung|traitement|rayons|tratamiento|tratamento"
    r"|trattamento|terapi[ae]|bestraling|behandeling|leczeni[ae]|radiochemioterapi\w*"
    r"|napromienia\w*|stupp|temozolomide?)"
)
_TREATED_WHEN = {
    "pre": "pre|prae|vor|before|avant|antes|prima|voor|przed",
    "post": "post|pos|after|nach|apres|despues|dopo|depois|na|po",
    "during": "during|mid|pendant|wahrend|unter|durante|tijdens|podczas|en-cours",
    "start": "start|begin|beginn|beginning|debut|inicio|inizio|poczatek",
    "end": "end|ende|fin|final|fim|fine|einde|koniec|termino",
}
_TREATED = re.compile(
    rf"{_START}(?:"
    + "|".join(f"(?P<{when}>{words})" for when, words in _TREATED_WHEN.items())
    + rf")-?{_OF}(?P<what>{_THERAPY}){_END}"
    # Bestrahlungsende, Therapiebeginn
    rf"|{_START}(?P<of>therapie|radiotherapie|bestrahlungs?|behandlungs?|chemotherapie)-?"
    rf"(?P<german>ende?|beginn|start){_END}"
)
_TRIAL = (
    (
        re.compile(rf"{_START}c(?:ycle)?-?(\d{{1,2}})-?d(?:ay)?-?(\d{{1,3}}){_END}"),
        "cycle {} day {}",
    ),
    (re.compile(rf"{_START}(?:eot|end-of-(?:treatment|therapy)){_END}"), "end-treatment"),
    (re.compile(rf"{_START}(?:eos|end-of-study){_END}"), "end of study"),
)
"""Visits of drug trials."""
_HOURS = re.compile(
    rf"{_START}(\d{{1,3}})-?(?:h|hrs?|hours?|heures?|stunden?|std|horas?|ore|uur|godzin\w*){_END}"
)
_CONTRAST = re.compile(
    rf"{_START}(?:pre|post)-?(?:contrast|con|gd|gad\w*|km|ce|proc\w*|c){_END}"
    rf"|(?<![a-z])t1\w*-(?:pre|post){_END}"
)
_BARE = re.compile(rf"{_START}(?P<when>pre|post)(?:-?(?P<n>\d))?{_END}")
_ALONE_ONLY = {
    **{word: f"visit {number}" for word, number in _ORDINAL.items()},
    **dict.fromkeys(
        ("before", "vorher", "avant", "antes", "prior", "previous", "prima", "przed", "前"),
        "before",
    ),
    **dict.fromkeys(
        ("after", "nachher", "apres", "despues", "depois", "dopo", "po", "后"), "after"
    ),
    **dict.fromkeys(
        (
            *("initial", "initiale", "initiales", "inicial", "iniziale", "start", "beginning"),
            *("basale", "basal", "begin", "beginn", "debut", "inicio", "inizio", "poczatek"),
            *("ausgang", "ausgangslage", "pretratamiento", "prebehandeling"),
            *("poczatkowe", "wstepne", "wyjsciowe", "eerste", "pierwsze"),
        ),
        "baseline",
    ),
    **dict.fromkeys(
        ("diagnosis", "diagnose", "diagnostic", "diagnostico", "diagnosi"), "diagnosis"
    ),
    **dict.fromkeys(
        ("fin", "finale", "fine", "fim", "ende", "abschluss", "einde", "koniec"), "end"
    ),
    **dict.fromkeys(("admission", "入院"), "admission"),
    **dict.fromkeys(("discharge", "出院"), "discharge"),
    **dict.fromkeys(("repeat", "retest"), "visit 2"),
    **dict.fromkeys(("early", "late", "current", "end", "middle"), ""),
}
"""Words that tell the time where they are the whole name."""
_ALONE_ONLY = {word: label or word for word, label in _ALONE_ONLY.items()}
_HAN = "一二三四五六七八九十"
_N = rf"(?P<n>\d{{1,3}}|[{_HAN}]{{1,2}})"
_LATER = (
    r"再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診]"
    r"|추적-?(?:관찰|검사|촬영)?|재진|재검사?"
)
"""Follow-ups in Japanese, Chinese and Korean, beside those that stand in the table itself."""
_CHINESE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"(?:手?[术術][后後])-?第?{_N}个?(?P<unit>[月周天日年]|小时)"), "post-op"),
    (re.compile(rf"第?{_N}-?[次回차](?:检查|随访|复查|扫描|访视|就诊)?"), "visit"),
    (re.compile(rf"(?:[复複復][查査诊診]|随访|隨訪)-?{_N}"), "follow-up"),
    (re.compile(rf"第?{_N}个?(?P<unit>[月周天年])(?:后|随访|复查)?"), "span"),
    (re.compile(r"手?[术術][后後]-?半年"), "post-op month 6"),
    (re.compile(r"半年(?:后|随访|复查)?"), "month 6"),
    (re.compile(r"手?[术術]前"), "pre-op"),
    (re.compile(r"手?[术術][后後]"), "post-op"),
    (re.compile(r"手?[术術]中"), "intra-op"),
    (re.compile(r"(?P<what>放化疗|放疗|化疗|治疗)(?P<when>[前中后])"), "treated"),
    (re.compile(r"[复複復][查査诊診]|随访|隨訪"), "follow-up"),
    (re.compile(r"(?P<what>放化疗|放疗|化疗|治疗)(?P<when>开始|结束|期间)"), "treated"),
    (re.compile(r"基[线線]|首[诊診]|初[诊診回]|首次|筛选"), "baseline"),
    (re.compile(r"[复復再][发発發]"), "recurrence"),
    (re.compile(r"末次"), "visit 99"),
    (re.compile(rf"수술-?후-?{_N}-?(?P<unit>개월|주|일|년)"), "post-op"),
    (re.compile(rf"{_N}-?(?P<unit>개월|주|년)-?(?:후|뒤|추적)?"), "span"),
    (re.compile(rf"{_N}-?(?:[かヶカケヵ]月|(?P<unit>週間?))[後目]?"), "span"),
    (
        re.compile(
            rf"(?:再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診])-?{_N}"
        ),
        "follow-up",
    ),
    (re.compile(r"초진|초기|기저|첫-?(?:방문|검사)|ベースライン"), "baseline"),
    (re.compile(r"추적-?(?:관찰|검사|촬영)?|재진|재검사?"), "follow-up"),
    (
        re.compile(r"再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診]"),
        "follow-up",
    ),
    (re.compile(r"재발"), "recurrence"),
)
_UNIT_OF = {"月": "month", "周": "week", "天": "day", "日": "day", "年": "year", "小时": "hour"}
_UNIT_OF |= {"개월": "month", "주": "week", "일": "day", "년": "year", "週": "week", "週間": "week"}


def _unaccented(text: str) -> str:
    """One form for letters that can be written in several, without the accents of Latin ones."""
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", parts))


_MONTHS = {
    **{_unaccented(word): number for word, number in MONTHS.items()},
}
_YEAR = r"(?:19[89]\d|20[0-4]\d)"
_NAMED = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<!\d){_YEAR}[01]\d[0-3]\d[-_t ]?[0-2]\d[0-5]\d(?:[0-5]\d)?(?!\d)"  # with the hour
        r"(?![-_./]\d\d[-_./]\d\d(?!\d))",  # but no second date
        rf"(?<!\d){_YEAR}([-_./ ]?)\d{{1,2}}\1\d{{1,2}}(?!\d)",
        rf"(?<!\d){_YEAR}年\d{{1,2}}月(?:\d{{1,2}}[日号]?)?",
        rf"(?<!\d){_YEAR}년 ?\d{{1,2}}월(?: ?\d{{1,2}}일)?",
        rf"(?<!\d)\d{{1,2}}([-_./])\d{{1,2}}\1{_YEAR}(?!\d)",
        r"(?<!\d)[0-3]?\d\.[01]?\d\.\d\d(?!\d)",
        rf"(?<![0-9a-z])[0-3]?\d[-_. ]*(?:de[-_. ])?(?:{_NAMED})[-_. ]*(?:de[-_. ])?{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}[-_. ]*(?:{_NAMED})(?:[-_. ]*[0-3]?\d)?(?![0-9a-z])",
        rf"(?<![0-9a-z])(?:{_NAMED})[-_. ]*{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}[-_.](?:0?[1-9]|1[0-2])(?![-_.]?\d)",
        rf"(?<![0-9a-z])(?:0?[1-9]|1[0-2])[-_.]{_YEAR}(?![-_.]?\d)",
        rf"(?<!\d){_YEAR}[-_ ]?q[1-4](?![0-9a-z])",
        rf"(?<!\d){_YEAR}年",
        rf"^{_YEAR}$",
    )
)

# -- what ------------------------------------------------------------------------------------------

_CONTENT = re.compile(
    r"(?:ct|cta|mri?|mrt|irm|rmn?|pet|mra|dcm|dicoms?|nifti|nii|images?|img|im|pics?|scans?|series"
    r"|serie|ser|se|stud(?:y|ies)|exams?|reports?|befunde?|bericht|texts?|txt|notes?|letters?|path"
    r"|pathology|histology|histo|slides?|wsi|segm?|segs?|segmentations?|masks?|labels?|annotations?"
    r"|data|files?|slice|run|echo|acq|vol|volume|frame|dx|t[12](?:c|ce|gd|w|wce|wi|n|f|map|km)?"
    r"|[saect]{1,2}t[12]\w*|flair\w*|ct1|ctv|roi|lesion|mask)\d{0,6}"
    r"|anat|func|fmap|perf|beh|imaging|svs|ndpi|tiffs?|tif|png|jpe?g|raw|rawdata|he|head|brain|kopf"
    r"|schadel|neuro|cerebr\w*|crane|cerebro|cerveau|hirn|nativ|native|plain|axial|ax|tra|trans\w*"
    r"|sagittal|sag|coronal|cor|tse|tfe|ffe|gre|se2?d|[23]d|iso|fs|fse|mp-?rage|mpr|spgr|bravo|space"
    r"|vibe|cube|vista|tirm|stir|dwi|adc|swi|swan|asl|dsc|dce|dti|perfusion|diffusion|tof|map|pd|bold"
    r"|fmri|darkfluid|gd|gado?\w*|km|ce|gadolinium|contrast|mit|ohne|with|without|and|w|wo|c|the|of|de|du|des|del|della|di|la|le|vom|von|der|am"
    r"|strip|stripped|skull|unstripped|bet|hd|n4|bias|corrected|preprocessed|processed|reg|registered"
    r"|registration|coreg\w*|norm\w*|resampled|atlas|mni\d*|sri24|structural|automated|manual|approx"
    r"|tumou?r|gtv\d?|core|edema|whole|enhancing|deepbratumia|glio|auto|output|results?|localizer"
    r"|scout|survey|bone|soft|kernel|window|thin|thick|x|zip|export|imagest[rs]|labelst[rs]|h&e|rgb"
    r"|t[12](?:star|post|pre|weighted)"
)
REPORT = (
    r"reports?|findings?|impressions?|results?|readings?|radiology|dictations?|notes?|letters?"
    r"|befunde?|befundberichte?|\w*berichte?|arztbriefe?|beurteilung|epikrise|radiologie"
    r"|compte|rendu|compterendu|conclusions?|rapports?|informes?|hallazgos?|refert[oi]"
    r"|relazione|laudos?|relatorios?|verslag(?:en)?|opisy?|wyniki?|nalez|zprava"
    r"|utlatande|svar|beskrivelse|lausunto|заключение|описание|протокол"
)
"""Words for a report in the names of files, as `plain` spells them."""
_REPORT = re.compile(rf"(?:{REPORT})\d?")
_SHORT_REPORT = "cr"
"""Compte rendu: only at the end of a name with a number, elsewhere it may be initials."""
REPORT_CJK = (
    r"(?:影像|画像|영상|诊断|診断|診斷|読影|检查|檢查)*(?:报告|報告|レポート|판독|보고)[单單书書문지서]?"
    r"|所[见見]|소견서?|读片|読影|画像|영상|(?:诊断|診断|診斷)(?![时時前后後])|结果|結果|결과지?"
)
"""The same without spaces between words."""
_CHINESE_CONTENT = re.compile(
    r"影像|图像|病理|切片|平扫|增强|磁共振|核磁|头颅|颅脑|检查|资料|数据|文本|扫描|序列"
    rf"|{REPORT_CJK}"
)
_ENTITY = re.compile(
    rf"{_START}(?:acq|run|ce|desc|space|rec|dir|echo|part|res|label|task|mod|inv|flip|mt|hemi|seg)"
    r"-[0-9a-z]+"
)
_CHANNEL = re.compile(r"(?<=\d)-000\d$")
"""The channels of nnU-Net."""

# -- who -------------------------------------------------------------------------------------------

_PERSON = re.compile(
    r"(?:patient(?:in)?(?:id|en|nr|no)?|paciente|pat|pt|p|subj?|subject|sujet|sujeto|case|caso|cas"
    r"|person|participant|proband|id|mrn|pa|fall|tcga-[0-9a-z]{2}|c3[ln])-?\d+[a-z]?"
    r"|sub-[0-9a-z]+|(?:patient|subject|case|proband)-?[a-z]|(?:患者|病人|病例|受试者|编号|例)-?\d+"
    r"|\d+(?:号|例|床)(?:患者|病人)?"
)
VISIT = re.compile(r"v-?(\d{1,3})")
"""A visit, where who it is stands elsewhere."""
_NOBODY = re.compile(
    r"patient(?:in)?(?:en)?s?|paciente|pat|pt|subj?|subject|sujet|case|cas|caso|person|proband|fall"
    r"|participant|患者|病人|病例"
)
"""A word for a person without a number or a name."""
_NO_DATE = re.compile(r"brats1\d[-_]2013[-_]")
"""The patients of 2013 in BraTS 2015 to 2019, such as ``BraTS19_2013_10_1``."""
_KNOWN = (
    # BraTS since 2023: the time point is the last number.
    re.compile(r"(?P<who>bra-?ts-[a-z]+(?:-rt)?-\d{4,5})-(?P<t>\d{1,3})(?!\d)"),
    # BraTS-Reg 2022: the visit, then the days since the first.
    re.compile(r"(?P<who>bra-?ts-?reg-\d{3})-(?P<t>\d\d)(?:-\d{4})?(?!\d)"),
    # UPENN-GBM: 11 is the baseline, 21 the follow-up.
    re.compile(r"(?P<who>upenn-gbm-\d{5})-(?P<t>[12]1)(?!\d)"),
    re.compile(r"(?P<who>ucsd-ptgbm-\d{4})-(?P<t>\d\d)(?!\d)"),
    # ADNI: site, S, subject.
    re.compile(r"(?:adni-)?(?P<who>\d{3}-s-\d{4})(?P<t>)(?!\d)(?:-.*)?"),
    # TCGA barcodes: what follows the participant is the sample and the slide.
    re.compile(r"(?P<who>tcga-[0-9a-z]{2}-[0-9a-z]{4})(?P<t>)(?:-\d\d[a-z](?:-.*)?)?$"),
    # CPTAC slides: the last number is the slide.
    re.compile(r"(?P<who>c3[ln]-\d{5})(?P<t>)-\d\d(?!\d)"),
    # GLASS: the primary tumour and its recurrences.
    re.compile(r"(?P<who>gls[sx]-[0-9a-z]{2}-[0-9a-z]{4})-(?P<t>tp|r\d)(?![0-9a-z])"),
)
SITE = re.compile(
    r"(?:sites?|centers?|centres?|zentrum|hospitals?|klinik(?:um)?|clinic|clinique|hopital"
    r"|institut(?:e|ion)?|inst|krankenhaus|universit\w*|uniklinik\w*|scanner)"
    r"(?:-?[0-9a-z]{1,3}|-[0-9a-z-]+)?|.*(?:医院|中心|院区)-?\d*"
)
"""Folders of patients whose numbering is their own."""
GROUP = re.compile(
    r"(?:training|validation|testing)-(?:set|data|cases|v?\d)[0-9a-z-]*"
    r"|(?:batch|cohort|kohorte|group|gruppe|arm|fold|part|dis[ck]|cd|dvd|usb|train(?:ing)?"
    r"|val(?:id|idation)?|test(?:ing)?|dev|ward|station|department|dept|release|version|delivery"
    r"|lieferung|lot|folder|ordner)(?:-?(?:set|data|cases|cohort))?-?(?:[0-9]{1,3}|[a-z])?"
    r"|(?:who-?)?grade-?[0-9ivx]+|hgg|lgg|gbm|glioblastoma|gliomas?|astrocytoma|oligodendroglioma|meningioma|metastas[ei]s"
    r"|controls?|healthy|patients?|pacientes|patienten|cases|subjects|participants|dataset|database"
    r"|db|original|source|public|downloads?|archive|input|all|everything|misc|new|old"
    r"|nifti-files|pkg-.*|.*(?:批次|组|数据集)-?\d*|患者|病人|病例"
)
"""Folders of several patients."""


def rank(who: str) -> int:
    """How surely a name is one of a person.

    Example:
        >>> [rank(w) for w in ("patient-3", "rhuh-0001", "7", "mueller")]
        [4, 3, 2, 1]
    """
    if _PERSON.fullmatch(who):
        return PERSON
    if not re.search(r"\d", who):
        return WORD

    return SHORT if re.fullmatch(r"[a-z]{0,2}-?\d{1,2}|[1-9]\d\d|\d{1,3}[a-z]", who) else ID


def plain(text: str) -> str:
    """In lower case, one kind of separator, without accents.

    Example:
        >>> plain("Müller_Hans  (2)"), plain("PreOp"), plain("P1Visit2")
        ('muller-hans-2', 'pre-op', 'p1-visit2')
    """
    text = _unaccented(text)
    text = re.sub(r"(images|labels)T([rs])(?![a-z])", r"\1t\2", text)  # nnU-Net: one word
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "-", text)
    return re.sub(r"(?:[^\w&]|_)+", "-", text.lower()).strip("-")


@lru_cache(maxsize=100_000)
def parse(
    text: str, *, file: bool = False, tee: bool = False, ids: frozenset[str] = frozenset()
) -> Name:
    """Take a name apart.

    Args:
        text: of a folder, or of a file without its endings.
        file: it is a file's: ``pre`` and ``post`` beside a sequence tell of contrast.
        tee: T0, T1, T2 are time points, not sequences.
        ids: numbers of patients that could be dates, see `rfpmss.data.identity.like_dates`.

    Example:
        >>> parse("P1_visit2"), parse("week-044").times[0].label
        (Name(who='p1', times=(Time(label='visit 2', day=None, phase='', weak=False),), kinds=(), \
number='', core='p1'), 'week 44')
        >>> [parse(t).times[0].phase for t in ("PreOp", "post_surgery", "术后")]
        ['pre-op', 'post-op', 'post-op']
    """
    text = in_english(text)
    if file:
        text = without_prefix(text)

    text = western(text)
    low = _unaccented(text).lower()
    times: list[Time] = []
    while (found := _date_in(low, ids)) is not None:
        start, end, time = found
        if times and (not file or time.day is None):
            break
        times.append(time)  # of a file's name also a second one: a birth, then the examination
        text = _cut(text if len(text) == len(low) else low, start, end)
        low = _cut(low, start, end)

    rest = plain(text)
    if file:
        rest = _CHANNEL.sub("", rest)
        if rest.startswith("sub-"):
            rest = _ENTITY.sub("-", rest)

    rest, kinds = _take(rest, _CONTRAST)
    rest = _known(rest, times)
    rest = _when(rest, times, file=file)
    rest = re.sub(_CHINESE_CONTENT, lambda m: f"-{kinds.append(m[0]) or ''}", rest)
    tokens = [token for token in re.split(r"-+", rest) if token]
    tokens = _tees(tokens, times, file=file) if tee else tokens
    who, number = _who(tokens, kinds, times)
    if who in _ALONE_ONLY:
        times.append(Time(_ALONE_ONLY[who]))
        who = ""

    if kinds and not times and (found := re.fullmatch(r"(\d{1,2})-control", who)):
        times.append(Time(f"control {int(found[1])}", weak=True))  # as 02_control without MRI
        who = ""

    who = _examined(who, times)
    core = who
    if who and kinds and not file and rank(who) == WORD:  # CT_small and MR_small may be two people
        who = "-".join(tokens)

    dated = times and times[0].label.startswith("date")
    if _NOBODY.fullmatch(who) or (dated and who in ("ses", "visit", "scan", "exam")):
        who = core = ""

    return Name(who, tuple(dict.fromkeys(times)), tuple(kinds), number, core)


def phase_of(text: str) -> str:
    """``pre-op``, ``intra-op`` or ``post-op`` if a description says one of them, else nothing.

    Example:
        >>> [phase_of(t) for t in ("MRI BRAIN POST OP", "T1 post contrast", "头颅MRI术前")]
        ['post-op', '', 'pre-op']
    """
    rest = plain(text)
    found = {
        phase
        for phase, words in _PHASES.items()
        if re.search(rf"(?<![a-z])(?:{words}){_END}", rest)
    }
    found |= {phase for pattern, phase in _CHINESE if phase in _PHASES and pattern.search(rest)}
    return found.pop() if len(found) == 1 else ""


def parse_id(text: str) -> Name:
    """`parse` of a PatientID: no sequence stands at its end, so T1 is a time point there.

    Example:
        >>> parse_id("GBM01-T1").times[0].label, parse_id("P11_tp2").who
        ('timepoint 1', 'p11')
    """
    return parse(text, tee=re.search(r"[\W_][tT]\d$", text) is not None)


def _cut(text: str, start: int, end: int) -> str:
    return f"{text[:start]} {text[end:]}"


def _date_in(low: str, ids: frozenset[str]) -> tuple[int, int, Time] | None:
    """The first date and where it stands; ``GBM_2021_11`` is the 11th of a year, not November."""
    if _NO_DATE.match(low):
        return None

    for pattern in _DATES:
        for found in pattern.finditer(low):
            if _is_id(low, found, ids) or not _possible(found[0]):
                continue
            time = _date(found[0])
            rest = plain(_cut(low, found.start(), found.end()))
            numbers = re.fullmatch(r"\d+[\W_]+\d+", found[0]) and time.day is None
            if not (numbers and rest and not re.search(r"\d", rest) and not _what(rest)):
                clock = _CLOCK.match(low, found.end())
                return found.start(), clock.end() if clock else found.end(), time

    return None


def _is_id(low: str, found: re.Match[str], ids: frozenset[str]) -> bool:
    """Whether a date, with the letters before it, is the number of a patient."""
    if not ids or not found[0][:8].isdecimal():
        return False

    head = _LETTERS_BEFORE.search(low[: found.start()])
    return found[0][:8] in ids or (head[1] if head else "") + found[0][:8] in ids


_LETTERS_BEFORE = re.compile(r"([^\W\d_]+)[-_ ]?$")

_CLOCK = re.compile(
    r"[-_t ]+(?:[01]?\d|2[0-3])(?:([-_.:])[0-5]\d\1[0-5]\d(?:[.,]\d+)?|[h:][0-5]\d(?::[0-5]\d)?)z?"
    r"(?![0-9a-z])"
)
"""The time behind a date: `2006-05-19_16_17_47.0`, `19-05-2006_16h17`."""


def _possible(text: str) -> bool:
    """Whether the calendar has a date; numbers such as ``20394871`` and ``2039487`` are none."""
    if re.match(r"\d{8}", text):
        return full_date(text[:8]) is not None
    if re.fullmatch(r"\d{6,7}", text):
        return len(text) == 6 and 1 <= int(text[4:]) <= 12

    whole = re.fullmatch(r"(\d+)([-_./ ])(\d+)\2(\d+)", text)
    return not whole or bool(readings("-".join(whole[n] for n in (1, 3, 4))))


def says_what(token: str) -> bool:
    """Whether a word says what is in a file, and not whose it is."""
    return bool(_CONTENT.fullmatch(token) or _REPORT.fullmatch(token)) or describes(token)


def _what(rest: str) -> bool:
    """Only words for what is in it."""
    return all(map(says_what, rest.split("-")))


_CALENDAR = str.maketrans({"号": "日", "년": "年", "월": "月", "일": "日"})


def _date(text: str) -> Time:
    if re.fullmatch(r"[0-3]?\d\.[01]?\d\.\d\d", text):  # which number is the year is not certain
        return Time(f"date {text}", weak=True)

    number = full_date(re.sub(r"^(\d{8}).+", r"\1", text).translate(_CALENDAR).replace(" ", "-"))
    if number is not None:
        return Time(f"date {number}", day=number, weak=True)

    if found := re.search(rf"({_NAMED})", text):
        month = _MONTHS[found[1]]
        year = re.search(_YEAR, text)
        of_month = re.search(r"(?<!\d)[0-3]?\d(?!\d)", text.replace(year[0] if year else "", " "))
        number = full_date(f"{year[0]}-{month:02d}-{of_month[0]}") if year and of_month else None
        if number is not None:
            return Time(f"date {number}", day=number, weak=True)
        text = f"{year[0] if year else ''}-{month}"

    parts = sorted((re.findall(r"\d+", text)), key=lambda part: (-len(part), part))
    return Time("date " + "-".join(p.lstrip("0") for p in parts), weak=True)


def _take(rest: str, pattern: re.Pattern[str]) -> tuple[str, list[str]]:
    kinds = [found[0] for found in pattern.finditer(rest)]
    return pattern.sub("-", rest), kinds


def _known(rest: str, times: list[Time]) -> str:
    for pattern in _KNOWN:
        if found := pattern.match(rest):
            if found["t"]:
                times.append(Time(f"timepoint {found['t'].lstrip('0') or 0}"))
            # No word inside of it is taken for a time or a content.
            return f"{found['who'].replace('-', '_')}-{rest[found.end() :]}"

    return rest


def _when(rest: str, times: list[Time], *, file: bool) -> str:
    for phase, words in _PHASES.items():
        pattern = re.compile(
            rf"(?<![a-z])(?:{words})(?:-?(?P<n>\d{{1,2}})(?!-(?:{_SPAN}){_END})"
            rf"(?P<unit>{'|'.join(_LETTERS)})?)?{_END}"
        )
        if found := pattern.search(rest):
            unit = f" {_LETTERS[found['unit']]}" if found["unit"] else ""
            number = f"{unit} {int(found['n'])}" if found["n"] else ""
            when = re.search(r"early|late|immediate|fruh|spat", found[0])
            times.append(Time((f"{when[0]} " if when else "") + phase + number, phase=phase))
            rest = _cut_at(rest, found)

    rest = _treated(rest, times)
    for pattern in (_FORWARD, _WORDED, _ORDER, _BACKWARD):
        while found := pattern.search(rest):
            if pattern is _BACKWARD and _somebodys(_before(rest, found), found):
                break
            times.append(_numbered(found))
            rest = _cut_at(rest, found)

    rest = _chinese(rest, times)
    if found := _alone(rest):
        times.append(Time(_ALONE_ONLY[found[1]]))
        return found[0]

    if found := _LONE.search(rest):
        unit = next(u for u, words in _UNITS.items() if re.fullmatch(words, found[0]))
        times.append(Time(unit, weak=unit in _WEAK))
        rest = _cut_at(rest, found)

    found = _BARE.search(rest)
    contrast = file and (
        re.search(r"(?<![a-z])t[12]|flair|mprage|spgr", rest) or found["n"] if found else ""
    )
    if found and not contrast:
        phase = f"{found['when']}-op"
        times.append(Time(f"{phase} {found['n']}" if found["n"] else phase, phase=phase))
        rest = _cut_at(rest, found)

    return rest


def _treated(rest: str, times: list[Time]) -> str:
    """Before, in and after therapy; the visits of drug trials; hours."""
    if found := _TREATED.search(rest):
        german = {"b": "start", "s": "start", "e": "end"}[(found["german"] or "e")[0]]
        when = next((when for when in _TREATED_WHEN if found[when]), german)
        times.append(Time(f"{when}-treatment"))
        rest = _cut_at(rest, found)

    for pattern, label in _TRIAL:
        if found := pattern.search(rest):
            times.append(Time(label.format(*map(int, found.groups()))))
            rest = _cut_at(rest, found)

    if (found := _HOURS.search(rest)) and (times or found[0] == rest):
        times.append(Time(f"hour {int(found[1])}"))
        rest = _cut_at(rest, found)

    return rest


def _alone(rest: str) -> tuple[str, str] | None:
    """What is left, and the one word for a time beside words for an examination.

    A number or nothing is left, and behind a number what the examination is: ``01-rm-basal``.
    """
    tokens = rest.split("-")
    number = tokens.pop(0) if len(tokens) > 1 and re.fullmatch(r"\d{1,2}", tokens[0]) else ""
    kept = [token for token in tokens if not _EXAMINATION.fullmatch(token)]
    what = [token for token in kept if number and _SCANNED.fullmatch(token)]
    kept = [token for token in kept if token not in what]
    if len(kept) != 1 or kept[0] not in _ALONE_ONLY:
        return None

    return "-".join((number, *what)), kept[0]


def _examined(who: str, times: list[Time]) -> str:
    """Of a name that tells the time what is left without words for an examination.

    ``02-control`` of ``02_RM_control_6_meses`` is the number alone.
    """
    number, _, words = who.partition("-")
    if not re.fullmatch(r"\d{1,2}", number):
        number, words = "", who

    spoken = times and words and all(map(_EXAMINATION.fullmatch, words.split("-")))
    return number if spoken else who


def _somebodys(before: str, found: re.Match[str]) -> bool:
    """Whether a number belongs to the word before it: ``brain-01-baseline``, not ``mri-2-control``.

    Args:
        before: the word and the number.
        found: of the number and a word for a time behind it.
    """
    word = before.rpartition("-")[0]
    spans = any(found[unit] for unit in _SPANS)
    content = word and says_what(word) and not _EXAMINATION.fullmatch(word) and not _MODALITY(word)
    return bool(_PERSON.fullmatch(before)) or bool(content and not spans)


_MODALITY = re.compile(r"mri?|mrt|irm|rmn?|ct|pet|imaging|images?").fullmatch


def _before(rest: str, found: re.Match[str]) -> str:
    """The words up to a number, with it, that would lose it."""
    head = rest[: found.start()].rstrip("-").rpartition("-")[2]
    return f"{head}-{found['n']}" if head else ""


def _cut_at(rest: str, found: re.Match[str]) -> str:
    return f"{rest[: found.start()]}-{rest[found.end() :]}".strip("-")


def _numbered(found: re.Match[str]) -> Time:
    groups = found.groupdict()
    unit = next(u for u in _UNITS if groups.get(u.replace("-", "_")) is not None)
    number = (_ORDINAL | _SPELLED)[groups["o"]] if groups.get("o") else int(groups["n"])
    sub = groups.get("sub") or "" if unit in _SPANS else ""
    return Time(f"{unit} {number}{sub}{groups.get('letter') or ''}", weak=unit in _WEAK)


def _chinese(rest: str, times: list[Time]) -> str:
    for pattern, unit in _CHINESE:
        found = pattern.search(rest)
        if not found:
            continue
        groups = found.groupdict()
        number = f" {_han(groups['n'])}" if groups.get("n") else ""
        span = f" {_UNIT_OF[groups['unit']]}" if groups.get("unit") else ""
        if unit == "span":
            times.append(Time(f"{span.strip() or 'month'}{number}"))
        elif unit == "treated":
            when = _CHINESE_WHEN[groups["when"]]
            times.append(Time(f"{when}-treatment"))
        else:
            phase = next((p for p in _PHASES if unit.startswith(p)), "")
            times.append(Time(f"{unit}{span}{number}", phase=phase))

        rest = _cut_at(rest, found)

    return rest


_CHINESE_WHEN = {
    **{"前": "pre", "中": "during", "后": "post"},
    **{"开始": "start", "结束": "end", "期间": "during"},
}


def _han(text: str) -> int:
    if text.isdecimal():
        return int(text)

    tens, mark, ones = text.partition("十")
    if not mark:
        return _HAN.index(text[0]) + 1

    return 10 * (_HAN.index(tens) + 1 if tens else 1) + (_HAN.index(ones) + 1 if ones else 0)


def _tees(tokens: list[str], times: list[Time], *, file: bool) -> list[str]:
    """T0, T1, ... as time points: of a file's name the first that a content follows."""
    places = [n for n, token in enumerate(tokens) if re.fullmatch(r"t\d", token)]
    if not places:
        return tokens

    place = places[0] if file else places[-1]
    after = any(_CONTENT.fullmatch(token) for token in tokens[place + 1 :])
    if file and not after and tokens[place] in ("t1", "t2"):
        return tokens

    times.append(Time(f"timepoint {tokens[place][1]}"))
    return tokens[:place] + tokens[place + 1 :]


def _who(tokens: list[str], kinds: list[str], times: list[Time]) -> tuple[str, str]:
    rest, numbers = [], []
    letter = len(tokens) == 1 and len(tokens[0]) == 1
    for place, token in enumerate(tokens):
        named = place > 0 and _PERSON.fullmatch(f"{tokens[place - 1]}-{token}")
        if named and tokens[place - 1] not in rest:
            rest.append(tokens[place - 1])
        last = place == len(tokens) - 1 and re.search(r"\d", "".join(rest))
        short = last and token == _SHORT_REPORT
        if short or (not letter and says_what(token) and not _PERSON.fullmatch(token)):
            kinds.append(token)
        elif token.isdecimal() and not rest and kinds and not named:
            numbers.append(token)
        else:
            rest.append(token)

    # P1_V2, GBM-017_m12: a letter and a number after who it is.
    mark = re.fullmatch(r"(?P<a>[vwmdy]?)(?P<n>\d{1,4})(?P<b>[wmdy]?)", rest[-1]) if rest else None
    counted = len(rest) == 1 and bool(numbers) and mark is not None and mark["a"] == "v"
    behind = times or counted or rank("-".join(rest[:-1])) >= ID  # tumor-01_v1
    if mark and bool(mark["a"]) != bool(mark["b"]) and behind:
        unit = dict(zip("vwmdy", ("visit", "week", "month", "day", "year"), strict=True))
        times.append(Time(f"{unit[mark['a'] or mark['b']]} {int(mark['n'])}"))
        rest = rest[:-1]

    numbered = [token for token in numbers if len(token) > 3]
    if not rest and len(numbered) == 1:  # MR_00017: a number of so many digits is somebody's
        rest = numbered

    number = next((k for k in kinds if re.search(r"[a-z]\d{3,}$", k)), "")
    number = numbers[0] if numbers else re.sub(r"\D", "", number)
    return "-".join(rest).replace("_", "-"), number

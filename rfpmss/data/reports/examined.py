"""What was examined: a report on another part of the body is of none of the images.

`CT CHEST WO` in a column of examinations, `Röntgen Thorax` above a text. Where a head is named as
well, the report stays: `MRI brain and cervical spine`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from rfpmss.data.readers.sequences import ELSEWHERE, ideas_of, kind_of
from rfpmss.data.reports.text_words import fold

_STRONG = """
    exam examination examinations procedure proc modality bodypart study scan imaging untersuchung
    untersuchungsart untersuchungsregion modalität körperregion körperteil prozedur leistung examen
    examens acte actes modalité estudio prueba exploración procedimiento modalidad exame
    procedimento modalidade esame prestazione modalità procedura onderzoek verrichting modaliteit
    lichaamsdeel undersökning undersökningstyp undersøgelse undersøkelse modalitet prosedyre
    tutkimus
    badanie badania procedura vyšetření vyšetrenie vizsgálat tetkik inceleme modalite исследование
    исследования обследования дослідження изследване область region région región região
    regione okolica oblast bölge investigație examinare εξέταση pretraga
    preiskava
"""
_WITH = """
    type types code codes name names description desc title part body region area of de d l du
    del da
    do der des art text bezeichnung libellé intitulé nature région anatomique tipo descripción
    región
    anatómica descrição região descrizione distretto regione soort omschrijving rodzaj nazwa okolica
    název typ oblast típusa adı bölgesi вид область название examined performed ordered anatomy
    anatomical
"""
_CJK = re.compile(
    r"(?:检查|檢查|影像|申请)?(?:项目|項目|部位|类型|類型|类别|類別)(?:名称|名稱)?|检查(?:名称|方法|设备)|設備類型|设备类型"
    r"|検査(?:種別|名称?|部位|項目|種類|内容)|(?:撮影)?部位|モダリティ|검사(?:명|종류|부위|항목)|촬영부위"
)
_KNOWN = frozenset(map(fold, _STRONG.split()))
_BESIDE = frozenset(map(fold, _WITH.split()))


def says_what(name: str) -> bool:
    """Whether a column of this name says what was examined.

    Example:
        >>> [says_what(n) for n in ("Exam", "Study Description", "检查项目", "Type", "Site")]
        [True, True, True, False, False]
    """
    if _CJK.fullmatch(fold(name)):
        return True

    words = [word for part in re.split(r"[\W_]+", name) if (word := fold(part))]
    words = ["bodypart", *words[2:]] if words[:2] == ["body", "part"] else words
    known = [word for word in words if word in _KNOWN]
    return bool(known) and all(word in _KNOWN or word in _BESIDE for word in words)


_HEAD = re.compile(
    r"brain|head|cerebr|cereb[eé]l|crani|cr[aâá]ne|skull|sch[aä]e?del|kopf|hirn|cabe[zç]a"
    r"|encef|enc[eé]ph"
    r"|testa|hoofd|hersen|głow|mózg|hlav|mozk|mozg|glav|koponya|agy|beyin|kafa|мозг|голов"
    r"|череп|мозък"
    r"|p[aä]än|aivo|huvud|hjärn|hjern|hode|hoved|neuro|orbit|sell[ae]|pituit|hypophys"
    r"|hipofis|hipófis"
    r"|ipofisi|гипофиз|front[ao]l|tempor[ao]l|pariet|occipit|okzipit|insul|thalam|ventr[ií][ck]ul"
    r"|gliom|glioblast|astrozyt|astrocyt|mening|liquor|sulc|gyr|midline|mittellinie|κεφαλ"
    r"|εγκεφ|лобн"
    r"|височн|теменн|затылочн|желудоч|دماغ|مخ|رأس|مغز|סר|ראש|מוח|สมอง|ศีรษะ"
    r"|[头頭脑脳腦颅顱额額颞顳]|垂体|下垂体|鞍区|眼眶|内听道|두부|뇌|머리|전두|측두",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"thora|toraks|torax|tórax|torac|chest|lung|pulm|abdom|addom|pelvi|becken|pélvic|bauch|mamm"
    r"|breast|brust|легк|лёгк|грудн|брюшн|таза|klatk|brzuch|miednic|hrudn|břich|mellkas"
    r"|hasi|kismedence"
    r"|rintakeh|vatsa|bröstkorg|buken|rücken|lumb|lomb|lendenw|halsw|brustw|sacr"
    r"|kręgosłup|páteř|chrbtic"
    r"|gerinc|omurga|kičm|позвоноч|хребт|knee|knie|genou|rodilla|shoulder|schulter|épaule"
    r"|hombro|hip\b"
    r"|hüft|hanche|cadera|wrist|ankle|elbow|femur|foot|cardiac|herz|cœur|coraz|liver"
    r"|leber|foie|hígado"
    r"|kidney|niere|\brein|renal|prostat|uter|thyroid|schilddrüse|thyroïd|tiroid"
    r"|[胸腹肺肝胆脾肾腎膝肩髋髖腕踝]|盆腔|骨盤|心脏|心臓|冠脉|腰椎|颈椎|頸椎|脊柱|脊椎|乳腺|甲状腺|前列腺|关节|四肢"
    r"|흉부|복부|골반|경추|요추|척추|유방|무릎|어깨",
    re.IGNORECASE,
)
_MRI = re.compile(
    r"(?<![^\W\d_])(?:mri?|mrt|nmr|rmn?|irm|mra|мрт)(?![^\W\d_])|magnet|kernspin|rezonan|磁共振|核磁"
    r"|(?<![A-Z])MRI?(?![A-Z])",
    re.IGNORECASE,
)
_CT = re.compile(
    r"(?<![^\W\d_])(?:ct|ctas?|cat|tc|tac|tdm|tk|bt|кт)(?![^\W\d_])|tomodens|comput\w* tomog"
    r"|(?<![A-Za-z])CT(?![A-Za-z])",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"(?<![^\W\d_])(?:us|usg|xr|cr|dx|dr|mg|xa|rx|rtg|ecg|ekg|eeg|emg|dexa|dxa|nm|bmd"
    r"|px)(?![^\W\d_])"
    r"|ultraso|ultrasch|sonogra|échogra|echogra|echocard|ecogra|x-?ray|röntgen|roentgen"
    r"|radiogra|mammo"
    r"|endosco|gastrosc|[ck]olonosc|szintig|scintig|рентген|узи|超声|彩超|超音波|[XＸ][线線光]|胸片|心电|胃镜|肠镜"
    r"|骨密度|钼靶|초음파|엑스선|마모그래피",
    re.IGNORECASE,
)
LONGEST = 120
"""Letters of a cell that names an examination."""


@lru_cache(maxsize=4096)
def other(cell: str, views: frozenset[str] = frozenset()) -> str:
    """Of what a named examination is, if it is none that the images can be of; else nothing.

    Args:
        cell: such as ``MRI BRAIN W WO``.
        views: of the patient's images: ``ct``, ``mri``, ``pathology``; empty: not known.

    Example:
        >>> [other(t) for t in ("CT CHEST WO", "胸部CT平扫", "MRI brain and C-spine", "US thyroid")]
        ['another part of the body', 'another part of the body', '', 'another part of the body']
        >>> other("CT head", frozenset(["mri"])), other("MRT Schädel", frozenset(["mri"]))
        ('a CT, and the patient has none', '')
    """
    if not cell.strip() or len(cell) > LONGEST:
        return ""
    head = _HEAD.search(cell) is not None or "part of the head" in ideas_of(cell)
    if not head and (_ELSEWHERE.search(cell) or ELSEWHERE in ideas_of(cell)):
        return "another part of the body"

    ct, mri = _CT.search(cell) is not None, _MRI.search(cell) is not None
    if _OTHERS.search(cell) and not (ct or mri):
        return "neither CT nor MRI"

    seen = views & {"ct", "mri"}
    if seen and ct != mri and ("ct" if ct else "mri") not in seen:
        return f"{'a CT' if ct else 'an MRI'}, and the patient has none"

    return ""


def names_series(cell: str) -> bool:
    """Whether a cell is the name of a series of images and says nothing of what is seen.

    Example:
        >>> [names_series(t) for t in ("Axial PD/T2 FSE", "T1WI 轴位增强", "FLAIR bright lesion")]
        [True, True, False]
    """
    words = re.findall(r"[^\W_]+(?:-[^\W_]+)*", cell)
    known = [word for word in words if word.isdigit() or ideas_of(word)]
    return bool(kind_of(cell)) and 5 * len(known) >= 3 * len(words) and len(words) < 12


_TITLE = 160
"""Letters of a text in which its title stands."""


def text_of_another_part(text: str) -> bool:
    """Whether a text's title is of another part of the body, and the head is nowhere in it.

    Example:
        >>> text_of_another_part("CT CHEST. The lungs are clear.")
        True
        >>> text_of_another_part("CT chest. Staging of a known brain metastasis.")
        False
    """
    title = text[:_TITLE]
    examined = any(means.search(title) for means in (_CT, _MRI, _OTHERS))
    return examined and bool(_ELSEWHERE.search(title)) and not _HEAD.search(text)


def columns(names: Sequence[str], skip: Collection[int]) -> list[int]:
    """The columns that say what was examined."""
    return [n for n, name in enumerate(names) if n not in skip and says_what(name)]

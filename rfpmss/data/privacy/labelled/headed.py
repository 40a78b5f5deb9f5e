"""Small tables in reports whose labels stand above their values: `Name | MRN | DOB`.

Labels and values side by side are `rfpmss.data.privacy.sentences`'; tables of many patients are no
reports and refused before, by `rfpmss.data.reports.sheets`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rfpmss.data.privacy.labelled.labels import WHO
from rfpmss.data.privacy.sentences import says_who

_GAPS = re.compile(r"\s*[|｜¦]\s*|\t+| {2,}|\u3000+")
_RULE = re.compile(r"[\s|｜¦+=:\u2500-\u257f_-]{3,}")
_LONGEST = 40
"""Letters of a label."""
_ROWS = 50
"""Below one header."""
_WORDS = 7
"""Labels in one line with single blanks between them."""
_KNOWN = re.compile(
    r"(?:patient(?:'s)?[ _-]?)?(?:name|id|mrn|dob|nr|no)\.?|mrn|dob|d\.o\.b\.|ssn|surname"
    r"|(?:last|first|given)[ _]name"
    r"|(?:accession|acc|case|record|hospital|study)[ _]?(?:no|number|id|#)?\.?|physician"
    r"|forenames?|maiden name|birth name|gp|chi|geburtsname|mädchenname|fall|nda|nom d['’]usage"
    r"|nom de naissance|pr[ée]noms|nombres|rut|ficha|患者|病人|姓|名|出生日期|编号|审核|报告"
    r"|radiologist|referr(?:er|ing)|date of birth|birth ?date|nachname|vorname|geburtsdatum"
    r"|geb\.?(?:datum)?|patienten?-?(?:nr|id)\.?|fallnr\.?|nom|pr[ée]nom|ddn|ipp|nhc|nombre"
    r"|apellidos?|f\.? ?nac\.?|姓名|住院号|病历号|门诊号|检查号|影像号|床号|患者姓名|病人姓名"
    r"|身份证号|氏名|患者名|성명|환자명",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"sex|gender|age|m/f|race|ethnicity|ward|room|bed|department|dept\.?|unit|site"
    r"|exam(?:ination)?(?: (?:date|type))?"
    r"|(?:study|scan|report|visit|service|order|admission|collection)(?: ?(?:date|time|type))?"
    r"|date|time|modality|procedure|status|diagnosis|indication|class|type|priority|location"
    r"|insurance|weight|height|allerg(?:y|ies)|geschlecht|alter|station"
    r"|untersuchung(?:s(?:datum|art))?|datum|uhrzeit|kostenträger|modalität|klasse|abteilung"
    r"|sexe|[âa]ge|service|chambre|date(?: d['’]examen)?|examen|heure|sexo|edad|fecha|servicio"
    r"|estudio|cama|idade|data|sesso|età|esame|reparto|geslacht|leeftijd|afdeling|onderzoek"
    r"|płeć|wiek|oddział|badanie|cinsiyet|yaş|tarih|servis|пол|возраст|дата|отделение|kön"
    r"|ålder|køn|alder|kjønn|pohlaví|věk|nem|kor|φύλο|ηλικία|ngày|giới tính|tuổi|findings?"
    r"|impression|report(?: text)?|conclusions?|history|technique|comments?|result|befund"
    r"|beurteilung|résultats?|hallazgos|conclusi[oó]n|referto|laudo|verslag|检查所见|影像所见"
    r"|诊断|诊断意见|印象|所见|報告|所見|診断|소견|결론|性别|性別|年龄|年齡|科室|科别|病区"
    r"|检查日期|检查部位|检查项目|申请科室|日期|年齢|診療科|検査日|성별|나이|연령|검사일"
    r"|진료과",
    re.IGNORECASE,
)
"""Labels of fields that do not say who, beside those that do."""


def in_lines(text: str) -> str:
    r"""A text in which each value of such a table stands behind its label.

    Cells are parted by a bar, by tabs or by two blanks, or stand on lines of their own as those of
    documents do; labels in one line may have single blanks between them. A header is a row of
    labels, two at least, of which one says who.

    Args:
        text: a report, in which cells of documents begin with a tab.

    Example:
        >>> in_lines("Name | MRN | Sex\nZoe Huber | 4711 | F\nLeft mass.").split("\n")
        ['Name: Zoe Huber', 'MRN: 4711', 'Sex: F', 'Left mass.']
    """
    lines = [line for line in text.split("\n") if line.strip()]
    made: list[str] = []
    place = 0
    while place < len(lines):
        found, after = _table(lines, place)
        made += found or [lines[place]]
        place = after if found else place + 1

    return "\n".join(made)


def _table(lines: Sequence[str], place: int) -> tuple[list[str], int]:
    """Fields of the table that begins at a line, and the line behind it; no fields: none does."""
    labels = _cells(lines[place])
    if made := _glued(labels):
        return made, place + 1

    made = _stacked(lines, place)
    return (made, place + len(made) * 2) if made else _headed(lines, place, labels)


def _headed(lines: Sequence[str], place: int, labels: Sequence[str]) -> tuple[list[str], int]:
    """The same, of a table with a header."""
    if len(labels) > 1 and _is_header(labels):
        return _rows(lines, place, labels)
    if len(labels) > 1:
        return (
            (_fields(labels[::2], labels[1::2]), place + 1) if _are_pairs(labels) else ([], place)
        )

    labels = _spaced(lines[place])
    if labels:
        return _row_of_words(lines, place, labels)

    labels = []
    for line in lines[place : place + _ROWS]:
        if not _is_label(line.strip()):
            break
        labels.append(line.strip())

    if len(labels) < 2 or not _is_header(labels):
        return [], place

    return _cells_below(lines, place, labels)


def _glued(cells: Sequence[str]) -> list[str]:
    """`Surname DE SOUZA  Forenames JOY`: cells that begin with a label and have no colon."""
    if len(cells) < 2:
        return []

    made = list(map(_parted, cells))
    return made if sum(new != cell for new, cell in zip(made, cells, strict=True)) > 1 else []


def _parted(cell: str) -> str:
    """A cell with a colon behind the label that it begins with."""
    words = cell.split(" ")
    for count in (3, 2, 1):
        label, value = " ".join(words[:count]), " ".join(words[count:])
        known = any(p.fullmatch(label) for p in (_KNOWN, WHO))
        if known and value[:1].isalnum() and ":" not in cell and not _is_label(cell):
            return f"{label}: {value}"

    return cell


def _stacked(lines: Sequence[str], place: int) -> list[str]:
    """Labels and values in lines of their own by turns, two at least; the fields."""
    made = []
    for label, value in zip(lines[place::2], lines[place + 1 :: 2], strict=False):
        label, value = label.strip(), value.strip()
        if not _is_label(label) or _is_label(value) or len(value) > 2 * _LONGEST or ":" in value:
            break
        if _is_sentence(value):
            break
        made.append((label, value))

    if len(made) < 2 or not any(_who(label) for label, _ in made):
        return []

    return [f"{label}: {value}" for label, value in made]


def _cells(line: str) -> list[str]:
    """Cells of a line, without the bars at its ends."""
    return [cell.strip() for cell in _GAPS.split(line.strip().strip("|｜¦").strip())]


def _is_header(labels: Sequence[str]) -> bool:
    full = [label for label in labels if label]
    return len(full) > 1 and all(map(_is_label, full)) and any(map(_who, full))


def _are_pairs(cells: Sequence[str]) -> bool:
    """`Name | Zoe Huber | MRN | 4711`: labels and values by turns."""
    labels, values = cells[::2], cells[1::2]
    alike = len(labels) == len(values) and all(map(_is_label, labels)) and any(map(_who, labels))
    return alike and not any(map(_is_label, values))


def _is_label(cell: str) -> bool:
    """Whether a cell is a label of a person or of an examination, with nothing behind it."""
    return len(cell) <= _LONGEST and (_OTHER.fullmatch(cell) is not None or _who(cell))


def _who(cell: str) -> bool:
    if re.search(r"[\d:：.,;!?](?!\w?\.?$)", cell) or len(cell) > _LONGEST or len(cell.split()) > 5:
        return False
    return any(p.fullmatch(cell) for p in (_KNOWN, WHO)) or (cell[:1].isalpha() and says_who(cell))


def _rows(lines: Sequence[str], place: int, labels: Sequence[str]) -> tuple[list[str], int]:
    """Rows with as many cells below a header with bars, tabs or gaps."""
    made: list[str] = []
    after = place + 1
    for line in lines[place + 1 : place + _ROWS]:
        cells = _cells(line)
        if _RULE.fullmatch(line):
            after += 1
            continue
        if len(cells) < 2 or (len(cells) > len(labels) and "|" not in line) or _is_header(cells):
            break
        made += _fields(labels, cells)
        after += 1

    return made, after


def _cells_below(lines: Sequence[str], place: int, labels: Sequence[str]) -> tuple[list[str], int]:
    """Cells on lines of their own: as many as there are labels, but those without a value."""
    start = place + len(labels)
    values: list[str] = []
    for line in lines[start : start + len(labels)]:
        value = line.strip()
        if _is_label(value) or len(value) > 2 * _LONGEST or ":" in value or "：" in value:
            break
        values.append(value)

    if not values:
        return [], place

    return _fields(labels, values), start + len(values)


def _spaced(line: str) -> list[str]:
    """Labels of a line with single blanks, `Name MRN DOB`; none: it says something else."""
    words = line.split()
    if not 2 <= len(words) <= 2 * _WORDS or len(line) > 2 * _LONGEST:
        return []

    labels: list[str] = []
    while words:
        for count in (3, 2, 1):
            said = " ".join(words[:count])
            if len(words) >= count and any(p.fullmatch(said) for p in (_KNOWN, WHO, _OTHER)):
                break
        else:
            return []

        labels.append(said)
        del words[:count]

    return labels if len(labels) > 1 and any(map(_who, labels)) else []


def _row_of_words(lines: Sequence[str], place: int, labels: Sequence[str]) -> tuple[list[str], int]:
    """A line of values with single blanks: the words before the first number are the name."""
    if place + 1 == len(lines):
        return [], place

    line = lines[place + 1].strip()
    words = line.split()
    if len(words) == len(labels):
        return _fields(labels, words), place + 2
    if (
        len(words) > 3 * len(labels)
        or not re.search(r"\d", line)
        or re.search(r"[a-zß-ÿ]{2}\.$", line)
    ):
        return [], place

    number = next(n for n, word in enumerate(words) if re.search(r"\d", word))
    named = any(re.search(r"nam|nom|姓名|氏名|성명", label, re.IGNORECASE) for label in labels)
    fields = [f"Name: {' '.join(words[:number])}"] if number and named else []
    rest = [word for word in words[number:] if not re.search(r"\d{2}", word)]

    return [*fields, " ".join(rest)], place + 2


def _fields(labels: Sequence[str], cells: Sequence[str]) -> list[str]:
    """Labels and values; a number of the patient goes, whatever its form."""
    made = []
    whole = len(labels) == len(cells)
    for label, cell in zip(labels, cells, strict=False):
        if not cell:
            continue
        if not whole:  # a value is missing, nobody knows which
            made.append(cell if _is_sentence(cell) else f"Name: {cell}")
        elif not _who(label):
            made.append(f"{label}: {cell}" if label else cell)
        elif not re.search(r"\d", cell) or _is_sentence(cell):
            made.append(f"Name: {cell}" if not says_who(f"{label}") else f"{label}: {cell}")
        elif says_who(label):
            made.append(f"{label}: {cell}")

    return made + list(cells[len(labels) :])


def _is_sentence(cell: str) -> bool:
    return len(re.findall(r"(?<!\w)[a-zß-ÿ]{2,}", cell)) > 2 or len(cell) > _LONGEST

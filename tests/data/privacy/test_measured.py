"""Reports that were written before the rules had seen them: what they lose, what stays in them.

In the table `<...>` is who somebody is behind a label, a title or in a form of its own, `<?...>` a
name that nothing announces, and `{...}` a label or a letterhead, which may go or stay; every other
word is a finding. Titles, functions and words for flats are no leak.
"""

import csv
import re
from pathlib import Path

from rfpmss.data.privacy.private import redact
from rfpmss.data.privacy.unlabelled.rare import settle
from rfpmss.data.study import Study

TABLES = Path(__file__).parents[2] / "tables"
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SIGNS = re.compile(r"[\u3040-\u9fff\uac00-\ud7af]")
_NOBODY = """
il lo ra na ssa signora segreteria mevrouw mevr dhr heer secretariaat vgz do secretariado marito
figlio echtgenoot zoon
mr mrs ms miss mx dr dra prof pr h c sister nurse sir herr herrn frau schwester m mme mlle
monsieur madame sr sra srta dña don assistenzärztin interne mir son sa su la le las los el de du
des von der the of and et und who relayed them daughter husband mother mère mari madre marido
ehemann mutter épouse esposa enfermera l'infirmière medical centre surgery cabinet médical
apartment at desk empfang secrétaire secretaria professor professeur med md ddr msc pd mit am och
i sig dott dottoressa pani pan lek st level flat floor unit stock escalier étage escalera piso
portal appartement links gauche dernier centro clinique top for casa ans
医师 医生 女士 母亲 教授 主任 神经外科 院士
09 14 11 42 11h42 03 15 68
"""
NOBODY = frozenset(_NOBODY.split())
"""Titles, functions, relatives, words of addresses and times of day, which name nobody."""
KNOWN = {
    *(
        ("zh", "老矿工谭德旺"),
        ("zh", "姆巴莉"),
        ("zh", "临夏人"),
        ("nl", "fontein"),
        ("es", "Cruz"),
    ),
    *(("fr", "4412"), ("zh", "好天气医生")),
    *(("en", "Old"), ("en", "Bakery"), ("en", "Elsewhere"), ("en", "Regional"), ("en", "IA")),
}
"""What the rules are known to leave: nothing announces it, or half an address."""
LOST = {("zh", "复阅"), ("de", "Sohnes")}
"""Words of findings that are known to go."""


def rows(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def left_and_lost(text: str) -> tuple[list[str], list[str]]:
    """Words that say who and stay, and words of findings that are gone."""
    said = re.findall(r"<\??([^>]*)>", text)
    findings = re.sub(r"<[^>]*>|\{[^}]*\}", " ", text)
    made = redact(re.sub(r"<\??|[>{}]", "", text), [])
    (study,), _ = settle([Study(study_id="s", patient_id="p", report=made)])
    made = study.report or ""
    words, squeezed = set(_WORD.findall(made)), made.replace(" ", "")
    if _SIGNS.search(findings):
        pieces = re.findall(r"[\u3400-\u9fff]{2}", findings)
        names = [word for part in said for word in _WORD.findall(part) if len(word) > 1]
        left = [n for n in names if n in squeezed and n not in findings and n.lower() not in NOBODY]
        return left, [p for p in pieces if p not in squeezed]

    kept = set(_WORD.findall(findings))
    names = [word for part in said for word in _WORD.findall(part) if len(word) > 1]
    left = [n for n in names if n in words - kept and n.lower() not in NOBODY]
    return left, [word for word in kept if word not in words]


def test_reports_of_the_measured_languages_lose_who_and_keep_what() -> None:
    wrong = []
    for row in rows("languages/reports.csv"):
        text = row["text"].replace("\\n", "\n").replace("\\t", "\t")
        left, lost = left_and_lost(text)
        left = [word for word in left if (row["language"], word) not in KNOWN]
        lost = [word for word in lost if (row["language"], word) not in LOST]
        if left or lost:
            wrong.append((row["language"], row["set"], text[:60], left, lost))
    assert wrong == []

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
mr mrs ms miss dr dra prof pr h c sister nurse herr frau schwester m mme monsieur madame sr sra dña
don assistenzärztin interne mir son sa su la le los el de du des von der the of and who relayed them
daughter épouse esposa enfermera l'infirmière medical centre surgery am i apartment flat floor unit
stock escalier étage escalera piso portal appartement och sig dott dottoressa pani pan lek st level
"""
NOBODY = frozenset(_NOBODY.split())
"""Titles, functions, relatives and words of addresses that name nobody."""
KNOWN = {("zh", "老矿工谭德旺"), ("zh", "姆巴莉")}
"""Names that nothing announces, and that the rules are known to leave."""


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
        left = [n for n in names if n in squeezed and n not in findings]
        return left, [p for p in pieces if p not in squeezed]

    kept = set(_WORD.findall(findings))
    names = [word for part in said for word in _WORD.findall(part) if len(word) > 1]
    left = [n for n in names if n in words - kept and n.lower() not in NOBODY]
    return left, [word for word in kept if word not in words]


def test_reports_of_the_measured_languages_lose_who_and_keep_what() -> None:
    wrong = []
    for row in rows("measured_reports.csv"):
        text = row["text"].replace("\\n", "\n").replace("\\t", "\t")
        left, lost = left_and_lost(text)
        left = [word for word in left if (row["language"], word) not in KNOWN]
        if left or lost:
            wrong.append((row["language"], row["set"], text[:60], left, lost))
    assert wrong == []

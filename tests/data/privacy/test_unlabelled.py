"""Names that no label or title tells go; eponyms, drugs, scanners and anatomy stay.

In the table `<...>` marks what must go and `{...}` a label that may go with it; every other word
is a finding and must stay. The sentences were written before the rules.
"""

import csv
import re
from pathlib import Path

from rfpmss.data.privacy.private import redact
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.unlabelled.rare import settle
from rfpmss.data.study import Study

with (Path(__file__).parents[2] / "tables" / "people_in_reports.csv").open(
    newline="", encoding="utf-8"
) as _file:
    ROWS = [(row["language"], row["text"].replace("\\n", "\n")) for row in csv.DictReader(_file)]

LEFT = {"es Pilar": "a given name that is a word, at the beginning"}
"""What the rules are known to leave."""
LOST = {"Jackson", "Gustav", "Робіна", "Паркінсона", "Робен", "Hà", "Goel"}
"""Words of findings that go in doubt, for they are names as well."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SIGNS = re.compile(r"[\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]")
"""Letters of scripts without blanks."""


def lost_and_left(text: str) -> tuple[list[str], list[str]]:
    """Words of findings that are gone, and words of names that stay."""
    names = _WORD.findall(" ".join(re.findall(r"<([^>]*)>", text)))
    findings = _WORD.findall(re.sub(r"<[^>]*>|\{[^}]*\}", " ", text))
    made = redact(re.sub(r"[<>{}]", "", text), [])
    (study,), _ = settle([Study(study_id="s", patient_id="p", report=made)])
    made = study.report or ""
    words, squeezed = set(_WORD.findall(made)), made.replace(" ", "")

    def stands(word: str) -> bool:
        return word in squeezed if _SIGNS.search(word) else word in words

    return (
        [word for word in findings if not stands(word)],
        [word for word in names if len(word) > 1 and word not in findings and stands(word)],
    )


def test_an_unlabelled_name_goes_and_every_finding_stays() -> None:
    wrong = []
    for language, text in ROWS:
        lost, left = lost_and_left(text)
        known = any(f"{language} {word}" in LEFT for word in left)
        if set(lost) - LOST or (left and not known):
            wrong.append((text, lost, left))
    assert wrong == []


def test_the_table_is_large_and_of_many_languages() -> None:
    named = [language for language, text in ROWS if "<" in text]
    assert len(named) >= 300
    assert len(ROWS) - len(named) >= 150
    assert len({language for language, _ in ROWS}) >= 25


def test_no_word_is_a_sure_name_and_an_eponym() -> None:
    known = lexicon()
    assert not known.given & (known.never | known.also_words)
    assert not known.family & known.never
    assert {"sarah", "agnieszka", "мария", "елена", "فاطمة", "राजेश"} <= known.given

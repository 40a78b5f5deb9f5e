"""Words of one patient's reports that no vocabulary holds: a name that no rule told may be there.

They go into a file for the owner alone, for a person to look through; what others read is a count.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rfpmss.common.files import opened_text
from rfpmss.data.privacy.aliases import write_table
from rfpmss.data.privacy.persons import UPPER
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.vocabulary import FOUND_ZH, STOP, SURNAMES, ordinary
from rfpmss.data.study import Study

FILE = "words.private.csv"
COLUMNS = ("word", "study_id", "times", "around")
AROUND = 30
"""Letters shown at each side of a word."""
_HAN = r"\u3400-\u9fff"
_WORD = re.compile(
    rf"(?<![\w'’-])[{UPPER}][\w]{{1,40}}(?:['’-]\w{{1,40}}){{0,3}}"
    rf"|(?<![{_HAN}])(?!{STOP}|{FOUND_ZH})[{SURNAMES}][{_HAN}]{{1,2}}(?![{_HAN}])"
)
"""A word with a capital, or two or three Chinese signs by themselves that begin with a surname."""
_SMALL = re.compile(r"[^\W\d_]{2,40}")

Rare = tuple[str, str, int, str]
"""Word, study, how often in the study's report, and what stands around it."""


def rare(studies: Sequence[Study]) -> list[Rare]:
    """The words to look at; those of the lexicon of names first.

    Reports that a program wrote, or somebody published, are left out. A word that any report has
    in small letters is none.

    Example:
        >>> one = Study(study_id="s1", patient_id="p1", report="Mass. Quimby saw the Mass.")
        >>> two = Study(study_id="s2", patient_id="p2", report="Mass, unchanged.")
        >>> [(word, study) for word, study, _, _ in rare([one, two])]
        [('Quimby', 's1')]
    """
    written = [s for s in studies if s.report and not s.derived and not s.origin]
    patients: dict[str, set[str]] = defaultdict(set)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    small: set[str] = set()
    for study in written:
        text = study.report or ""
        small.update(word for word in _SMALL.findall(text) if word.islower())
        for match in _WORD.finditer(text):
            low = match[0].lower()
            patients[low].add(study.patient_id)
            around = text[max(0, match.start() - AROUND) : match.end() + AROUND]
            found[match[0], study.study_id].append(around)

    known = lexicon()
    names = known.given | known.family | known.also_words
    rows = [
        (word, study, len(places), places[0])
        for (word, study), places in found.items()
        if len(patients[word.lower()]) == 1 and not _is_known(word, small)
    ]
    return sorted(rows, key=lambda row: (row[0].lower() not in names, row))


def _is_known(word: str, small: set[str]) -> bool:
    low = word.lower()
    if any(map(str.isdigit, word)) or (word.isupper() and len(word) < 5 and word.isascii()):
        return True  # T1, FLAIR
    return low in small or low in lexicon().never or ordinary(word)


def write(out: Path, rows: Sequence[Rare]) -> None:
    """Write `FILE`, readable by its owner alone, or remove it where there is nothing to look at."""
    if rows:
        write_table(out / FILE, COLUMNS, [tuple(map(str, row)) for row in rows])
    else:
        (out / FILE).unlink(missing_ok=True)


def reports(out: Path) -> int:
    """How many studies' reports a cohort's file has words of."""
    if not (out / FILE).is_file():
        return 0
    with opened_text(out / FILE, newline="") as file:
        return len({row["study_id"] for row in csv.DictReader(file)})

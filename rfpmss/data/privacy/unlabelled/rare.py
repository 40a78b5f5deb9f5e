"""Words that may be names and no rule told: in doubt they are blanked, and the owner decides.

Two kinds go from the reports of a hospital: names of the lexicon that are no words of the report's
language, and words with a capital inside a sentence that no vocabulary holds, in the reports of one
patient only. What was blanked and what was left is written into a file for the owner alone, which
comes back edited; what others read is a count.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from rfpmss.common.files import opened_text
from rfpmss.data.errors import ColumnError, TextError
from rfpmss.data.privacy.aliases import write_table
from rfpmss.data.privacy.persons import LOWER, UPPER, WORD
from rfpmss.data.privacy.sentences import BLANK
from rfpmss.data.privacy.unlabelled.general import is_word, languages, nouns_have_capitals
from rfpmss.data.privacy.unlabelled.grown import grown
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.unlabelled.people import is_eponym
from rfpmss.data.privacy.vocabulary import FOUND_ZH, MED_ZH, STOP, SURNAMES
from rfpmss.data.study import Study

FILE = "words.private.csv"
COLUMNS = ("word", "study_id", "times", "around", "blanked")
AROUND = 30
"""Letters shown at each side of a word."""
_HAN = r"\u3400-\u9fff"
_WORD = re.compile(
    rf"(?<![\w'’-]){WORD}"
    rf"|(?<![{_HAN}])(?!{STOP}|{FOUND_ZH})(?P<han>[{SURNAMES}][{_HAN}]{{1,2}})(?![{_HAN}])"
)
"""A word with a capital, or two or three Chinese signs by themselves that begin with a surname."""
_MEDICAL = re.compile(
    rf".(?:{MED_ZH}{{1,2}}$|.?[叶葉脑腦瘤灶区區病症疸影术術查描肿腫血管骨质質室池沟裂回核球囊腔孔板窦竇腺体體性型期级變变])"
)
"""Findings: `李小明` is none."""
_KANA = re.compile(r"[\u3041-\u30ff]")
_COLONS = (":", "：")
_SMALL = re.compile(r"[^\W\d_]{2,40}")
_BEGINS = re.compile(r"(?:^|[.!?:;。：；•*|>)\]/]\s?|\s[-–—]\s|\s\d{1,2}[.)]\s|___\s?)$")
"""What a sentence or an item of a list begins behind."""
_ENDS = re.compile(r"\W{0,3}$")
"""Behind the last word of a report, which may be whose it is."""
_GOES_ON = re.compile(rf",? [{UPPER}][{LOWER}]")
"""A second word with a capital, behind the first of a sentence."""
_LOUD = 0.6
"""Share of capitals above which a capital tells nothing."""
_CODE = 4
"""Letters of an acronym at most, in such a report."""

Rare = tuple[str, str, int, str, str]
"""Word, study, how often in the study's report, what stands around it, and whether it was blanked
(yes or no)."""


@dataclass
class _Seen:
    """A word with a capital in all reports."""

    patients: set[str] = field(default_factory=set)
    places: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    inside: bool = False
    """Inside a sentence, in a language in which that tells a name."""


def settle(
    studies: Sequence[Study], choice: Mapping[str, bool] | None = None
) -> tuple[list[Study], list[Rare]]:
    """The studies without the words that may be names, and those words, for the owner.

    Reports that a program wrote, or somebody published, are left as they are. A word that is in no
    lexicon of names and that any report has in small letters is none.

    Args:
        studies: with reports of `rfpmss.data.privacy.private.redact`.
        choice: word in small letters -> whether it is blanked, of `read_choice`.

    Example:
        >>> one = Study(study_id="s1", patient_id="p1", report="Mass. As Quimby saw the Mass.")
        >>> two = Study(study_id="s2", patient_id="p2", report="Mass, unchanged.")
        >>> made, words = settle([one, two])
        >>> made[0].report, [(word, study, blanked) for word, study, _, _, blanked in words]
        ('Mass. As ___ saw the Mass.', [('Quimby', 's1', 'yes')])
    """
    written = [s for s in studies if s.report and not s.derived and not s.origin]
    seen: dict[str, _Seen] = defaultdict(_Seen)
    small: set[str] = set()
    for study in written:
        small.update(word for word in _SMALL.findall(study.report or "") if word.islower())
        _look(study, seen)

    names = lexicon().given | lexicon().family
    gone: dict[str, bool] = {}
    for low, word in seen.items():
        alone = len(word.patients) == 1 and low not in small
        if low in names or alone:
            gone[low] = low in names or word.inside

    gone |= {low: blank for low, blank in (choice or {}).items() if low in seen}
    rows = [
        (word, study, len(around), around[0], "yes" if gone[low] else "no")
        for low, about in seen.items()
        if low in gone
        for (word, study), around in about.places.items()
    ]
    rows.sort(key=lambda row: (row[0].lower() not in names, row))
    chosen = {low for low, blank in gone.items() if blank}
    ours = {study.study_id for study in written}

    return [_without(s, chosen) if s.study_id in ours else s for s in studies], rows


def _paired(unknown: Sequence[re.Match[str]]) -> set[int]:
    """Where two such words stand side by side: a name in German as well."""
    pairs = [(a, b) for a, b in pairwise(unknown) if b.start() - a.end() == 1]
    return {word.start() for pair in pairs for word in pair}


def _look(study: Study, seen: dict[str, _Seen]) -> None:
    text = study.report or ""
    spoken = languages(text)
    nouns = nouns_have_capitals(spoken)
    unknown = list(_unknown(text, spoken))
    paired = _paired([found for found, _ in unknown]) if nouns else set()
    for found, may_begin in unknown:
        word = seen[found[0].lower()]
        word.patients.add(study.patient_id)
        around = text[max(0, found.start() - AROUND) : found.end() + AROUND]
        word.places[found[0], study.study_id].append(around)
        word.inside |= found.start() in paired or not (may_begin or nouns)


def _unknown(text: str, spoken: Collection[str]) -> Iterator[tuple[re.Match[str], bool]]:
    """The words that may be names, and whether each may have its capital for another reason."""
    letters = [letter for letter in text if letter.isalpha()]
    loud = sum(map(str.isupper, letters)) > _LOUD * len(letters)
    japanese = _KANA.search(text) is not None
    for found in _WORD.finditer(text):
        if found["han"]:  # between signs, and of signs that names have
            yield found, japanese or _MEDICAL.match(found["han"]) is not None
            continue
        word = found[0]
        plain = word.capitalize() if loud and len(word) > _CODE else word
        label = text[found.end() : found.end() + 2].strip()[:1] in _COLONS
        if (label and word.lower() not in lexicon().given) or is_word(plain, spoken):
            continue
        if is_eponym(text, found.start(), found.end()):
            continue
        begins = _BEGINS.search(text, max(0, found.start() - 8), found.start())
        more = _ENDS.match(text, found.end()) or _GOES_ON.match(text, found.end())
        yield found, begins is not None and not more


def _without(study: Study, words: set[str]) -> Study:
    """A study whose report has blanks for the words, and for what is part of the same names."""
    text = study.report or ""
    made = _WORD.sub(lambda found: BLANK if found[0].lower() in words else found[0], text)
    return study if made == text else replace(study, report=_ROW.sub(BLANK, grown(made, BLANK)))


_ROW = re.compile(rf"{BLANK}(?: {BLANK}){{1,9}}")


def read_choice(path: Path) -> dict[str, bool]:
    """Word in small letters -> whether it is blanked, from an edited `FILE`.

    A table with a column ``word`` and, where ``blanked`` says no or is missing, words to keep.

    Raises:
        ColumnError: if there is no column ``word``.
        TextError: if ``blanked`` says neither yes nor no.
    """
    with opened_text(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "word" not in rows[0]:
        what = f"--keep-words must be a CSV table with a column word, as {FILE} is"
        raise ColumnError(what, f"edit a copy of {FILE}")

    made: dict[str, bool] = {}
    for row in rows:
        said = (row.get("blanked") or "no").strip().lower()
        if said not in ("yes", "no"):
            what = "the column blanked of --keep-words must say yes or no in every row"
            raise TextError(what, "say no where the word is to stay")
        low = (row["word"] or "").strip().lower()
        made[low] = made.get(low, True) and said == "yes"  # one no brings the word back

    return made


def write(out: Path, rows: Sequence[Rare]) -> None:
    """Write `FILE`, readable by its owner alone, or remove it where there is nothing to look at."""
    if rows:
        write_table(out / FILE, COLUMNS, [tuple(map(str, row)) for row in rows])
    else:
        (out / FILE).unlink(missing_ok=True)


def copy(part: Path, out: Path) -> None:
    """Write the words that a part of a cohort has, which are those of all parts."""
    rows: list[Rare] = []
    if (part / FILE).is_file():
        with opened_text(part / FILE, newline="") as file:
            read = csv.DictReader(file)
            rows = [
                (r["word"], r["study_id"], int(r["times"]), r["around"], r["blanked"]) for r in read
            ]

    write(out, rows)


def reports(out: Path) -> tuple[int, int]:
    """Of how many studies' reports a cohort's file has words, and how many words were blanked."""
    if not (out / FILE).is_file():
        return 0, 0
    with opened_text(out / FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    gone = {row["word"].lower() for row in rows if row["blanked"] == "yes"}
    return len({row["study_id"] for row in rows}), len(gone)

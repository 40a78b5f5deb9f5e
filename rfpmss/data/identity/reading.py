"""How a source was read as patients and visits, in sentences and counts without a name."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rfpmss.common.files import opened_text
from rfpmss.data.cohort.manifest import write_csv

if TYPE_CHECKING:
    from rfpmss.data.identity.layout.place import Place
    from rfpmss.data.readers.file import File

FILE = "recognised.csv"
COLUMNS: tuple[str, ...] = ("what", "by", "count")
SHOWN = 6
"""Time points that a sentence lists."""
_VOCABULARY = re.compile(
    r"(?:visit|scan|exam|study|session|timepoint|week|month|day|year|follow-up|control|baseline"
    r"|recurrence|progression|pre-op|intra-op|post-op|(?:pre|post|during|mid)-treatment)"
    r"(?: (?:week|month|day|year))?(?: \d{1,4}(?:-\d{1,2})?[a-z]?)?"
)
"""Labels that are made of our own words and a number, and so name nobody."""


@dataclass(frozen=True)
class Patient:
    """A patient as far as the reading goes."""

    by: str
    """What the patient was known by."""
    visits: int
    files: Sequence[tuple[File, Place]]


@dataclass(frozen=True)
class Reading:
    """Counts and sentences; free of names, dates and identifiers."""

    rows: tuple[tuple[str, str, int], ...] = ()
    """What, known by what, how often."""
    sentences: tuple[str, ...] = ()


def read_back(patients: Sequence[Patient], notes: Sequence[str], kin: int) -> Reading:
    """Say how many folders were read as how many patients and visits, and by which rule.

    Args:
        patients: those with at least one image.
        notes: what was done about identifiers.
        kin: patients who may be one person with another.
    """
    if not patients:
        return Reading(sentences=tuple(notes))

    rows = [("patients", by, n) for by, n in sorted(Counter(p.by for p in patients).items())]
    visits: Counter[str] = Counter()
    for patient in patients:
        visits[_visit_rule(patient)] += patient.visits

    rows += [("visits", rule, n) for rule, n in sorted(visits.items())]
    several = sum(patient.visits > 1 for patient in patients)
    rows += [("patients with several visits", "", several)] if several else []
    sentences = [_sentence(patients), *notes]
    if kin:
        sentences.append(
            f"{kin} patients may be the same people as others (one name or PatientID in several "
            "places, or one name and date of birth); they are kept apart and get one split together"
        )

    return Reading(tuple(rows), tuple(sentences))


def _visit_rule(patient: Patient) -> str:
    if patient.visits == 1:
        return "the only one of the patient"

    headers = sum(f.date is not None and p.day is None and not f.name for f, p in patient.files)
    rules = Counter(place.rule for _, place in patient.files if place.rule)
    rule = rules.most_common(1)[0][0] if rules else ""
    return " and ".join(filter(None, (rule, "dates in headers" if headers else "")))


def _sentence(patients: Sequence[Patient]) -> str:
    """``12 folders read as 4 patients x 3 visits (week 0, week 44, week 88): ...``."""
    folders = {f.relative.parent for p in patients for f, _ in p.files if not f.name}
    counts = sorted({patient.visits for patient in patients})
    total = sum(patient.visits for patient in patients)
    people = f"{len(patients)} {'patient' if len(patients) == 1 else 'patients'}"
    if len(counts) == 1:
        read = f"{people} x {counts[0]} {'visit' if counts[0] == 1 else 'visits'}"
    else:
        read = f"{people} with {counts[0]} to {counts[-1]} visits, {total} in all"

    labels = Counter(
        label for p in patients for label in {file.label for file, _ in p.files} if label
    )
    known = [label for label in labels if _VOCABULARY.fullmatch(label)]
    shown = sorted(known, key=lambda text: [_number(part) for part in re.split(r"(\d+)", text)])
    listed = ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "")
    by = Counter(patient.by for patient in patients)
    why = ", ".join(f"{what} ({n})" if len(by) > 1 else what for what, n in by.most_common())
    when = {rule for p in patients if p.visits > 1 for rule in [_visit_rule(p)] if rule}

    return (
        f"{len(folders)} {'folder' if len(folders) == 1 else 'folders'} read as {read}"
        + (f" ({listed})" if listed and total > len(patients) else "")
        + f": patients by {why}"
        + (f"; visits by {', '.join(sorted(when))}" if when else "")
    )


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (0, part)


def write(out: Path, reading: Reading) -> None:
    """Write the counts for the cohort's page."""
    rows = [(what, by, str(count)) for what, by, count in reading.rows]
    rows += [(text, "", "") for text in reading.sentences]
    write_csv(out / FILE, COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows))


def read(out: Path) -> Reading:
    """The counts beside a manifest; none where it was made without them."""
    path = out / FILE
    if not path.is_file():
        return Reading()

    with opened_text(path, newline="") as file:
        rows = [(row["what"], row["by"], row["count"]) for row in csv.DictReader(file)]

    return Reading(
        tuple((a, b, int(n)) for a, b, n in rows if n.isdecimal()),
        tuple(a for a, _, n in rows if not n),
    )

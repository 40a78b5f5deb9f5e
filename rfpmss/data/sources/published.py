"""Reports that are published apart from their images, by case.

Layouts as their authors publish them:

- TextBraTS: ``CASE/CASE_flair_text.txt`` (drafted by GPT-4o, refined by experts);
- RadGenome-Brain MRI: ``global_finding.json`` and ``impression.json``, case -> text, or
  ``modal_wise_finding.json``, case and sequence -> text;
- BTReport: ``btreport_brats23.json``, case -> {``Predicted Report (MODEL)``: text};
- MR-RATE: ``batchNN_reports.csv`` with ``study_uid`` and ``report``, or JSONL with ``volume_name``
  and ``extracted_sentences``.

A text file ``CASE.txt`` and a JSON file case -> text of one's own are read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rfpmss.common.files import opened_text, read_text
from rfpmss.data.errors import (
    BombError,
    DataError,
    DuplicateError,
    IncompleteError,
    TextError,
    UnsupportedError,
)
from rfpmss.data.identity.leave import of_system
from rfpmss.data.privacy.private import clean, read_report, redact
from rfpmss.data.readers.text.tables import read_table
from rfpmss.data.readers.volume import MIB
from rfpmss.data.study import Study

LARGEST = 256 * MIB
"""A JSON file, bytes."""
LINE = MIB
"""A line of JSONL, letters."""
_TEXT = re.compile(r"(.+?)(?:_flair)?[-_](?:text|report)|(.+)")
_MODAL = re.compile(r"[-_](t1n|t1c|t1ce|t1|t2w|t2f|t2|flair|dwi|adc)$", re.IGNORECASE)
_MODEL = re.compile(r"(?:Predicted|BTReport Generated) Report \((.+)\)")


@dataclass(frozen=True)
class Report:
    """One text about one case."""

    case: str
    text: str
    origin: str
    """Who published it."""
    file: Path
    derived: bool = False
    """A program wrote it from masks."""


Refused = list[tuple[Path, DataError]]


def read_published(path: Path, refused: Refused) -> list[Report]:
    """All reports of a file, or of a folder of any nesting.

    Args:
        path: see the layouts above.
        refused: takes files and the reasons why they give no report.

    Raises:
        IncompleteError: if there is no report at all.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    files = [file for file in files if not of_system(file.name)]
    names = {file.name.lower() for file in files}
    found: list[Report] = []
    for file in files:
        if file.name.lower() == "modal_wise_finding.json" and "global_finding.json" in names:
            continue  # the same findings, sequence by sequence
        try:
            found += _read(file, asked=file == path)
        except DataError as error:
            refused.append((file, error))

    if not found:
        raise IncompleteError(
            f"{path} holds no report of a known layout: expected CASE_flair_text.txt (TextBraTS), "
            "global_finding.json (RadGenome-Brain), case -> Predicted Report (BTReport), "
            "study_uid and report (MR-RATE), or CASE.txt; check the folder"
        )

    return _joined(found, refused)


def _read(file: Path, *, asked: bool) -> Iterator[Report]:
    kind = file.suffix.lower()
    if kind == ".txt":
        named = _TEXT.fullmatch(file.stem)
        assert named is not None
        origin = "TextBraTS" if file.stem.lower().endswith("_flair_text") else "text file"
        yield Report(named[1] or named[2], read_report(file), origin, file)
    elif kind == ".json":
        yield from _json(file)
    elif kind == ".jsonl":
        yield from _lines(file)
    elif kind == ".csv" and (asked or "report" in file.name.lower()):
        yield from _table(file)


def _json(file: Path) -> Iterator[Report]:
    if file.stat().st_size > LARGEST:
        raise BombError("the file is larger than a file of reports can be")

    try:
        said = json.loads(read_text(file, "utf-8-sig"))
    except (ValueError, UnicodeDecodeError, RecursionError):
        raise TextError("the file is no JSON in UTF-8") from None

    if not isinstance(said, dict):
        raise UnsupportedError("the JSON file is no table of cases and reports")

    ours = "finding" in file.stem.lower() or file.stem.lower() == "impression"
    origin = "RadGenome-Brain MRI" if ours else "JSON file"
    count = 0
    for case, value in said.items():
        for report in _value(str(case), value, origin, file):
            count += 1
            yield report

    if not count:
        raise UnsupportedError("the JSON file holds no texts by case")


def _value(case: str, value: Any, origin: str, file: Path) -> Iterator[Report]:
    if isinstance(value, str) and " " in value.strip():
        yield Report(_MODAL.sub("", case), value, origin, file)
    elif isinstance(value, dict):
        texts = {key: text for key, text in value.items() if isinstance(text, str)}
        if "Clinical Report" in texts:
            yield Report(case, texts["Clinical Report"], "clinical report", file)
            return
        models = [key for key in texts if _MODEL.fullmatch(key)]
        if models:  # of several models the first of the file
            model = _MODEL.fullmatch(models[0])
            assert model is not None
            yield Report(case, texts[models[0]], f"BTReport {model[1]}", file, derived=True)
            return

        for key in ("report", "text", "findings", "impression"):
            if key in texts:
                yield Report(case, texts[key], origin, file)
                return


def _lines(file: Path) -> Iterator[Report]:
    """JSONL of MR-RATE; lines that its own check calls invalid are left out."""
    with opened_text(file, "utf-8-sig") as lines:
        try:
            while line := lines.readline(LINE):
                said = json.loads(line) if line.strip() else {}
                sentences = said.get("extracted_sentences") or []
                case = said.get("volume_name") or said.get("study_uid")
                if case and sentences and said.get("valid_json", True):
                    yield Report(str(case), " ".join(map(str, sentences)), "MR-RATE", file)
        except (ValueError, UnicodeDecodeError, AttributeError):
            raise TextError("a line of the file is no JSON in UTF-8") from None


def _table(file: Path) -> Iterator[Report]:
    for row in read_table(file):
        low = {name.strip().lower(): cell for name, cell in row.items()}
        case = next((low[n] for n in ("study_uid", "case_id", "case", "id") if low.get(n)), "")
        parts = [low.get("report", "")] if low.get("report") else []
        parts = parts or [low[n] for n in ("findings", "impression") if low.get(n)]
        if case and parts:
            origin = "MR-RATE" if "study_uid" in low else "table"
            yield Report(case, " ".join(parts), origin, file)


def _joined(found: Sequence[Report], refused: Refused) -> list[Report]:
    """One report a case: parts of one publisher are joined, a second publisher's are refused."""
    result: dict[str, Report] = {}
    clashes: dict[Path, None] = {}
    for report in found:
        key = plain(report.case)
        known = result.get(key)
        if known is None:
            result[key] = report
        elif known.origin == report.origin:
            result[key] = replace(known, text=f"{known.text}\n{report.text}")
        else:
            clashes[report.file] = None

    for file in clashes:
        error = DuplicateError("cases of the file have a report from another publisher already")
        refused.append((file, error))

    return list(result.values())


def plain(name: str) -> str:
    """A case's name without case, separators and leading zeros of numbers.

    Example:
        >>> plain("BraTS2021_00017"), plain("BraTS-GLI-00001-000")
        ('brats2021-17', 'brats-gli-1-0')
    """
    words = re.split(r"[\W_]+", name.lower())
    return "-".join(word.lstrip("0") or "0" if word.isdecimal() else word for word in words if word)


def join(studies: Sequence[Study], reports: Sequence[Report], refused: Refused) -> list[Study]:
    """Give each study the report of its case.

    A report that names the patient alone, without the time point, goes to a patient of one study.

    Args:
        studies: those without a report may get one.
        reports: of `read_published`.
        refused: takes files with reports of no study, and how many.
    """
    by_case = {plain(study.study_id): number for number, study in enumerate(studies)}
    by_case |= {k.removeprefix("brats2021-"): n for k, n in by_case.items() if k[:9] == "brats2021"}
    patients: dict[str, list[int]] = {}
    for number, study in enumerate(studies):
        patients.setdefault(plain(study.patient_id), []).append(number)

    result = list(studies)
    lost: dict[Path, int] = {}
    for report in reports:
        key = plain(report.case)
        own = patients.get(key, [])
        number = by_case.get(key, own[0] if len(own) == 1 else None)
        if number is None or result[number].report is not None:
            lost[report.file] = lost.get(report.file, 0) + 1
            continue
        try:
            text = redact(clean(report.text), ())
        except DataError as error:
            refused.append((report.file, error))
            continue

        result[number] = replace(
            result[number], report=text, derived=report.derived, origin=report.origin
        )

    for file, count in lost.items():
        what = "1 report belongs" if count == 1 else f"{count} reports belong"
        refused.append((file, IncompleteError(f"{what} to no study of the cohort")))

    return result

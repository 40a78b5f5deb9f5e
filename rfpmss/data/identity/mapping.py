"""The user's own words for what names and columns mean: a short YAML file, `EXAMPLE`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from rfpmss.common.files import read_text
from rfpmss.common.yaml import Plain, TwiceError
from rfpmss.config import SEQUENCES
from rfpmss.data.errors import TextError
from rfpmss.data.identity.names.parse import parse
from rfpmss.data.readers.sniff import without_ending
from rfpmss.data.readers.volume import MIB

EXAMPLE = """
sequences:            # words of file names and series descriptions
  KM: t1ce
files:                # patterns of paths: ct, mri, mask, pathology, report or ignore
  "*/perfusion/*": ignore
reports:              # tables with one report a row
  - file: "*.csv"
    patient: MRN
    text: [Findings, Impression]
    date: Exam date   # optional
patients:             # a name in paths or tables: the PatientID that it stands for
  glioma_017: "774411"
"""
"""All that can be said; every part may be absent."""
VIEWS = ("ct", "mri", "mask", "pathology", "report", "ignore")
KEYS = ("sequences", "files", "reports", "patients")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Which columns of a table hold what."""

    file: str
    """Pattern of the path relative to the source folder."""
    patient: str
    text: tuple[str, ...]
    date: str = ""
    left: tuple[str, ...] = ()
    """Columns of sentences that are not taken for part of the reports."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the mapping file says; empty: guess everything."""

    sequences: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[Table, ...] = ()
    patients: Mapping[str, str] = field(default_factory=dict)

    def sequence(self, text: str) -> str:
        """The MRI sequence that a word of ``text`` was given, or nothing."""
        for word, sequence in self.sequences.items():
            inside = rf"(?<![0-9a-z]){re.escape(word.lower())}(?![0-9a-z])"
            if re.search(inside, text.lower()):
                return sequence
        return ""

    def spelled(self, path: PurePosixPath) -> PurePosixPath:
        """A path whose folders that are called by a word of ``sequences`` are called as usual."""
        if not self.sequences:
            return path

        usual = {_plain(word): f"{sequence}_image" for word, sequence in self.sequences.items()}
        folders = (usual.get(_plain(folder), folder) for folder in path.parts[:-1])
        return PurePosixPath(*folders, path.name)

    def view(self, path: PurePosixPath) -> str:
        """The view that a path was given, or nothing."""
        return next((v for p, v in self.files.items() if fnmatchcase(str(path), p)), "")

    def table(self, path: PurePosixPath) -> Table | None:
        """The columns of a table, if the file names them."""
        return next((t for t in self.reports if fnmatchcase(str(path), t.file)), None)

    def patient(self, name: str) -> str:
        """The PatientID that a name of `called` stands for."""
        return self._patients.get(name, "")

    def called(self, whole: Sequence[str], paths: Sequence[str]) -> str:
        """The name of ``patients`` that a file has, or that its name or a folder's begins with.

        What follows may tell when, what and which series, but no more of whose it is.

        Args:
            whole: what the file is called, the likeliest first.
            paths: its name without ending, and its folders from the innermost.

        Example:
            >>> words = Words(patients={"C3L-00016": "P1"})
            >>> words.called([], ["C3L-00016_20210304_AX_T1_PRE_3"])
            'c3l-00016'
            >>> words.called([], ["C3L-00016_Doe"]), words.called(["C3L-00016-2"], [])
            ('', '')
        """
        if not self.patients:
            return ""

        spelled = map(_plain, (*whole, *paths))
        found = next((name for name in spelled if name in self._patients), "")
        return found or next(filter(None, map(self._beginning, map(_plain, paths))), "")

    def _beginning(self, name: str) -> str:
        tokens = name.split("-")
        for end in range(len(tokens) - 1, 0, -1):
            head, rest = "-".join(tokens[:end]), "-".join(tokens[end:])
            if head in self._patients:
                who = parse(rest, file=True).who
                return head if re.fullmatch(r"[\d-]*[a-z]?", who) else ""

        return ""

    @cached_property
    def _patients(self) -> dict[str, str]:
        return {_plain(name): patient for name, patient in self.patients.items()}


def _plain(name: str) -> str:
    """Without case, separators and the ending of a file."""
    return re.sub(r"[\W_]+", "-", without_ending(name.strip()).lower()).strip("-")


def read_mapping(path: Path | None) -> Words:
    """Read a mapping file; without one everything is guessed.

    Raises:
        TextError: if it is no YAML, or says something that is not understood; the message names
            the key and never a patient.
    """
    if path is None:
        return Words()
    if path.stat().st_size > MIB:
        raise TextError("the mapping file is longer than 1 MiB")

    try:
        said = yaml.load(read_text(path, "utf-8-sig"), Loader=Plain)  # no aliases, no key twice
    except TwiceError as error:  # the key may be a patient
        raise TextError(
            f"the mapping file must name each key once, got one again in line {error.line}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise TextError("the mapping file is no YAML file in UTF-8") from None

    if said is None:
        return Words()
    if not isinstance(said, dict) or set(said) - set(KEYS):
        raise TextError(f"the mapping file may hold the keys {', '.join(KEYS)} and no others")

    return Words(
        sequences=_choices(said, "sequences", SEQUENCES),
        files=_choices(said, "files", VIEWS),
        reports=tuple(_table(item) for item in _list(said.get("reports") or [])),
        patients=_persons(said),
    )


def _persons(said: dict[str, Any]) -> dict[str, str]:
    """Of names that are one but for case and separators, the last would count."""
    pairs = _pairs(said, "patients")
    known: dict[str, str] = {}
    for name, patient in pairs.items():
        if known.setdefault(_plain(name), patient) != patient:
            raise TextError(
                "patients in the mapping file must give each name one PatientID, got two for names "
                "that differ in case or separators alone"
            )

    return pairs


def _pairs(said: dict[str, Any], key: str) -> dict[str, str]:
    pairs = said.get(key) or {}
    if not isinstance(pairs, dict):
        raise TextError(f"{key} in the mapping file must be pairs of a name and its meaning")
    return {str(name): str(meaning) for name, meaning in pairs.items()}


def _choices(said: dict[str, Any], key: str, known: tuple[str, ...]) -> dict[str, str]:
    pairs = _pairs(said, key)
    if set(pairs.values()) - set(known):
        raise TextError(f"{key} in the mapping file must mean one of {', '.join(known)}")
    return pairs


def _list(items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise TextError("reports in the mapping file must be a list of tables")
    return items


def _table(item: Any) -> Table:
    if (
        not isinstance(item, dict)
        or not {"file", "patient", "text"} <= set(item)
        or set(item) - {"file", "patient", "text", "date"}
    ):
        raise TextError("each of reports in the mapping file needs file, patient and text")
    text = item["text"]
    return Table(
        file=str(item["file"]),
        patient=str(item["patient"]),
        text=tuple(map(str, text)) if isinstance(text, list) else (str(text),),
        date=str(item.get("date") or ""),
    )

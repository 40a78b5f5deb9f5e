"""Lists of paths as a source folder, read in-process without one file on disk."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unittest import mock

from rfpmss.data.identity.mapping import Words
from rfpmss.data.privacy.language.gate import ALL, Gate
from rfpmss.data.readers.file import File
from rfpmss.data.sources import hospital
from rfpmss.data.sources.gather import How
from rfpmss.data.sources.hospital import Found

TABLES = Path(__file__).parents[2] / "tables" / "identity"
SALT = b"0123456789abcdef"
ROOT = Path("/nowhere/source")
SEQUENCES = ("t1", "flair")

Truth = dict[str, tuple[str, str]]
"""Of each path the patient and the visit."""


@dataclass(frozen=True)
class Case:
    """A layout of the table."""

    name: str
    paths: Truth
    refused: bool


def cases() -> Iterator[Case]:
    """``layouts.csv``: a template with P(erson), T(ime), S(equence), N(umber), G(roup)."""
    with (TABLES / "layouts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            paths: Truth = {}
            for number, person in enumerate(row["people"].split("|")):
                for time in row["times"].split("|"):
                    for series, sequence in enumerate(SEQUENCES, 3):
                        path = row["template"].format(
                            P=person,
                            T=time,
                            S=sequence,
                            G=("HGG", "LGG")[number % 2],
                            N=series,
                        )
                        paths[path] = (person, time)
            yield Case(row["name"], paths, row["expect"] == "refused")


def header(path: Path, root: Path, about: Mapping[str, Mapping[str, object]]) -> list[File]:
    """What `rfpmss.data.readers.look.look` would give for a file of that name."""
    relative = PurePosixPath(path.relative_to(root).as_posix())
    known = dict(about.get(str(relative), {}))
    low = path.name.lower()
    text = low.endswith(".txt")
    sequence = next((s for s in ("flair", "t1", "t2") if s in low), "")
    fields: dict[str, object] = {
        "kind": "text" if text else "nifti",
        "view": "report" if text else "mri",
        "sequence": "" if text else sequence,
        "text": "A mass." if text else None,
    }
    return [File(path=path, relative=relative, **(fields | known))]  # type: ignore[arg-type]


def scan(
    paths: Mapping[str, object] | list[str],
    level: int = 0,
    about: Mapping[str, Mapping[str, object]] | None = None,
    days: int | None = 30,
    words: Words | None = None,
) -> Found:
    """Scan files of which only the paths exist, with reports of any language.

    Args:
        paths: relative to the source.
        level: of ``--patient-level``.
        about: fields of `File` of some of the paths.
        days: of ``--visits``.
        words: of ``--mapping``.
    """
    files = [ROOT / path for path in paths]

    def look(path: Path, root: Path, *_: object) -> list[File]:
        return header(path, root, about or {})

    with (
        mock.patch.object(hospital, "walk", return_value=iter(files)),
        mock.patch.object(hospital, "look", look),
    ):
        return hospital.scan(
            ROOT, SALT, level=level, words=words, how=How(days=days, gate=Gate([ALL]))
        )


def told(found: Found) -> dict[str, tuple[str, str]]:
    """Of each image's path the patient and the study that it was taken for."""
    result = {}
    for study in found.studies:
        sources = [*filter(None, study.views), *(source for _, source in study.others)]
        for source in sources:
            for path in source.paths:
                result[path.relative_to(ROOT).as_posix()] = (study.patient_id, study.study_id)
    return result


def same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two namings part the same things in the same way."""
    pairs = {(one[key], other[key]) for key in one}
    return one.keys() == other.keys() and len(pairs) == len(set(one.values())) == len(
        set(other.values())
    )

"""MR-RATE: unpacked studies ``<study_uid>/{img,coreg_img,atlas_img}`` with splits.csv or metadata.

The cohort does not say which T1 has contrast, so all of them are ``t1``; its masks are of the brain
and the face and are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, IncompleteError, UnusedError
from rfpmss.data.readers.text.tables import read_table
from rfpmss.data.sources.public import Listing, expected, mri_source, walk
from rfpmss.data.study import Study

_NAME = re.compile(
    r"(?P<study>[0-9A-Za-z]+)_(?:coreg_|atlas_)?(?P<kind>t1w|t2w|flair|swi|mra)-raw-"
    r"(?P<plane>axi|cor|sag|obl)(?:-(?P<copy>\d+))?\.nii\.gz"
)
_SEQUENCES = {"t1w": "t1", "t2w": "t2", "flair": "flair"}
_FOLDERS = ("coreg_img", "atlas_img", "img")
"""Those on one grid first."""
_PLANES = ("axi", "cor", "sag", "obl")
EXPECTED = "22B7CXEZ6T/img/22B7CXEZ6T_t1w-raw-axi.nii.gz beside splits.csv"
"""Names of files, for the sentence that says that there are none."""


def find(root: Path) -> Listing:
    """All studies under ``root``; of several series of a sequence the axial, then the first one.

    Args:
        root: the unpacked data set, with ``splits.csv`` or ``metadata/*_metadata.csv``.

    Raises:
        IncompleteError: if there is no study, or no table says whose the studies are.
    """
    series: dict[str, dict[str, dict[str, list[Path]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    tables, seen, refused = [], [], {}
    for path, problem in walk(root):
        seen.append(path)
        named = _NAME.fullmatch(path.name)
        if problem:
            refused[path] = problem
        elif path.name == "splits.csv" or path.name.endswith("_metadata.csv"):
            tables.append(path)
        elif named and path.parent.name in _FOLDERS and named["kind"] in _SEQUENCES:
            series[named["study"]][path.parent.name][_SEQUENCES[named["kind"]]].append(path)

    if not series:
        raise expected(seen, root, EXPECTED)

    patients = _patients(tables)
    if not patients:
        raise IncompleteError(
            "no splits.csv or *_metadata.csv says which patient a study of MR-RATE is of"
        )

    studies = []
    for study, folders in sorted(series.items()):
        chosen = folders[next(name for name in _FOLDERS if name in folders)]
        files = {}
        for sequence, paths in chosen.items():
            files[sequence], *others = sorted(paths, key=_order)
            error = UnusedError(f"another series of the study is its {sequence}")
            refused |= dict.fromkeys(others, error)
        if study not in patients:
            missing: DataError = IncompleteError("no table says which patient the study is of")
            refused |= dict.fromkeys(files.values(), missing)
            continue
        source = mri_source(files, None)
        studies.append(
            Study(
                study_id=study,
                patient_id=patients[study],
                views=tuple(source if view == "mri" else None for view in VIEWS),
            )
        )

    told = tuple((str(path.relative_to(root)), error) for path, error in refused.items())
    return Listing(tuple(studies), told)


def _patients(tables: list[Path]) -> dict[str, str]:
    """Patient by study."""
    result: dict[str, str] = {}
    for table in tables:
        for row in read_table(table):
            if row.get("study_uid") and row.get("patient_uid"):
                result[row["study_uid"]] = row["patient_uid"]

    return result


def _order(path: Path) -> tuple[int, int]:
    named = _NAME.fullmatch(path.name)
    assert named is not None
    return _PLANES.index(named["plane"]), int(named["copy"] or 1)

"""BraTS2021: the layouts of Kaggle, Synapse and TCIA, told by file names alone."""

from __future__ import annotations

import re
from pathlib import Path

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, DuplicateError, UnsupportedError
from rfpmss.data.public import Crosswalk, Found, find_table, methylation, mri_source, walk
from rfpmss.data.study import Study
from rfpmss.data.tables import missing, read_table

_NAME = re.compile(r"(?:BraTS2021_)?(\d{5})_(flair|t1|t1ce|t2|seg)\.nii(?:\.gz)?", re.IGNORECASE)
_TASK2 = {"flair", "t1w", "t1wce", "t2w"}


def find(root: Path, crosswalk: Crosswalk | None = None) -> Found:
    """All cases under ``root``, any nesting.

    A case is a folder with ``BraTS2021_NNNNN_{flair,t1,t1ce,t2,seg}.nii.gz`` (or bare numbers).
    Absent sequences are left out of the study's channels; a case without a mask is used without
    one. MGMT comes from ``train_labels.csv`` or the mapping file. Folders named ``old``, the
    DICOM folders of task 2 and second copies are refused.

    Args:
        root: the unpacked archive, or a folder of several.
        crosswalk: of `rfpmss.data.public.read_crosswalk`, for MGMT labels.
    """
    cases: dict[str, dict[str, Path]] = {}
    rejections: dict[str, DataError] = {}
    tables = []
    for path, problem in walk(root):
        inside = path.relative_to(root)
        named = _NAME.fullmatch(path.name)
        if problem:
            rejections[str(inside)] = problem
        elif path.suffix.lower() == ".csv":
            tables.append(path)
        elif path.parent.name.lower() in _TASK2 and not named:
            rejections[str(inside.parent)] = UnsupportedError(
                "a DICOM folder of task 2, whose scans also exist as NIfTI in task 1"
            )
        elif named:
            try:
                _add(cases, f"BraTS2021_{named.group(1)}", named.group(2).lower(), path)
            except DataError as error:
                rejections[str(inside)] = error
    mgmt = {**(crosswalk.mgmt if crosswalk else {}), **_labels(tables, root, rejections)}
    studies = []
    for case, files in sorted(cases.items()):
        folder = str(next(iter(files.values())).parent.relative_to(root))
        try:
            studies.append(_study(case, files, mgmt.get(case)))
        except DataError as error:
            rejections[folder] = error
    return Found(tuple(studies), tuple(rejections.items()))


def _add(cases: dict[str, dict[str, Path]], case: str, part: str, path: Path) -> None:
    if path.parent.name.lower() == "old":
        raise UnsupportedError("an earlier version in a folder named old")
    files = cases.setdefault(case, {})
    if files and next(iter(files.values())).parent != path.parent:
        raise DuplicateError("the case stands in two folders")
    if part in files:
        raise DuplicateError("the sequence stands twice, packed and unpacked")
    files[part] = path


def _study(case: str, files: dict[str, Path], mgmt: str | None) -> Study:
    source = mri_source(files, files.get("seg"))
    return Study(
        study_id=case,
        patient_id=case,
        views=tuple(source if view == "mri" else None for view in VIEWS),
        labels=(("mgmt", mgmt),) if mgmt else (),
    )


def _labels(tables: list[Path], root: Path, rejections: dict[str, DataError]) -> dict[str, str]:
    """``BraTS21ID,MGMT_value`` of the radiogenomic task."""
    table = find_table(tables, r"train_labels.*\.csv")
    result: dict[str, str] = {}
    if table is None:
        return result
    try:
        for row in read_table(table):
            number, value = row.get("BraTS21ID", ""), row.get("MGMT_value", "")
            if number.isdecimal() and not missing(value):
                result[f"BraTS2021_{int(number):05d}"] = methylation(value)
    except DataError as error:
        rejections[str(table.relative_to(root))] = error
        return {}
    return result

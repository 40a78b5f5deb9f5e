"""BraTS from 2017 on: Kaggle, Synapse and TCIA, any nesting, told by file names alone.

Until 2021 sequences are called flair, t1, t1ce, t2; since 2023 t2f, t1n, t1c, t2w, and a case ends
in the number of the time point: BraTS-GLI-00001-000 and -001 are one patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, DuplicateError, IncompleteError, UnsupportedError
from rfpmss.data.readers.text.tables import missing, read_table
from rfpmss.data.sources.public import (
    Crosswalk,
    Listing,
    expected,
    find_table,
    methylation,
    mri_source,
    walk,
)
from rfpmss.data.study import Study

_CASES = (
    r"(?:BraTS2021_)?\d{5}",  # 2021, and the bare numbers of Kaggle
    r"Brats1[78]_\w+?_\d+",  # Brats17_TCIA_105_1, Brats18_CBICA_AAB_1
    r"BraTS(?:19|20)_\w+?_\d+",  # BraTS19_2013_10_1, BraTS20_Training_001
    r"BraTS-(?:[A-Za-z]+-)+\d{4,5}-\d{1,3}",  # BraTS-GLI-00001-000, BraTS-MEN-RT-0001-1
)
_PARTS = {
    **{"flair": "flair", "t1": "t1", "t1ce": "t1ce", "t2": "t2", "seg": "seg", "segm": "seg"},
    **{"t2f": "flair", "t1n": "t1", "t1c": "t1ce", "t2w": "t2", "gtv": "seg"},
}
_NAME = re.compile(
    rf"(?P<case>{'|'.join(_CASES)})[-_](?P<part>{'|'.join(_PARTS)})\.nii(?:\.gz)?", re.IGNORECASE
)
# The mask of BraTS20_Training_355 was published under the name of another archive.
_STRAY = re.compile(r"W39_1998\.09\.19_Segm\.nii(?:\.gz)?", re.IGNORECASE)
_TASK2 = {"flair", "t1w", "t1wce", "t2w"}
EXPECTED = (
    "BraTS2021_00001_t1ce.nii.gz, BraTS20_Training_001_flair.nii or BraTS-GLI-00001-000-t1c.nii.gz"
)
"""Names of cases, for the sentence that says that there are none."""


def find(root: Path, crosswalk: Crosswalk | None = None) -> Listing:
    """All cases under ``root``, any nesting.

    Absent sequences are left out of the study's channels; a case without a mask is used without
    one. MGMT comes from ``train_labels.csv`` or the mapping file, the grade from folders ``HGG``
    and ``LGG``. Folders named ``old``, the DICOM folders of task 2, NIfTI with other names and
    second copies are refused.

    Args:
        root: the unpacked archive, or a folder of several.
        crosswalk: of `rfpmss.data.sources.public.read_crosswalk`, for MGMT labels.

    Raises:
        IncompleteError: if no file has the name of a case; it says what was found and expected.
    """
    cases: dict[str, dict[str, Path]] = {}
    rejections: dict[str, DataError] = {}
    tables, seen = [], []
    for path, problem in walk(root):
        inside = path.relative_to(root)
        seen.append(path)
        if path.suffix.lower() == ".csv" and not problem:
            tables.append(path)
            continue
        try:
            if problem:
                raise problem
            _sort(path, cases)
        except DataError as error:
            folder = not _named(path) and path.parent.name.lower() in _TASK2
            rejections[str(inside.parent if folder else inside)] = error

    if not cases:
        raise expected(seen, root, EXPECTED)

    mgmt = {**(crosswalk.mgmt if crosswalk else {}), **_labels(tables, root, rejections)}
    studies = []
    for case, files in sorted(cases.items()):
        folder = str(next(iter(files.values())).parent.relative_to(root))
        try:
            studies.append(_study(case, files, mgmt.get(case)))
        except DataError as error:
            rejections[folder] = error

    return Listing(tuple(studies), tuple(rejections.items()))


def patient_of(case: str) -> str:
    """The patient of a case: without the time point that cases have since 2023.

    Example:
        >>> patient_of("BraTS-GLI-00001-001"), patient_of("BraTS2021_00001")
        ('BraTS-GLI-00001', 'BraTS2021_00001')
    """
    return re.sub(r"(?<=\d)-\d{1,3}$", "", case)


def release_of(case: str) -> str:
    """The release whose adult gliomas a case is among; nothing for other tumours.

    Releases renumber the same patients, so two of them never go into one cohort unnoticed.

    Example:
        >>> [release_of(case) for case in ("BraTS20_Training_1", "BraTS-GLI-1-0", "BraTS-MEN-1-0")]
        ['BraTS20', 'BraTS-GLI', '']
    """
    found = re.match(r"(BraTS2021|BraTS(?:17|18|19|20)|BraTS-(?:GLI|GoAT))(?=[-_])", case, re.I)
    return found[1] if found else ""


def refuse_releases(cases: Sequence[str], *, upenn: bool) -> None:
    """Refuse cohorts that hold the same patients under other numbers.

    Raises:
        IncompleteError: if there are two releases, or a release other than 2021 (which has a
            mapping) beside UPENN-GBM.
    """
    found = sorted({release for case in cases if (release := release_of(case))})
    several = len(found) > 1
    if several or (upenn and found and found != ["BraTS2021"]):
        names = found if several else [*found, "UPENN-GBM"]
        raise IncompleteError(
            f"{' and '.join(names)} share patients under other numbers, and no table says who is "
            "who; prepare one of them alone, or pass --unmapped to use all anyway"
        )


def _named(path: Path) -> tuple[str, str] | None:
    """Case and part by a file's name; bare numbers are cases of 2021."""
    if found := _NAME.fullmatch(path.name):
        case = found["case"]
        case = f"BraTS2021_{case}" if case.isdecimal() else case
        return re.sub("brats2021", "BraTS2021", case, flags=re.I), _PARTS[found["part"].lower()]

    folder = path.parent.name
    if _STRAY.fullmatch(path.name) and re.fullmatch("|".join(_CASES), folder, re.IGNORECASE):
        return folder, "seg"

    return None


def _sort(path: Path, cases: dict[str, dict[str, Path]]) -> None:
    """Put a file to its case, or refuse it; files that are no images are passed over."""
    if named := _named(path):
        _add(cases, *named, path)
    elif path.parent.name.lower() in _TASK2:
        raise UnsupportedError(
            "a DICOM folder of task 2, whose scans also exist as NIfTI in task 1"
        )
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnsupportedError("its name is that of no sequence of a case")


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
    folders = {part.upper() for part in next(iter(files.values())).parts}
    grade = folders & {"HGG", "LGG"}
    return Study(
        study_id=case,
        patient_id=patient_of(case),
        views=tuple(source if view == "mri" else None for view in VIEWS),
        labels=(
            *((("mgmt", mgmt),) if mgmt else ()),
            *((("grade", min(grade)),) if len(grade) == 1 else ()),
        ),
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

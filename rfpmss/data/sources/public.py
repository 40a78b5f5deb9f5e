"""What public cohorts share: named NIfTI files in folders, tables of labels, a mapping of ids."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, DuplicateError, IncompleteError, PathError, TextError
from rfpmss.data.identity.leave import of_system
from rfpmss.data.readers.sequences import FOUR
from rfpmss.data.readers.text.tables import missing, read_table
from rfpmss.data.study import Source, Study

_BRATS = re.compile(r"(?:BraTS2021_)?(\d{5})")
_TCIA = re.compile(r"UPENN-GBM-\d{5}")


@dataclass(frozen=True)
class Listing:
    """What a source folder holds."""

    studies: tuple[Study, ...]
    """Ordered by study_id."""
    rejections: tuple[tuple[str, DataError], ...]
    """Path relative to the source, and what is wrong with it."""


@dataclass(frozen=True)
class Crosswalk:
    """Which BraTS2021 case is which patient of UPENN-GBM."""

    patients: Mapping[str, str]
    """``BraTS2021_00001`` -> ``UPENN-GBM-00042``."""
    mgmt: Mapping[str, str]
    """``BraTS2021_00001`` -> ``methylated`` or ``unmethylated``."""


def read_crosswalk(path: Path) -> Crosswalk:
    """Read ``BraTS2021_MappingToTCIA.xlsx``, or the same table as CSV.

    The column with the BraTS number is found by its name; UPENN-GBM ids are found by their form in
    whatever column holds them.

    Raises:
        TextError: if no column names BraTS ids.
    """
    patients: dict[str, str] = {}
    mgmt: dict[str, str] = {}
    for row in read_table(path):
        name = next((n for n in row if re.match(r"brats.*id", n, re.IGNORECASE)), None)
        if name is None:
            raise TextError("the mapping file has no column with BraTS ids")
        found = _BRATS.fullmatch(row[name].strip().zfill(5))
        if not found:
            continue
        case = f"BraTS2021_{found.group(1)}"
        other = next((m.group() for cell in row.values() if (m := _TCIA.match(cell))), None)
        if other:
            patients[case] = other
        for column, cell in row.items():
            if re.match(r"mgmt.*(?:value|status)", column, re.IGNORECASE) and not missing(cell):
                mgmt[case] = methylation(cell)

    return Crosswalk(patients, mgmt)


def methylation(value: str) -> str:
    """``1`` and ``Methylated`` -> ``methylated``; ``0`` -> ``unmethylated``.

    Example:
        >>> methylation("0"), methylation("Methylated")
        ('unmethylated', 'methylated')
    """
    word = value.strip().lower()
    known = {"1": "methylated", "0": "unmethylated"}
    if (word := known.get(word, word)) not in known.values():
        raise TextError(f"MGMT must be 0, 1, methylated or unmethylated, got {value[:20]!r}")

    return word


def merge(
    brats: Listing, upenn: Listing, crosswalk: Crosswalk | None, *, unmapped: bool
) -> Listing:
    """Use both cohorts without one patient standing in both.

    A BraTS2021 case that is a UPENN-GBM patient adds its labels to that patient's baseline study
    and is then left out, because it is the same scan; where the UPENN-GBM study itself is not
    there, the case stays under the patient's UPENN-GBM id.

    Args:
        brats: of `rfpmss.data.sources.brats.find`.
        upenn: of `rfpmss.data.sources.upenn.find`.
        crosswalk: of `read_crosswalk`.
        unmapped: go on without a mapping although patients may stand twice.

    Raises:
        IncompleteError: if both hold studies, there is no mapping and ``unmapped`` is not set.
    """
    if crosswalk is None:
        if brats.studies and upenn.studies and not unmapped:
            raise IncompleteError(
                "447 cases of BraTS2021 are patients of UPENN-GBM and no mapping file was given; "
                "pass --mapping BraTS2021_MappingToTCIA.xlsx, or --unmapped to use both anyway"
            )

        crosswalk = Crosswalk({}, {})

    there = {study.study_id: study for study in upenn.studies}
    kept, dropped = [], []
    for study in brats.studies:
        patient = crosswalk.patients.get(study.study_id)
        baseline = f"{patient}_11"
        if baseline in there:
            there[baseline] = _with_labels(there[baseline], study)
            dropped.append(
                (study.study_id, DuplicateError(f"the case is the same scan as {baseline}"))
            )
        else:
            kept.append(replace(study, patient_id=patient) if patient else study)

    return Listing(
        tuple(sorted((*kept, *there.values()), key=lambda study: study.study_id)),
        (*brats.rejections, *upenn.rejections, *dropped),
    )


def _with_labels(study: Study, other: Study) -> Study:
    """``study`` with the labels that only ``other`` has; a mask too, if it has none."""
    known = dict(study.labels)
    extra = tuple((n, v) for n, v in other.labels if n not in known)
    views = list(study.views)
    mine, theirs = (s.views[VIEWS.index("mri")] for s in (study, other))
    if mine and not mine.mask and theirs and theirs.mask:
        views[VIEWS.index("mri")] = replace(mine, mask=theirs.mask)
        extra = (*extra, ("mask", "brats2021"))

    return replace(study, labels=(*study.labels, *extra), views=tuple(views))


def walk(root: Path) -> Iterator[tuple[Path, DataError | None]]:
    """Every file under ``root`` in a fixed order; links are refused, not followed.

    Files that operating systems keep for themselves are none.

    Raises:
        NotADirectoryError: if ``root`` is no folder.
    """
    if not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(root))

    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not of_system(name, folder=True))
        for name in list(names):
            if (Path(folder) / name).is_symlink():
                yield Path(folder) / name, PathError("the folder is a link")
        for name in sorted(name for name in files if not of_system(name)):
            path = Path(folder) / name
            yield path, PathError("the file is a link") if path.is_symlink() else None


def mri_source(files: Mapping[str, Path], mask: Path | None) -> Source:
    """The sequences that exist, in channel order.

    Raises:
        IncompleteError: if there is none.
    """
    names = tuple(name for name in FOUR if name in files)
    if not names:
        raise IncompleteError("the study has a mask but no sequence")
    return Source(
        kind="nifti",
        paths=tuple(files[name] for name in names),
        channels=names,
        series="+".join(names),
        mask=mask,
    )


def expected(found: Iterable[Path], root: Path, names: str) -> IncompleteError:
    """What to say where no file has a name of the cohort: what is there, and what was looked for.

    Args:
        found: all files below ``root``.
        root: the folder.
        names: examples of the cohort's layout.
    """
    paths = list(found)
    kinds = Counter("".join(path.suffixes[-2:]).lower() or "no ending" for path in paths)
    kinds = Counter(
        {k if re.fullmatch(r"[.a-z0-9]{1,12}", k) else "other": n for k, n in kinds.items()}
    )
    there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no file"

    return IncompleteError(
        f"no file of {root} has a name of the cohort: found {there}; expected {names}; "
        "for folders with names of your own use `prepare hospital`, else check the folder"
    )


def find_table(tables: Sequence[Path], pattern: str) -> Path | None:
    """The last of the files whose name matches: of two versions the newer."""
    chosen = [path for path in tables if re.fullmatch(pattern, path.name, re.IGNORECASE)]
    return max(chosen, key=lambda path: path.name) if chosen else None

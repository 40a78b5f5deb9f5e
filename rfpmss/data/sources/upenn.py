"""UPENN-GBM: structural MRI, masks, clinical tables and slides of the TCIA collection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, DuplicateError, UnsupportedError
from rfpmss.data.readers.text.tables import missing, read_table
from rfpmss.data.sources.public import Listing, expected, find_table, methylation, mri_source, walk
from rfpmss.data.study import Source, Study

_ID = r"(UPENN-GBM-\d{5}_(?:11|21))"
_STRIPPED = re.compile(rf"{_ID}_(T1|T1GD|T2|FLAIR)\.nii(?:\.gz)?")
_UNSTRIPPED = re.compile(rf"{_ID}_(T1|T1GD|T2|FLAIR)_unstripped\.nii(?:\.gz)?")
_MASK = re.compile(rf"{_ID}_(segm|automated_approx_segm)\.nii(?:\.gz)?")
_CHANNEL = {"T1": "t1", "T1GD": "t1ce", "T2": "t2", "FLAIR": "flair"}
EXPECTED = {
    "stripped": "UPENN-GBM-00001_11_T1GD.nii.gz",
    "unstripped": "UPENN-GBM-00001_11_T1GD_unstripped.nii.gz",
}
"""Names of scans, for the sentence that says that there are none."""
_BASELINE, _FOLLOWUP = "11", "21"
_CLINICAL = {
    "Gender": "gender",
    "Age_at_scan_years": "age",
    "Survival_from_surgery_days_UPDATED": "survival_days",
    "Survival_from_surgery_days": "survival_days",
    "Survival_Status": "survival_status",
    "Survival_Censor": "survival_censor",
    "IDH1": "idh1",
    "MGMT": "mgmt",
    "KPS": "kps",
    "GTR_over90percent": "gtr",
    "Time_since_baseline_preop": "days_since_baseline",
    "PsP_TP_score": "progression_score",
}
"""Columns of the clinical tables, versions 1.0 and 2.1, and the labels they become."""


def find(root: Path, images: Literal["stripped", "unstripped"] = "stripped") -> Listing:
    """All scans under ``root``, any nesting; ``_21`` is a later study of the patient of ``_11``.

    Args:
        root: the unpacked collection.
        images: skull-stripped sequences, or those with the skull; masks fit both.

    The mask drawn by hand is preferred to the automatic one (label ``mask`` says which). Words for
    "not known" in the clinical table give no label. Slides join the baseline study of the patient
    whom ``radiology_mapping.csv`` names.
    """
    wanted = _STRIPPED if images == "stripped" else _UNSTRIPPED
    scans: dict[str, dict[str, Path]] = {}
    masks: dict[str, dict[str, Path]] = {}
    slides: dict[str, Path] = {}
    tables: list[Path] = []
    rejections: dict[str, DataError] = {}
    for path, problem in walk(root):
        inside = str(path.relative_to(root))
        scan, mask = wanted.fullmatch(path.name), _MASK.fullmatch(path.name)
        if problem:
            rejections[inside] = problem
        elif path.suffix.lower() == ".csv":
            tables.append(path)
        elif path.suffix.lower() == ".ndpi":
            slides[path.stem] = path
        elif scan or mask:
            found = scan or mask
            assert found is not None
            part = _CHANNEL.get(found.group(2), found.group(2))
            try:
                _add((scans if scan else masks).setdefault(found.group(1), {}), part, path)
            except DataError as error:
                rejections[inside] = error

    if not scans and not masks:
        raise expected([path for path, _ in walk(root)], root, EXPECTED[images])

    clinical = _clinical(tables, root, rejections)
    pathology = _pathology(tables, slides, root, rejections)
    studies = []
    for scan_id in sorted({*scans, *masks}):
        try:
            studies.append(
                _study(
                    scan_id,
                    scans.get(scan_id, {}),
                    masks.get(scan_id, {}),
                    clinical.get(scan_id, ()),
                    pathology,
                )
            )
        except DataError as error:
            rejections[scan_id] = error

    return Listing(tuple(studies), tuple(rejections.items()))


def _add(files: dict[str, Path], part: str, path: Path) -> None:
    if path.parent.name.lower() == "old":
        raise UnsupportedError("an earlier version in a folder named old")
    if part in files:
        raise DuplicateError("the file stands twice")
    files[part] = path


def _study(
    scan: str,
    files: Mapping[str, Path],
    masks: Mapping[str, Path],
    clinical: tuple[tuple[str, str], ...],
    pathology: Mapping[str, Path],
) -> Study:
    patient, _, visit = scan.rpartition("_")
    mask = masks.get("segm") or masks.get("automated_approx_segm")
    labels = [("visit", "baseline" if visit == _BASELINE else "follow-up"), *clinical]
    if mask:
        labels.append(("mask", "manual" if "segm" in masks else "automatic"))

    sources: dict[str, Source | None] = dict.fromkeys(VIEWS)
    sources["mri"] = mri_source(files, mask)
    if visit == _BASELINE and patient in pathology:
        sources["pathology"] = Source(kind="slide", paths=(pathology[patient],), series="H&E")

    return Study(
        study_id=scan,
        patient_id=patient,
        views=tuple(sources[view] for view in VIEWS),
        labels=tuple(labels),
    )


def _clinical(
    tables: list[Path], root: Path, rejections: dict[str, DataError]
) -> dict[str, tuple[tuple[str, str], ...]]:
    table = find_table(tables, r"UPENN-GBM_clinical_info_v[\d.]+\.csv")
    if table is None:
        return {}

    try:
        rows = read_table(table)
        return {row["ID"]: _labels(row) for row in rows if row.get("ID")}
    except DataError as error:
        rejections[str(table.relative_to(root))] = error
        return {}


def _labels(row: dict[str, str]) -> tuple[tuple[str, str], ...]:
    labels: dict[str, str] = {}
    for column, name in _CLINICAL.items():
        value = row.get(column, "")
        if name not in labels and not missing(value):
            labels[name] = methylation(value) if name == "mgmt" else value

    return tuple(labels.items())


def _pathology(
    tables: list[Path], slides: dict[str, Path], root: Path, rejections: dict[str, DataError]
) -> dict[str, Path]:
    """Patient -> slide. The mapping's columns are told by what stands in them."""
    result: dict[str, Path] = {}
    table = find_table(tables, r".*radiology_mapping.*\.csv")
    if table is not None:
        try:
            for row in read_table(table):
                cells = list(row.values())
                patient = next((m for c in cells if (m := re.match(r"UPENN-GBM-\d{5}", c))), None)
                slide = next((c for c in cells if c.removesuffix(".ndpi") in slides), None)
                if patient and slide:
                    result.setdefault(patient.group(), slides[slide.removesuffix(".ndpi")])
        except DataError as error:
            rejections[str(table.relative_to(root))] = error

    used = set(result.values())
    for path in slides.values():
        if path not in used:
            rejections[str(path.relative_to(root))] = UnsupportedError(
                "no radiology_mapping.csv says whose slide this is, or its patient has another"
            )

    return result

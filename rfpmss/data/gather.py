"""The files of one patient to studies: a study a visit, the best series of each view first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from rfpmss.config import VIEWS
from rfpmss.data import nifti
from rfpmss.data.errors import DataError, DateError, IncompleteError, OwnerError, describe
from rfpmss.data.look import File
from rfpmss.data.private import pseudonym, read_report, redact
from rfpmss.data.study import Source, Study
from rfpmss.data.visits import DAYS, visits

REFERENCE = ("t1ce", "t1", "flair", "t2")
"""Of MRI series with equally many slices the first of these gives the grid."""

Candidate = tuple[int, str, Source]
"""How much there is of it, the view, the files."""
Lost = list[tuple[File, str]]
"""Files that are in no study, and why."""


def studies(
    owner: str,
    members: Sequence[File],
    names: set[str],
    salt: bytes,
    lost: Lost,
    *,
    volume: int | None = None,
    days: int | None = 30,
) -> Iterator[tuple[Study, list[File]]]:
    """The studies of one patient, each with the files of its report.

    Args:
        owner: identity of the patient; it leaves this function salted.
        members: all files of the patient.
        names: what to blank in the reports.
        salt: secret of the identifiers.
        lost: takes the files that are in no study.
        volume: which volume of 4-D NIfTI files to take.
        days: of `rfpmss.data.visits.visits`; None: all visits are one study.
    """
    groups: dict[str, list[File]] = defaultdict(list)
    for file, visit in zip(members, _visits(members, days), strict=True):
        if visit is None:
            error = OwnerError("nothing says which visit of the patient it belongs to")
            lost.append((file, describe(error)))
        else:
            groups[visit].append(file)
    examined = any(file.kind != "text" for file in members)
    for visit, files in sorted(groups.items()):
        if all(file.kind == "text" for file in files):
            lost += [(file, describe(_imageless(file, examined=examined))) for file in files]
        elif made := _study(f"{owner}\0{visit}" if visit else owner, files, salt, volume, lost):
            texts = [file for file in files if file.kind == "text"]
            patient = pseudonym(salt, "p", owner)
            report = _report(texts, names, lost)
            yield replace(made, patient_id=patient, report=report), texts


def _imageless(report: File, *, examined: bool) -> DataError:
    """Why a report has no image: the patient has none, or none near the report's date."""
    if examined and report.date is not None:
        return DateError(f"every image of the patient is more than {DAYS} days from the report")
    return IncompleteError("the report belongs to no image")


def _visits(members: Sequence[File], days: int | None) -> list[str | None]:
    if days is None:
        return [""] * len(members)
    ids = {file.patient for file in members}
    paths = [
        # A table's name says nothing of its rows, and an id may look like a date.
        PurePosixPath(*(p for p in f.relative.parts if p not in ids))
        if not f.name
        else f.place or _NOWHERE
        for f in members
    ]
    return visits(paths, [file.date for file in members], days)


_NOWHERE = PurePosixPath()


def _study(
    identity: str, members: Sequence[File], salt: bytes, volume: int | None, lost: Lost
) -> Study | None:
    """The images of one visit; None if there are none."""
    candidates = sorted(
        (*_series(members, salt), *_volumes(members, salt, volume), *_slides(members, salt)),
        key=lambda candidate: (-candidate[0], candidate[2].series),
    )
    used = {path for _, _, source in candidates for path in (*source.paths, source.mask)}
    for file in members:
        if file.kind != "text" and file.path not in used:
            error = IncompleteError("the mask has no image on the same place")
            lost.append((file, describe(error)))
    if not candidates:
        lost += [(f, describe(_imageless(f, examined=False))) for f in members if f.kind == "text"]
        return None
    best = {view: next((s for _, v, s in candidates if v == view), None) for view in VIEWS}
    return Study(
        study_id=pseudonym(salt, "s", identity),
        patient_id="",
        views=tuple(best[view] for view in VIEWS),
        others=tuple((view, s) for _, view, s in candidates if s is not best[view]),
    )


def _series(members: Sequence[File], salt: bytes) -> Iterator[Candidate]:
    """DICOM series; MRI sequences of one frame of reference are channels of one image."""
    groups: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in members:
        if file.kind == "dicom":
            groups[file.view, file.series].append(file)
    frames: dict[str, dict[str, list[File]]] = defaultdict(dict)
    rest = []
    for (view, _), files in groups.items():
        first = files[0]
        if not (view == "mri" and first.sequence and first.frame):
            rest.append((view, files))
            continue
        known = frames[first.frame]
        both = sorted((files, known.get(first.sequence, [])), key=_planes)
        known[first.sequence] = both[1]
        rest += [(view, both[0])] if both[0] else []
    for known in frames.values():
        order = sorted(known, key=lambda name: (-_planes(known[name]), REFERENCE.index(name)))
        if order:
            yield _source("mri", order, [known[name] for name in order], salt)
    for view, files in rest:
        yield _source(view, [files[0].sequence], [files], salt)


def _planes(files: Sequence[File]) -> int:
    return sum(file.planes for file in files)


def _source(view: str, names: list[str], series: list[list[File]], salt: bytes) -> Candidate:
    labels = "" if not names[0] else " ".join(names)
    source = Source(
        kind="dicom",
        paths=tuple(file.path for files in series for file in files),
        channels=tuple(names) if names[0] else (),
        parts=tuple(len(files) for files in series) if len(series) > 1 else (),
        series=" ".join(filter(None, ("DICOM", labels, pseudonym(salt, "x", series[0][0].series)))),
    )
    # An image of several sequences stands before any single one.
    return sum(map(_planes, series)) + 1_000_000 * (len(series) - 1), view, source


def _volumes(members: Sequence[File], salt: bytes, volume: int | None) -> Iterator[Candidate]:
    files = [file for file in members if file.kind == "nifti"]
    for group in nifti.bundles([(file.relative, file.view, file.sequence) for file in files]):
        mine = [files[number] for number in group.members]
        label = pseudonym(salt, "x", str(mine[0].relative))
        source = Source(
            kind="nifti",
            paths=tuple(file.path for file in mine),
            channels=group.channels,
            series=" ".join(("NIfTI", *group.channels, label)),
            volume=volume,
            mask=files[group.mask].path if group.mask is not None else None,
        )
        yield 1000 * len(mine), mine[0].view, source


def _slides(members: Sequence[File], salt: bytes) -> Iterator[Candidate]:
    """Slides and pictures; the levels of a DICOM slide are files of one series."""
    groups: dict[str, list[File]] = defaultdict(list)
    for file in members:
        if file.kind in ("slide", "image"):
            groups[file.series or str(file.relative)].append(file)
    for name, files in groups.items():
        sizes = {file.path: file.path.stat().st_size for file in files}
        kind = "slide" if files[0].kind == "slide" else "image"
        source = Source(
            kind=kind,
            paths=tuple(sorted(sizes, key=lambda path: (-sizes[path], path))),
            series=f"{kind} {pseudonym(salt, 'x', name)}",
        )
        yield sum(sizes.values()), "pathology", source


def _report(texts: Sequence[File], names: set[str], lost: Lost) -> str | None:
    parts: dict[str, None] = {}
    for file in texts:
        try:
            text = redact(file.text if file.text is not None else read_report(file.path), names)
            if not re.search(r"[^\W\d_]", text):
                raise IncompleteError("the report says nothing but who the patient is")
            parts[text] = None
        except DataError as error:
            lost.append((file, describe(error)))
    return " ".join(parts) or None

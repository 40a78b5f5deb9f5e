"""A hospital's folder, nested in any way, to studies: DICOM, NIfTI, TIFF, PNG, JPEG and texts."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rfpmss.config import VIEWS
from rfpmss.data import dicom, nifti
from rfpmss.data.errors import (
    DataError,
    DuplicateError,
    IncompleteError,
    OwnerError,
    PathError,
    UnreadableError,
    UnsupportedError,
)
from rfpmss.data.owners import Item, home, owners
from rfpmss.data.private import pseudonym, read_report, redact
from rfpmss.data.shards import Rejection, describe
from rfpmss.data.sniff import kind_of
from rfpmss.data.study import Source, Study
from rfpmss.data.volume import MAX_BYTES
from rfpmss.progress import progress

NAMES = ("PatientName", "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate")
"""DICOM fields whose values are blanked in the patient's reports."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One readable file of the source folder."""

    path: Path
    relative: PurePosixPath
    kind: str
    view: str = ""
    """One of VIEWS, ``mask`` or ``report``."""
    sequence: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    planes: int = 1
    names: tuple[str, ...] = ()
    """Identifiers of the patient."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds."""

    studies: tuple[Study, ...]
    reports: dict[str, tuple[Path, ...]]
    """The files that each study's report was read from."""
    rejections: tuple[Rejection, ...]


def scan(
    root: Path,
    salt: bytes,
    *,
    leave: Path | None = None,
    level: int = 0,
    volume: int | None = None,
    limit: int = MAX_BYTES,
) -> Found:
    """Find the studies in a folder; pixels are not decoded yet.

    All files of one patient are one study; of several series of a view, all are kept and the one
    with most slices comes first.

    Args:
        root: the folder.
        salt: secret of the identifiers, see `rfpmss.data.private.read_salt`.
        leave: a folder to stay out of, such as the output.
        level: depth of the folders that are patients, 0: by names (`rfpmss.data.owners.home`).
        volume: which volume of 4-D NIfTI files to take.
        limit: largest file, bytes.
    """
    rejections: list[Rejection] = []
    files: list[File] = []
    paths = list(walk(root, leave))
    with progress("looking at the files", total=len(paths), unit="files") as advance:
        for path in paths:
            try:
                files.append(look(path, root, limit))
            except DataError as error:
                rejections.append((path, describe(error)))
            except OSError:
                rejections.append((path, describe(UnreadableError("the file cannot be opened"))))
            advance()
    files = _once(files, rejections)
    items = [
        Item(f.relative, "text" if f.kind == "text" else f.view, f.patient, f.study) for f in files
    ]
    groups: dict[str, list[File]] = defaultdict(list)
    for file, owner in zip(files, owners(items, level), strict=True):
        if owner is None:
            rejections.append((file.path, describe(OwnerError("nothing says whose report it is"))))
        else:
            groups[owner].append(file)
    studies, reports = [], {}
    for owner, members in groups.items():
        if study := _study(owner, members, salt, level, volume, rejections):
            studies.append(study)
            reports[study.study_id] = tuple(f.path for f in members if f.kind == "text")
    studies.sort(key=lambda study: study.study_id)
    return Found(studies=tuple(studies), reports=reports, rejections=tuple(rejections))


def walk(root: Path, leave: Path | None = None) -> Iterator[Path]:
    """All files below ``root`` in the order of their names; linked folders are not entered."""
    out = leave.resolve() if leave else None
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if (here / name).resolve() != out or out is None
        )
        yield from (here / name for name in sorted(names))
        yield from (here / name for name in folders if (here / name).is_symlink())


def look(path: Path, root: Path, limit: int = MAX_BYTES) -> File:
    """Tell what one file is; only headers are read.

    Raises:
        DataError: if it cannot be used.
    """
    if path.is_symlink():
        raise PathError("the file is a link")
    if not path.is_file():
        raise UnsupportedError("it is no plain file")
    relative = PurePosixPath(path.relative_to(root).as_posix())
    file = File(path=path, relative=relative, kind=kind_of(path))
    if file.kind == "dicom":
        return _dicom(file, limit)
    if file.kind == "nifti":
        view, sequence = nifti.view_of(path, relative, limit)
        return replace(file, view=view, sequence=sequence)
    return replace(file, view="report" if file.kind == "text" else "pathology")


def _dicom(file: File, limit: int) -> File:
    data = dicom.read_file(file.path, limit, pixels=False)
    try:
        modality = str(data.get("Modality", "") or "").upper()
        fields = {
            name: str(data.get(name, "") or "").strip()
            for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        names = tuple(text for name in NAMES if (text := str(data.get(name, "") or "").strip()))
        told = " ".join(str(data.get(n, "") or "") for n in ("SeriesDescription", "ProtocolName"))
        contrast = bool(str(data.get("ContrastBolusAgent", "") or "").strip())
        image = data.get("Rows") is not None
    except Exception:
        raise UnreadableError("the DICOM header holds values that cannot be") from None
    if not image:
        raise UnsupportedError("the DICOM file holds no image")
    if modality not in ("CT", "MR"):
        shown = modality if re.fullmatch("[A-Z]{1,16}", modality) else "not given"
        raise UnsupportedError(f"the modality is {shown}, neither CT nor MR")
    planes = dicom.frames(data, limit, pixels=False)
    if not fields["SeriesInstanceUID"]:
        raise UnreadableError("the image does not say which series it belongs to")
    return replace(
        file,
        view="ct" if modality == "CT" else "mri",
        sequence=nifti.sequence_of(told, contrast=contrast) if modality == "MR" else "",
        patient=fields["PatientID"],
        study=fields["StudyInstanceUID"] or fields["SeriesInstanceUID"],
        series=fields["SeriesInstanceUID"],
        instance=fields["SOPInstanceUID"],
        planes=len(planes),
        names=names,
    )


def _once(files: Sequence[File], rejections: list[Rejection]) -> list[File]:
    """Each DICOM instance one time; a copy in another compression is the same instance."""
    seen: set[str] = set()
    result = []
    for file in files:
        if file.instance and file.instance in seen:
            error = DuplicateError("the same DICOM instance stands in another file")
            rejections.append((file.path, describe(error)))
            continue
        seen.add(file.instance)
        result.append(file)
    return result


def _study(
    owner: str,
    members: Sequence[File],
    salt: bytes,
    level: int,
    volume: int | None,
    rejections: list[Rejection],
) -> Study | None:
    """All files of one owner as a study; None if there is no image among them."""
    texts = [file for file in members if file.kind == "text"]
    candidates = sorted(
        (*_series(members, salt), *_volumes(members, salt, volume), *_slides(members, salt)),
        key=lambda candidate: (-candidate[0], candidate[2].series),
    )
    used = {path for _, _, source in candidates for path in (*source.paths, source.mask)}
    for file in members:
        if file.kind != "text" and file.path not in used:
            error = IncompleteError("the mask has no image on the same place")
            rejections.append((file.path, describe(error)))
    if not candidates:
        error = IncompleteError("the report belongs to no image")
        rejections += [(file.path, describe(error)) for file in texts]
        return None
    best = {view: next((s for _, v, s in candidates if v == view), None) for view in VIEWS}
    others = tuple((view, s) for _, view, s in candidates if s is not best[view])
    return Study(
        study_id=pseudonym(salt, "s", owner),
        patient_id=pseudonym(salt, "p", owner),
        views=tuple(best[view] for view in VIEWS),
        others=others,
        report=_report(texts, _names(owner, members, level), rejections),
    )


Candidate = tuple[int, str, Source]
"""How much there is of it, the view, the files."""


def _series(members: Sequence[File], salt: bytes) -> Iterator[Candidate]:
    groups: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in members:
        if file.kind == "dicom":
            groups[file.view, file.series].append(file)
    for (view, series), files in groups.items():
        sequence = files[0].sequence
        source = Source(
            kind="dicom",
            paths=tuple(file.path for file in files),
            channels=(sequence,) if sequence else (),
            series=" ".join(filter(None, ("DICOM", sequence, pseudonym(salt, "x", series)))),
        )
        yield sum(file.planes for file in files), view, source


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
    for file in members:
        if file.kind in ("slide", "image"):
            label = pseudonym(salt, "x", str(file.relative))
            source = Source(
                kind="slide" if file.kind == "slide" else "image",
                paths=(file.path,),
                series=f"{file.kind} {label}",
            )
            yield file.path.stat().st_size, "pathology", source


def _names(owner: str, members: Sequence[File], level: int) -> set[str]:
    """Everything that names the patient; of folders and files only what holds a digit."""
    names = {name for file in members for name in file.names}
    folders = {part for file in members for part in home(file.relative, level)}
    names |= {part for part in folders if any(letter.isdigit() for letter in part)}
    tail = owner.partition(":")[2].rpartition("/")[2]
    return names | ({tail} if any(letter.isdigit() for letter in tail) else set())


def _report(texts: Sequence[File], names: set[str], rejections: list[Rejection]) -> str | None:
    parts = []
    for file in texts:
        try:
            text = redact(read_report(file.path), names)
            if not text:
                raise IncompleteError("the report says nothing but who the patient is")
            parts.append(text)
        except DataError as error:
            rejections.append((file.path, describe(error)))
    return " ".join(parts) or None

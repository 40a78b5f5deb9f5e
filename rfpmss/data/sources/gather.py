"""The files of one patient to studies: a study a visit, the best series of each view first."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from rfpmss.config import VIEWS
from rfpmss.data.errors import (
    ADD,
    IS_ONE,
    SAY,
    VISIT,
    WHEN,
    WRITTEN,
    DataError,
    DateError,
    IncompleteError,
    LocalizerError,
    Notice,
    OwnerError,
    UnusedError,
    describe,
)
from rfpmss.data.identity.visits import DAYS, Dated, settled, visits
from rfpmss.data.privacy.language.gate import Gate
from rfpmss.data.privacy.private import pseudonym, read_report, redact
from rfpmss.data.readers import masks, nifti
from rfpmss.data.readers.dicom import segments
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.series import distance, grid_of, largest
from rfpmss.data.readers.file import FOLDER_MAPPED, File
from rfpmss.data.readers.formats import read_volume
from rfpmss.data.readers.masks import BRAIN, HEAD, TUMOUR, UNNAMED
from rfpmss.data.readers.naming import home_of, stem_of
from rfpmss.data.readers.text.documents import SCAN
from rfpmss.data.readers.volume import Volume
from rfpmss.data.reports.examined import text_of_another_part
from rfpmss.data.study import Source, Study

REFERENCE = ("t1ce", "t1", "flair", "t2")
"""Of MRI series that are otherwise equal the first of these gives the grid."""

SURVEY = 6
"""First number of an `Order`."""
Order = tuple[int, ...]
"""Sorts the series of a view, the best first:

0. named brain sequences (every CT that is not perfusion or the like), then those of a part of the
   head, then unnamed ones, then those that are recognised as something else: diffusion, perfusion,
   maps, projections, angiography; surveys stand for a view only where nothing else does;
1. more channels; 2. with a tumour mask;
3. the whole head before a part of it; 4. original before derived; 5. soft before bone kernel;
6. more slices of the largest stack; 7. 3-D before 2-D; NIfTI of fewer words in the name first.
"""
Candidate = tuple[Order, str, Source]
"""How it sorts, the view, the files."""
Lost = list[tuple[File, str]]
"""Files that are in no study, and why."""


@dataclass(frozen=True, kw_only=True)
class How:
    """What the user chose about volumes, visits and reports."""

    volume: int | None = None
    """Which volume of 4-D NIfTI files to take."""
    days: int | None = DAYS
    """Examinations at most so far apart are one visit; None: all are."""
    gate: Gate = field(default_factory=Gate)
    """Which languages of reports are taken."""


def studies(
    owner: str,
    members: Sequence[File],
    names: set[str],
    salt: bytes,
    lost: Lost,
    how: How,
    *,
    untold: bool = False,
) -> Iterator[tuple[Study, list[File]]]:
    """The studies of one patient, each with the files of its report.

    Args:
        owner: identity of the patient; it leaves this function salted.
        members: all files of the patient.
        names: what to blank in the reports.
        salt: secret of the identifiers.
        lost: takes the files that are in no study.
        how: the choices of the user.
        untold: the patient is one by the names of texts alone, while others have images.
    """
    groups: dict[str, list[File]] = defaultdict(list)
    dated = any(file.date is not None for file in members if file.kind != "text")
    for file, visit in zip(members, _visits(members, how.days), strict=True):
        if visit is None:
            lost.append((file, describe(_whenless(file, dated=dated))))
        else:
            groups[visit].append(file)

    examined = any(file.kind != "text" for file in members)
    for visit, files in sorted(groups.items()):
        if all(file.kind == "text" for file in files):
            lost += [
                (file, describe(_imageless(file, examined=examined, untold=untold)))
                for file in files
            ]
        elif made := _study(f"{owner}\0{visit}" if visit else owner, files, salt, how.volume, lost):
            texts = [file for file in files if file.kind == "text"]
            patient = pseudonym(salt, "p", owner)
            report = _report(texts, names, how.gate, lost)
            yield replace(made, patient_id=patient, report=report), texts


def _whenless(file: File, *, dated: bool) -> DataError:
    """Why a file belongs to no visit for certain; ``dated``: images of the patient are."""
    if file.unread:
        return DateError("the date of the row is none, or may be two days", WRITTEN)
    what = "nothing says which visit of the patient it belongs to"
    if file.date is not None and not dated:
        what = "it has a date and the patient's images have none, so that its visit cannot be told"
    if file.name:
        return OwnerError(what, WHEN)
    return OwnerError(what, VISIT if file.kind == "text" else None)


def _imageless(report: File, *, examined: bool, untold: bool = False) -> DataError:
    """Why a report has no image: the patient has none, none near its date, or is not known."""
    if examined and report.date is not None:
        return DateError(f"every image of the patient is more than {DAYS} days from the report")
    if examined and report.unread:
        return DateError("the date of the row is none, or may be two days", WRITTEN)
    if examined and report.timed:
        return OwnerError("no image of the patient is of the time that the column names", ADD)
    if untold:
        return OwnerError("the report is named after no patient with images")

    return IncompleteError("the report belongs to no image")


def _visits(members: Sequence[File], days: int | None) -> list[str | None]:
    if days is None:
        return [""] * len(members)
    examined = {file.date for file in members if file.kind != "text" and file.date is not None}
    members = [_settled(file, examined) for file in members]
    again = _again(members)
    reports = Counter(file.relative.parent for file in members if file.kind == "text")
    return visits(
        [
            Dated(
                file.relative,
                file.date,
                "unnamed" if _bare(file) and _first(file, again, reports) else file.label,
                file.phase,
                file.study,
                report=file.kind == "text",
                weak=file.weak,
            )
            for file in members
        ],
        days,
    )


def _settled(file: File, examined: Collection[int]) -> File:
    """A report whose name holds a date of uncertain order, with the day of an examination."""
    if file.kind != "text" or file.date is not None or file.unread:
        return file
    day = settled(file.relative.name, examined)
    if day is None:
        return file
    return replace(file, date=day, label="" if file.label.startswith("date ") else file.label)


def _bare(file: File) -> bool:
    """An image or a report of which nothing tells the time."""
    return file.kind in ("nifti", "text") and file.date is None and not (file.label or file.phase)


def _first(
    file: File, again: Container[PurePosixPath], reports: Mapping[PurePosixPath, int]
) -> bool:
    """Whether a file without a time is of the visit whose images lie in the same folder.

    So is the only report there; one of several may be that of the visit below.
    """
    folder = file.relative.parent
    return folder in again and (file.kind != "text" or reports[folder] == 1)


def _again(members: Sequence[File]) -> set[PurePosixPath]:
    """Folders with images of no time point that are a visit of their own.

    ``P1/t1.nii`` beside ``P1/visit 2/t1.nii`` is the first visit, and not a part of the second; so
    is ``P1/flair.nii``, unless there is a ``visit 1``.
    """
    timed = [file for file in members if file.view in VIEWS and (file.label or file.phase)]
    named = {(file.view, file.sequence) for file in timed}
    later = bool(timed) and all(_LATER.fullmatch(file.label or file.phase) for file in timed)
    return {
        file.relative.parent
        for file in members
        if _bare(file) and file.view in VIEWS and (later or (file.view, file.sequence) in named)
    }


_LATER = re.compile(
    r"(?:visit|session|timepoint|scan|exam|study) (?:[2-9]|[1-9]\d+)[a-z]?"
    r"|(?:(?:post-op|follow-up|control) )?(?:week|month|day|year) [1-9]\d*.*"
    r"|(?:.* )?(?:post-op|follow-up|control|recurrence|progression|post-treatment)(?: .*)?"
)
"""Time points before which there was another one."""


def _study(
    identity: str, members: Sequence[File], salt: bytes, volume: int | None, lost: Lost
) -> Study | None:
    """The images of one visit; None if there are none."""
    candidates = sorted(
        _masked(
            [
                *_series(members, salt, volume),
                *_volumes(members, salt, volume),
                *_slides(members, salt),
            ],
            members,
        ),
        key=lambda candidate: (candidate[0], candidate[2].series),
    )
    lost += _idle(members, candidates)
    candidates = _without_surveys(candidates, members, lost)
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


def _masked(candidates: list[Candidate], members: Sequence[File]) -> Iterator[Candidate]:
    """Give the tumour masks that no name claims to the images on whose grid they lie.

    The only one of a visit goes with all of them, whatever they are called.
    """
    used = {source.mask for _, _, source in candidates}
    every = [file for file in members if file.view == TUMOUR]
    free = [file for file in every if file.path not in used]
    free.sort(key=lambda file: masks.rank(stem_of(file.relative)))
    only = every if len(every) == 1 else []

    for order, view, source in candidates:
        mask = source.mask
        mine = free or (only if mask is None else [])
        if mine and source.kind in ("nifti", "dicom") and (mask is None or _whole(mask, source)):
            grids = _grids(source)
            frames = {file.frame for file in members if file.path in source.paths} - {""}
            mine = [f for f in mine if _fits(f, source, grids, frames)]
            seen = [f.path for f in mine if len(mine) == 1 or not _whole(f.path, source)]
            mask = next(iter(seen), mask or next((f.path for f in mine), None))

        yield (*order[:2], int(mask is None), *order[3:]), view, replace(source, mask=mask)


def _whole(path: Path, source: Source) -> bool:
    """Whether the values of a mask are those of one of most of the head; see `masks.is_whole`."""
    try:
        mask = read_volume(path)
        image = read_volume(source.paths[0]) if source.kind == "nifti" else None
    except DataError:
        return False  # told when the image is decoded

    name = "/".join(path.parts[-3:])
    return masks.is_whole(replace(mask, array=masks.tumour(mask.array, name)), image)


def _fits(mask: File, source: Source, grids: Sequence[Volume], frames: set[str]) -> bool:
    """Whether a mask lies on one of the grids; a DICOM one also in their frame of reference."""
    if mask.kind != "seg":
        return nifti.same_place(mask.path, grids)
    if source.kind != "dicom" or (mask.frame and frames and mask.frame not in frames):
        return False

    grid = segments.grid_of(mask.path)
    return grid is not None and segments.lies_on(grid, grids)


def _without_surveys(
    candidates: list[Candidate], members: Sequence[File], lost: Lost
) -> list[Candidate]:
    """Leave surveys out where the view has another series, even one that may fail to decode."""
    there = {view for order, view, _ in candidates if order[0] < SURVEY}
    kept = []
    for order, view, source in candidates:
        if order[0] < SURVEY or view not in there:
            kept.append((order, view, source))
            continue
        reason = describe(LocalizerError("the series is a scout or survey"))
        lost += [(file, reason) for file in members if file.path in source.paths]

    return kept


def _grids(source: Source) -> list[Volume]:
    """The grids of a source's series, by headers alone."""
    if source.kind == "nifti":
        return [grid for path in set(source.paths) if (grid := nifti.grid_of(path))]

    found, start = [], 0
    for count in source.parts or (len(source.paths),):
        planes = []
        for path in source.paths[start : start + count]:
            try:
                planes += dicom.frames(dicom.read_file(path, pixels=False), pixels=False)
            except DataError:
                continue  # told when the series is decoded

        start += count
        if grid := grid_of(planes):
            found.append(grid)

    return found


def _idle(members: Sequence[File], candidates: Sequence[Candidate]) -> Iterator[tuple[File, str]]:
    """Files that belong to no image, each with the reason."""
    sources = [source for _, _, source in candidates]
    used = {path for source in sources for path in (*source.paths, source.mask)}
    for file in members:
        if file.kind == "text" or file.path in used:
            continue
        error: DataError = IncompleteError("no image of the patient lies on the grid of the mask")
        if file.view == BRAIN:
            why = masks.why_not(masks.words_of(stem_of(file.relative)))
            shown = "a mask of the brain or another part is none of the tumour"
            error = UnusedError(f"the mask shows {why}" if why else shown)
        elif file.view == UNNAMED:
            error = UnusedError("a mask, and its name does not say of what", SAY)
        elif not any(source.kind in ("nifti", "dicom") for source in sources):
            error = IncompleteError("the patient has no image that the mask could belong to")
        elif fits := [s for s in sources if s.mask and _fits(file, s, _grids(s), set())]:
            whole = file.kind == "nifti" and any(_whole(file.path, s) for s in fits)
            error = UnusedError(HEAD if whole else "another mask of the same image is used")

        yield file, describe(error)


def _series(members: Sequence[File], salt: bytes, volume: int | None) -> Iterator[Candidate]:
    """DICOM series; MRI sequences of one frame of reference are channels of one image."""
    groups: dict[tuple[str, ...], list[File]] = defaultdict(list)
    for file in members:
        if file.kind == "dicom":
            # A phase image, or a second echo, is of the same series and of another kind.
            apart = file.sequence or "none" if file.told in ("image type", "timing") else ""
            groups[file.view, file.series, apart].append(file)

    frames: dict[tuple[str, int], dict[str, list[File]]] = defaultdict(dict)
    rest = []
    for (view, *_), files in groups.items():
        first = files[0]
        if not (view == "mri" and first.sequence and first.frame):
            rest.append((view, files))
            continue
        known = frames[first.frame, _preference(files)[0]]  # orbits are no channel of a brain
        both = sorted((files, known.get(first.sequence, [])), key=_preference)
        known[first.sequence] = both[0]
        rest += [(view, both[1])] if both[1] else []

    for known in frames.values():
        order = sorted(
            known, key=lambda name: (_preference(known[name])[:-1], REFERENCE.index(name))
        )
        if order:
            yield _source("mri", order, [known[name] for name in order], salt, volume)

    for view, files in rest:
        yield _source(view, [files[0].sequence], [files], salt, volume)


def _preference(files: Sequence[File]) -> Order:
    """Of several series of one sequence the lowest is taken; no files at all come last."""
    if not files:
        return (1 << 30,)
    _, part, derived, sharp, flat = files[0].demerits or (0,) * 5
    return part, derived, sharp, -slices(files), flat


def slices(files: Sequence[File]) -> int:
    """Slices of the largest stack of a series."""
    if len(files) > 1 and all(file.spot for file in files):
        return largest([file.spot for file in files])
    return sum(file.planes for file in files)


def _source(
    view: str, names: list[str], series: list[list[File]], salt: bytes, volume: int | None
) -> Candidate:
    labels = "" if not names[0] else " ".join(names)
    source = Source(
        kind="dicom",
        paths=tuple(file.path for files in series for file in files),
        channels=tuple(names) if names[0] else (),
        parts=tuple(len(files) for files in series) if len(series) > 1 else (),
        shows="" if names[0] else series[0][0].shows,
        frame=series[0][0].frame,
        volume=volume,
        series=" ".join(filter(None, ("DICOM", labels, pseudonym(salt, "x", series[0][0].series)))),
    )
    known = (series[0][0].demerits or (int(view == "mri" and not names[0]),))[0]
    part = _preference(series[0])[0]
    return (2 * known + part, -len(series), 1, *_preference(series[0])), view, source


def _volumes(members: Sequence[File], salt: bytes, volume: int | None) -> Iterator[Candidate]:
    files = [file for file in members if file.kind == "nifti"]
    found = nifti.bundles([(file.relative, file.view, file.sequence) for file in files])
    for group in nifti.merged(found, [file.path for file in files], [*map(_home, files)]):
        mine = [files[number] for number in group.members]
        label = pseudonym(salt, "x", str(mine[0].relative))
        frames = tuple(file.volume for file in mine if file.volume is not None)
        source = Source(
            kind="nifti",
            paths=tuple(file.path for file in mine),
            channels=group.channels,
            shows="" if group.channels else mine[0].shows,
            series=" ".join(("NIfTI", *group.channels, label)),
            volume=volume,
            frames=frames if len(frames) == len(mine) else (),
            mask=files[group.mask].path if group.mask is not None else None,
        )
        part = int(nifti.shows_part(mine[0].relative))
        known = 0
        if mine[0].view != "ct" and not group.channels:
            known = distance(mine[0].shows)
        words = len(re.findall(r"[^\W_]+", stem_of(mine[0].relative)))  # T1 before T1_bias
        order = (2 * known + part, -len(mine), int(source.mask is None), part, 0, 0, -1000, words)
        yield order, mine[0].view, source


def _home(file: File) -> str:
    """Where a file lies but for the folders that name its sequence."""
    named = file.told == FOLDER_MAPPED
    return home_of(file.relative.parent if named else file.relative)


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
        yield (0, -1, 0, 0, 0, 0, -sum(sizes.values()), 0), "pathology", source


def _report(texts: Sequence[File], names: set[str], gate: Gate, lost: Lost) -> str | None:
    parts: dict[str, None] = {}
    for file in texts:
        try:
            said = file.text if file.text is not None else read_report(file.path)
            gate.check(said)
            text = redact(said, names)
            if not re.search(r"[^\W\d_]", text):
                raise IncompleteError("the report says nothing but who the patient is")
            if "mapping" not in file.told and text_of_another_part(text):
                raise OwnerError("the report is of another part of the body", IS_ONE)
            parts[text] = None
            if file.note:
                lost.append((file, describe(Notice(file.note, SCAN))))
        except DataError as error:
            lost.append((file, describe(error)))

    return " ".join(parts) or None

"""A hospital's folder, nested in any way, to studies with images and reports."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from rfpmss.common.progress import progress
from rfpmss.data.cohort.counts import reasons
from rfpmss.data.cohort.shards import Rejection, series
from rfpmss.data.errors import (
    ROW,
    TEXT,
    BombError,
    DataError,
    DuplicateError,
    EmptyError,
    GeometryError,
    Notice,
    OwnerError,
    UnforeseenError,
    UnreadableError,
    UnusedError,
    describe,
)
from rfpmss.data.identity.known import Known
from rfpmss.data.identity.layout.place import Place
from rfpmss.data.identity.leave import about_people, left_out, of_system
from rfpmss.data.identity.mapping import Words
from rfpmss.data.identity.names.person import WORD, rank
from rfpmss.data.identity.numbered import stem
from rfpmss.data.identity.owners.assign import Owned, assign
from rfpmss.data.identity.owners.item import Item, key, naming, visit_of
from rfpmss.data.identity.reading import Patient, Reading, read_back
from rfpmss.data.privacy.private import pseudonym
from rfpmss.data.privacy.unlabelled.rare import Rare, settle
from rfpmss.data.readers.dicom.slices import one_day, regroup, sparse, strays
from rfpmss.data.readers.file import File
from rfpmss.data.readers.look import look
from rfpmss.data.readers.nifti import processed, variant
from rfpmss.data.readers.sniff import REPORT_NAMES, SCANNER_NAMES, UNKNOWN
from rfpmss.data.readers.volume import MAX_BYTES
from rfpmss.data.reports.labels import Identities
from rfpmss.data.reports.mentions import Mentions
from rfpmss.data.reports.rows import known_of, reports_of
from rfpmss.data.reports.worksheet import LISTS_IMAGES, NO_REPORTS
from rfpmss.data.sources.gather import How, Lost, studies
from rfpmss.data.study import Study


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds."""

    studies: tuple[Study, ...]
    reports: dict[str, tuple[Path, ...]]
    """The files that each study's report was read from."""
    rejections: tuple[Rejection, ...]
    guesses: tuple[tuple[str, str, int], ...] = ()
    """What was taken for what, by what, and how often; free of names."""
    report_count: int = 0
    """Reports that were found, those in no study as well."""
    reports_left_out: tuple[tuple[str, int], ...] = ()
    """Why reports are in no study, in words, and how many of them."""
    reading: Reading = field(default_factory=Reading)
    """How folders and files were read as patients and visits; free of names."""
    doubt: str = ""
    """Why they can be read in two ways, with the way out; such a source is not prepared."""
    identities: Identities | None = field(default=None, repr=False)
    """Whose the studies are, in plain names; it is never written."""
    words: tuple[Rare, ...] = field(default=(), repr=False)
    """Words of the reports that may be names; they are written for the owner alone."""
    salt: bytes | None = field(default=None, repr=False)
    """With it the paths of refused files are kept apart; None: they name nobody."""

    def settled(self, choice: Mapping[str, bool] | None = None) -> Found:
        """Without the words that may be names; see `rfpmss.data.privacy.unlabelled.rare.settle`."""
        studies, words = settle(self.studies, choice)
        return replace(self, studies=tuple(studies), words=tuple(words))


def scan(
    root: Path,
    salt: bytes,
    *,
    leave: Path | None = None,
    level: int = 0,
    limit: int = MAX_BYTES,
    words: Words | None = None,
    how: How | None = None,
) -> Found:
    """Find the studies in a folder; pixels are not decoded yet.

    All files of one visit of one patient are one study; of several series of a view, all are kept
    and the one with most slices comes first.

    Args:
        root: the folder.
        salt: secret of the identifiers, see `rfpmss.data.privacy.private.read_salt`.
        leave: a folder to stay out of, such as the output.
        level: depth of the folders that are patients, 0: to be found (`identity.layout`).
        limit: largest file, bytes.
        words: of the mapping file; None: guess everything.
        how: further choices.
    """
    words, how = words or Words(), how or How()
    rejections: list[Rejection] = []
    lost: Lost = []
    files, tables, ignored = _usable(root, leave, limit, words, rejections)

    owned = assign([_item(file, words, level) for file in files], level)
    files = [_timed(file, place) for file, place in zip(files, owned.places, strict=True)]
    files = [replace(f, study=owned.exams.get(n, f.study)) for n, f in enumerate(files)]

    known = known_of(files, owned, words)
    members = list(zip(files, owned.owners, owned.places, strict=True))
    for row, owner in _rows(tables, words, known, how.days, lost, rejections):
        members.append((row, owner, Place()))

    groups = _groups(members, owned, Mentions.of(known, owned.kin), lost)
    made = _make(groups, owned, lost, salt, level, how)

    notes = (*owned.notes, *_doubled(made.studies), *_ignored(ignored))
    unread = _unread_reports(rejections)
    rejections += _rejected(lost)
    return Found(
        studies=tuple(made.studies),
        reports=made.reports,
        rejections=tuple(rejections),
        guesses=_guesses([file for file, _, _ in members]),
        report_count=sum(file.kind == "text" for file, _, _ in members) + len(unread),
        reports_left_out=_left_out([*(r for f, r in lost if f.kind == "text"), *unread]),
        reading=read_back(made.patients, notes, len(set(owned.kin) & set(groups))),
        doubt=owned.doubt,
        identities=Identities(known=known, owners=made.whose, days=_days(made.studies, files)),
        salt=salt,
    )


def _usable(
    root: Path, leave: Path | None, limit: int, words: Words, rejections: list[Rejection]
) -> tuple[list[File], list[File], int]:
    """Files of images and reports in order, tables, and how many are operating systems'."""
    files, unread, ignored = _look_at_all(root, leave, limit, words, rejections)
    files, notices = regroup(_once(files, rejections))
    files, others = strays(files)
    files, gaps = sparse(one_day(files), unread)

    rejections += [(path, describe(error)) for path, error in notices]
    rejections += [(file.path, describe(error)) for file, error in (*others, *gaps)]
    files.sort(key=_order)

    tables = [file for file in files if file.kind == "table"]
    return [file for file in files if file.kind != "table"], tables, ignored


@dataclass
class _Made:
    """Studies by their identifier, with the files of their reports and their owners."""

    studies: list[Study] = field(default_factory=list)
    reports: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    whose: dict[str, str] = field(default_factory=dict)
    patients: list[Patient] = field(default_factory=list)


def _make(
    groups: Mapping[str, list[tuple[File, Place]]],
    owned: Owned,
    lost: Lost,
    salt: bytes,
    level: int,
    how: How,
) -> _Made:
    """The studies of every patient; what belongs to none of them is lost."""
    made = _Made()
    shared = _shared(groups, owned.kin)
    pictured = any(file.kind != "text" for both in groups.values() for file, _ in both)

    for owner, both in groups.items():
        mine = [file for file, _ in both]
        names = _names(owner, both, shared)
        untold = pictured and _untold(owner, both, level)
        visits = list(studies(owner, mine, names, salt, lost, how, untold=untold))
        if visits:
            known_by = _KNOWN_BY[owner.partition(":")[0]]
            made.patients.append(Patient(known_by, len(visits), both))

        kin = pseudonym(salt, "k", owned.kin[owner]) if owner in owned.kin else ""
        for study, texts in visits:
            made.studies.append(replace(study, kin=kin))
            made.reports[study.study_id] = tuple(dict.fromkeys(file.path for file in texts))
            made.whose[study.study_id] = owner

    made.studies.sort(key=lambda study: study.study_id)
    return made


def _unread_reports(rejections: Sequence[Rejection]) -> list[str]:
    """Why files that may have been reports were refused."""
    return [
        reason
        for path, reason in rejections
        if path.suffix.lower() in REPORT_NAMES
        and not any(what in reason for what in (NO_REPORTS, LISTS_IMAGES))
        and not reason.startswith(UnusedError.__name__)
    ]


def _doubled(studies: Sequence[Study]) -> Iterator[str]:
    """Visits with several sequences twice in one folder, which may be two examinations."""
    count = 0
    for study in studies:
        sets: dict[Path, list[tuple[set[str], set[str]]]] = defaultdict(list)
        for source in (*filter(None, study.views), *(source for _, source in study.others)):
            if source.kind == "nifti" and source.channels:
                words = set(variant(stem(PurePosixPath(source.paths[0].name))))
                sets[source.paths[0].parent].append((set(source.channels), words))
        count += any(
            len(one[0] & other[0]) > 1 and not processed(one[1] ^ other[1])
            for found in sets.values()
            for n, one in enumerate(found)
            for other in found[:n]
        )

    if count:
        yield (
            f"{count} {'visit has' if count == 1 else 'visits have'} several sequences twice in "
            "one folder, and no name says when; training takes one set of them: if they are two "
            "examinations, put each into a folder of its own, named after its time"
        )


def _ignored(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} {'file' if count == 1 else 'files'} of operating systems and file servers "
            "(such as ._*, .DS_Store, Thumbs.db) were not read"
        )


def _groups(
    members: Sequence[tuple[File, str | None, Place]],
    owned: Owned,
    mentions: Mentions,
    lost: Lost,
) -> dict[str, list[tuple[File, Place]]]:
    """The files of each patient; those of nobody are lost."""
    groups: dict[str, list[tuple[File, Place]]] = defaultdict(list)
    unusable = {id(file) for file, _ in lost}
    labels: dict[str, set[str]] = defaultdict(set)
    for file, owner, _ in members:
        if owner is not None and file.kind != "text":
            labels[owner] |= {file.label, file.phase}

    paths = {file.relative: file for file, _, _ in members if not file.name}
    for number, (file, owner, place) in enumerate(members):
        if id(file) in unusable:
            continue
        if number in owned.shared:
            error = OwnerError("its PatientID stands for people of different birth dates or sexes")
            lost.append((file, describe(error)))
        elif number in owned.above:
            error = OwnerError("it lies in no folder at the depth of the patients' folders")
            lost.append((file, describe(error)))
        elif number in owned.torn:
            error = OwnerError("its name, or its name and its folder, fit two patients")
            lost.append((file, describe(error)))
        elif file.kind == "text" and (error := _of_others(file, owner, owned, mentions)):
            lost.append((file, describe(error)))
        elif owner is None:
            error = OwnerError("nothing says whose report it is", ROW if file.name else None)
            lost.append((file, describe(error)))
        else:
            groups[owner].append((_row(file, paths, labels[owner]), place))

    return groups


def _of_others(
    file: File, owner: str | None, owned: Owned, mentions: Mentions
) -> OwnerError | None:
    """Why a report may be that of another patient: its text names one by number."""
    named = mentions.named(file)
    if len(named) > 1:
        return OwnerError(
            "its text holds the numbers of several patients of the cohort: no report of one",
            "give the report of each patient a file of its own, or a row of a table",
        )
    if owner is not None and named - {owned.kin.get(owner, owner)}:
        return OwnerError("its text holds the number of another patient of the cohort", TEXT)

    return None


def _days(studies: Sequence[Study], files: Sequence[File]) -> dict[str, frozenset[int]]:
    """The dates of each study's images."""
    dates = {file.path: file.date for file in files if file.date is not None}
    return {
        study.study_id: frozenset(
            dates[path] for view in series(study).values() for path in view.paths if path in dates
        )
        for study in studies
    }


def _order(file: File) -> tuple[object, ...]:
    """DICOM after its own dates and numbers: the same wherever the files lie; others by path."""
    if not file.instance:
        return (False,)
    return True, file.date or 0, file.study, file.series, file.instance


_KNOWN_BY = {
    "id": "PatientID",
    "folder": "folder",
    "name": "file name",
    "study": "StudyInstanceUID",
}


def _row(row: File, files: Mapping[PurePosixPath, File], labels: set[str]) -> File:
    """A row of a table with the time of the image whose name it gives; its own path says none.

    A time point that its columns name counts where an image of the patient has it, or one of the
    same count: ``timepoint 2`` is no report of ``timepoint 1``, nor ``visit 2`` of a ``baseline``.
    """
    if row.timed or (row.name and row.phase and labels - {""}):
        return row

    image = files.get(row.place) if row.place else None
    if image is None:
        count, _, number = row.label.partition(" ")
        others = {label.partition(" ")[0] for label in labels if label}
        apart = count in others or (others and number not in ("", "0", "1"))
        known = not row.name or row.label in labels or apart
        return row if known else replace(row, label="", phase="")

    date = row.date if row.date is not None else image.date
    return replace(row, date=date, label=image.label, phase=image.phase, weak=image.weak)


def _timed(file: File, place: Place) -> File:
    """The file with the time that its path tells, or else its PatientID."""
    told = () if place.label else visit_of(file.patient)
    if file.told == "folder name" and file.sequence and _is_time(file.relative, place):
        file = replace(file, sequence="", told="nothing")
    return replace(
        file,
        date=file.date if file.date is not None else place.day,
        label=place.label or " ".join(time.label for time in told),
        phase=place.phase or next((t.phase for t in told if t.phase), file.phase),
        weak=place.weak and not told,
    )


def _is_time(path: PurePosixPath, place: Place) -> bool:
    """Whether a folder ``T1`` or ``T2`` that would name the sequence is the time point."""
    folders = (folder.name.lower() for folder in path.parents[:-1])
    tee = next((f for f in folders if re.fullmatch(r"t\d", f)), "")
    return bool(tee) and f"timepoint {tee[1:]}" in {time.label for time in place.times}


def walk(root: Path, leave: Path | None = None) -> Iterator[Path]:
    """All files below ``root`` in the order of their names; linked folders are not entered.

    The parts of a slide that stands in several files are left to the file that names them.
    """
    out = leave.resolve() if leave else None
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        slides = {Path(n).stem for n in names if n.lower().endswith(SCANNER_NAMES)}
        folders[:] = sorted(
            name
            for name in folders
            if name not in slides and ((here / name).resolve() != out or out is None)
        )
        yield from (here / name for name in sorted(names))
        yield from (here / name for name in folders if (here / name).is_symlink())


_UNREAD = (UnreadableError, UnforeseenError, GeometryError, BombError)


def _look_at_all(
    root: Path, leave: Path | None, limit: int, words: Words, rejections: list[Rejection]
) -> tuple[list[File], list[PurePosixPath], int]:
    """What can be used, what may be an image but has no readable header, and how many to ignore."""
    files: list[File] = []
    unread: list[PurePosixPath] = []
    found = list(walk(root, leave))
    paths = [path for path in found if not _of_system(path, root)]
    if not paths:
        raise EmptyError("SRC holds no files")

    left = left_out([PurePosixPath(path.relative_to(root)) for path in paths])
    with progress("looking at the files", total=len(paths), unit="files") as advance:
        for path in paths:
            relative = PurePosixPath(path.relative_to(root))
            if error := left.get(relative):
                rejections.append((path, describe(error)))
                advance()
                continue
            try:
                files += look(path, root, limit, words)
            except DataError as error:
                rejections.append((path, describe(error)))
                if isinstance(error, _UNREAD) or error.reason == UNKNOWN:
                    unread.append(relative)
            except OSError:
                rejections.append((path, describe(UnreadableError("the file cannot be opened"))))
                unread.append(relative)

            advance()

    return files, unread, len(found) - len(paths)


def _of_system(path: Path, root: Path) -> bool:
    *folders, name = path.relative_to(root).parts
    return of_system(name) or any(of_system(folder, folder=True) for folder in folders)


def _rows(
    tables: Sequence[File],
    words: Words,
    known: Known,
    days: int | None,
    lost: Lost,
    rejections: list[Rejection],
) -> Iterator[tuple[File, str | None]]:
    """The rows of all tables as reports, each with its patient."""
    for table in tables:
        try:
            for owner, row, error in reports_of(table, words, known, days):
                if error:
                    lost.append((row, describe(error)))
                yield row, owner
        except DataError as error:
            of_bids = NO_REPORTS in error.reason and about_people(table.path.name)
            kind = UnusedError("a table of BIDS about people or scans, which has no reports")
            rejections.append((table.path, describe(kind if of_bids else error)))


def _once(files: Sequence[File], rejections: list[Rejection]) -> list[File]:
    """Each DICOM instance one time; a copy in another compression is the same instance."""
    seen: set[tuple] = set()
    result = []
    for file in files:
        # Some anonymisers give all slices one identifier: at other places they are other images.
        image = (file.instance, *np.round(file.spot, 2))
        if file.instance and image in seen:
            error = DuplicateError("the same DICOM instance stands in another file")
            rejections.append((file.path, describe(error)))
            continue
        seen.add(image)
        result.append(file)

    return result


def _item(file: File, words: Words, level: int) -> Item:
    """The file as far as ownership goes, with the patient that the mapping file gives it."""
    folders = reversed(file.relative.parts[: level or -1][: len(file.relative.parts) - 1])
    whole = [name for name in (file.patient, key(file.relative)) if name]
    named = words.called(whole, [stem(file.relative), *folders])
    given = words.patient(named)

    return Item(
        path=words.spelled(file.relative),
        kind="text" if file.kind == "text" else file.view,
        patient=given or file.patient,
        study=file.study,
        person=file.person if not given else ("", "", ""),
        accession=file.accession,
        called=file.persons,
        given=named,
    )


def _shared(groups: Mapping[str, Sequence[tuple[File, Place]]], kin: Mapping[str, str]) -> set[str]:
    """Folders and names of files that more than one patient has: they name no one."""
    owners_of: dict[str, set[str]] = defaultdict(set)
    for owner, members in groups.items():
        words = {part for _, place in members for part in place.raw}
        for word in words | {key(file.relative) for file, _ in members if not file.name}:
            owners_of[word].add(kin.get(owner, owner))

    return {word for word, found in owners_of.items() if len(found) > 1}


def _names(owner: str, members: Sequence[tuple[File, Place]], shared: set[str]) -> set[str]:
    """Everything that names the patient: headers, tables, folders of one patient, file names."""
    names = {name for file, _ in members for name in (*file.names, file.patient, file.name) if name}
    own = [(file, place) for file, place in members if not file.name]
    told = {part for _, place in own for part in place.raw}
    told |= {key(file.relative) for file, _ in own if file.kind in ("text", "nifti")}
    told |= {owner.partition(":")[2].rpartition("/")[2]}

    return (names | set(map(naming, told - shared))) - {""}


def _untold(owner: str, members: Sequence[tuple[File, Place]], level: int) -> bool:
    """Whether only the names of texts tell of the patient: they may be those of another."""
    if any(file.kind != "text" for file, _ in members):
        return False
    if owner.startswith("folder:"):  # Letters/Huber.txt, but not Huber/report.txt
        return not level and any(
            place.home and rank(place.home[-1]) == WORD and place.name not in ("", place.home[-1])
            for _, place in members
        )

    return owner.startswith("name:")


def _rejected(lost: Lost) -> Iterator[Rejection]:
    """Rows of one table that share a reason are one line."""
    rows: dict[tuple[Path, str], int] = Counter()
    for file, reason in lost:
        rows[file.path, reason] += 1

    tables = {file.path for file, _ in lost if file.name}
    for (path, reason), count in rows.items():
        if path in tables:
            kind, _, text = reason.partition(": ")
            yield path, f"{kind}: {count} {'row' if count == 1 else 'rows'} of the table: {text}"
        else:
            yield path, reason


def _left_out(reasons: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Why reports are in no study, without the names of classes, the most frequent first."""
    left = (reason for reason in reasons if not reason.startswith(f"{Notice.__name__}: "))
    return tuple(Counter(reason.partition(": ")[2] for reason in left).most_common())


def _guesses(files: Sequence[File]) -> tuple[tuple[str, str, int], ...]:
    found: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, str]] = set()
    for file in files:
        what = " ".join(filter(None, (file.view, file.sequence)))
        if file.series and file.kind == "dicom":
            if (file.view, file.series) in seen:
                continue
            seen.add((file.view, file.series))
            what += " series"

        found[what, file.told] += 1

    return tuple((what, told, count) for (what, told), count in sorted(found.items()))


def show(found: Found) -> str:
    """What was taken for what, as a table of text; it names no patient and no file."""
    rows = [("taken for", "known by", "count"), *((a, b, str(n)) for a, b, n in found.guesses)]
    rows += [(a, b, str(n)) for a, b, n in found.reading.rows]
    first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
    lines = [f"{a:<{first}}  {b:<{second}}  {c:>6}".rstrip() for a, b, c in rows]
    lost = reasons(reason for _, reason in found.rejections)
    lines += [f"left out: {count:>6}  {reason}" for reason, count in lost]

    return "\n".join((*lines, *found.reading.sentences, *_reports(found)))


def _reports(found: Found) -> Iterator[str]:
    """How many reports there are, and why the others are in no study."""
    lost = sum(count for _, count in found.reports_left_out)
    if found.report_count:
        kept, visits = found.report_count - lost, sum(bool(s.report) for s in found.studies)
        joined = f", joined to one for each of {visits} visits" if kept > visits > 0 else ""
        yield f"reports: {found.report_count} found, {kept} kept{joined}"

    for reason, count in found.reports_left_out:
        yield f"  {count} left out: {reason}"

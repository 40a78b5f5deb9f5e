"""Studies to a cohort on disk: decoded in parallel, resumable, the manifest written last."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType

from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import DISK, opened_text, remove
from rfpmss.common.lock import lock
from rfpmss.common.progress import progress
from rfpmss.common.quiet import silence
from rfpmss.common.signals import unheard
from rfpmss.config import VIEWS
from rfpmss.data.boxes import apart
from rfpmss.data.cohort import duplicates
from rfpmss.data.cohort.counts import reasons
from rfpmss.data.cohort.manifest import NAME, write, write_csv
from rfpmss.data.cohort.pieces import write_piece
from rfpmss.data.cohort.shards import (
    Rejection,
    assemble,
    clear,
    piece_path,
    read_notes,
    series,
    unused,
)
from rfpmss.data.cohort.splits import SPLITS, split, unscored
from rfpmss.data.errors import DataError, IncompleteError, describe
from rfpmss.data.identity.reading import write as write_reading
from rfpmss.data.privacy.aliases import hide
from rfpmss.data.privacy.unlabelled import rare
from rfpmss.data.sources.hospital import Found
from rfpmss.data.study import Study
from rfpmss.data.views import Choice

VERSION = 3
"""Raised with every change of the prepared arrays."""
REJECTIONS = "rejections.csv"
SPLIT_FILE = "splits.csv"
PIECES = ".pieces"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of `OSError`: the disk, or the share of it that the user may fill, is full."""


Refused = tuple[str, str]
"""Path relative to the source, as text, and the reason."""


class WorkerError(RfpmssError, RuntimeError):
    """A worker process died."""


class FullError(RfpmssError, RuntimeError):
    """The disk of the output folder is full."""

    status = DISK

    def __init__(self, out: Path, needed: int = 0) -> None:
        free = shutil.disk_usage(out).free
        wanted = f"at most {needed:,} more bytes are needed, " if needed else ""
        super().__init__(
            f"the output folder is full: {wanted}{free:,} are free in {out}; free some space and "
            "start again, what is complete is kept"
        )


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Studies on disk that are not yet in shards."""

    folder: Path
    """Holds a piece of every study."""
    studies: list[Study]
    """Those with at least one image."""
    refused: list[Refused]
    """Files that are in no image."""

    def pieces(self) -> list[Path]:
        """The file of each study."""
        return [piece_path(self.folder, study.study_id) for study in self.studies]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was prepared, in numbers: free of names."""

    studies: int
    reports: int
    series: dict[str, int]
    """Series per view."""
    splits: dict[str, int]
    """Studies per split."""
    rejected: dict[str, int]
    """Files per reason, in words; the most frequent first."""
    derived: int = 0
    """Reports that no person wrote."""
    origins: dict[str, int] = field(default_factory=dict)
    """Reports that were published apart from their images, by publisher."""
    doubles: int = 0
    """Pairs of patients with the same image."""
    alike: int = 0
    """Pairs of patients with nearly the same image."""
    rare: int = 0
    """Reports with words that may be names."""
    blanked: int = 0
    """How many of those words were blanked."""
    unscored: str = ""
    """What cannot be scored for want of held-out reports."""


def build(
    found: Found,
    root: Path,
    out: Path,
    choice: Choice,
    *,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    workers: int = 1,
) -> Summary:
    """Decode all studies once and write ``manifest.csv``, ``rejections.csv`` and ``shards/``.

    A killed run is resumed by the next one; splits that were dealt before stay.

    Args:
        found: what a source gave.
        root: folder that the paths of the rejections are shown relative to.
        out: folder of the cohort.
        choice: how views are made.
        shares: of the splits train, val, test.
        seed: of the splits.
        workers: processes that decode.

    Raises:
        WorkerError: if a worker died; what is complete is kept.
        IncompleteError: if no study is left.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", f"another process prepares {out}; waiting for it"):
        _known(out)  # refused before anything is decoded
        made = decode(found, root, out, choice, workers)
        write_reading(out, found.reading)
        rare.write(out, found.words)
        summary = finish(made.pieces(), made.studies, made.refused, out, shares, seed)
        shutil.rmtree(out / PIECES)

    return summary


def decode(found: Found, root: Path, out: Path, choice: Choice, workers: int) -> Decoded:
    """Decode what is not decoded yet."""
    if choice.depth:
        found = replace(found, studies=tuple(map(apart, found.studies)))

    folder = out / PIECES / _fingerprint(found, choice)
    try:
        _decode(found.studies, folder, choice, workers)
    except OSError as error:
        if error.errno not in FULL:
            raise
        missing = (s for s in found.studies if not piece_path(folder, s.study_id).exists())
        images = max(choice.count, choice.depth) * sum(len(series(study)) for study in missing)
        raise FullError(out, images * 4 * choice.size**2) from None  # at most four channels

    kept, lost = _kept(found, folder)
    refused = [(_safe(p, root), reason) for p, reason in (*found.rejections, *lost)]
    if found.salt is not None:
        refused = hide(out, refused, found.salt)

    return Decoded(folder=folder, studies=kept, refused=refused)


def finish(
    pieces: Sequence[Path],
    studies: Sequence[Study],
    refused: Sequence[Refused],
    out: Path,
    shares: tuple[float, float, float],
    seed: int,
) -> Summary:
    """Deal the splits and write the cohort, the manifest last.

    Raises:
        IncompleteError: if there is no study; ``rejections.csv`` is written all the same.
    """
    found = duplicates.doubles(studies, [read_notes(path) for path in pieces])
    known = _known(out)
    dealt = split(studies, shares, seed, known, duplicates.groups(found, studies))
    write_rejections(out, refused)
    duplicates.write(out, found)
    if not studies:
        raise IncompleteError(f"no study could be prepared; {REJECTIONS} says why")

    studies = [replace(study, split=dealt[study.patient_id]) for study in studies]
    # Also of patients whose files are absent this time: they come back to their own split.
    rows = ({"patient_id": p, "split": s} for p, s in sorted({**known, **dealt}.items()))
    write_csv(out / SPLIT_FILE, ("patient_id", "split"), rows)
    (out / NAME).unlink(missing_ok=True)  # never an old manifest beside new shards
    _room(out, sum(path.stat().st_size for path in pieces))
    written = assemble(out, pieces, studies)
    write(out / NAME, written)

    return Summary(
        studies=len(studies),
        reports=sum(study.report is not None for study in studies),
        series={view: sum(row.modality == view for row in written) for view in VIEWS},
        splits={name: sum(study.split == name for study in studies) for name in SPLITS},
        rejected=count(refused),
        derived=sum(study.derived for study in studies),
        origins=dict(sorted(Counter(s.origin for s in studies if s.origin).items())),
        doubles=len({(d.one.patient_id, d.other.patient_id) for d in found if d.exact}),
        alike=len({(d.one.patient_id, d.other.patient_id) for d in found if not d.exact}),
        rare=rare.reports(out)[0],
        blanked=rare.reports(out)[1],
        unscored=unscored(Counter(s.split for s in studies if s.report is not None)),
    )


def _room(out: Path, needed: int) -> None:
    """Refuse shards that do not fit: writing to a mapped file on a full disk kills the process."""
    shards = out / "shards"
    shutil.rmtree(shards, ignore_errors=True)  # the manifest that named them is gone
    if shutil.disk_usage(out).free < needed:
        raise FullError(out, needed)


def count(refused: Sequence[Refused]) -> dict[str, int]:
    """Files per reason, the most frequent first."""
    return dict(reasons(reason for _, reason in sorted(refused)))


def _fingerprint(found: Found, choice: Choice) -> str:
    """Changes with the settings, the files and the program."""
    digest = hashlib.sha256(json.dumps([VERSION, asdict(choice)]).encode())
    for study in found.studies:
        for source in series(study).values():
            for path in (*source.paths, *filter(None, (source.mask,))):
                about = path.stat()
                digest.update(f"{study.study_id}\0{path}\0{about.st_size}".encode())
                digest.update(f"\0{about.st_mtime_ns}\n".encode())
            how = (source.kind, source.volume, source.frames, source.channels, source.parts)
            digest.update(f"{how}\n".encode())

    return digest.hexdigest()[:16]


def _decode(studies: Sequence[Study], pieces: Path, choice: Choice, workers: int) -> None:
    pieces.mkdir(parents=True, exist_ok=True)
    for other in pieces.parent.iterdir():
        if other != pieces:
            remove(other)

    clear(pieces)
    try:
        _fill(studies, pieces, choice, workers)
    except BaseException:  # what is half-written goes, what is complete is kept
        clear(pieces)
        raise


def _fill(studies: Sequence[Study], pieces: Path, choice: Choice, workers: int) -> None:
    missing = [study for study in studies if not piece_path(pieces, study.study_id).exists()]
    done = len(studies) - len(missing)
    title = "resuming the preparation" if done else "preparing the images"
    with progress(title, total=len(studies), start=done, unit="studies") as advance:
        if workers < 2 or len(missing) < 2:
            for study in missing:
                write_piece(pieces, study, choice)
                advance()
            return

        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(missing)), context, end_with_parent) as pool:
            with _no_main(), unheard():
                jobs = [pool.submit(write_piece, pieces, study, choice) for study in missing]
            try:
                for job in as_completed(jobs):
                    job.result()
                    advance()
            except BrokenProcessPool:
                raise WorkerError(
                    "a worker ended early, probably for lack of memory; what is complete is kept: "
                    "start again with fewer --workers or a lower --max-mib"
                ) from None
            except KeyboardInterrupt:  # a study may take minutes; it is made again
                for worker in multiprocessing.active_children():
                    worker.kill()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_main() -> Iterator[None]:
    """Start worker processes without the program that called us.

    A spawned process imports the caller's main module again. A script that calls ``main([...])``
    without ``if __name__ == "__main__"`` would then prepare once more in each worker and wait for
    itself. Workers need nothing but this package, so they are shown an empty main module.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end_with_parent() -> None:
    """Let this worker process end as soon as the process that started it has."""
    silence()
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _kept(found: Found, pieces: Path) -> tuple[list[Study], list[Rejection]]:
    """Studies with at least one view, and all files that are in none."""
    kept, lost = [], []
    refused = {path for path, _ in found.rejections}
    for study in found.studies:
        notes = read_notes(piece_path(pieces, study.study_id))
        lost += unused(study, notes)
        if any("shape" in note for note in notes.values()):
            kept.append(study)
            continue
        error = IncompleteError("no image of the report's study can be used")
        reports = found.reports.get(study.study_id, ())
        lost += [(path, describe(error)) for path in reports if path not in refused]

    return kept, lost


def _known(out: Path) -> dict[str, str]:
    path = out / SPLIT_FILE
    if not path.is_symlink() and not path.exists():
        return {}

    known: dict[str, str] = {}
    try:
        with opened_text(path, newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                patient, name = (row["patient_id"] or "").strip(), (row["split"] or "").strip()
                if not patient or name not in SPLITS:
                    raise DataError(
                        f"{SPLIT_FILE} must give each patient one of {', '.join(SPLITS)}, got "
                        f"{name[:20]!r} in line {line}",
                        "correct that line, or remove the file to deal anew",
                    )
                if known.setdefault(patient, name) != name:
                    raise DataError(f"{SPLIT_FILE} names a patient in two splits (line {line})")
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise DataError(f"{SPLIT_FILE} is damaged") from None

    return known


def write_rejections(out: Path, refused: Sequence[Refused]) -> None:
    """Write ``rejections.csv``, in the order of the paths."""
    rows = ({"path": path, "reason": reason} for path, reason in sorted(refused))
    write_csv(out / REJECTIONS, ("path", "reason"), rows)


def _safe(path: Path, root: Path) -> str:
    """Relative, in valid UTF-8, and no formula for a spreadsheet."""
    text = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text[:1] in "=+-@\t\r" else text

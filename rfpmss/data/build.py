"""Studies to a cohort on disk: decoded in parallel, resumable, the manifest written last."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, IncompleteError
from rfpmss.data.hospital import Found
from rfpmss.data.lock import lock
from rfpmss.data.manifest import NAME, write, write_csv
from rfpmss.data.shards import (
    Rejection,
    assemble,
    describe,
    piece_path,
    read_notes,
    series,
    unused,
    write_piece,
)
from rfpmss.data.splits import SPLITS, split
from rfpmss.data.study import Study
from rfpmss.data.views import Choice
from rfpmss.progress import progress

VERSION = 1
"""Raised with every change of the prepared arrays."""
REJECTIONS = "rejections.csv"
SPLIT_FILE = "splits.csv"
PIECES = ".pieces"


class WorkerError(RuntimeError):
    """A worker process died."""


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
    """Files per class of error."""


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
        pieces = out / PIECES / _fingerprint(found, choice)
        _decode(found.studies, pieces, choice, workers)
        studies, lost = _kept(found, pieces)
        rejections = [*found.rejections, *lost]
        dealt = split(studies, shares, seed, _known(out))
        if not studies:
            _write_rejections(out, root, rejections)
            raise IncompleteError(f"no study could be prepared; {REJECTIONS} says why")
        studies = [replace(study, split=dealt[study.patient_id]) for study in studies]
        rows = ({"patient_id": p, "split": s} for p, s in sorted(dealt.items()))
        write_csv(out / SPLIT_FILE, ("patient_id", "split"), rows)
        (out / NAME).unlink(missing_ok=True)  # never an old manifest beside new shards
        written, more = assemble(out, pieces, studies)
        rejections += more
        _write_rejections(out, root, rejections)
        write(out / NAME, written)
        shutil.rmtree(out / PIECES)
    return Summary(
        studies=len(studies),
        reports=sum(study.report is not None for study in studies),
        series={view: sum(row.modality == view for row in written) for view in VIEWS},
        splits={name: sum(study.split == name for study in studies) for name in SPLITS},
        rejected=dict(Counter(reason.partition(":")[0] for _, reason in rejections).most_common()),
    )


def _fingerprint(found: Found, choice: Choice) -> str:
    """Changes with the settings, the files and the program."""
    digest = hashlib.sha256(json.dumps([VERSION, asdict(choice)]).encode())
    for study in found.studies:
        for source in series(study).values():
            for path in (*source.paths, *filter(None, (source.mask,))):
                about = path.stat()
                digest.update(f"{study.study_id}\0{path}\0{about.st_size}".encode())
                digest.update(f"\0{about.st_mtime_ns}\0{source.volume}\n".encode())
    return digest.hexdigest()[:16]


def _decode(studies: Sequence[Study], pieces: Path, choice: Choice, workers: int) -> None:
    pieces.mkdir(parents=True, exist_ok=True)
    for other in pieces.parent.iterdir():
        if other != pieces:
            shutil.rmtree(other)
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
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """Let this worker process end as soon as the process that started it has."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for name in ("pydicom", "tifffile", "nibabel", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _kept(found: Found, pieces: Path) -> tuple[list[Study], list[Rejection]]:
    """Studies with at least one view, and what is lost with the others."""
    kept, lost = [], []
    for study in found.studies:
        notes = read_notes(piece_path(pieces, study.study_id))
        if any("shape" in note for note in notes.values()):
            kept.append(study)
            continue
        lost += unused(study, notes)
        error = IncompleteError("no image of the report's study can be used")
        lost += [(path, describe(error)) for path in found.reports.get(study.study_id, ())]
    return kept, lost


def _known(out: Path) -> dict[str, str]:
    path = out / SPLIT_FILE
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["patient_id"]: row["split"] for row in csv.DictReader(file)}
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise DataError(f"{SPLIT_FILE} is damaged") from None


def _write_rejections(out: Path, root: Path, rejections: Sequence[Rejection]) -> None:
    rows = ({"path": _safe(path, root), "reason": reason} for path, reason in rejections)
    write_csv(out / REJECTIONS, ("path", "reason"), sorted(rows, key=lambda row: row["path"]))


def _safe(path: Path, root: Path) -> str:
    """Relative, in valid UTF-8, and no formula for a spreadsheet."""
    text = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text[:1] in "=+-@\t\r" else text

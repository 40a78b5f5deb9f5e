"""The folder of one run: who may write into it, resolved configuration, metrics."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar

import yaml

from rfpmss.common import files, strict
from rfpmss.common.errors import RfpmssError
from rfpmss.config import Config
from rfpmss.config.bounds import MOST_STEPS
from rfpmss.data.cohort.fingerprint import Fingerprint
from rfpmss.data.cohort.manifest import NAME, manifest_of, sum_of
from rfpmss.runs import record
from rfpmss.runs.stored import clear_left, set_aside
from rfpmss.runs.trackers import Name, Tracker, open_trackers

ERROR = "error.txt"
"""Why the last start ended for good; starting again would end alike."""

HEARTBEAT = "heartbeat"
"""Touched at each step; absent while a run starts, saves or evaluates."""

LOCK = ".lock"

METRICS = "metrics.jsonl"

FOLDERS = ("checkpoints", "evaluation", "tensorboard")
FILES = (ERROR, HEARTBEAT, LOCK, METRICS, record.FILE, record.STUDIES, "report.html")
"""What a run writes into its folder."""

WRITTEN = {".json", ".csv", ".sum", ".tex", ".html", ".safetensors"}
"""How the names of files end that preparing, and commands after training, write."""

MOST_VALUE = 1e100
"""Figures of a history stay below, so that their sums are finite."""

DAMAGED = "metrics.damaged"
"""Lines of the metrics that could not be read or said a step again, as they were."""


class RunError(RfpmssError, ValueError):
    """The run folder and the request do not fit; the message says what to do."""


class ArgumentError(RunError):
    """An argument names what is not there."""

    status: ClassVar[int] = 2


class Claim:
    """The right of one process to write into a run folder; the kernel takes it from the dead.

    Nothing else in the folder is looked at or touched before `take` has succeeded. Where the body
    of a new run fails before it has `begun`, all that it made is removed.

    Args:
        folder: of the run; made if absent.
        supervised: whether another process reads here why this one ended, and cleans up.
    """

    def __init__(self, folder: Path, *, supervised: bool = False) -> None:
        self.folder = folder
        self.begun = False
        """Whether there is something to keep."""
        self._supervised = supervised
        self._file: BinaryIO | None = None
        self._files: list[Path] = []
        """Those that this process makes if it makes them."""
        self._folders: list[Path] = []

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._file is not None

    def take(self) -> int:
        """Take it, and remove what the last start left to say; return 0.

        Raises:
            RunError: if another process has it, or the file system knows no locks.
            OSError: if the folder cannot be made or written.
        """
        if self.held:
            return 0

        require_places(self.folder)
        if not self._files:  # a supervisor takes it again and again
            own = [self.folder / name for name in FILES if name != METRICS]
            self._files = [path for path in own if not os.path.lexists(path)]
            self._folders = files.absent(self.folder)

        if self.folder / record.FILE in self._files:  # one from before this rule may go on
            require_apart(self.folder, "run_dir")

        while not self._in_place():  # its last holder may have removed what it had made
            self.release()
            self._file = _locked(self.folder, "run_dir", "--run-dir")

        for name in (ERROR, HEARTBEAT):
            (self.folder / name).unlink(missing_ok=True)

        return 0

    @contextmanager
    def cleaned(self) -> Iterator[None]:
        """After the body, remove what the processes that it started made of a run never begun."""
        try:
            yield
        finally:
            if self._files and not (self.folder / record.FILE).exists():
                with suppress(OSError, RunError), self:
                    self.take()
                    self._withdraw()

    def _withdraw(self) -> None:
        """Remove what a start that never began has made here; a run that was there stays whole."""
        if not self.held:
            files.remove_empty(self._folders)
        elif self._in_place() and self.folder / record.FILE in self._files:
            kept = (ERROR, LOCK) if self._supervised else ()
            for path in self._files:
                if path.name not in kept:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
            files.remove_empty(self._folders)

    def note(self, error: BaseException) -> None:
        """Say in the folder why this start ended, if it had the right to write there."""
        if not self._in_place():
            return

        text = files.sentence(error, self.folder) if isinstance(error, OSError) else str(error)
        try:
            files.write_text(self.folder / ERROR, f"{text}\n", private=True)
        except OSError:
            with suppress(OSError):  # on a full disk an empty file says that it was for good
                (self.folder / ERROR).touch()

    def require(self) -> None:
        """Refuse to write on into a folder that was moved away, or replaced by another one.

        Raises:
            RunError: if it is not that in which the right was taken.
        """
        if not self._in_place():
            raise RunError(
                f"run_dir must stay in its place while a process writes into it, got {self.folder} "
                f"moved, removed or replaced; move it back and start again to resume"
            )

    def _in_place(self) -> bool:
        return self._file is not None and _in_place(self._file, self.folder)

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not self.begun:
            self._withdraw()
        self.release()


def _locked(folder: Path, name: str, option: str) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    file = files.appended(folder / LOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process dies
    except OSError as error:
        file.close()
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise RunError(
                f"{name} must not be in use, got {folder}, into which another process is writing: "
                f"wait for it or choose another {option}"
            ) from None

        raise OSError(error.errno, error.strerror, str(folder)) from None

    return file


def _in_place(file: BinaryIO, folder: Path) -> bool:
    """Whether the lock that is held is the one that another process would find."""
    try:
        there = (folder / LOCK).stat(follow_symlinks=False)
        return os.path.samestat(os.fstat(file.fileno()), there)
    except OSError:
        return False


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that works in the folder of several runs, made if absent.

    The lock stays, unless nothing else came there.

    Raises:
        RunError: if another process works there, the folder is that of a cohort, or a folder
            stands in place of a file.
        OSError: if the folder cannot be made or written.
    """
    require_apart(folder, "--out")
    new = files.absent(folder)
    file = _locked(folder, "--out", "--out")
    while not _in_place(file, folder):  # its last holder has just removed what it had made
        file.close()
        file = _locked(folder, "--out", "--out")

    try:
        require_files(folder)
        yield
    finally:
        if new and os.listdir(folder) == [LOCK]:
            (folder / LOCK).unlink()
            files.remove_empty(new)
        file.close()


def require_apart(folder: Path, name: str) -> None:
    """Refuse to make a run, or a grid of them, in the folder of a prepared cohort.

    Raises:
        RunError: names both; nothing was written.
    """
    there = folder.resolve()
    for place in (there, *there.parents):
        if (place / NAME).is_file() and sum_of(place / NAME).is_file():
            raise RunError(
                f"{name} must lie outside of prepared cohorts, got {folder} in the cohort {place}; "
                f"choose another folder"
            )


def require_files(*folders: Path) -> None:
    """Refuse folders that stand in place of files, before anything is computed for those.

    Raises:
        RunError: names the first.
    """
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix in WRITTEN and path.is_dir() and not path.is_symlink():
                raise RunError(
                    f"{path} must be a regular file or not be there yet, got a folder; move it away"
                )


def manifest_given(data: Path, name: str = "--data") -> Path:
    """The manifest that an option means: the file itself, or the one in a cohort's folder.

    Raises:
        ArgumentError: if there is none; names what was typed.
    """
    found = manifest_of(data)
    if not found.is_file():
        shown = f"{data}, a folder without {NAME}" if data.is_dir() else data
        raise ArgumentError(
            f"{name} must be the manifest of a prepared cohort, or its folder, got {shown}; write "
            f"one with `python -m rfpmss.prepare hospital SRC --out DIR`"
        )

    return found


def require_places(folder: Path) -> None:
    """Refuse what stands in a run folder in place of something that a run writes there.

    Raises:
        RunError: names it; nothing was written.
    """
    wrong = [folder / name for name in FOLDERS if not _fits(folder / name, os.path.isdir)]
    wrong += [folder / name for name in FILES if not _fits(folder / name, os.path.isfile)]
    if wrong:
        kind = "folder" if wrong[0].name in FOLDERS else "regular file"
        raise RunError(
            f"{wrong[0]} must be a {kind} or not be there yet, got something else; move it away, "
            f"or choose another --run-dir"
        )


def _fits(path: Path, kind: Callable[[Path], bool]) -> bool:
    return kind(path) or not os.path.lexists(path)


def refuse_another(
    folder: Path,
    known: record.Record,
    wanted: record.Record,
    cohort: Fingerprint | None = None,
) -> None:
    """Refuse a request that is another one than what a run was started with.

    Args:
        folder: the run folder.
        known: the record of the run, or of one of its checkpoints.
        wanted: the record of the request.
        cohort: its studies, where they are known.

    Raises:
        RunError: lists each differing field, and of the cohort the studies.
    """
    lines = record.differences(known, wanted, record.studies_of(folder, known), cohort)
    if lines:
        raise RunError(
            f"run_dir must belong to the requested configuration, got {folder} with\n"
            + "\n".join(lines)
            + "\nchoose another --run-dir, or pass --allow-config-change to go on with it"
        )


class Run:
    """A run folder that is new, or continued with the same configuration.

    Args:
        folder: created if absent.
        config: the requested configuration.
        manifest: the cohort's manifest.
        ranks: processes that train; another number adds up in another order.
        start: run whose weights this one starts from.
        allow_change: continue even though configuration, cohort or code changed.
        cohort: the studies of the manifest.
        claim: the right to write; taken for the moment if absent.
        started_from: what stood in ``start`` when its weights were taken.
        published: digests of the published weights that it begins with.

    Raises:
        RunError: if the folder belongs to another configuration, cohort or code; lists each
            differing field.
    """

    def __init__(  # noqa: PLR0913 (all that a record holds)
        self,
        folder: Path,
        config: Config,
        manifest: Path,
        *,
        ranks: int = 1,
        start: Path | None = None,
        allow_change: bool = False,
        cohort: Fingerprint | None = None,
        claim: Claim | None = None,
        started_from: record.Start | None = None,
        published: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.config = folder, config
        self._trackers: list[Tracker] = []
        self._claim = claim or Claim(folder)
        wanted = record.make(config, manifest, ranks, start, cohort, started_from, published)
        with self._holding():
            known = record.read(folder)
            if known is not None and not allow_change:
                refuse_another(folder, known, wanted, cohort)
            self._claim.require()
            text = yaml.safe_dump(wanted, sort_keys=False)
            if cohort is not None:
                _keep(folder / record.STUDIES, cohort.dumps(), private=True)
            _keep(folder / record.FILE, text)

    @contextmanager
    def writing(self, step: int, track: Iterable[Name] = ()) -> Iterator[None]:
        """Be the only process that writes here, going on after ``step``.

        Metrics after ``step`` are taken again and dropped, and so is a torn last line. Any other
        line that cannot be read, or says a step again, is set aside with a warning; those that
        follow stay. Steps whose rows are missing are named. What a killed writer of checkpoints
        left behind is removed.

        Raises:
            RunError: if another process writes here.
            TrackerError: if a tracker of ``track`` is not installed.
        """
        with self._holding():
            clear_left(self.folder)
            _set_back(self.folder, step)
            fields = dict(record.leaves(self.config.model_dump(mode="json")))
            self._trackers = open_trackers(track, self.folder, fields, step)
            self._claim.begun = True
            try:
                yield
            finally:
                for tracker in self._trackers:
                    tracker.close()
                self.pause()

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Have the right to write; given back at the end unless it was held before."""
        with ExitStack() as stack:
            if not self._claim.held:
                stack.callback(self._claim.release)
                self._claim.take()
            yield

    def log(self, row: dict[str, Any]) -> None:
        """Append one object to ``metrics.jsonl`` and its numbers to the trackers.

        Raises:
            RunError: if the folder is not in its place any more.
        """
        self._claim.require()
        with files.appended(self.folder / METRICS) as file:
            file.write(json.dumps(row).encode() + b"\n")

        figures = {name: value for name, value in row.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(figures, row["step"])

    def beat(self) -> None:
        """Show a supervisor that the run is alive, and goes on."""
        (self.folder / HEARTBEAT).touch()

    def pause(self) -> None:
        """Tell a supervisor that what follows may take long, up to the next `beat`."""
        (self.folder / HEARTBEAT).unlink(missing_ok=True)


class Bystander:
    """What the other ranks have instead of a `Run`: rank 0 writes for all."""

    @contextmanager
    def writing(self, step: int, track: Iterable[Name] = ()) -> Iterator[None]:
        """Nothing is written."""
        yield

    def log(self, row: dict[str, Any]) -> None:
        """Nothing is logged."""

    def beat(self) -> None:
        """Nobody listens."""

    def pause(self) -> None:
        """Nobody listens."""


@dataclass(frozen=True)
class Line:
    """A line of the metrics."""

    number: int
    """From 1."""
    text: bytes
    row: dict[str, Any] | None
    """What it says; None where that cannot be read."""


def read_metrics(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl`` up to ``last_step``, by step; unreadable ones are left out."""
    rows = [line.row for line in _sorted(_once(_lines(path))[0]) if line.row is not None]
    return [row for row in rows if last_step is None or row["step"] <= last_step]


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; what cannot be read, and what is missing, is said."""
    good, bad = _once(_lines(path))
    _say_damaged(path, bad, "are left out")
    _say_disordered(path, good)
    rows = [line.row for line in _sorted(good) if line.row is not None]
    steps = {row["step"] for row in rows}
    _say_lost(path, steps, max(steps, default=0))

    return rows


def _once(lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """The first readable line of each step, and all other lines."""
    seen: set[int] = set()
    first, others = [], []
    for line in lines:
        new = line.row is not None and line.row["step"] not in seen
        (first if new else others).append(line)
        if line.row is not None:
            seen.add(line.row["step"])

    return first, others


def _sorted(lines: Sequence[Line]) -> list[Line]:
    """Readable lines by their steps."""
    return sorted(lines, key=lambda line: line.row["step"] if line.row else 0)


def _lines(path: Path) -> list[Line]:
    """All lines but a torn last one, which has no line break and is the beginning of an object.

    What a power cut leaves, NUL bytes, is none.
    """
    *found, last = files.read_bytes(path).split(b"\n")
    torn = not last or (last.startswith(b"{") and b"\0" not in last)
    if not torn or _row(last) is not None:
        found.append(last)
    return [Line(number, text, _row(text)) for number, text in enumerate(found, start=1)]


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = strict.loads(text)
    except (ValueError, RecursionError):
        return None

    if not isinstance(row, dict) or not all(_number(value) for value in row.values()):
        return None

    step = row.get("step")
    return row if strict.whole(step) and 0 < step < MOST_STEPS else None


def _number(value: object) -> bool:
    """Whether a value is a number whose sums a float can hold; true and false are none."""
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < MOST_VALUE


def _set_back(folder: Path, step: int) -> None:
    """Leave in the metrics what was logged up to ``step``."""
    path = folder / METRICS
    if not path.exists():
        _say_lost(path, set(), step)
        return

    good, bad = _once(_lines(path))
    if bad:
        with files.appended(folder / DAMAGED) as file:
            file.writelines(line.text + b"\n" for line in bad)
        _say_damaged(path, bad, f"are set aside in {DAMAGED}")

    kept = [line for line in _sorted(good) if line.row is not None and line.row["step"] <= step]
    _say_disordered(path, good)
    _say_lost(path, {line.row["step"] for line in kept if line.row is not None}, step)
    with files.whole(path) as file:
        file.writelines(line.text + b"\n" for line in kept)


def _say_damaged(path: Path, bad: list[Line], become: str) -> None:
    if not bad:
        return
    numbers = ", ".join(str(line.number) for line in bad[:10])
    sys.stderr.write(
        f"warning: {len(bad)} lines of {path} cannot be read or say a step again (line "
        f"{numbers}{', ...' if len(bad) > 10 else ''}) and {become}; all others stay\n"
    )


def _say_disordered(path: Path, good: list[Line]) -> None:
    ordered = _sorted(good)
    if ordered != good:
        first = next(line for line, other in zip(good, ordered, strict=True) if line is not other)
        sys.stderr.write(
            f"warning: the rows of {path} are out of order from line {first.number} on and are "
            f"sorted by their steps\n"
        )


def _say_lost(path: Path, there: set[int], step: int) -> None:
    """Name the steps of a history that is gone on with whose rows are missing."""
    gaps, before = [], 0
    for number in (*sorted(n for n in there if n > 0), step + 1):
        if number > before + 1:
            gaps.append(f"{before + 1} to {number - 1}" if number > before + 2 else f"{before + 1}")
        before = number

    if gaps:
        shown = ", ".join(gaps[:10]) + (", ..." if len(gaps) > 10 else "")
        sys.stderr.write(
            f"warning: the rows of the steps {shown} are missing in {path}; curves have gaps "
            f"there, the weights are those of the checkpoint\n"
        )


def begin_again(folder: Path, save_every: int) -> None:
    """Let a run without a checkpoint begin only where it never had one; keep its history apart.

    Args:
        folder: the run folder.
        save_every: steps after which it had one.

    Raises:
        RunError: if it had checkpoints: what is left of them, and the history, is not replaced.
    """
    if problem := lost(folder, save_every):
        raise RunError(f"{problem} to begin again at step 0")

    if last := _last(folder):
        other = set_aside(folder / METRICS)
        sys.stderr.write(
            f"warning: {folder} has no checkpoint: it begins again at step 0; what it logged up "
            f"to step {last} is in {other.name}\n"
        )


def lost(folder: Path, save_every: int) -> str:
    """Why a run without a usable checkpoint cannot simply train; empty where it never had one."""
    there = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    last = _last(folder)
    if not there and last <= save_every:
        return ""

    what = f"unusable ones ({', '.join(there[:3])})" if there else f"none after step {last}"
    return (
        f"run_dir must hold a usable checkpoint to go on from, got {folder} with {what}; put "
        f"copies of them back, choose another --run-dir, or move checkpoints and {METRICS} away"
    )


def _last(folder: Path) -> int:
    """The last step that a run has logged."""
    path = folder / METRICS
    return max((row["step"] for row in read_metrics(path)), default=0) if path.exists() else 0


def _keep(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file unless it says the same already."""
    with suppress(OSError):
        if files.read_bytes(path) == text.encode("utf-8"):
            return
    files.write_text(path, text, private=private)

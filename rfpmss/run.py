"""The folder of one run: resolved configuration, metrics, and the rule for starting again."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rfpmss.config import Config
from rfpmss.trackers import Name, Tracker, open_trackers

ERROR = "error.txt"
"""Why the last start ended for good; starting again would end alike."""

HEARTBEAT = "heartbeat"
"""Touched at each step; absent while a run starts, saves or evaluates."""


class RunError(ValueError):
    """The run folder and the request do not fit; the message says what to do."""


class Run:
    """A run folder that is new, or continued with the same configuration.

    Args:
        folder: created if absent.
        config: the requested configuration.
        manifest: the cohort's manifest.
        ranks: processes that train; another number adds up in another order.
        start: run whose weights this one starts from.
        allow_change: continue even though the configuration changed.

    Raises:
        RunError: if the folder belongs to another configuration; lists each differing field.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        manifest: Path,
        *,
        ranks: int = 1,
        start: Path | None = None,
        allow_change: bool = False,
    ) -> None:
        self.folder, self.config = folder, config
        self._trackers: list[Tracker] = []
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        wanted = {
            "manifest": str(manifest.resolve()),
            "ranks": ranks,
            "start": str(start.resolve()) if start else None,
            "config": config.model_dump(mode="json"),
        }
        if path.exists():
            differences = _differences(yaml.safe_load(path.read_text()), wanted)
            if differences and not allow_change:
                raise RunError(
                    f"run_dir must belong to the requested configuration, got {folder} with\n"
                    + "\n".join(differences)
                    + "\nchoose another --run-dir, or pass --allow-config-change to go on with it"
                )
        replace_text(path, yaml.safe_dump(wanted, sort_keys=False))

    @contextmanager
    def writing(self, step: int, track: Iterable[Name] = ()) -> Iterator[None]:
        """Be the only process that writes here, going on after ``step``.

        Metrics after ``step``, which no checkpoint holds, are dropped, and a torn last line.

        Raises:
            RunError: if another process writes here.
            TrackerError: if a tracker of ``track`` is not installed.
        """
        with (self.folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process dies
            except BlockingIOError:
                raise RunError(
                    f"run_dir must not be in use, got {self.folder}, into which another process "
                    f"is writing: wait for it or choose another --run-dir"
                ) from None
            (self.folder / ERROR).unlink(missing_ok=True)
            path = self.folder / "metrics.jsonl"
            if path.exists():
                rows = read_metrics(path, step)
                replace_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
            leaves = dict(_leaves(self.config.model_dump(mode="json")))
            self._trackers = open_trackers(track, self.folder, leaves, step)
            try:
                yield
            finally:
                for tracker in self._trackers:
                    tracker.close()
                self.pause()

    def log(self, row: dict[str, Any]) -> None:
        """Append one object to ``metrics.jsonl`` and its numbers to the trackers."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
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


def read_metrics(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl`` up to ``last_step``; a torn last line is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if last_step is None or row["step"] <= last_step:
            rows.append(row)
    return rows


def _differences(old: dict, new: dict) -> list[str]:
    left, right = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"  {name}: {left.get(name)} there, {right.get(name)} requested"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
        and not (name == "config.train.epochs" and right.get(name, 0) >= left.get(name, 0))
    ]


def _leaves(tree: dict, prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

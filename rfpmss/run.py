"""The folder of one run: resolved configuration, metrics, and the rule for starting again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from rfpmss.config import Config


class RunError(ValueError):
    """The run folder and the request do not fit; the message says what to do."""


class Run:
    """A run folder that is new, or continued with the same configuration.

    Args:
        folder: created if absent.
        config: the requested configuration.
        manifest: the cohort's manifest.
        allow_change: continue even though the configuration changed.

    Raises:
        RunError: if the folder belongs to another configuration; lists each differing field.
    """

    def __init__(
        self, folder: Path, config: Config, manifest: Path, *, allow_change: bool = False
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        wanted = {"manifest": str(manifest.resolve()), "config": config.model_dump(mode="json")}
        if path.exists():
            differences = _differences(yaml.safe_load(path.read_text()), wanted)
            if differences and not allow_change:
                raise RunError(
                    f"run_dir must belong to the requested configuration, got {folder} with\n"
                    + "\n".join(differences)
                    + "\nchoose another --run-dir, or pass --allow-config-change to go on with it"
                )
        replace_text(path, yaml.safe_dump(wanted, sort_keys=False))

    def rewind(self, step: int) -> None:
        """Drop metrics after ``step``, which no checkpoint holds, and a torn last line."""
        from torch.utils.tensorboard import SummaryWriter

        path = self.folder / "metrics.jsonl"
        if path.exists():
            replace_text(path, "".join(f"{json.dumps(row)}\n" for row in read_metrics(path, step)))
        self._board = SummaryWriter(self.folder / "tensorboard", purge_step=step + 1)

    def log(self, row: dict[str, Any]) -> None:
        """Append one object to ``metrics.jsonl`` and its numbers to TensorBoard."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            self._board.add_scalar(name, value, row["step"])


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

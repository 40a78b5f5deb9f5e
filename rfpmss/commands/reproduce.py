"""What ``rfpmss reproduce`` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rfpmss.commands.steps import BUDGETS, commands, shown
from rfpmss.common.errors import Interrupted, RfpmssError
from rfpmss.common.files import read_text, write_text
from rfpmss.evaluation.page.tables import read_rows, trusted, write_csv, write_json, write_latex
from rfpmss.evaluation.page.targets import readable, targets
from rfpmss.options.reproduce import Arguments
from rfpmss.runs import record
from rfpmss.runs.children import GRACE, Children
from rfpmss.runs.folder import alone

RECORD = "commands.json"
"""In the folder: the steps, their status, seconds and code."""


def run(arguments: Arguments) -> int:
    """Run the steps that are not done, write the targets; return 0, or 1 if a step failed."""
    with alone(arguments.out):
        return _reproduce(arguments)


def _reproduce(arguments: Arguments) -> int:
    steps = commands(arguments, BUDGETS[arguments.budget])
    out = arguments.out
    done = _done(arguments, steps)
    try:
        with Children(grace=2 * GRACE) as children:  # a step may wait for its own
            failed = _run(out, steps, done, children)
    except Interrupted as error:
        print(
            f"stopped by signal {error.signal}; what was running is saved: start again with --out "
            f"{out} to go on",
            file=sys.stderr,
        )
        raise

    _targets(out)
    for line in failed:
        print(f"error: {line}; start again to go on from there", file=sys.stderr)

    print(f"tables: {out.resolve()}")
    print(f"page: {(out / 'seed-0' / 'report.html').resolve()}")
    return 1 if failed else 0


def _done(arguments: Arguments, steps: Sequence[list[str]]) -> dict[str, dict[str, Any]]:
    """The steps that are done, by command.

    Raises:
        RfpmssError: if other code did them.
    """
    path = arguments.out / RECORD
    with trusted(path):
        found = {entry["command"]: entry for entry in read_rows(path) if entry["status"] == 0}
        now = {"code": record.code()}
        lines = [
            f"  {entry['command']}: {line.strip()}"
            for command in map(shown, steps)
            if (entry := found.get(command))
            for line in (
                record.code_lines(entry, now)
                if entry.get("code")
                else ["by code that is not known"]
            )
        ]

    if lines and not arguments.allow_config_change:
        raise RfpmssError(
            f"--out must hold steps that this code did, got {path} with\n"
            + "\n".join(lines)
            + "\nchoose another --out, or pass --allow-config-change to take them as they are"
        )

    return found


def _run(
    out: Path, steps: Sequence[list[str]], done: dict[str, dict[str, Any]], children: Children
) -> list[str]:
    """Run what is not done; return what failed."""
    told, failed = [], []
    for number, words in enumerate(steps, start=1):
        command = shown(words)
        if command not in done:
            print(f"[{number}/{len(steps)}] {command}", flush=True)
            if words[0] == "rfpmss.report":
                _share(out, Path(words[words.index("--run-dir") + 1]))
            began = time.monotonic()
            status = children.run(words)
            about = {"status": status, "seconds": round(time.monotonic() - began, 1)}
            done[command] = {"command": command, **about, "code": record.code()}
            if status:
                failed.append(f"{command} ended with status {status}")

        told.append(done[command])
        write_json(out / RECORD, told)

    return failed


def _share(out: Path, run_dir: Path) -> None:
    """Let a page show the grid: its table stands among the run's own."""
    for suffix in ("json", "csv", "tex"):
        table = out / "ablation" / f"ablation.{suffix}"
        if table.is_file() and run_dir.is_dir():
            target = run_dir / "evaluation" / table.name
            write_text(target, read_text(table))


def _targets(out: Path) -> None:
    found = [
        (int(folder.name.removeprefix("seed-")), target)
        for folder in sorted(out.glob("seed-*"))
        for target in targets(folder)
    ]
    rows = [{"seed": seed, **asdict(target)} for seed, target in found]
    write_json(out / "targets.json", rows)
    write_csv(out / "targets.csv", rows)
    cells = [{"Seed": str(seed), **readable(target)} for seed, target in found]
    write_latex(out / "targets.tex", cells)

    for row in cells:
        print("  ".join(row.values()))

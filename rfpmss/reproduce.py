"""Reproduce: every table and figure on the phantom cohort within a budget, and one page.

    python -m rfpmss.reproduce --budget 10min
    python -m rfpmss.reproduce --budget full --out runs/full --jobs 2

Each step is a command that can be run alone. OUT/commands.json tells them with their seconds,
OUT/targets.json, .csv and .tex what was to be reached and what was with each seed, and
OUT/seed-0/report.html shows it. Starting again with the same --out goes on with the first step that
is not done.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rfpmss.common.command import guarded
from rfpmss.common.errors import Interrupted, RfpmssError
from rfpmss.config import PRESETS, Preset
from rfpmss.config.arguments import read
from rfpmss.config.bounds import MOST_WORKERS, within

if TYPE_CHECKING:
    from rfpmss.runs.children import Children

RECORD = "commands.json"
"""In the folder: the steps, their status, seconds and code."""


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.reproduce`` takes."""

    budget: Literal["10min", "1h", "full"] = "10min"
    """10min: one run, 10 % of the labels, Table 4a at preset smoke. 1h: one run, all baselines but
    the ResNet, Table 4a. full: three seeds, all baselines, every row. The first two are meant for
    two cores and preset tiny."""
    out: Path = Path("runs/reproduce")
    """Folder of everything; an existing one is gone on with."""
    preset: Preset = "tiny"
    """Sizes of model and cohort."""
    jobs: int = 2
    """Runs of the ablation grid at the same time."""
    allow_config_change: bool = False
    """Take steps that other code did as they are."""
    list: bool = False
    """Only list the commands."""

    def __post_init__(self) -> None:
        within(self, 1, MOST_WORKERS, "jobs")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is done."""

    seeds: tuple[int, ...]
    """Of the pretraining."""
    fractions: tuple[float, ...]
    modes: tuple[str, ...]
    trained: tuple[str, ...]
    """Baselines of Table 2 that are pretrained for it, as long as the run."""
    late: tuple[str, ...] = ()
    """Those that take longer than all else: they come last, after a first page."""
    rows: tuple[str, ...]
    """Of the ablation grid."""
    row_seeds: tuple[int, ...]
    small_rows: bool
    """The grid runs at preset smoke."""
    quick: bool
    """Attention is measured on a few studies."""


BUDGETS = {
    "10min": Budget(
        seeds=(0,),
        fractions=(0.1,),
        modes=("linear", "full"),
        trained=("labels",),
        rows=("4a",),
        row_seeds=(0, 1),
        small_rows=True,
        quick=True,
    ),
    "1h": Budget(
        seeds=(0,),
        fractions=(0.01, 0.1, 1.0),
        modes=("linear", "full"),
        trained=("labels", "contrast", "reconstruction"),
        rows=("4a",),
        row_seeds=(0, 1, 2),
        small_rows=False,
        quick=True,
    ),
    "full": Budget(
        seeds=(0, 1, 2),
        fractions=(0.01, 0.1, 1.0),
        modes=("linear", "full"),
        trained=("labels", "contrast", "reconstruction"),
        late=("resnet",),
        rows=("all",),
        row_seeds=(0, 1, 2),
        small_rows=False,
        quick=False,
    ),
}
"""By name."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = read(Arguments, argv, "reproduce", __doc__)
    steps = commands(arguments, BUDGETS[arguments.budget])
    body = _list if arguments.list else reproduce
    return guarded(lambda: body(arguments, steps), arguments.out)


def _list(_: Arguments, steps: list[list[str]]) -> int:
    for words in steps:
        print(_shown(words))
    return 0


def commands(arguments: Arguments, budget: Budget) -> list[list[str]]:
    """Every step as the words after ``python -m``."""
    out, preset = arguments.out, ["--preset", arguments.preset]
    phantom = PRESETS[arguments.preset]().phantom
    away, manifest = _elsewhere(out, arguments.preset, phantom.test)
    steps: list[list[str]] = [away]
    rows = ["--preset", "smoke" if budget.small_rows else arguments.preset]
    rows += ["--rows", *budget.rows, "--seeds", *map(str, budget.row_seeds)]
    rows += ["--jobs", str(arguments.jobs), "--out", str(out / "ablation")]
    for seed in budget.seeds:
        run = ["--run-dir", str(out / f"seed-{seed}")]
        steps.append(["rfpmss.train", *preset, "--seed", str(seed), "--no-evaluate", *run])
        steps.append(["rfpmss.evaluate", *run, "--beams", "1", "4"])
        steps.append(["rfpmss.evaluate", *run, "--data", str(manifest), "--name", "elsewhere"])
        steps.append(["rfpmss.finetune", *run, *_tuning(budget, budget.trained)])
    steps.append(["rfpmss.ablate", *rows])
    runs = [["--run-dir", str(out / f"seed-{seed}")] for seed in budget.seeds]
    if budget.late:
        steps += [["rfpmss.report", *run, "--quick"] for run in runs]
        tuning = _tuning(budget, budget.trained + budget.late)
        steps += [["rfpmss.finetune", *run, *tuning] for run in runs]
    told = ["--quick"] if budget.quick else []
    return steps + [["rfpmss.report", *run, *told] for run in runs]


def _tuning(budget: Budget, trained: Sequence[str]) -> list[str]:
    words = ["--fractions", *map(str, budget.fractions), "--modes", *budget.modes]
    return words + (["--train-baseline", *trained] if trained else [])


def _elsewhere(out: Path, preset: str, patients: int) -> tuple[list[str], Path]:
    """The command that generates other patients in another hospital, and its manifest."""
    from rfpmss.data.phantom.cohort import folder_name

    changes: dict[str, Any] = {"hospital": "other", "seed": 1, "train": 1, "test": patients}
    config = PRESETS[preset]().phantom.model_copy(update=changes)
    words = ["rfpmss.prepare", "phantom", "--preset", preset, "--out", str(out / "elsewhere")]
    for name, value in changes.items():
        words += [f"--phantom.{name}", str(value)]
    return words, out / "elsewhere" / folder_name(config) / "manifest.csv"


def reproduce(arguments: Arguments, steps: Sequence[list[str]]) -> int:
    """Run the steps that are not done, write the targets; return 0, or 1 if a step failed."""
    from rfpmss.runs.children import GRACE, Children

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
    from rfpmss.evaluation.page.tables import read_rows, trusted
    from rfpmss.runs import record

    path = arguments.out / RECORD
    with trusted(path):
        found = {entry["command"]: entry for entry in read_rows(path) if entry["status"] == 0}
        now = {"code": record.code()}
        lines = [
            f"  {entry['command']}: {line.strip()}"
            for command in map(_shown, steps)
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
    from rfpmss.evaluation.page.tables import write_json
    from rfpmss.runs import record

    told, failed = [], []
    for number, words in enumerate(steps, start=1):
        command = _shown(words)
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


def _shown(words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", *words])


def _share(out: Path, run_dir: Path) -> None:
    """Let a page show the grid: its table stands among the run's own."""
    from rfpmss.common.files import read_text, write_text

    for suffix in ("json", "csv", "tex"):
        table = out / "ablation" / f"ablation.{suffix}"
        if table.is_file() and run_dir.is_dir():
            target = run_dir / "evaluation" / table.name
            write_text(target, read_text(table))


def _targets(out: Path) -> None:
    from rfpmss.evaluation.page.tables import write_csv, write_json, write_latex
    from rfpmss.evaluation.page.targets import readable, targets

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


if __name__ == "__main__":
    sys.exit(main())

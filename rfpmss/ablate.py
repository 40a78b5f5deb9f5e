"""Ablate: every row of Tables 3 to 5 and Fig. 6, each pretrained over several seeds.

    python -m rfpmss.ablate --out runs/ablation --rows 4a --seeds 0 1 2
    python -m rfpmss.ablate --out runs/short --rows all --epochs 20 --jobs 2

Each row and seed is a run of rfpmss.train in OUT/ROW/seed-N. Starting again with the same --out
goes on where it stopped. Writes OUT/ablation.json, .csv and .tex after every finished run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import tyro

from rfpmss.common.command import guarded
from rfpmss.common.files import write_text
from rfpmss.common.yaml import read_mapping
from rfpmss.config import Config
from rfpmss.config.arguments import program

if TYPE_CHECKING:
    from rfpmss.config import PhantomConfig
    from rfpmss.evaluation.grid import Variant


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.ablate`` takes."""

    out: Path = Path("runs/ablation")
    """Folder of the grid; an existing one is gone on with."""
    preset: Literal["smoke", "tiny", "small", "paper"] = "tiny"
    """Where every row starts from."""
    rows: tuple[str, ...] = ("4a",)
    """Names of rows, tables (3, 4a, 4b, 5, solver, views, missing), or all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the phantom cohort of the preset."""
    epochs: int | None = None
    """Passes of each run, over which its learning rate runs out; by default those of the preset."""
    jobs: int = 1
    """Runs at the same time, each on one thread; changes no result."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default cuda where there is one."""
    list: bool = False
    """Only list the rows and what they change."""

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("jobs", self.jobs)):
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        if not self.seeds:
            raise ValueError("--seeds must name at least one seed, got none")


_ONE = Lock()
"""One run is scored, or its manifest written, at a time."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    try:
        arguments = tyro.cli(Arguments, args=argv, prog=program("ablate"), description=__doc__)
        from rfpmss.evaluation.grid import VARIANTS, chosen

        names = chosen(arguments.rows)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        for name in names:
            variant = VARIANTS[name]
            changes = {
                **variant.changes,
                **{k: f"x {v:g}" for k, v in (variant.scale or {}).items()},
                **({"modalities": "+".join(variant.only)} if variant.only else {}),
                **({"missing": f"{variant.missing:.0%}"} if variant.missing else {}),
            }
            told = ", ".join(f"{key}={value}" for key, value in changes.items()) or "nothing"
            print(f"{name:<16}{variant.table:<9}{variant.title}: {told}")
        return 0
    return guarded(lambda: ablate(arguments, names), arguments.out)


def ablate(arguments: Arguments, names: list[str]) -> int:
    """Run what is missing, summarise what is there; return 0, or 1 if a run failed."""
    from rfpmss.common.progress import progress
    from rfpmss.evaluation.grid import VARIANTS

    # Seeds first, so that an interrupted grid holds whole comparisons; what is slow comes last.
    cells = [(name, seed) for seed in arguments.seeds for name in names]
    cells.sort(key=lambda cell: VARIANTS[cell[0]].slow)
    before = [cell for cell in cells if _complete(arguments.out / cell[0] / f"seed-{cell[1]}")]
    failed: list[str] = []
    with (
        progress("ablation", len(cells), unit="runs") as advance,
        ThreadPoolExecutor(arguments.jobs) as pool,
    ):
        started = {pool.submit(_run, arguments, name, seed): (name, seed) for name, seed in cells}
        for done in as_completed(started):
            name, seed = started[done]
            error = done.exception()
            if problem := str(error or "") or done.result():
                failed.append(f"{name}, seed {seed}: {problem}")
            if (name, seed) not in before:
                _summarise(arguments, names)
            advance(row=name, seed=seed)
    _summarise(arguments, names)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    print(f"tables: {arguments.out.resolve()}")
    return 1 if failed else 0


def _run(arguments: Arguments, name: str, seed: int) -> str:
    """Train and score one cell unless it is complete; return what went wrong, if anything."""
    import yaml

    from rfpmss.config import PRESETS
    from rfpmss.evaluation.grid import VARIANTS, changed

    folder = arguments.out / name / f"seed-{seed}"
    wanted = folder / "wanted.yaml"
    try:
        base = PRESETS[arguments.preset]()
        if arguments.epochs:
            train = base.train.model_copy(update={"epochs": arguments.epochs})
            base = base.model_copy(update={"train": train})
        config = changed(base, VARIANTS[name], seed)
    except ValueError as error:
        return str(error).splitlines()[-1]
    content = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    if wanted.is_file() and not _same(wanted, config):
        return f"{folder} holds a run of another configuration; choose another --out"
    if _complete(folder):
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(wanted, content)
    data = _data(arguments.data, config.phantom, VARIANTS[name])
    chosen = ["--preset", arguments.preset, "--config-file", str(wanted), "--no-evaluate"]
    chosen += [] if data is None else ["--data", str(data)]
    began = time.monotonic()
    command = [sys.executable, "-m", "rfpmss.train", *chosen, "--run-dir", str(folder)]
    command += [] if arguments.device is None else ["--device", arguments.device]
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if status:
        return f"train ended with status {status}; see {folder / 'log.txt'}"
    if problem := _score(folder, arguments.device or "cpu"):
        return f"evaluate: {problem}"
    seconds = round(time.monotonic() - began, 1)
    write_text(folder / "complete.json", json.dumps({"seconds": seconds}))
    return ""


def _same(path: Path, config: Config) -> bool:
    """Whether a file holds this configuration; a field it lacks has its default."""
    try:
        return Config.model_validate(read_mapping(path)) == config
    except (ValueError, OSError):
        return False


def _score(folder: Path, device: str) -> str:
    """What `rfpmss.evaluate --run-dir FOLDER` writes, here: starting it takes longer than it."""
    from rfpmss import evaluation
    from rfpmss.runs.opened import OpenError, open_run

    with _ONE:
        try:
            opened = open_run(folder, None, device)
        except OpenError as error:
            return str(error)
        evaluation.run(opened.model, opened.cohort, opened.tokenizer, opened.config, folder)
    return ""


def _data(data: Path | None, phantom: PhantomConfig, variant: Variant) -> Path | None:
    """The manifest to train on; one with some modalities or views is written beside the whole."""
    if not variant.only and not variant.missing:
        return data
    from rfpmss.data.cohort.manifest import read, write
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.evaluation.grid import kept

    with _ONE:
        whole = data or ensure_cohort(phantom)
        parts = variant.only or (f"missing-{variant.missing:.2f}",)
        path = whole.with_name(f"{whole.stem}-{'-'.join(parts)}.csv")
        write(path, kept(read(whole), variant))
    return path


def _complete(folder: Path) -> bool:
    return (folder / "complete.json").is_file()


def _seconds(path: Path) -> float:
    from rfpmss.evaluation.page.tables import read_object, trusted

    with trusted(path):
        return float((read_object(path) or {})["seconds"])


def _summarise(arguments: Arguments, names: list[str]) -> None:
    from rfpmss.evaluation.grid import summary
    from rfpmss.evaluation.page.tables import percent, write_csv, write_json, write_latex

    found = {
        name: {
            seed: folder
            for seed in arguments.seeds
            if _complete(folder := arguments.out / name / f"seed-{seed}")
        }
        for name in names
    }
    lines = summary({name: seeds for name, seeds in found.items() if seeds})
    for line in lines:
        folders = list(found[line["row"]].values())
        spent = [_seconds(folder / "complete.json") for folder in folders]
        line["seconds"] = sum(spent) / len(spent)
        # Where the row comes from: each run's configuration, started by rfpmss.train.
        line["runs"] = [folder.relative_to(arguments.out).as_posix() for folder in folders]
    write_json(arguments.out / "ablation.json", lines)
    write_csv(arguments.out / "ablation.csv", lines)
    readable = [
        {
            **{"Row": line["title"], "Retrieval": f"{line['query']} to {line['gallery']}"},
            **{
                f"R@{k} (95 %)": f"{percent(line[f'r{k}'])} "
                f"({percent(line[f'r{k}_low'])}, {percent(line[f'r{k}_high'])})"
                for k in (5, 10)
            },
            "p (Holm)": "-" if line["p_holm"] is None else f"{line['p_holm']:.2g}",
        }
        for line in lines
    ]
    write_latex(arguments.out / "ablation.tex", readable)


if __name__ == "__main__":
    sys.exit(main())

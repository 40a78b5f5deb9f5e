"""Ablate: every row of Tables 4 and 5 and Fig. 6, each pretrained over several seeds.

    python -m rfpmss.ablate --out runs/ablation --rows 4a --seeds 0 1 2

Each row and seed is a run of rfpmss.train in OUT/ROW/seed-N. Starting again with the same --out
goes on where it stopped. Writes OUT/ablation.json, .csv and .tex after every finished run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.ablate`` takes."""

    out: Path = Path("runs/ablation")
    """Folder of the grid; an existing one is gone on with."""
    preset: Literal["smoke", "tiny", "small", "paper"] = "tiny"
    """Where every row starts from."""
    rows: tuple[str, ...] = ("4a",)
    """Names of rows, tables (4a, 4b, 5, solver, views, missing), or all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the phantom cohort of the preset."""
    max_steps: int | None = None
    """Stop each run after this many steps."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default cuda where there is one."""
    list: bool = False
    """Only list the rows and what they change."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m rfpmss.ablate", description=__doc__)
    from rfpmss.evaluation.grid import VARIANTS, chosen

    try:
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
            }
            told = ", ".join(f"{key}={value}" for key, value in changes.items()) or "nothing"
            print(f"{name:<16}{variant.table:<9}{variant.title}: {told}")
        return 0
    return ablate(arguments, names)


def ablate(arguments: Arguments, names: list[str]) -> int:
    """Run what is missing, summarise what is there; return 0, or 1 if a run failed."""
    from rfpmss.progress import progress

    # Seeds first, so that an interrupted grid holds whole comparisons.
    cells = [(name, seed) for seed in arguments.seeds for name in names]
    failed: list[str] = []
    with progress("ablation", len(cells), unit="runs") as advance:
        for name, seed in cells:
            problem = _run(arguments, name, seed)
            if problem:
                failed.append(f"{name}, seed {seed}: {problem}")
            _summarise(arguments, names)
            advance(row=name, seed=seed)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    print(f"tables: {arguments.out.resolve()}")
    return 1 if failed else 0


def _run(arguments: Arguments, name: str, seed: int) -> str:
    """Train one cell unless it is complete; return what went wrong, if anything."""
    import yaml

    from rfpmss.config import PRESETS
    from rfpmss.evaluation.grid import VARIANTS, changed

    folder = arguments.out / name / f"seed-{seed}"
    if _complete(folder):
        return ""
    try:
        config = changed(PRESETS[arguments.preset](), VARIANTS[name], seed)
    except ValueError as error:
        return str(error).splitlines()[-1]
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.yaml"
    wanted.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    command = [sys.executable, "-m", "rfpmss.train", "--preset", arguments.preset]
    command += ["--config-file", str(wanted), "--run-dir", str(folder)]
    for option, value in (
        ("--data", arguments.data),
        ("--max-steps", arguments.max_steps),
        ("--device", arguments.device),
    ):
        command += [] if value is None else [option, str(value)]
    began = time.monotonic()
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if status:
        return f"training ended with status {status}; see {folder / 'log.txt'}"
    (folder / "complete.json").write_text(json.dumps({"seconds": time.monotonic() - began}))
    return ""


def _complete(folder: Path) -> bool:
    return (folder / "complete.json").is_file()


def _summarise(arguments: Arguments, names: list[str]) -> None:
    from rfpmss.evaluation.grid import summary
    from rfpmss.evaluation.tables import percent, write_csv, write_json, write_latex

    found = {
        name: {
            seed: folder
            for seed in arguments.seeds
            if _complete(folder := arguments.out / name / f"seed-{seed}")
        }
        for name in names
    }
    lines = summary({name: seeds for name, seeds in found.items() if seeds})
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

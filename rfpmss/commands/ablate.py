"""What ``rfpmss ablate`` does."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rfpmss.commands.scores import experiment, score
from rfpmss.common.errors import Interrupted, RfpmssError
from rfpmss.common.files import appended, sentence, write_text
from rfpmss.common.progress import progress
from rfpmss.common.yaml import read_mapping
from rfpmss.config import PRESETS, Config, second_edition
from rfpmss.data.cohort.manifest import read as rows_of
from rfpmss.data.cohort.manifest import write
from rfpmss.data.cohort.verify import fingerprint_of
from rfpmss.data.phantom import ensure_cohort
from rfpmss.evaluation.grid import EQ6, VARIANTS, changed, chosen, kept, summary
from rfpmss.evaluation.page.tables import (
    percent,
    read_object,
    trusted,
    write_csv,
    write_json,
    write_latex,
)
from rfpmss.options.ablate import Arguments
from rfpmss.runs import record
from rfpmss.runs.children import Children
from rfpmss.runs.folder import alone, manifest_given, require_files
from rfpmss.runs.stored import sha256

if TYPE_CHECKING:
    from rfpmss.config import PhantomConfig
    from rfpmss.data.cohort.fingerprint import Fingerprint
    from rfpmss.evaluation.grid import Variant

SCORES = "evaluation"
"""Folder of a cell's scores."""
COMPLETE = "complete.json"
"""In the folder of a cell that is trained and scored: its seconds, cohort and code, and the digest
of every file of its scores."""


NAMED = 10
"""Cells that a refusal names."""


@dataclass(frozen=True)
class Cell:
    """One row and seed of the grid."""

    name: str
    seed: int
    folder: Path
    config: Config
    data: Path
    """Its manifest."""
    cohort: Fingerprint
    elsewhere: Path | None = None
    """Manifest of the other hospital, if it is to be scored there."""
    other: str | None = None
    """The digest of its cohort."""

    @property
    def complete(self) -> bool:
        """Whether it is trained and scored."""
        return (self.folder / COMPLETE).is_file()

    @property
    def wanted(self) -> Path:
        """What it was asked for."""
        return self.folder / "wanted.yaml"


def run(arguments: Arguments) -> int:
    """List the rows, or run them; return the exit status."""
    try:
        names = chosen(arguments.rows)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    if not arguments.list:
        with alone(arguments.out):
            return ablate(arguments, names)

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


def ablate(arguments: Arguments, names: list[str]) -> int:
    """Run what is missing, summarise what is there; return 0, or 1 if a run failed."""
    cells, failed = _cells(arguments, names)
    require_files(*(cell.folder for cell in cells), *(cell.folder / SCORES for cell in cells))
    if not arguments.allow_config_change:
        _refuse_foreign(cells)
    _require_scores(cells)

    waiting = [cell for cell in cells if not cell.complete]
    try:
        with (
            progress("ablation", len(cells), len(cells) - len(waiting), "runs") as advance,
            ThreadPoolExecutor(arguments.jobs) as pool,
            Children() as children,
        ):
            started = {pool.submit(_train, arguments, cell, children): cell for cell in waiting}
            try:
                for done in as_completed(started):
                    cell = started[done]
                    if problem := _finish(arguments, cell, done):
                        failed.append(f"{cell.name}, seed {cell.seed}: {problem}")
                    _summarise(arguments, names)
                    advance(row=cell.name, seed=cell.seed)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    except Interrupted as error:
        print(
            f"stopped by signal {error.signal}; what was running is saved: start again with --out "
            f"{arguments.out} to go on",
            file=sys.stderr,
        )
        raise

    _summarise(arguments, names)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)

    print(f"tables: {arguments.out.resolve()}")
    return 1 if failed else 0


def _cells(arguments: Arguments, names: list[str]) -> tuple[list[Cell], list[str]]:
    """All cells in the order of their turn, and what cannot be one, a line each."""
    base = PRESETS[arguments.preset]()
    if arguments.edition > 1:
        base = second_edition(base)

    elsewhere = manifest_given(arguments.elsewhere, "--elsewhere") if arguments.elsewhere else None
    other = fingerprint_of(elsewhere).digest if elsewhere else None
    if arguments.epochs:
        train = base.train.model_copy(update={"epochs": arguments.epochs})
        base = base.model_copy(update={"train": train})

    known: dict[Path, Fingerprint] = {}
    cells, failed = [], []
    # Seeds first, so that an interrupted grid holds whole comparisons; what is slow comes last.
    for name, seed in sorted(
        [(name, seed) for seed in arguments.seeds for name in names],
        key=lambda cell: VARIANTS[cell[0]].slow,
    ):
        try:
            config = changed(base, VARIANTS[name], seed)
        except ValueError as error:
            failed.append(f"{name}, seed {seed}: {str(error).splitlines()[-1]}")
            continue

        data = _data(arguments.data, config.phantom, VARIANTS[name])
        if data not in known:
            known[data] = fingerprint_of(data)
        folder = arguments.out / name / f"seed-{seed}"
        cells.append(Cell(name, seed, folder, config, data, known[data], elsewhere, other))

    return cells, failed


def _refuse_foreign(cells: Sequence[Cell]) -> None:
    """Refuse a grid that holds cells of another configuration, cohort or code.

    Raises:
        RfpmssError: names each, and what differs.
    """
    found = [line for cell in cells for line in _foreign(cell)]
    if found:
        more = [f"  and {len(found) - NAMED} others"] if len(found) > NAMED else []
        raise RfpmssError(
            "--out must hold cells of this configuration, cohort and code, got\n"
            + "\n".join([*found[:NAMED], *more])
            + "\nchoose another --out, or pass --allow-config-change to take them as they are"
        )


def _require_scores(cells: Sequence[Cell]) -> None:
    """Refuse scores that are not as their cell wrote them: others' would go into the tables.

    Raises:
        RfpmssError: names each file.
    """
    found = [line for cell in cells if cell.complete for line in _changed(cell)]
    if found:
        more = [f"  and {len(found) - NAMED} others"] if len(found) > NAMED else []
        raise RfpmssError(
            "scores of finished cells must be as they were written, got\n"
            + "\n".join([*found[:NAMED], *more])
            + f"\nremove {COMPLETE} there and start again: the cells are scored anew, not trained"
        )


def _changed(cell: Cell) -> list[str]:
    """Files of a finished cell's scores that are gone, or others than it wrote."""
    with trusted(cell.folder / COMPLETE):
        told = _told(cell.folder / COMPLETE)
        digests = dict(told.get("scores", {}))

    if "scores" not in told:  # of before; see `_foreign`
        print(f"note: {cell.folder}: scores without digests, taken as they are", file=sys.stderr)

    lines = []
    for name, digest in digests.items():
        path = cell.folder / SCORES / name
        if not path.is_file():
            lines.append(f"  {path} is missing")
        elif sha256(path) != digest:
            lines.append(f"  {path} was changed, or is of another run")

    return lines


def _foreign(cell: Cell) -> list[str]:
    """How a cell that stands there differs from the one that is asked for."""
    if cell.wanted.is_file() and not _same(cell.wanted, cell.config):
        return [f"  {cell.folder} holds a run of another configuration"]

    try:
        run = record.read(cell.folder)
    except record.RecordError:
        run = None

    if run is None and not cell.complete:
        return []

    run = run or {}
    told = _told(cell.folder / COMPLETE) if cell.complete else {}
    known = {name: told.get(name) or run.get(name) for name in ("cohort", "code")}
    if not all(known.values()):
        return [f"  {cell.folder}: its cohort and its code are not known"]
    if cell.complete and "scores" not in told:
        return [f"  {cell.folder}: the digests of its scores are not known"]
    if cell.complete and cell.other and told.get("elsewhere") != cell.other:
        return [f"  {cell.folder} was not scored in this other hospital"]

    before = record.studies_of(cell.folder, run)
    now = {"cohort": cell.cohort.digest, "code": record.code()}
    lines = record.cohort_lines(known, now, before, cell.cohort)
    lines += record.code_lines(known, now)

    return [f"  {cell.folder}: {line.strip()}" for line in lines]


def _train(arguments: Arguments, cell: Cell, children: Children) -> float:
    """Train one cell; return the seconds.

    Raises:
        RfpmssError: if training fails; the message names its log.
    """
    began = time.monotonic()
    cell.folder.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_dump(cell.config.model_dump(mode="json"), sort_keys=False)
    write_text(cell.wanted, content)
    words = ["rfpmss.train", "--preset", arguments.preset, "--config-file", str(cell.wanted)]
    words += ["--no-evaluate", "--run-dir", str(cell.folder), "--data", str(cell.data)]
    words += [] if arguments.device is None else ["--device", arguments.device]
    words += ["--allow-config-change"] if arguments.allow_config_change else []
    path = cell.folder / "log.txt"
    with appended(path) as log:
        status = children.run(words, log)

    if status:
        raise RfpmssError(f"train ended with status {status}; see {path}")

    return time.monotonic() - began


def _finish(arguments: Arguments, cell: Cell, trained: Future[float]) -> str:
    """Score a trained cell; return what went wrong in it, if anything."""
    if isinstance(error := trained.exception(), Interrupted):
        raise error

    try:
        began = time.monotonic() - trained.result()
        device, allow = arguments.device or "cpu", arguments.allow_config_change
        score(cell.folder, cell.elsewhere, device, allow_change=allow)
    except OSError as error:
        return sentence(error, cell.folder)
    except Exception as error:  # one cell's fault is that cell's
        return str(error) or type(error).__name__

    told = {
        "seconds": round(time.monotonic() - began, 1),
        "cohort": cell.cohort.digest,
        "code": record.code(),
        "scores": {
            path.name: sha256(path) for path in sorted((cell.folder / SCORES).glob("*.json"))
        },
        **({"elsewhere": cell.other} if cell.other else {}),
    }
    write_text(cell.folder / COMPLETE, json.dumps(told))
    return ""


def _same(path: Path, config: Config) -> bool:
    """Whether a file holds this configuration; a field it lacks has its default."""
    try:
        return Config.model_validate(read_mapping(path)) == config
    except (ValueError, OSError):
        return False


def _data(data: Path | None, phantom: PhantomConfig, variant: Variant) -> Path:
    """The manifest to train on; one with some modalities or views is written beside the whole."""
    whole = manifest_given(data) if data else ensure_cohort(phantom)
    if not variant.only and not variant.missing:
        return whole

    parts = variant.only or (f"missing-{variant.missing:.2f}",)
    path = whole.with_name(f"{whole.stem}-{'-'.join(parts)}.csv")
    write(path, kept(rows_of(whole), variant))
    return path


def _told(path: Path) -> dict[str, Any]:
    """What a finished cell says of itself."""
    with trusted(path):
        return read_object(path) or {}


def _seconds(path: Path) -> float:
    with trusted(path):
        seconds = float(_told(path)["seconds"])
        if not math.isfinite(seconds):
            raise ValueError
        return seconds


def _summarise(arguments: Arguments, names: list[str]) -> None:
    found = {
        name: {
            seed: folder
            for seed in arguments.seeds
            if (folder := arguments.out / name / f"seed-{seed}").joinpath(COMPLETE).is_file()
        }
        for name in names
    }
    if EQ6 in arguments.rows:
        mine = {name: cells for name, cells in found.items() if VARIANTS[name].experiment == EQ6}
        experiment(arguments.out, mine, arguments.seeds)

    lines = summary({name: seeds for name, seeds in found.items() if seeds})
    for line in lines:
        folders = list(found[line["row"]].values())
        spent = [_seconds(folder / COMPLETE) for folder in folders]
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

"""What a finished run of a grid is scored on, and the tables of the experiment on Eq. 5 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rfpmss import evaluation
from rfpmss.evaluation import arms
from rfpmss.evaluation.adapt import adapt
from rfpmss.evaluation.labels.untold import untold
from rfpmss.evaluation.page.tables import write_csv, write_json
from rfpmss.evaluation.structure.learned import NAMES, learned
from rfpmss.runs.folder import METRICS, read_metrics
from rfpmss.runs.opened import open_run

EXPERIMENT = "eq6.csv"
"""A line a run."""
DIFFERENCES = "eq6_differences.csv"
"""A line an arm and endpoint."""


def score(folder: Path, elsewhere: Path | None, device: str, *, allow_change: bool = False) -> None:
    """What `rfpmss.evaluate` writes, here: starting it takes longer than it; and untold findings.

    Args:
        folder: of the run.
        elsewhere: manifest of another hospital, where the run is scored as it is and adapted.
        device: cpu, cuda, cuda:1, ...
        allow_change: score although cohort, configuration or release are others.
    """
    opened = open_run(folder, None, device, allow_change=allow_change)
    parts = (opened.model, opened.cohort, opened.tokenizer)
    evaluation.run(*parts, opened.config, folder, origin=opened.origin)
    size = opened.config.train.batch
    write_json(folder / "evaluation" / arms.UNTOLD, untold(*parts, size))
    if elsewhere is None:
        return

    away = open_run(folder, elsewhere, device, allow_change=allow_change)
    parts = (away.model, away.cohort, away.tokenizer)
    for name in (arms.AWAY, arms.ADAPTED):
        if name == arms.ADAPTED:
            if not away.config.model.standardise:
                return  # it has no figures to adapt
            adapt(*parts, size)
        evaluation.run(*parts, away.config, folder, name=arms.FILES[name], origin=away.origin)


def experiment(out: Path, found: Mapping[str, Mapping[int, Path]], seeds: Sequence[int]) -> None:
    """Write the tables of the experiment on Eq. 5 and 6 from the runs that are scored.

    Args:
        out: folder of the grid.
        found: folder of each arm and seed that is complete.
        seeds: that were asked for.
    """
    runs = {
        row: {seed: arms.read(folder) for seed, folder in cells.items()}
        for row, cells in found.items()
    }
    write_csv(
        out / EXPERIMENT,
        [
            _line(row, seed, found[row][seed], run)
            for row, cells in runs.items()
            for seed, run in cells.items()
        ],
    )
    beside = [arms.controls(folder) for cells in found.values() for folder in cells.values()][:1]
    lines = [
        line
        | dict.fromkeys(("chance", "ceiling", "outline"))
        | known.get(str(line["endpoint"]), {})
        for known in beside
        for line in arms.compare(runs, seeds)
    ]
    write_csv(out / DIFFERENCES, lines)


def _line(row: str, seed: int, folder: Path, run: arms.Run) -> dict[str, object]:
    empty = dict.fromkeys([*(endpoint.name for endpoint in arms.endpoints()), *NAMES])
    values: dict[str, object] = {"row": row, "seed": seed, **empty}
    values |= {name: round(figure.value, 5) for name, figure in run.items()}
    log = folder / METRICS
    end = learned(read_metrics(log)) if log.is_file() else None
    if end is not None:
        values |= dict(zip(NAMES, (end.value, end.trivial, end.floor), strict=True))

    return values

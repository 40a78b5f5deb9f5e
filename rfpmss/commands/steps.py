"""The steps of ``rfpmss reproduce`` within each budget; light, for ``--list``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfpmss.config import PRESETS
from rfpmss.data.phantom.cohort import folder_name
from rfpmss.options.reproduce import Arguments


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


def commands(arguments: Arguments, budget: Budget) -> list[list[str]]:
    """Every step as the words after ``python -m``."""
    out, preset = arguments.out, ["--preset", arguments.preset]
    away, manifest = _elsewhere(out, arguments.preset)
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


def _elsewhere(out: Path, preset: str) -> tuple[list[str], Path]:
    """The command that generates other patients in another hospital, and its manifest.

    As many as at home: held-out ones then have no number of a training patient, as whom they would
    be refused.
    """
    changes: dict[str, Any] = {"hospital": "other", "seed": 1}
    config = PRESETS[preset]().phantom.model_copy(update=changes)
    words = ["rfpmss.prepare", "phantom", "--preset", preset, "--out", str(out / "elsewhere")]
    for name, value in changes.items():
        words += [f"--phantom.{name}", str(value)]

    return words, out / "elsewhere" / folder_name(config) / "manifest.csv"


def shown(words: Sequence[str]) -> str:
    """A step as it is typed."""
    return shlex.join(["python", "-m", *words])

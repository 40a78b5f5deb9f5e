"""Arguments of ``rfpmss ablate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfpmss.config import Preset
from rfpmss.config.bounds import MOST_PASSES, MOST_WORKERS, distinct, within
from rfpmss.config.sections import SEED


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.ablate`` takes."""

    out: Path = Path("runs/ablation")
    """Folder of the grid; an existing one is gone on with."""
    preset: Preset = "tiny"
    """Where every row starts from."""
    rows: tuple[str, ...] = ("4a",)
    """Names of rows, tables (3, 4a, 4b, 5, solver, recipe, views, missing), eq6 (the experiment on
    Eq. 5 and 6, with tables of its own), or all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each row."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the phantom cohort of the preset."""
    edition: Literal[1, 2] = 1
    """Of the phantom cohort, with the settings that its second edition needs."""
    elsewhere: Path | None = None
    """Manifest of another hospital: every run is also scored there, as it is and adapted."""
    epochs: int | None = None
    """Passes of each run, over which its learning rate runs out; by default those of the preset."""
    jobs: int = 1
    """Runs at the same time, each on one thread; changes no result."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default cuda where there is one."""
    allow_config_change: bool = False
    """Take and go on with cells of another cohort, configuration or code as they are."""
    list: bool = False
    """Only list the rows and what they change."""

    def __post_init__(self) -> None:
        within(self, 1, MOST_PASSES, "epochs")
        within(self, 1, MOST_WORKERS, "jobs")
        within(self, 0, SEED, "seeds")
        distinct(self, "seeds", "rows")
        if not self.seeds:
            raise ValueError("--seeds must name at least one seed, got none")

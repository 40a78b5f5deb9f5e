"""Arguments of ``rfpmss reproduce``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfpmss.config import Preset
from rfpmss.config.bounds import MOST_WORKERS, within


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

"""Arguments of ``rfpmss view``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rfpmss.config.bounds import within


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.view`` takes."""

    study: Annotated[str, tyro.conf.Positional] = ""
    """Study of the cohort; by default the first that was held out."""
    run_dir: Path = Path("runs/tiny-0")
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    port: int = 7870
    """Of the page on this machine; 0 takes a free one."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""

    def __post_init__(self) -> None:
        within(self, 0, 65_535, "port")

"""Arguments of ``rfpmss findings``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rfpmss.config.bounds import distinct


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.findings`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    prompts: Path | None = None
    """YAML file of findings with positive and negative sentences; by default those of the phantom
    cohort (docs/training.md shows one)."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    elsewhere: tuple[Path, ...] = ()
    """Manifests of other hospitals: their held-out patients are scored by the threshold and the
    temperature of --data, and are groups of the table by hospital."""
    by: tuple[str, ...] = ()
    """Labels whose values are groups too; hospital, scanner, sex and age are found without."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""

    def __post_init__(self) -> None:
        distinct(self, "elsewhere", "by")

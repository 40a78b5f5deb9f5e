"""Arguments of ``rfpmss evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfpmss.config.bounds import distinct, require_name, within

ENDINGS = ("_full", "_queries", "_origin", "_findings", "_words")
"""What follows the name in the names of files."""

WIDEST = 1_024
"""Of a search; each width keeps as many reports of a whole batch."""


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.evaluate`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest of a prepared cohort; by default the one the run was trained on."""
    name: str | None = None
    """What --data is called in the names of the files."""
    split: Literal["train", "val", "test"] = "test"
    """Studies to score."""
    beams: tuple[int, ...] = ()
    """Also score the reports written by searches of these widths; 1 is greedy."""
    adapt: bool = False
    """Standardise by the means and deviations of all studies of the cohort, in the place of those
    of training: for another hospital. No labels and no pairs are used."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""

    def __post_init__(self) -> None:
        within(self, 1, WIDEST, "beams")
        distinct(self, "beams")
        if self.name is not None:
            require_name(self.name, "--name")
            if self.name.rpartition("-")[2] in ("train", "val", "adapted"):
                raise ValueError(
                    f"--name must not end like the files of another --split or of --adapt, "
                    f"got {self.name}"
                )
            if self.name.endswith(ENDINGS):
                raise ValueError(
                    f"--name must not end in {', '.join(ENDINGS)}, as the files of other scores "
                    f"do, got {self.name}"
                )

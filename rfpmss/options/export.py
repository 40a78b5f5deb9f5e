"""Arguments of ``rfpmss export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rfpmss.config.bounds import require_name


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.export`` takes."""

    run: tyro.conf.Positional[Path]
    """Run folder of rfpmss.train."""
    out: Path
    """New or empty folder."""
    weights: Literal["last", "averaged", "best"] = "last"
    """Of the newest checkpoint; averaged over the steps (train.ema); or best on the split val."""
    graphs: bool = True
    """Also write the two encoders as graphs of torch.export."""
    license: str | None = None
    """Licence of the weights for the model card, e.g. cc-by-4.0."""
    allow_config_change: bool = False
    """Go on although the newest checkpoint is of another configuration or cohort than the run
    folder, or of another release."""

    def __post_init__(self) -> None:
        if self.license is not None:
            require_name(self.license, "--license")

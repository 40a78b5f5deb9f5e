"""Arguments of ``rfpmss check``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Arguments:
    """What ``rfpmss check`` takes."""

    cohort: tyro.conf.Positional[Path]
    """Folder of a prepared cohort, or its manifest."""
    accept: bool = False
    """Take the manifest as it is now, changed on purpose; images are checked all the same."""

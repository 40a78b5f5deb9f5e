"""Arguments of ``rfpmss embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from rfpmss.data.sources.folder import FolderOptions, at_least


@dataclass(frozen=True, kw_only=True)
class Arguments(FolderOptions):
    """What ``python -m rfpmss.embed`` takes."""

    src: tyro.conf.Positional[Path | None] = None
    """Folder of patients, read as ``prepare hospital`` does; or the manifest.csv of a cohort."""
    model: Path
    """Folder of rfpmss.export."""
    out: Path
    """New Parquet file."""
    salt: Path | None = None
    """File with the secret of the hashed ids; by default .salt beside --out, made if absent."""
    inputs: bool = False
    """Also the features of the input space."""
    adapt: bool = False
    """Standardise by the means and deviations of these studies, in the place of those of training:
    for another hospital, with at least 32 of its studies. Vectors of two files compare only if both
    were made by the same figures."""
    batch: int = 16
    """Studies encoded at once."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "batch")

"""Arguments of ``rfpmss prepare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rfpmss.data.cohort.options import Portion, check_box, check_shares
from rfpmss.data.sources.folder import FolderOptions, at_least


@dataclass(frozen=True, kw_only=True)
class Hospital(FolderOptions):
    """A folder of any nesting with DICOM CT and MR, NIfTI, slides and text reports."""

    out: Path
    """Folder for manifest.csv, rejections.csv and shards/."""
    labels: Path | None = None
    """Table of labels to learn, one row a patient: CSV, TSV or XLSX; see docs/data/labels.md."""
    label_columns: tuple[str, ...] = ()
    """Columns of it to take; by default all that hold numbers or a few words."""
    keep_words: Path | None = None
    """An edited words.private.csv: words of reports that are no names; see docs/data/reports.md."""
    views: int = 1
    """Slices or tiles to keep of each series."""
    order: Literal["best", "levels"] = "best"
    """Slices of CT and MRI: those of the tumour, by a mask, or of much contrast; or spread over
    the head with their heights, for data.order=levels."""
    depth: int = 0
    """Keep each sequence of CT and MRI as a box about the head of so many slices, for data.depth;
    0: slices of their own."""
    spacing: tuple[float, ...] = ()
    """Of the voxels of such a box, mm: one number, or three along x, y, z (x and y equal)."""
    size: int | None = None
    """Largest side of a kept image, pixels; by default 256. Of a box: its rows and columns, by
    default of 216 mm."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only show what each file would be taken for; nothing is decoded or written."""
    deidentify: Path | None = None
    """Also write a copy without identifiers there: DICOM (PS3.15 Basic Profile), NIfTI, reports."""
    keep_dates: tyro.conf.FlagCreatePairsOff[bool] = False
    """In that copy move dates by a secret number of days instead of removing them."""
    keep_descriptions: tyro.conf.FlagCreatePairsOff[bool] = False
    """In that copy keep the words of series descriptions that name sequences and planes."""
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the patients for train, val and test."""
    seed: int = 0
    """Seed of the splits; patients that were dealt before stay where they are."""
    salt: Path | None = None
    """File with the secret of the hashed patient ids; by default OUT/.salt, made if absent."""
    shard: str | None = None
    """I/N: decode only part I of N, for `prepare merge`; needs --salt, the same for all parts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "views", *(["size"] if self.size is not None else []))
        check_box(self.depth, self.spacing, self.order)
        if self.shard is not None:
            Portion.parse(self.shard)
            if self.salt is None:
                raise ValueError("--shard needs --salt FILE, the same secret for all parts")

        if self.label_columns and self.labels is None:
            raise ValueError("--label-columns needs --labels TABLE")
        if self.deidentify is None and (self.keep_dates or self.keep_descriptions):
            raise ValueError("--keep-dates and --keep-descriptions need --deidentify DIR")
        check_shares(self.splits)

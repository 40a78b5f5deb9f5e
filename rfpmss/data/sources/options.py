"""What preparing public data sets takes; light, for ``--help``."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Literal

import tyro

from rfpmss.data.cohort.options import Portion, check_box, check_shares

FOLDERS = ("brats", "brats2021", "upenn_gbm", "bids", "mr_rate")
"""Options that name a folder of images, of which one is needed."""


@dataclass(frozen=True)
class Public:
    """BraTS, UPENN-GBM and BIDS data sets, together without a patient standing twice."""

    out: Path
    """Folder for manifest.csv, rejections.csv and shards/."""
    brats2021: Path | None = None
    """Folder of BraTS2021: the archive of Kaggle or Synapse, or the package of TCIA."""
    brats: Path | None = None
    """Folder of any BraTS from 2017 on: glioma, meningioma, metastases, Africa, paediatric."""
    upenn_gbm: Path | None = None
    """Folder of UPENN-GBM."""
    bids: Path | None = None
    """A BIDS data set; derivatives/ is left out."""
    mr_rate: Path | None = None
    """Folder of MR-RATE, studies unpacked, with splits.csv or metadata/."""
    bids_masks: tuple[str, ...] = ()
    """Patterns of tumour masks in the BIDS data set, as "derivatives/**/*_dseg.nii.gz"."""
    reports: Path | None = None
    """Reports of TextBraTS, RadGenome-Brain MRI, BTReport or MR-RATE: file or folder."""
    mapping: Path | None = None
    """BraTS2021_MappingToTCIA.xlsx, needed with both: it says who is the same patient."""
    unmapped: tyro.conf.FlagCreatePairsOff[bool] = False
    """Use both without a mapping, although patients may then stand in two splits."""
    unstripped: tyro.conf.FlagCreatePairsOff[bool] = False
    """UPENN-GBM with the skull."""
    derive_reports: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write reports from the masks; they are marked as derived wherever they go."""
    mask_labels: Literal["auto", "brats2017", "brats2023"] = "auto"
    """What labels mean: 4 enhancing (2017-2021), or 3 enhancing and 4 cavity (2023 on)."""
    gaps: Literal["refuse", "resample"] = "refuse"
    """Sequences on unequal grids are left out, or laid upon the commonest grid."""
    clinical: tuple[Literal["mgmt", "idh1", "survival_days"], ...] = ()
    """Labels to put into derived reports; do not predict these from the text afterwards."""
    views: int = 1
    """Slices to keep of each study."""
    order: Literal["best", "levels"] = "best"
    """Slices of the tumour, by a mask, or of much contrast; or spread over the head with their
    heights, for data.order=levels."""
    depth: int = 0
    """Keep each sequence of CT and MRI as a box about the head of so many slices, for data.depth;
    0: slices of their own."""
    spacing: tuple[float, ...] = ()
    """Of the voxels of such a box, mm: one number, or three along x, y, z (x and y equal)."""
    size: int | None = None
    """Largest side of a kept image, pixels; by default 256. Of a box: its rows and columns, by
    default of 216 mm."""
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the patients for train, val and test."""
    seed: int = 0
    """Seed of the splits; patients that were dealt before stay where they are."""
    max_mib: int = 1024
    """Largest decoded image, MiB."""
    workers: int = 2
    """Processes that decode."""
    shard: str | None = None
    """I/N: decode only part I of N, for `prepare merge`."""

    def __post_init__(self) -> None:
        for name in ("views", "size", "max_mib", "workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1")

        check_box(self.depth, self.spacing, self.order)
        check_shares(self.splits)

        if self.shard is not None:
            Portion.parse(self.shard)

        if not self.folders:
            *others, last = (f"--{name.replace('_', '-')}" for name in FOLDERS)
            raise ValueError(f"one of {', '.join(others)} and {last} is needed")
        if self.bids_masks and not self.bids:
            raise ValueError("--bids-masks needs --bids DIR")

    @property
    def folders(self) -> list[Path]:
        """The folders of images, resolved."""
        given = [getattr(self, name) for name in FOLDERS]
        return [Path(realpath(path)) for path in given if path]  # links in a circle are told later

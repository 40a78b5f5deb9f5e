"""The public cohorts as a command: find, merge, derive reports if asked, build."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rfpmss.data.parts import Part, Shard, build_part, identity

if TYPE_CHECKING:
    from rfpmss.data import hospital
    from rfpmss.data.build import Summary
    from rfpmss.data.public import Found


@dataclass(frozen=True)
class Public:
    """BraTS2021 and UPENN-GBM, one of them or both without a patient standing twice."""

    out: Path
    """Folder for manifest.csv, rejections.csv and shards/."""
    brats2021: Path | None = None
    """Folder of BraTS2021: the archive of Kaggle or Synapse, or the package of TCIA."""
    upenn_gbm: Path | None = None
    """Folder of UPENN-GBM."""
    mapping: Path | None = None
    """BraTS2021_MappingToTCIA.xlsx, needed with both: it says who is the same patient."""
    unmapped: tyro.conf.FlagCreatePairsOff[bool] = False
    """Use both without a mapping, although patients may then stand in two splits."""
    unstripped: tyro.conf.FlagCreatePairsOff[bool] = False
    """UPENN-GBM with the skull."""
    derive_reports: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write reports from the masks; they are marked as derived wherever they go."""
    clinical: tuple[Literal["mgmt", "idh1", "survival_days"], ...] = ()
    """Labels to put into derived reports; do not predict these from the text afterwards."""
    views: int = 1
    """Slices to keep of each study."""
    size: int = 256
    """Largest side of a kept image, pixels."""
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
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
        if min(self.splits) < 0 or abs(sum(self.splits) - 1) > 1e-6 or not self.splits[0]:
            raise ValueError("--splits must be three shares that sum to 1, the first above 0")
        if self.shard is not None:
            Shard.parse(self.shard)
        if not (self.brats2021 or self.upenn_gbm):
            raise ValueError("one of --brats2021 and --upenn-gbm must be given")


def prepare(wanted: Public) -> Summary:
    """Prepare the cohorts into ``wanted.out``; a killed run is resumed by the next one.

    Raises:
        DataError: if the mapping is missing or damaged, or no study is left.
        OSError: if a folder cannot be read.
    """
    from rfpmss.data.build import build
    from rfpmss.data.hospital import Found as Whole
    from rfpmss.data.shards import describe
    from rfpmss.data.views import Choice
    from rfpmss.data.volume import MIB

    found = find(wanted)
    roots = [path.resolve() for path in (wanted.brats2021, wanted.upenn_gbm) if path]
    root = Path(os.path.commonpath(roots))
    whole = Whole(
        studies=found.studies,
        reports={},
        rejections=tuple((root / path, describe(error)) for path, error in found.rejections),
    )
    choice = Choice(size=wanted.size, count=wanted.views, limit=wanted.max_mib * MIB)
    settings = (asdict(choice), wanted.splits, wanted.seed, wanted.derive_reports, wanted.clinical)
    shard = Shard.parse(wanted.shard) if wanted.shard else None
    mine = shard.take(whole) if shard else whole
    if wanted.derive_reports:
        mine = _derived(mine, wanted)
    out = wanted.out.resolve()
    if shard is None:
        return build(
            *(mine, root, out, choice),
            shares=wanted.splits,
            seed=wanted.seed,
            workers=wanted.workers,
        )
    part = Part(
        shard=shard,
        identity=identity(whole, settings),
        shares=wanted.splits,
        seed=wanted.seed,
    )
    return build_part(mine, root, out, choice, part, wanted.workers)


def find(wanted: Public) -> Found:
    """The studies of the given cohorts, merged; rejected paths are absolute."""
    from rfpmss.data import brats, upenn
    from rfpmss.data.public import Found, merge, read_crosswalk

    crosswalk = read_crosswalk(wanted.mapping) if wanted.mapping else None
    parts = [Found((), ()), Found((), ())]
    if wanted.brats2021:
        root = wanted.brats2021.resolve()
        parts[0] = _absolute(brats.find(root, crosswalk), root)
    if wanted.upenn_gbm:
        root = wanted.upenn_gbm.resolve()
        parts[1] = _absolute(
            upenn.find(root, "unstripped" if wanted.unstripped else "stripped"), root
        )
    return merge(parts[0], parts[1], crosswalk, unmapped=wanted.unmapped)


def _absolute(found: Found, root: Path) -> Found:
    return replace(
        found, rejections=tuple((str(root / path), error) for path, error in found.rejections)
    )


def _derived(found: hospital.Found, wanted: Public) -> hospital.Found:
    """Reports for all studies with a mask; the others keep none, with the reason noted."""
    from rfpmss.config import VIEWS
    from rfpmss.data.derive import derive
    from rfpmss.data.errors import DataError
    from rfpmss.data.shards import describe
    from rfpmss.data.volume import MIB
    from rfpmss.progress import progress

    studies, rejections = [], list(found.rejections)
    with progress("deriving reports", total=len(found.studies), unit="studies") as advance:
        for study in found.studies:
            source = study.views[VIEWS.index("mri")]
            try:
                if source is not None and source.mask is not None:
                    study = derive(study, wanted.clinical, wanted.max_mib * MIB)  # noqa: PLW2901
            except DataError as error:
                assert source is not None
                assert source.mask is not None
                rejections.append((source.mask, describe(error)))
            studies.append(study)
            advance()
    return replace(found, studies=tuple(studies), rejections=tuple(rejections))

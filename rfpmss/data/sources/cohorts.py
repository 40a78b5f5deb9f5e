"""The public cohorts as a command: find, merge, derive reports if asked, build."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rfpmss.data.cohort.parts import Part, Shard, build_part, identity

if TYPE_CHECKING:
    from rfpmss.data.cohort.build import Summary
    from rfpmss.data.sources import hospital
    from rfpmss.data.sources.public import Found


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
        if not self.folders:
            raise ValueError(
                "one of --brats, --brats2021, --upenn-gbm, --bids and --mr-rate is needed"
            )
        if self.bids_masks and not self.bids:
            raise ValueError("--bids-masks needs --bids DIR")

    @property
    def folders(self) -> list[Path]:
        """The folders of images, resolved."""
        given = (self.brats2021, self.brats, self.upenn_gbm, self.bids, self.mr_rate)
        return [path.resolve() for path in given if path]


def prepare(wanted: Public) -> Summary:
    """Prepare the cohorts into ``wanted.out``; a killed run is resumed by the next one.

    Raises:
        DataError: if the mapping is missing or damaged, or no study is left.
        OSError: if a folder cannot be read.
    """
    from rfpmss.data.cohort.build import build
    from rfpmss.data.cohort.shards import describe
    from rfpmss.data.readers.volume import MIB
    from rfpmss.data.sources.hospital import Found as Whole
    from rfpmss.data.views import Choice

    found = find(wanted)
    reports = [wanted.reports.resolve()] if wanted.reports else []
    root = Path(os.path.commonpath([*wanted.folders, *reports]))
    whole = Whole(
        studies=found.studies,
        reports={},
        rejections=tuple((root / path, describe(error)) for path, error in found.rejections),
    )
    choice = Choice(
        size=wanted.size, count=wanted.views, limit=wanted.max_mib * MIB, gaps=wanted.gaps
    )
    derived = (wanted.derive_reports, wanted.clinical, wanted.mask_labels)
    settings = (asdict(choice), wanted.splits, wanted.seed, *derived)
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
    """The studies of the given cohorts, merged, with their reports; rejected paths are absolute.

    Raises:
        IncompleteError: if a folder has another layout, or two cohorts share patients whom nothing
            brings together.
    """
    from rfpmss.data.sources import bids, brats, mrrate, upenn
    from rfpmss.data.sources.public import Found, merge, read_crosswalk

    crosswalk = read_crosswalk(wanted.mapping) if wanted.mapping else None
    cases, scans, others = (Found((), ()) for _ in range(3))
    for folder in (wanted.brats2021, wanted.brats):
        if folder:
            root = folder.resolve()
            cases = _both(cases, _absolute(brats.find(root, crosswalk), root))
    if not wanted.unmapped:
        names = [study.study_id for study in cases.studies]
        brats.refuse_releases(names, upenn=wanted.upenn_gbm is not None)
    if wanted.upenn_gbm:
        root = wanted.upenn_gbm.resolve()
        images = "unstripped" if wanted.unstripped else "stripped"
        scans = _absolute(upenn.find(root, images), root)
    if wanted.bids:
        root = wanted.bids.resolve()
        others = _absolute(bids.find(root, wanted.bids_masks), root)
    if wanted.mr_rate:
        root = wanted.mr_rate.resolve()
        others = _both(others, _absolute(mrrate.find(root), root))
    merged = _both(merge(cases, scans, crosswalk, unmapped=wanted.unmapped), others)
    return _reported(merged, wanted.reports.resolve()) if wanted.reports else merged


def _both(one: Found, other: Found) -> Found:
    """Two cohorts; a case that stands in both is taken from the first."""
    from rfpmss.data.errors import DuplicateError

    known = {study.study_id for study in one.studies}
    twice = [study for study in other.studies if study.study_id in known]
    fresh = [study for study in other.studies if study.study_id not in known]
    error = DuplicateError("the case stands in another folder")
    return replace(
        one,
        studies=tuple(sorted((*one.studies, *fresh), key=lambda study: study.study_id)),
        rejections=(
            *one.rejections,
            *other.rejections,
            *((study.study_id, error) for study in twice),
        ),
    )


def _reported(found: Found, path: Path) -> Found:
    """The studies with the reports that were published apart from them."""
    from rfpmss.data.sources.published import Refused, join, read_published

    refused: Refused = []
    studies = join(found.studies, read_published(path, refused), refused)
    told = tuple((str(file), error) for file, error in refused)
    return replace(found, studies=tuple(studies), rejections=(*found.rejections, *told))


def _absolute(found: Found, root: Path) -> Found:
    return replace(
        found, rejections=tuple((str(root / path), error) for path, error in found.rejections)
    )


def _derived(found: hospital.Found, wanted: Public) -> hospital.Found:
    """Reports for all studies with a mask; the others keep none, with the reason noted."""
    from rfpmss.common.progress import progress
    from rfpmss.config import VIEWS
    from rfpmss.data.cohort.shards import describe
    from rfpmss.data.errors import DataError
    from rfpmss.data.readers.masks import named
    from rfpmss.data.readers.volume import MIB
    from rfpmss.data.sources.derive import derive

    studies, rejections = [], list(found.rejections)
    others = _labels(found, wanted.max_mib * MIB) if wanted.mask_labels == "auto" else set()
    with progress("deriving reports", total=len(found.studies), unit="studies") as advance:
        for study in found.studies:
            source = study.views[VIEWS.index("mri")]
            try:
                if source is not None and source.mask is not None:
                    limit, scheme = wanted.max_mib * MIB, wanted.mask_labels
                    extra = () if named(source.mask) else others
                    study = derive(  # noqa: PLW2901
                        study, wanted.clinical, limit, scheme=scheme, others=extra
                    )
            except DataError as error:
                assert source is not None
                assert source.mask is not None
                rejections.append((source.mask, describe(error)))
            studies.append(study)
            advance()
    return replace(found, studies=tuple(studies), rejections=tuple(rejections))


def _labels(found: hospital.Found, limit: int) -> set[int]:
    """All labels of the masks whose names do not tell the year: one of them may tell it."""
    from rfpmss.config import VIEWS
    from rfpmss.data.errors import DataError
    from rfpmss.data.readers.masks import labels_of, named
    from rfpmss.data.readers.volume import read_nifti

    labels: set[int] = set()
    for study in found.studies:
        source = study.views[VIEWS.index("mri")]
        if source is None or source.mask is None or named(source.mask):
            continue
        try:
            labels |= labels_of(read_nifti(source.mask, limit))
        except DataError:
            continue  # told when the report is derived
    return labels

"""The public cohorts as a command: find, merge, derive reports if asked, build."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rfpmss.common.progress import progress
from rfpmss.config import VIEWS
from rfpmss.data.cohort.build import build
from rfpmss.data.cohort.options import Portion, along, box_size
from rfpmss.data.cohort.parts import Part, build_part, identity
from rfpmss.data.errors import DataError, DuplicateError, describe
from rfpmss.data.readers.masks import labels_of, named
from rfpmss.data.readers.volume import MIB, read_nifti
from rfpmss.data.sources import bids, brats, mrrate, upenn
from rfpmss.data.sources.derive import derive
from rfpmss.data.sources.hospital import Found as Whole
from rfpmss.data.sources.options import Public
from rfpmss.data.sources.public import Listing, merge, read_crosswalk
from rfpmss.data.sources.published import Refused, join, read_published
from rfpmss.data.views import Choice

if TYPE_CHECKING:
    from rfpmss.data.cohort.build import Summary
    from rfpmss.data.sources import hospital


def prepare(wanted: Public) -> Summary:
    """Prepare the cohorts into ``wanted.out``; a killed run is resumed by the next one.

    Raises:
        DataError: if the mapping is missing or damaged, or no study is left.
        OSError: if a folder cannot be read.
    """
    found = find(wanted)
    reports = [wanted.reports.resolve()] if wanted.reports else []
    root = Path(os.path.commonpath([*wanted.folders, *reports]))
    whole = Whole(
        studies=found.studies,
        reports={},
        rejections=tuple((root / path, describe(error)) for path, error in found.rejections),
    )
    choice = Choice(
        size=box_size(wanted.size, wanted.depth, wanted.spacing),
        count=wanted.views,
        order=wanted.order,
        depth=wanted.depth,
        spacing=along(wanted.spacing),
        limit=wanted.max_mib * MIB,
        gaps=wanted.gaps,
    )
    derived = (wanted.derive_reports, wanted.clinical, wanted.mask_labels)
    settings = (asdict(choice), wanted.splits, wanted.seed, *derived)
    shard = Portion.parse(wanted.shard) if wanted.shard else None
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


def find(wanted: Public) -> Listing:
    """The studies of the given cohorts, merged, with their reports; rejected paths are absolute.

    Raises:
        IncompleteError: if a folder has another layout, or two cohorts share patients whom nothing
            brings together.
    """
    crosswalk = read_crosswalk(wanted.mapping) if wanted.mapping else None
    cases, scans, others = (Listing((), ()) for _ in range(3))
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


def _both(one: Listing, other: Listing) -> Listing:
    """Two cohorts; a case that stands in both is taken from the first."""
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


def _reported(found: Listing, path: Path) -> Listing:
    """The studies with the reports that were published apart from them."""
    refused: Refused = []
    studies = join(found.studies, read_published(path, refused), refused)
    told = tuple((str(file), error) for file, error in refused)
    return replace(found, studies=tuple(studies), rejections=(*found.rejections, *told))


def _absolute(found: Listing, root: Path) -> Listing:
    return replace(
        found, rejections=tuple((str(root / path), error) for path, error in found.rejections)
    )


def _derived(found: hospital.Found, wanted: Public) -> hospital.Found:
    """Reports for all studies with a mask; the others keep none, with the reason noted."""
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

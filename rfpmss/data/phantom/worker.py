"""A child process of `cohort`: ``worker WORK CONFIG NUMBER COUNT`` makes its share of patients."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from rfpmss.config import PhantomConfig
from rfpmss.data.boxes import apart
from rfpmss.data.cohort.pieces import write_piece
from rfpmss.data.cohort.shards import piece_path
from rfpmss.data.phantom.files import read_patient, study_id, write_patient
from rfpmss.data.study import Study
from rfpmss.data.views import Choice


def patients(work: Path, config: PhantomConfig) -> Iterator[tuple[Path, str]]:
    """Folder and split of every patient of the cohort."""
    for index in range(config.train + config.test):
        split = "train" if index < config.train else "test"
        yield work / "patients" / study_id(index), split


def choice(config: PhantomConfig) -> Choice:
    """How the phantom's files become views."""
    largest = max(*config.mri_shape[:2], *config.ct_shape[:2])
    return Choice(
        size=config.side if config.depth else largest,
        count=config.views,
        depth=config.depth,
        spacing=config.spacing,
        mpp=max(2.0, 1024.0 / config.slide_size),
        order="best" if config.masks == "choose" or config.depth else "levels",
    )


def study_of(folder: Path, split: str, config: PhantomConfig) -> Study:
    """The study of one patient's files; of boxes each sequence apart."""
    study = read_patient(folder, split, masked=config.masks != "hidden")
    return apart(study) if config.depth else study


def make(work: Path, config: PhantomConfig, index: int) -> None:
    """Write one patient's files, then read them back into a piece."""
    folder = work / "patients" / study_id(index)
    if not folder.exists():
        write_patient(folder, index, config)

    study = study_of(folder, "", config)
    if not piece_path(work / "pieces", study.study_id).exists():
        write_piece(work / "pieces", study, choice(config))


def main(arguments: list[str]) -> None:
    """Make patients NUMBER, NUMBER + COUNT, ...; stop when the parent is gone."""
    work, config = Path(arguments[0]), PhantomConfig.model_validate_json(arguments[1])
    number, count = int(arguments[2]), int(arguments[3])
    for index in range(number, config.train + config.test, count):
        if piece_path(work / "pieces", study_id(index)).exists():
            continue
        if select.select([sys.stdin], [], [], 0)[0]:  # end of file: the parent died
            return
        try:
            make(work, config, index)
        except MemoryError:
            sys.exit(errno.ENOMEM)  # the parent says it
        os.write(sys.stdout.fileno(), b".")


if __name__ == "__main__":
    main(sys.argv[1:])

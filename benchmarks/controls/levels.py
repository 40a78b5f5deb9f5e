"""Controls of a run on slices of all levels: what its retrieval is made of.

    python -m benchmarks.controls.levels --run-dir RUN

R@5 of the held-out studies as they are; with the slices of CT and MRI of each study in another
order, which a model that uses heights must notice; with only the middle two slices, the outer ones
replaced by them; with each study's images those of another patient, which must be at chance.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfpmss.config import VIEWS
from rfpmss.data.batches.batch import Batch, Cohort
from rfpmss.evaluation.retrieval.embed import embed, match
from rfpmss.evaluation.retrieval.ranks import rank
from rfpmss.runs.opened import open_run

PAIRS = (("study", "report"), ("mri", "report"), ("ct", "report"), ("ct", "mri"))
HEADS = [place for place, view in enumerate(VIEWS) if view != "pathology"]
"""Views whose slices have heights."""


def shuffled(batch: Batch) -> Batch:
    """The slices of CT and MRI of each study in another order, the same for both."""
    count = batch.images[HEADS[0]].shape[1]
    orders = torch.stack([_order(int(index), count) for index in batch.index])
    return _slices(batch, lambda images: images[torch.arange(len(images))[:, None], orders])


def inner(batch: Batch) -> Batch:
    """The outer half of the slices of CT and MRI replaced by their neighbours further in."""
    count = batch.images[HEADS[0]].shape[1]
    kept = torch.arange(count).clamp(count // 4, count - 1 - count // 4)
    return _slices(batch, lambda images: images[:, kept])


def elsewhere(batch: Batch) -> Batch:
    """All images are those of the next study of the batch."""
    ct, mri, pathology = (images.roll(1, 0) for images in batch.images)
    present = batch.present.clone()
    present[:, : len(VIEWS)] = batch.present[:, : len(VIEWS)].roll(1, 0)
    return replace(batch, images=(ct, mri, pathology), present=present)


CONTROLS: dict[str, Callable[[Batch], Batch]] = {
    "as they are": lambda batch: batch,
    "slices in another order": shuffled,
    "the inner slices alone": inner,
    "images of another patient": elsewhere,
}


@dataclass(frozen=True)
class Changed(Cohort):
    """A cohort whose batches are changed before a model sees them."""

    change: Callable[[Batch], Batch] = CONTROLS["as they are"]

    def batch(self, *given: Any, **named: Any) -> Batch:
        """As `Cohort.batch`, changed."""
        return self.change(super().batch(*given, **named))


def main(argv: list[str] | None = None) -> None:
    """Print a row for each control."""
    tabulate(CONTROLS, (__doc__ or "").partition("\n")[0], argv, size=64)


def tabulate(
    changes: dict[str, Callable[[Batch], Batch]], about: str, argv: list[str] | None, size: int
) -> None:
    """Print a row for each change of what enters the run asked for, ``size`` studies at a time."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="manifest, where it was moved")
    asked = parser.parse_args(argv)
    run = open_run(asked.run_dir, asked.data, "cpu")
    indices = run.cohort.indices("test")
    print("| what enters | " + " | ".join(" -> ".join(pair) for pair in PAIRS) + " |")
    print("|---" * (1 + len(PAIRS)) + "|")
    for name, change in changes.items():
        cohort = Changed(**vars(run.cohort), change=change)
        found = embed(run.model, cohort, run.tokenizer, indices, size)
        scores = [match(found, *pair) for pair in PAIRS]
        hits = [rank(m.scores, found.patient[m.rows], found.patient[m.columns]) for m in scores]
        print(f"| {name} | " + " | ".join(f"{100 * h.hits(5).mean():.1f}" for h in hits) + " |")


def _order(index: int, count: int) -> Tensor:
    """An order of the slices in which none keeps its place, by the study's number alone."""
    draw = np.random.default_rng(index)
    while count > 1:
        order = draw.permutation(count)
        if (order != np.arange(count)).all():
            return torch.from_numpy(order)

    return torch.zeros(count, dtype=torch.int64)


def _slices(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    ct, mri, pathology = (
        change(images) if place in HEADS else images for place, images in enumerate(batch.images)
    )
    return replace(batch, images=(ct, mri, pathology))


if __name__ == "__main__":
    main()

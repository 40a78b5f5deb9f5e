"""Controls of a run on boxes: what its retrieval needs of the sequences, and of their places.

    python -m benchmarks.controls.boxes --run-dir RUN

R@5 of the held-out studies as they are; with sequences left out, repeated, in another order, under
names never seen in training, or among a dozen; with each sequence moved by some voxels along a
random diagonal of its own, as a patient who moves between two series does it; and with the images
of another patient, which must be at chance.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.controls.levels import elsewhere, tabulate
from rfpmss.config import SEQUENCES, VIEWS
from rfpmss.data.batches.batch import Batch

MRI = VIEWS.index("mri")
T1CE, FLAIR, OTHER = (SEQUENCES.index(name) for name in ("t1ce", "flair", "other"))


def without(batch: Batch, name: int) -> Batch:
    """A sequence left out."""
    return _named(batch, lambda shown: shown.masked_fill(shown == name, -1))


def alone(batch: Batch, name: int) -> Batch:
    """All other sequences left out."""
    return _named(batch, lambda shown: shown.masked_fill(shown != name, -1))


def unnamed(batch: Batch) -> Batch:
    """All sequences as `other`."""
    return _named(batch, lambda shown: shown.masked_fill(shown >= 0, OTHER))


def turned(batch: Batch) -> Batch:
    """The sequences in another order."""
    return _slots(batch, range(_count(batch) - 1, -1, -1))


def twice(batch: Batch) -> Batch:
    """Each sequence two times."""
    return _slots(batch, [*range(_count(batch))] * 2)


def dozen(batch: Batch) -> Batch:
    """Twelve sequences: those that there are, and again under the names that were never seen."""
    count = _count(batch)
    names = torch.arange(12 - count) % (len(SEQUENCES) - 4) + 4
    made = _slots(batch, [slot % count for slot in range(12)])
    rest = names.expand(len(batch.present), -1)
    return _named(made, lambda shown: torch.cat([shown[:, :count], rest], dim=1))


def shifted(batch: Batch, voxels: int, seed: int = 0) -> Batch:
    """Each sequence moved by so many voxels along z, y and x, each way by a draw of its own."""
    images = batch.images[MRI].clone()
    for study, index in enumerate(batch.index.tolist()):
        ways = np.random.default_rng([seed, index]).choice([-1, 1], (images.shape[2], 3))
        for slot, way in enumerate(ways):
            moves = tuple(int(voxels * step) for step in way)
            images[study, :, slot] = images[study, :, slot].roll(moves, dims=(0, 1, 2))
    return _with(batch, images)


CHANGES: dict[str, Callable[[Batch], Batch]] = {
    "as they are": lambda batch: batch,
    "without T1 Gd": partial(without, name=T1CE),
    "T1 Gd alone": partial(alone, name=T1CE),
    "FLAIR alone": partial(alone, name=FLAIR),
    "another order": turned,
    "each twice": twice,
    "twelve sequences": dozen,
    "names never seen": unnamed,
    "moved by 1 voxel": partial(shifted, voxels=1),
    "moved by 2 voxels": partial(shifted, voxels=2),
    "moved by 3 voxels": partial(shifted, voxels=3),
    "images of another patient": elsewhere,
}


def main(argv: list[str] | None = None) -> None:
    """Print a row for each change."""
    tabulate(CHANGES, (__doc__ or "").partition("\n")[0], argv, size=32)


def _count(batch: Batch) -> int:
    return batch.images[MRI].shape[2]


def _named(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    assert batch.shown is not None, "a run on boxes is wanted"
    return replace(batch, shown=change(batch.shown))


def _slots(batch: Batch, order: range | list[int]) -> Batch:
    """The sequences at these slots."""
    made = _with(batch, batch.images[MRI][:, :, list(order)])
    return _named(made, lambda shown: shown[:, list(order)])


def _with(batch: Batch, mri: torch.Tensor) -> Batch:
    ct, _, pathology = batch.images
    return replace(batch, images=(ct, mri, pathology))


if __name__ == "__main__":
    main()

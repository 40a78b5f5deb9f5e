"""Another hospital's means and deviations in place of those of training: no labels, no pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rfpmss.common.errors import RfpmssError
from rfpmss.config import MODALITIES
from rfpmss.model.moments import ENOUGH, Sums
from rfpmss.model.rfpmss import REPORT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS


class AdaptError(RfpmssError, ValueError):
    """A model cannot take the figures of a cohort."""


@torch.no_grad()
def adapt(model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, size: int) -> list[str]:
    """Let a model standardise its vectors by the figures of a cohort; weights stay as they are.

    Each kind of vector by itself: nothing is used of which image belongs to which report. What too
    few studies have keeps the figures of training.

    Args:
        model: changed in place.
        cohort: of the new hospital; all its studies count.
        tokenizer: of the training run.
        size: studies read at a time.

    Returns:
        A sentence for each modality that keeps the figures of training.

    Raises:
        AdaptError: if the model does not standardise, or every modality has too few studies.
    """
    fuse, project, report = (part.standardise for part in (model.fuse, model.project, model.report))
    if fuse is None or project is None or report is None:
        raise AdaptError(
            "--adapt needs a model with model.standardise, got one without: it has no means and "
            "deviations to adapt; train again with a preset that has them"
        )

    joint, readings, reports = Sums(), Sums(), Sums()
    model.eval()
    device = next(model.parameters()).device
    for start in range(0, len(cohort), size):
        chosen = range(start, min(start + size, len(cohort)))
        batch = cohort.batch(chosen, tokenizer, augment=None).to(device)
        read = model.read(batch.images, batch.present, batch.tokens, batch.shown)
        joint.add(read.joint, read.present)
        readings.add(read.readings, read.readable)
        reports.add(read.report[:, None], read.present[:, REPORT, None])

    counts = dict(
        zip(MODALITIES, torch.as_tensor(joint.count).flatten().int().tolist(), strict=True)
    )
    few = {name: count for name, count in counts.items() if count < ENOUGH}
    if len(few) == len(counts):
        raise AdaptError(
            f"--adapt needs at least {ENOUGH} studies of a modality, got "
            + ", ".join(f"{count} of {name}" for name, count in few.items())
        )

    for part, sums in ((project, joint), (fuse, readings), (report, reports)):
        part.adapt(sums)

    return [
        f"{name}: {count} studies, fewer than {ENOUGH}; the figures of training are kept"
        for name, count in few.items()
    ]

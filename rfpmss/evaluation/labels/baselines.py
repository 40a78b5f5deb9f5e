"""Other ways to pretrain, to compare with: labels, contrast alone, reconstruction, a ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from jaxtyping import Float, Int
from torch import Tensor, nn

from rfpmss.common.files import appended, write_text
from rfpmss.common.progress import progress
from rfpmss.data.batches.tokens import decode, swap_sides
from rfpmss.evaluation.grid import VARIANTS, Variant, changed
from rfpmss.evaluation.labels.transfer import random_start
from rfpmss.evaluation.writing.findings import read_findings
from rfpmss.runs.children import Children

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Batch, Cohort
    from rfpmss.model.rfpmss import RFPMSS

LABELS = "labels"
"""Pretraining on the findings that the training reports state (LSP of Table 2)."""

OTHERS: dict[str, Variant] = {
    "contrast": Variant(
        "study-report contrast alone",
        "2",
        {"loss.language": 0.0, "loss.nce": 0.0, "loss.consistency": 0.0},
    ),
    "reconstruction": VARIANTS["reconstruction"],
    "resnet": VARIANTS["resnet"],
}
"""Runs of rfpmss.train with another configuration."""

NUMBERS = ("size",)
"""Findings that are no classes."""

Classes = dict[str, dict[str, int]]
"""Place of each value of each finding."""


def train_other(
    name: str,
    config: Config,
    manifest: Path,
    folder: Path,
    device: str,
    epochs: int | None,
    *,
    allow_change: bool = False,
) -> None:
    """Pretrain a model of ``OTHERS`` in ``folder`` under the run's budget, unless it stands there.

    Raises:
        ValueError: if training fails; the message names its log.
    """
    made = changed(config, OTHERS[name], config.seed)
    if epochs is not None:
        made = made.model_copy(update={"train": made.train.model_copy(update={"epochs": epochs})})

    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.yaml"
    write_text(wanted, yaml.safe_dump(made.model_dump(mode="json"), sort_keys=False))
    words = ["rfpmss.train", "--config-file", str(wanted), "--data", str(manifest)]
    words += ["--run-dir", str(folder), "--device", device, "--no-evaluate"]
    words += ["--allow-config-change"] if allow_change else []
    log = folder / "log.txt"
    with appended(log) as file, Children() as children:
        status = children.run(words, file)

    if status:
        raise ValueError(f"the baseline {name} ended with status {status}; see {log}")


def train_labels(
    config: Config,
    cohort: Cohort,
    tokenizer: Tokenizer,
    device: str,
    epochs: int | None = None,
) -> RFPMSS:
    """An image encoder trained to name the findings of the training reports.

    The same encoder, augmentation, batches, optimiser and number of steps as the run; one linear
    output a finding on the vectors of all views, cross-entropy averaged over the findings that
    the report of the (perhaps mirrored) study states.

    Args:
        config: of the run; its seed gives weights and order.
        cohort: with reports in the training split.
        tokenizer: of the run.
        device: where to train.
        epochs: passes; by default those of the run.

    Raises:
        ValueError: if no training report states a finding with two values.
    """
    classes = classes_of(cohort.reports("train"))
    if not classes:
        raise ValueError(
            "pretraining on labels needs training reports that state findings, got none"
        )

    model = random_start(config, tokenizer.get_vocab_size(), config.seed).to(device)
    studies = cohort.indices("train")
    size = min(config.train.batch, len(studies))
    passes, steps = epochs or config.train.epochs, len(studies) // size
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        heads = nn.ModuleDict(
            {name: nn.LazyLinear(len(values)) for name, values in classes.items()}
        )
        heads = heads.to(device)
        _losses(
            model, heads, cohort.batch(studies[:2], tokenizer, augment=None), tokenizer, classes
        )
        learned = [*model.image.parameters(), *heads.parameters()]
        optimiser = torch.optim.AdamW(learned, config.train.lr, weight_decay=0.0)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.train.lr, total_steps=passes * steps, pct_start=config.train.warmup
        )
        draw = np.random.default_rng(config.seed)
        model.train()
        with progress("labels", passes * steps, unit="steps") as advance:
            for epoch in range(passes):
                order = draw.permutation(studies)
                for first in range(0, steps * size, size):
                    chosen = order[first : first + size]
                    batch = cohort.batch(chosen, tokenizer, augment=(config.seed, epoch))
                    loss = _losses(model, heads, batch, tokenizer, classes)
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(learned, 1.0)
                    optimiser.step()
                    rate.step()
                    advance(loss=f"{loss.item():.3f}")

    return model.eval()


def classes_of(reports: Sequence[str]) -> Classes:
    """Findings with at least two values, as they stand and mirrored.

    Example:
        >>> classes_of(["A mass in the left frontal lobe."])
        {'side': {'left': 0, 'right': 1}}
    """
    values: dict[str, set[str]] = {}
    for text in reports:
        for shown in (text, swap_sides(text)):
            for name, value in read_findings(shown).items():
                if name not in NUMBERS:
                    values.setdefault(name, set()).add(value)

    return {
        name: {value: place for place, value in enumerate(sorted(found))}
        for name, found in sorted(values.items())
        if len(found) > 1
    }


def _losses(
    model: RFPMSS, heads: nn.ModuleDict, batch: Batch, tokenizer: Tokenizer, classes: Classes
) -> Float[Tensor, ""]:
    device = next(model.parameters()).device
    stated = [read_findings(decode(tokenizer, row)) for row in batch.tokens]
    moved = batch.to(device)
    vectors = model.image(moved.images, moved.present, moved.shown).vectors.flatten(1)
    total, count = vectors.sum() * 0.0, 0
    for name, places in classes.items():
        answers = heads[name](vectors)
        target = _targets(stated, name, places).to(device)
        if (target >= 0).any():
            total = total + F.cross_entropy(answers, target, ignore_index=-1)
            count += 1

    return total / max(1, count)


def _targets(
    stated: Sequence[dict[str, str]], name: str, places: dict[str, int]
) -> Int[Tensor, " b"]:
    return torch.tensor([places.get(found.get(name, ""), -1) for found in stated])
